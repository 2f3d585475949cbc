"""Does the challenger add anything to what a few lines of a well-kept library would answer?"""

from __future__ import annotations

from ratchet.evaluation.criteria.criterion import Criterion, Status, points
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.policy import GatePolicy


def baseline_criteria(gain_over: dict[str, Metric], policy: GatePolicy) -> tuple[Criterion, ...]:
    """Judge the paired gain in accuracy over each baseline that the policy names, over all folds.

    A baseline that was not trained leaves its question open.
    """
    return tuple(_criterion(name, demand, gain_over.get(name), policy) for name, demand in policy.baselines.items())


def _criterion(name: str, demand: str, gain: Metric | None, policy: GatePolicy) -> Criterion:
    title = name.replace("_", " ")
    threshold = 0.0 if demand == "better" else -policy.baseline_margin
    if gain is None:
        return Criterion(
            name=f"beats_{name}",
            status="inconclusive",
            value=0.0,
            threshold=threshold,
            low=None,
            high=None,
            reason=f"There is no prediction of the baseline {title} on the same rows, so nothing is shown.",
        )
    status = _status(gain, threshold)
    needed = "better" if demand == "better" else f"not worse by {points(policy.baseline_margin)} points"
    reason = (
        f"Over all folds {points(gain.value)} points against {title}, 95% interval {points(gain.low)} to "
        f"{points(gain.high)}; it has to be {needed}, {_END[status]}."
    )
    return Criterion(
        name=f"beats_{name}",
        status=status,
        value=gain.value,
        threshold=threshold,
        low=gain.low,
        high=gain.high,
        reason=reason,
    )


_END: dict[Status, str] = {
    "passed": "which is shown",
    "failed": "which is ruled out",
    "inconclusive": "which more data would have to show",
}


def _status(gain: Metric, threshold: float) -> Status:
    if gain.low > threshold:
        return "passed"
    return "failed" if gain.high <= threshold else "inconclusive"
