"""What a rollout set out to do, what it did, and how it ended."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

StepName = Literal["stage", "canary", "promote", "confirm", "health", "rollback"]


class Verdict(StrEnum):
    """How a rollout ended."""

    PROMOTE = "promote"
    """The version is in production and the server answers with it."""
    HOLD = "hold"
    """Nothing could be proved; production is as it was, and the rollout can be run again."""
    ROLLBACK = "rollback"
    """The version failed a check and lost its stage; what was in production before is there again."""


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RolloutPlan(_Record):
    """What a rollout sets out to do."""

    model: str
    version: str
    replaces: str | None = Field(description="The version in production when the rollout began.")
    wait_s: float = Field(gt=0, description="How long the server may take to pick up a version.")
    tolerance: float = Field(gt=0, description="Largest accepted difference of p_up on a golden window.")
    poll_s: float = Field(gt=0, description="How often the server is asked meanwhile.")


class Step(_Record):
    """One step that was tried."""

    name: StepName
    passed: bool
    detail: str
    started_ns: int
    ended_ns: int


class RolloutReport(_Record):
    """How a rollout went; `steps` are in the order in which they were tried."""

    plan: RolloutPlan
    verdict: Verdict
    reason: str
    in_production: str | None = Field(description="The version in production when the rollout ended.")
    steps: tuple[Step, ...]
    started_ns: int
    ended_ns: int
