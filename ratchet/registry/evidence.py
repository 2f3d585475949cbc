"""The gate's report as the registry sees it: what it says, and that it speaks of this very model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.data.atomic import sha256_bytes
from ratchet.data.seal import is_sealed
from ratchet.errors import InputError
from ratchet.registry.names import MODEL_FILE

GATE_FILE = "gate.json"
"""The gate's report among a version's files."""


class GateSeal(BaseModel):
    """What the gate said of a version, and the digest that seals its report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["approve", "reject", "inconclusive"]
    digest: str = Field(description="SHA-256 that seals the report, which is the version's gate.json.")


class _Report(BaseModel):
    """The part of a gate report that the registry relies on."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    verdict: Literal["approve", "reject", "inconclusive"]
    model_digest: str
    digest: str


def read_gate_seal(files: Mapping[str, bytes]) -> GateSeal | None:
    """Return what the gate said of the model among these files; None where there is no report.

    Raises:
        InputError: the report is malformed, was altered after the gate wrote it, or judged another model file.
    """
    if GATE_FILE not in files:
        return None
    try:
        content: dict[str, Any] = json.loads(files[GATE_FILE])
        report = _Report.model_validate(content)
    except (ValueError, TypeError, ValidationError) as error:
        raise InputError(f"{GATE_FILE}: not a report of the gate: {str(error).splitlines()[0]}") from error
    if not is_sealed(content):
        raise InputError(f"{GATE_FILE}: altered after the gate wrote it; judge the model again")
    if report.model_digest != sha256_bytes(files[MODEL_FILE]):
        raise InputError(f"{GATE_FILE}: the gate judged another {MODEL_FILE} ({report.model_digest[:12]})")
    return GateSeal(verdict=report.verdict, digest=report.digest)
