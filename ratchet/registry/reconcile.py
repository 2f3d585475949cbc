"""Whether MLflow shows what the registry says, and setting it right where that can be derived."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from ratchet.errors import ArtifactError
from ratchet.registry.base import ModelRegistry, ModelVersion
from ratchet.registry.mlflow_show import differences, settle, standing_for
from ratchet.registry.mlflow_stages import MlflowCatalog
from ratchet.registry.mlflow_store import DIGEST_TAG, ORPHAN_TAG, UNKNOWN_TAG, VERSION_TAG, Entry, aliases, entries
from ratchet.registry.names import MANIFEST_FILE

DriftKind = Literal[
    "missing_in_mlflow",
    "unknown_in_mlflow",
    "stage_differs",
    "alias_differs",
    "digest_differs",
    "files_altered",
    "journal_broken",
]


@dataclass(frozen=True, slots=True)
class Drift:
    """One thing that is not as it should be; `is_mended` if this run set it right.

    missing_in_mlflow   a version has no copy in MLflow; mended by copying it.
    unknown_in_mlflow   a model version that the registry never made; it is tagged `ratchet.unknown`, never deleted,
                        and stays a drift until someone deletes it.
    stage_differs       a stage or version tag was changed; mended.
    alias_differs       an alias is missing, elsewhere or too many; mended.
    digest_differs      the digest tag is not the registered digest: MLflow's copy may be another model; never mended.
    files_altered       bytes are not those that were registered; mended in MLflow where the registry has its own.
    journal_broken      the registry's history was tampered with; nothing at all is mended then.
    """

    kind: DriftKind
    name: str
    version: str
    expected: str
    found: str
    is_mended: bool = False


@dataclass(frozen=True, slots=True)
class ReconcileReport:
    """What was found; `checked` counts the versions of the registry that were looked at."""

    drifts: tuple[Drift, ...]
    checked: int

    @property
    def is_alarm(self) -> bool:
        """Whether something is left that a person must look at."""
        return any(not drift.is_mended for drift in self.drifts)


@dataclass(frozen=True, slots=True)
class _Model:
    """One model on both sides; `present` is what stands in MLflow for each version."""

    registry: ModelRegistry
    catalog: MlflowCatalog
    name: str
    versions: list[ModelVersion]
    shown: list[Entry]
    aliases: dict[str, int]
    present: dict[str, Entry]
    is_mending: bool


def reconcile(registry: ModelRegistry, catalog: MlflowCatalog, *, mend: bool) -> ReconcileReport:
    """Compare MLflow with the registry, version by version and byte by byte.

    Args:
        registry: the truth; it is read, never changed.
        catalog: what MLflow shows.
        mend: set right what can be derived from the registry, and sweep what interrupted copies left; otherwise look
            only.

    Raises:
        UnavailableError: the registry or MLflow cannot be reached; what was mended before stays.
    """
    drifts = list(_journal(registry))
    is_mending = mend and not drifts
    versions = registry.list_models()
    names = list(dict.fromkeys(version.name for version in versions))
    for name in names:
        model = _look(registry, catalog, name, is_mending=is_mending)
        drifts += [*_shown(model), *_digests(model), *_copies(model), *_unknown(model)]
    drifts += _strangers(catalog, set(names), is_mending=is_mending)
    if is_mending:
        catalog.files.sweep()
    return ReconcileReport(tuple(drifts), len(versions))


def _look(registry: ModelRegistry, catalog: MlflowCatalog, name: str, *, is_mending: bool) -> _Model:
    versions = registry.list_models(name)
    with catalog.files.store.connected() as client:
        shown, found = entries(client, name), aliases(client, name)
    return _Model(
        registry, catalog, name, versions, shown, found, standing_for(versions, shown, found), is_mending=is_mending
    )


def _journal(registry: ModelRegistry) -> Iterator[Drift]:
    try:
        registry.verify_history()
    except ArtifactError as error:
        yield Drift("journal_broken", "", "", "an unbroken chain of events", str(error))


def _shown(model: _Model) -> Iterator[Drift]:
    pointers = model.registry.pointers(model.name)
    for difference in differences(model.versions, pointers, model.shown, model.aliases):
        if model.is_mending:
            with model.catalog.files.store.connected() as client:
                settle(client, model.name, difference)
        expected, found = (f"{difference.key}: {value or 'none'}" for value in (difference.expected, difference.found))
        yield Drift(difference.kind, model.name, difference.version, expected, found, model.is_mending)


def _digests(model: _Model) -> Iterator[Drift]:
    for version in model.versions:
        if _is_digest_wrong(model, version):
            found = model.present[version.version].tags.get(DIGEST_TAG, "none")
            yield Drift("digest_differs", model.name, version.version, version.digest, found)


def _copies(model: _Model) -> Iterator[Drift]:
    """Look for copies that are missing or altered, and copy anew what the registry has itself."""
    for version in model.versions:
        if version.is_pruned:
            continue
        own = _alteration(partial(_verify, model.registry, version))
        if own is not None:
            yield Drift("files_altered", model.name, version.version, version.digest, f"registry: {own}")
        if version.version not in model.present:
            drift = Drift("missing_in_mlflow", model.name, version.version, "a copy in MLflow", "none")
            yield _copied(model, version, drift, is_mendable=own is None)
            continue
        copy = _alteration(partial(model.catalog.files.verify, version))
        if copy is not None:
            drift = Drift("files_altered", model.name, version.version, version.digest, f"MLflow: {copy}")
            yield _copied(model, version, drift, is_mendable=own is None and not _is_digest_wrong(model, version))


def _copied(model: _Model, version: ModelVersion, drift: Drift, *, is_mendable: bool) -> Drift:
    if not (is_mendable and model.is_mending):
        return drift
    model.catalog.replace(model.registry, version)
    model.catalog.show(model.registry, model.name)
    return replace(drift, is_mended=True)


def _unknown(model: _Model) -> Iterator[Drift]:
    known = {entry.number for entry in model.present.values()}
    for entry in model.shown:
        if entry.number not in known and ORPHAN_TAG not in entry.tags:
            yield _marked(model.catalog, entry, is_mending=model.is_mending)


def _strangers(catalog: MlflowCatalog, names: set[str], *, is_mending: bool) -> Iterator[Drift]:
    """Look for versions that claim to be ours under a name that the registry does not have."""
    with catalog.files.store.connected() as client:
        found = entries(client)
    for entry in found:
        if entry.name not in names and VERSION_TAG in entry.tags:
            yield _marked(catalog, entry, is_mending=is_mending)


def _marked(catalog: MlflowCatalog, entry: Entry, *, is_mending: bool) -> Drift:
    if is_mending and UNKNOWN_TAG not in entry.tags:
        with catalog.files.store.connected() as client:
            client.set_model_version_tag(entry.name, str(entry.number), UNKNOWN_TAG, "true")
    found = f"MLflow version {entry.number}" + (f" that says it is {entry.version}" if entry.version else "")
    return Drift("unknown_in_mlflow", entry.name, entry.version or "", "no such version", found)


def _is_digest_wrong(model: _Model, version: ModelVersion) -> bool:
    entry = model.present.get(version.version)
    return entry is not None and entry.tags.get(DIGEST_TAG) != version.digest


def _verify(registry: ModelRegistry, version: ModelVersion) -> None:
    for filename in json.loads(registry.read_file(version, MANIFEST_FILE)):
        registry.read_file(version, filename)


def _alteration(check: Callable[[], None]) -> str | None:
    try:
        check()
    except ArtifactError as error:
        return str(error)
    return None
