"""What an evaluation says, as plain records: they go into JSON, the tracker, the registry and a person's report.

Shares are shares (0.53, not 53 %), times are ns UTC, a `Metric` is an estimate with its 95 % interval.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.evaluation.metrics import Metric


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CalibrationBin(_Record):
    """Rows whose p_up lies in [low, high): how often it went up, with the 95 % interval."""

    low: float
    high: float
    n: int
    mean_p_up: float
    share_up: Metric


class Confusion(_Record):
    """Counts among rows that moved beyond the cost band; p_up of exactly 0.5 is counted as down."""

    up_as_up: int
    up_as_down: int
    down_as_up: int
    down_as_down: int


class Scores(_Record):
    """How good the probabilities are, among rows that moved beyond the cost band.

    `information_coefficient` is the rank correlation of p_up with the realised return over all rows, flat ones too.
    """

    n_moves: int
    accuracy: Metric
    balanced_accuracy: Metric
    log_loss: Metric
    brier: Metric
    calibration_error: float = Field(description="Mean |share_up - mean_p_up| over the bins, weighted by rows.")
    information_coefficient: Metric
    confusion: Confusion
    calibration: tuple[CalibrationBin, ...]


class Trading(_Record):
    """What trading the predictions would have earned, per year where it says Sharpe, after costs where it says net.

    The moments are those of the net returns per bar, for the probabilistic Sharpe ratio.
    """

    n_bars: int
    bars_per_year: float
    gross_sharpe: Metric
    net_sharpe: Metric
    net_return: float = Field(description="Sum of net returns over the whole time, share of the capital.")
    gross_return: float
    costs: float = Field(description="Sum of what trading cost, share of the capital.")
    turnover_per_bar: float = Field(description="Mean value traded per bar, share of the capital; 2.0 is a full flip.")
    max_drawdown: float = Field(description="Largest fall from a high of the summed net returns, share, not negative.")
    skewness: float
    kurtosis: float = Field(description="Of a normal distribution 3.")
    probabilistic_sharpe: float = Field(description="P(true net Sharpe ratio > 0).")
    min_track_record_bars: float | None = Field(
        description="Bars needed to show a net Sharpe ratio above 0 at 95 %; None where it is not above 0."
    )


class Slice(_Record):
    """One part of the rows: a symbol, a volatility or trend regime, an hour of the day (UTC)."""

    kind: Literal["symbol", "volatility", "trend", "hour"]
    name: str
    n_moves: int
    accuracy: Metric
    gain_over_champion: Metric | None = Field(
        default=None, description="Paired gain in accuracy over the champion on the same rows."
    )


class SelectionReport(_Record):
    """How much of the result may be luck of having tried often.

    `n_trials` counts every retraining and tuning trial of the model that the store knows, this one included.
    `deflated_sharpe` is P(true net Sharpe ratio > the best expected from so many trials without skill); `pbo` the
    probability that the best trial in sample is below the median out of sample; None where trials are too few.
    """

    n_trials: int
    n_same_data: int = Field(
        description="Trials that end with the same bar, this one included: tries on the same data."
    )
    effective_trials: float
    expected_best_sharpe: float = Field(description="Per year, of so many trials without skill.")
    deflated_sharpe: float | None
    pbo: float | None
    pbo_trials: int = Field(description="Trials that share enough bars for `pbo`.")


class Probe(_Record):
    """One search for a leak: what was expected without one, what was found."""

    name: Literal["truncation", "warm_up", "shuffled_labels", "random_walk"]
    status: Literal["passed", "failed", "skipped"]
    value: float | None
    low: float | None = Field(description="Least accepted value.")
    high: float | None = Field(description="Largest accepted value.")
    n: int = Field(description="Rows or moves looked at.")
    reason: str


class LeakReport(_Record):
    """What the probes found; `has_leak` if one failed."""

    probes: tuple[Probe, ...]
    seed: int

    @property
    def has_leak(self) -> bool:
        """Whether a probe failed."""
        return any(probe.status == "failed" for probe in self.probes)


class PathResult(_Record):
    """Accuracy of every path of a combinatorial purged cross-validation: each path tests all groups once."""

    n_groups: int
    n_test_groups: int
    n_splits: int
    accuracies: tuple[float, ...]
