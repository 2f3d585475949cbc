"""Whether a gate report is whole: a verdict that follows from criteria, on a named model and named metadata."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import CandidateRejectedError
from ratchet.registry.evidence import GATE_FILE

Status = Literal["passed", "failed", "inconclusive"]


class _Criterion(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(min_length=1)
    status: Status
    reason: str = Field(min_length=1)


class _WholeReport(BaseModel):
    """What every report of the gate holds; the seal and what it is bound to are checked by the registry itself."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    verdict: Literal["approve", "reject", "inconclusive"]
    model: str
    judged: str
    model_digest: str
    champion: str | None
    criteria: tuple[_Criterion, ...] = Field(min_length=1)
    policy: dict[str, object]
    window: dict[str, int]
    evidence: dict[str, str] = Field(min_length=1)


def check_gate_report(content: bytes) -> None:
    """Refuse a report that says less than the gate says, or whose verdict does not follow from its criteria.

    Raises:
        CandidateRejectedError: it is not whole; the message says where.
    """
    try:
        report = _WholeReport.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise CandidateRejectedError(
            f"{GATE_FILE}: {where}: {first['msg']}; register the report that the gate wrote, or none"
        ) from error
    statuses = {criterion.status for criterion in report.criteria}
    expected = "reject" if "failed" in statuses else "approve" if statuses == {"passed"} else "inconclusive"
    if report.verdict != expected:
        raise CandidateRejectedError(
            f"{GATE_FILE}: the verdict is {report.verdict}, but its criteria come to {expected}; judge the model again"
        )
