"""What has a fixed limit and needs no rival: latency, and the gap between training and validation."""

from __future__ import annotations

from ratchet.evaluation.criteria.criterion import Criterion, points
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.policy import GatePolicy


def latency_criterion(latency: LatencyReport | None, policy: GatePolicy) -> Criterion:
    """Ask whether the 99th percentile of latency is proven to lie below the limit."""
    limit = policy.max_latency_p99_ms
    if latency is None:
        return Criterion(
            name="latency_p99",
            status="inconclusive",
            value=0.0,
            threshold=limit,
            low=None,
            high=None,
            reason=f"The latency was not measured, as the artifact did not answer; the limit is {limit:g} ms.",
        )
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
        f"Training accuracy minus out-of-sample accuracy is {points(train_gap)} points; it must stay below "
        f"{points(allowed)}, so {'it passes' if is_small else 'the model fits its training data too closely'}."
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
