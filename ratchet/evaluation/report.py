"""All that an evaluation found about a model, in one record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ratchet.evaluation.records import LeakReport, PathResult, Scores, SelectionReport, Slice, Trading
from ratchet.evaluation.validation import ValidationResult


class EvaluationReport(BaseModel):
    """A walk-forward validation with everything that was computed from its out-of-sample predictions.

    `baselines` holds the scores of each baseline on the same rows; times are ns UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    validation: ValidationResult
    scores: Scores
    trading: Trading
    baselines: dict[str, Scores]
    selection: SelectionReport | None = Field(default=None, description="None where the trials were not counted.")
    slices: tuple[Slice, ...] = ()
    paths: PathResult | None = Field(default=None, description="None where no combinatorial validation was run.")
    leaks: LeakReport | None = Field(default=None, description="None where no probe was run.")
    dataset_digest: str
    symbols: tuple[str, ...]
    timeframe: str
    horizon: int
    start_ns: int
    end_ns: int
