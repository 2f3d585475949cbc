"""One question of the gate and its answer."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Status = Literal["passed", "failed", "inconclusive"]


class Criterion(BaseModel):
    """One question and its answer, with the reason in one sentence.

    `low` and `high` are bounds of `value` where it is an estimate: one-sided ones for the comparison with the champion,
    the ends of the 95 % interval for what is over all folds and for slices. `p_value` belongs to "no gain at all".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    status: Status
    value: float
    threshold: float
    low: float | None
    high: float | None
    reason: str
    p_value: float | None = None


def points(share: float) -> str:
    """Return a share in signed percentage points.

    >>> points(0.021)
    '+2.1'
    """
    return f"{100 * share:+.1f}"
