"""Is the challenger right more often than the champion, and does it earn at least as much?"""

from __future__ import annotations

from ratchet.evaluation.bootstrap import Resampled
from ratchet.evaluation.criteria.criterion import Criterion, points
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.policy import GatePolicy


def accuracy_gain_criterion(
    gain: Resampled, *, own: float, champion: float, n_moves: int, policy: GatePolicy
) -> Criterion:
    """Ask whether the challenger is right more often than the champion, by at least the needed gain."""
    low, high = gain.bounds(1.0 - policy.alpha)
    needed = _needed(policy, champion)
    if gain.n_blocks < policy.min_blocks:
        status, end = "inconclusive", _too_short(gain, policy)
    elif _gain_is_shown(gain.value, low, needed, policy):
        status, end = "passed", "so the gain is shown"
    elif high < needed or (policy.policy == "point" and gain.value < needed):
        status, end = "failed", "so the needed gain is ruled out" if high < needed else "which is less than needed"
    else:
        status, end = "inconclusive", "so more data are needed to tell"
    reason = (
        f"Right on {own:.1%} of {n_moves:,} moves against the champion's {champion:.1%}: {_gain_text(gain, policy)}; "
        f"needed {_needed_text(needed, policy)}, {end}."
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
        f"{_gain_text(gain, policy)}; needed above 0 with p < {policy.alpha:.3g}, {end}."
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
    if enough and policy.policy == "strict" and low <= -policy.max_sharpe_shortfall:
        status, end = "inconclusive", f"and a shortfall of {policy.max_sharpe_shortfall:g} is not ruled out"
    elif enough:
        status, end = "passed", "so it passes"
    elif difference.value >= -policy.sharpe_tolerance:
        status, end = "inconclusive", f"and it falls short by no more than the tolerance of {policy.sharpe_tolerance:g}"
    else:
        status, end = "failed", "so it fails"
    reason = (
        f"Net Sharpe ratio {own:.2f} a year, needed {rival}: difference {difference.value:+.2f}, one-sided "
        f"{100 * (1 - policy.alpha):.4g}% bounds {low:+.2f} and {high:+.2f}, {end}."
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


def _needed(policy: GatePolicy, champion: float) -> float:
    is_relative = policy.accuracy_gain_unit == "relative"
    return policy.min_accuracy_gain * champion if is_relative else policy.min_accuracy_gain


def _gain_is_shown(gain: float, low: float, needed: float, policy: GatePolicy) -> bool:
    if policy.policy == "strict":
        return low >= needed
    return gain >= needed and (policy.policy == "point" or low > 0.0)


def _gain_text(gain: Resampled, policy: GatePolicy) -> str:
    low, high = gain.bounds(1.0 - policy.alpha)
    return (
        f"gain {points(gain.value)} points, one-sided {100 * (1 - policy.alpha):.4g}% bounds {points(low)} and "
        f"{points(high)}, {_p_text(gain.p_value())}"
    )


def _needed_text(needed: float, policy: GatePolicy) -> str:
    return {
        "point": points(needed),
        "significant": f"{points(needed)} and p < {policy.alpha:.3g}",
        "strict": f"a lower bound of {points(needed)}",
    }[policy.policy]


def _too_short(estimate: Resampled, policy: GatePolicy) -> str:
    return (
        f"but the window holds only {estimate.n_blocks:.1f} independent stretches of time and at least "
        f"{policy.min_blocks} are needed to judge"
    )


def _p_text(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
