"""What MLflow shows beside what the registry says: tags and aliases that differ, and how they are set right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ratchet.registry.base import ModelVersion, Stage
from ratchet.registry.mlflow_store import STAGE_TAG, VERSION_TAG, Entry, identified, version_alias

ShownStage = Literal["None", "Staging", "Production", "Archived"]

SHOWN: dict[Stage, ShownStage] = {
    "none": "None",
    "staging": "Staging",
    "production": "Production",
    "archived": "Archived",
}
"""MLflow's old word for each stage."""

_BY_STAGE = re.compile(r"production|staging")
_BY_POINTER = re.compile(r"challenger|experiment-.*")
_BY_VERSION = re.compile(r"v\d+-\d+-\d+")


@dataclass(frozen=True, slots=True)
class Difference:
    """A tag of a model version, or an alias, that is not what the registry says.

    `key` is the tag or alias; `number` the model version of MLflow to set it on, None to take the alias away.
    `expected` and `found` are values of the tag, or the versions that the alias is on.
    """

    kind: Literal["stage_differs", "alias_differs"]
    version: str
    key: str
    expected: str | None
    found: str | None
    number: int | None


def standing_for(versions: Sequence[ModelVersion], shown: list[Entry], aliases: Mapping[str, int]) -> dict[str, Entry]:
    """Return the entry of each version, by its tag, else by its alias."""
    present = identified(shown, {version.version: version.digest for version in versions})
    unclaimed = {entry.number: entry for entry in shown if entry.version is None and not entry.is_set_aside}
    for version in versions:
        number = aliases.get(version_alias(version.version))
        if version.version not in present and number in unclaimed:
            present[version.version] = unclaimed[number]
    return {version.version: present[version.version] for version in versions if version.version in present}


def differences(
    versions: Sequence[ModelVersion],
    pointers: Mapping[str, str] | None,
    shown: list[Entry],
    aliases: Mapping[str, int],
) -> list[Difference]:
    """Compare one model; versions that MLflow does not have are passed over.

    Args:
        versions: all versions of the model, by the registry.
        pointers: the version by pointer; None leaves the aliases of pointers as they are.
        shown: the model's entries in MLflow, oldest first.
        aliases: MLflow's version number by alias.
    """
    present = standing_for(versions, shown, aliases)
    wanted = _wanted_aliases(versions, pointers, present)
    says = {entry.number: entry.version or f"MLflow version {entry.number}" for entry in shown}
    says |= {entry.number: version for version, entry in present.items()}
    return [
        *_wrong_aliases(wanted, aliases, says, with_pointers=pointers is not None),
        *_wrong_tags(versions, present),
    ]


def settle(client: Any, name: str, difference: Difference) -> None:
    """Set right what differs."""
    if difference.kind == "stage_differs":
        client.set_model_version_tag(name, str(difference.number), difference.key, difference.expected)
    elif difference.number is None:
        client.delete_registered_model_alias(name, difference.key)
    else:
        client.set_registered_model_alias(name, difference.key, str(difference.number))


def _wanted_aliases(
    versions: Sequence[ModelVersion], pointers: Mapping[str, str] | None, present: Mapping[str, Entry]
) -> dict[str, tuple[str, int]]:
    """Return version and MLflow's number by alias."""
    wanted = {version_alias(version): version for version in present}
    wanted |= {version.stage: version.version for version in versions if _BY_STAGE.fullmatch(version.stage)}
    wanted |= {pointer: version for pointer, version in (pointers or {}).items() if _BY_POINTER.fullmatch(pointer)}
    return {alias: (version, present[version].number) for alias, version in wanted.items() if version in present}


def _wrong_aliases(
    wanted: Mapping[str, tuple[str, int]], aliases: Mapping[str, int], says: Mapping[int, str], *, with_pointers: bool
) -> list[Difference]:
    wrong = []
    for alias, (version, number) in wanted.items():
        if aliases.get(alias) != number:
            found = says.get(aliases.get(alias, -1))
            wrong.append(Difference("alias_differs", version, alias, version, found, number))
    for alias in sorted(set(aliases) - set(wanted)):
        is_ours = _BY_STAGE.fullmatch(alias) or _BY_VERSION.fullmatch(alias)
        if is_ours or (with_pointers and _BY_POINTER.fullmatch(alias)):
            found = says.get(aliases[alias], "?")
            wrong.append(Difference("alias_differs", found, alias, None, found, None))
    return wrong


def _wrong_tags(versions: Sequence[ModelVersion], present: Mapping[str, Entry]) -> list[Difference]:
    wrong = []
    for version in versions:
        entry = present.get(version.version)
        if entry is None:
            continue
        for key, expected in ((STAGE_TAG, SHOWN[version.stage]), (VERSION_TAG, version.version)):
            found = entry.tags.get(key)
            if found != expected:
                wrong.append(Difference("stage_differs", version.version, key, expected, found, entry.number))
    return wrong
