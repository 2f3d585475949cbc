"""The single criteria of the gate: each is passed, failed or inconclusive, and says why in one sentence."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ratchet.evaluation.bootstrap import Resampled
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.metrics import Metric

Status = Literal["passed", "failed", "inconclusive"]


class GatePolicy(BaseModel):
    """What a challenger has to show.

    `policy` says how the accuracy gain is proven: `point` by the estimate alone (this approves noise), `significant` by
    the estimate and a one-sided test against no gain, `strict` by a lower bound that reaches the needed gain.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_accuracy_gain: float = Field(0.02, ge=0, lt=1, description="Gain over the champion, share of moves.")
    alpha: float = Field(0.05, gt=0, lt=0.5, description="Level of every one-sided test and bound.")
    max_latency_p99_ms: float = Field(5.0, gt=0, description="The 99th percentile must be proven to lie below.")
    max_train_gap: float = Field(0.05, gt=0, lt=1, description="Training minus out-of-sample accuracy, share.")
    policy: Literal["point", "significant", "strict"] = "significant"
    sharpe_tolerance: float = Field(0.1, ge=0, description="A Sharpe ratio short by less is undecided, not failed.")
    min_edge: float = Field(0.0, ge=0, lt=0.5, description="Least |p_up - 0.5| that the Sharpe ratio trades.")
    min_blocks: int = Field(10, ge=2, description="Fewer independent stretches of time decide nothing.")
    n_resamples: int = Field(2000, ge=100, description="Bootstrap resamples.")


class Criterion(BaseModel):
    """One question and its answer.

    `low` and `high` are one-sided bounds of `value` where it is an estimate; `p_value` belongs to "no gain at all".
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


def accuracy_gain_criterion(
    gain: Resampled, *, own: float, champion: float, n_moves: int, policy: GatePolicy
) -> Criterion:
    """Ask whether the challenger is right more often than the champion, by at least the needed gain."""
    low, high = gain.bounds(1.0 - policy.alpha)
    needed = policy.min_accuracy_gain
    if gain.n_blocks < policy.min_blocks:
        status, end = "inconclusive", _too_short(gain, policy)
    elif _gain_is_shown(gain.value, low, policy):
        status, end = "passed", "so the gain is shown"
    elif high < needed or (policy.policy == "point" and gain.value < needed):
        status, end = "failed", "so the needed gain is ruled out" if high < needed else "which is less than needed"
    else:
        status, end = "inconclusive", "so more data are needed to tell"
    reason = (
        f"Right on {own:.1%} of {n_moves:,} moves against the champion's {champion:.1%}: {_gain_text(gain, policy)}; "
        f"needed {_needed_text(policy)}, {end}."
    )
    return Criterion(
        name="accuracy_gain",
        status=status,
        value=gain.value,
        threshold=needed,
        low=low,
        high=high,
        reason=reason,
        p_value=gain.p_value(),
    )


def accuracy_over_baseline_criterion(
    gain: Resampled, *, own: float, baseline: float, baseline_name: str, n_moves: int, policy: GatePolicy
) -> Criterion:
    """Ask whether a first model, which has no champion to beat, is significantly better than the best naive rule."""
    low, high = gain.bounds(1.0 - policy.alpha)
    if gain.n_blocks < policy.min_blocks:
        status, end = "inconclusive", _too_short(gain, policy)
    elif low > 0.0:
        status, end = "passed", "so it beats the rule"
    elif high <= 0.0:
        status, end = "failed", "so a gain is ruled out"
    else:
        status, end = "inconclusive", "so more data are needed to tell"
    reason = (
        f"Right on {own:.1%} of {n_moves:,} moves against {baseline:.1%} of the better naive rule, {baseline_name}: "
        f"{_gain_text(gain, policy)}; needed above 0 with p < {policy.alpha:g}, {end}."
    )
    return Criterion(
        name="accuracy_over_baseline",
        status=status,
        value=gain.value,
        threshold=0.0,
        low=low,
        high=high,
        reason=reason,
        p_value=gain.p_value(),
    )


def net_sharpe_criterion(difference: Resampled, *, own: float, champion: float | None, policy: GatePolicy) -> Criterion:
    """Ask whether trading the challenger, after costs, earns at least the champion's Sharpe ratio, or any at all."""
    low, high = difference.bounds(1.0 - policy.alpha)
    enough = difference.value > 0.0 if champion is None else difference.value >= 0.0
    rival = "above 0" if champion is None else f"the champion's {champion:.2f} or more"
    if enough:
        status, end = "passed", "so it passes"
    elif difference.value >= -policy.sharpe_tolerance:
        status, end = "inconclusive", f"and it falls short by no more than the tolerance of {policy.sharpe_tolerance:g}"
    else:
        status, end = "failed", "so it fails"
    reason = (
        f"Net Sharpe ratio {own:.2f} a year, needed {rival}: difference {difference.value:+.2f}, one-sided "
        f"{1 - policy.alpha:.0%} bounds {low:+.2f} and {high:+.2f}, {end}."
    )
    return Criterion(
        name="net_sharpe",
        status=status,
        value=own,
        threshold=champion or 0.0,
        low=own - difference.value + low,
        high=own - difference.value + high,
        reason=reason,
    )


