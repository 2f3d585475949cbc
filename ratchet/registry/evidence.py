"""The gate's report as the registry sees it: what it says, of which model, and against which champion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.data.atomic import sha256_bytes
from ratchet.data.seal import is_sealed, seal_digest
from ratchet.errors import ArtifactError, InputError, RegistryConflictError
from ratchet.registry.names import METADATA_FILE, METRICS_FILE, MODEL_FILE

GATE_FILE = "gate.json"
"""The gate's report among a version's files."""

_JUDGED = (
    "schema_hash",
    "feature_names",
    "window",
    "timeframe",
    "horizon",
    "market",
    "symbols",
    "train_end_ns",
    "dataset_digest",
    "panel_digest",
)


class GateSeal(BaseModel):
    """What the gate said of a version, and the digest that seals its report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["approve", "reject", "inconclusive"]
    digest: str = Field(description="SHA-256 that seals the report, which is the version's gate.json.")


class _Report(BaseModel):
    """The part of a gate report that the registry relies on; what a report leaves unsaid is not compared."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    verdict: Literal["approve", "reject", "inconclusive"]
    model_digest: str
    digest: str
    model: str | None = None
    judged: str | None = None
    champion: str | None = None

    @property
    def says_champion(self) -> bool:
        """Whether it says what it was compared with, be it nothing."""
        return "champion" in self.model_fields_set

    @property
    def champion_version(self) -> str | None:
        """The version that was in production when the gate judged, None if nothing was."""
        return None if self.champion is None else self.champion.rpartition(" ")[2]


def judged_digest(metadata: Mapping[str, Any]) -> str:
    """Return the SHA-256 of what the metadata say about the question, the data and the end of training.

    The gate puts it into its report, so that a report holds for these metadata alone.
    """
    return seal_digest({field: metadata.get(field) for field in _JUDGED})


def read_gate_seal(name: str, files: Mapping[str, bytes], metadata: Mapping[str, Any]) -> GateSeal | None:
    """Return what the gate said of the model among these files; None where there is no report.

    Raises:
        InputError: the report is malformed, was altered after the gate wrote it, or judged something else.
    """
    if GATE_FILE not in files:
        return None
    report = _parse(files[GATE_FILE])
    if report.model_digest != sha256_bytes(files[MODEL_FILE]):
        raise InputError(f"{GATE_FILE}: the gate judged another {MODEL_FILE} ({report.model_digest[:12]})")
    if report.model not in {None, name}:
        raise InputError(f"{GATE_FILE}: the gate judged a candidate for {report.model}, not for {name}")
    if report.judged not in {None, judged_digest(metadata)}:
        raise InputError(f"{GATE_FILE}: the gate judged other metadata: data, question or end of training differ")
    return GateSeal(verdict=report.verdict, digest=report.digest)


def refuse_disagreement(
    name: str, version: str, read: Callable[[str], bytes], metadata: Any, metrics: Any, gate: GateSeal | None
) -> None:
    """Refuse a version of which the database says something else than its sealed files.

    Args:
        name: the model.
        version: its version.
        read: returns a file's content, checked against the version's digest; NotFoundError where there is none.
        metadata: as the database has them.
        metrics: as the database has them.
        gate: as the database has it.

    Raises:
        ArtifactError: metadata, metrics or the gate's verdict differ.
    """
    sealed = {filename: json.loads(read(filename)) for filename in (METADATA_FILE, METRICS_FILE)}
    kept = {METADATA_FILE: metadata, METRICS_FILE: metrics}
    different = [filename for filename, value in kept.items() if sealed[filename] != value]
    if gate is not None:
        files = {filename: read(filename) for filename in (GATE_FILE, MODEL_FILE)}
        different += [] if read_gate_seal(name, files, sealed[METADATA_FILE]) == gate else [GATE_FILE]
    if different:
        raise ArtifactError(
            f"{name} {version}: the database says something else than the sealed {', '.join(different)}; restore the "
            "database from a backup"
        )


def refuse_stale(name: str, version: str, report: bytes, live: str | None) -> None:
    """Refuse an approval against a champion that is not the one in production any more.

    Args:
        name: the model.
        version: the version that was approved.
        report: content of its gate.json.
        live: the version in production, None if there is none.

    Raises:
        RegistryConflictError: something else is in production than the gate compared it with.
    """
    found = _parse(report)
    if found.says_champion and found.champion_version != live:
        raise RegistryConflictError(
            f"{name} {version} may not go to production: the gate compared it with "
            f"{found.champion_version or 'nothing'}, and {live or 'nothing'} is there now; judge it again, or go back "
            "with a rollback"
        )


def _parse(content: bytes) -> _Report:
    try:
        fields: dict[str, Any] = json.loads(content)
        report = _Report.model_validate(fields)
    except (ValueError, TypeError, ValidationError) as error:
        raise InputError(f"{GATE_FILE}: not a report of the gate: {str(error).splitlines()[0]}") from error
    if not is_sealed(fields):
        raise InputError(f"{GATE_FILE}: altered after the gate wrote it; judge the model again")
    return report
