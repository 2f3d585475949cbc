"""What passes between the registry and the process that inspects a candidate."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from ratchet.registry.inspection.limits import InspectionLimits


class Order(BaseModel):
    """What to inspect: shape of a window, names and sizes of the files in the order in which they come, limits."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: int
    n_features: int
    sizes: dict[str, int]
    limits: InspectionLimits


class Verdict(BaseModel):
    """What came of it; `reason` is empty for a candidate that passed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    outcome: Literal["passed", "refused", "not installed"]
    reason: str = ""