def walk_forward_sharpe_criterion(found: Metric) -> Criterion:
    """Ask whether trading through ALL test windows earned anything after costs; one lucky window is no evidence."""
    if found.value >= 0.0:
        status, end = "passed", "so it passes"
    elif found.high < 0.0:
        status, end = "failed", "so it loses money"
    else:
        status, end = "inconclusive", "so more data are needed to tell"
    reason = (
        f"Net Sharpe ratio {found.value:.2f} a year over all test windows of the walk-forward, 95% interval "
        f"{found.low:+.2f} to {found.high:+.2f}; needed 0 or more, {end}."
    )
    return Criterion(
        name="walk_forward_sharpe",
        status=status,
        value=found.value,
        threshold=0.0,
        low=found.low,
        high=found.high,
        reason=reason,
    )


def latency_criterion(latency: LatencyReport, policy: GatePolicy) -> Criterion:
    """Ask whether the 99th percentile of latency is proven to lie below the limit."""
    limit = policy.max_latency_p99_ms
    if latency.p99_upper_ms < limit:
        status, end = "passed", "so it is proven to be below"
    elif latency.p99_ms >= limit:
        status, end = "failed", "so it is too slow"
    else:
        status, end = "inconclusive", "so it is not proven to be below; measure more calls"
    reason = (
        f"The 99th percentile of {latency.n:,} calls is {latency.p99_ms:.2f} ms, with 95% confidence at most "
        f"{latency.p99_upper_ms:.2f} ms; the limit is {limit:g} ms, {end}."
    )
    return Criterion(
        name="latency_p99",
        status=status,
        value=latency.p99_ms,
        threshold=limit,
        low=None,
        high=latency.p99_upper_ms,
        reason=reason,
    )


def train_gap_criterion(train_gap: float, policy: GatePolicy) -> Criterion:
    """Ask whether the model is not much better on what it was trained on than out of sample."""
    allowed = policy.max_train_gap
    is_small = train_gap < allowed
    reason = (
        f"Training accuracy minus out-of-sample accuracy is {_points(train_gap)} points; it must stay below "
        f"{_points(allowed)}, so {'it passes' if is_small else 'the model fits its training data too closely'}."
    )
    return Criterion(
        name="train_gap",
        status="passed" if is_small else "failed",
        value=train_gap,
        threshold=allowed,
        low=None,
        high=None,
        reason=reason,
    )


def _gain_is_shown(gain: float, low: float, policy: GatePolicy) -> bool:
    if policy.policy == "strict":
        return low >= policy.min_accuracy_gain
    return gain >= policy.min_accuracy_gain and (policy.policy == "point" or low > 0.0)


def _gain_text(gain: Resampled, policy: GatePolicy) -> str:
    low, high = gain.bounds(1.0 - policy.alpha)
    return (
        f"gain {_points(gain.value)} points, one-sided {1 - policy.alpha:.0%} bounds {_points(low)} and "
        f"{_points(high)}, {_p_text(gain.p_value())}"
    )


def _needed_text(policy: GatePolicy) -> str:
    needed = _points(policy.min_accuracy_gain)
    return {
        "point": f"{needed}",
        "significant": f"{needed} and p < {policy.alpha:g}",
        "strict": f"a lower bound of {needed}",
    }[policy.policy]


def _too_short(estimate: Resampled, policy: GatePolicy) -> str:
    return (
        f"but the window holds only {estimate.n_blocks:.1f} independent stretches of time and at least "
        f"{policy.min_blocks} are needed to judge"
    )


def _p_text(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
