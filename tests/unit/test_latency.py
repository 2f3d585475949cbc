"""The latency bound holds for any distribution, and exists only where it can."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ratchet.errors import InputError
from ratchet.evaluation.latency import measure_latency, summarize_latency


def clock_of(latency_ms: list[float]) -> Callable[[], int]:
    """A clock that makes every second reading `latency_ms` later than the one before."""
    readings, now = [], 0
    for value in latency_ms:
        readings += [now, now + int(value * 1e6)]
        now += int(value * 1e6) + 1000
    return iter(readings).__next__


def test_every_call_is_timed_after_the_warm_up() -> None:
    """Three warm-up calls are made but not timed; the figures are those of the timed calls."""
    calls: list[int] = []
    report = measure_latency(lambda: calls.append(1), n=300, clock=clock_of([2.0] * 299 + [9.0]), warm_up=3)

    assert len(calls) == 303
    assert (report.p50_ms, report.p99_ms, report.p99_upper_ms, report.n) == (2.0, 2.0, 9.0, 300)


def test_at_299_calls_the_bound_is_the_slowest_call_and_below_there_is_none() -> None:
    """1 - 0.99^299 is just above 95 %: the maximum bounds the percentile; with one call less nothing does."""
    latency_ms = np.arange(1.0, 300.0)

    assert summarize_latency(latency_ms).p99_upper_ms == 299.0
    with pytest.raises(InputError, match="at least 299"):
        summarize_latency(latency_ms[:-1])
    with pytest.raises(InputError, match="at least 299"):
        measure_latency(lambda: None, n=298)


def test_at_2000_calls_the_bound_is_the_1988th() -> None:
    """P(Binomial(2000, 0.99) <= 1987) is the first to reach 95 %."""
    assert summarize_latency(np.arange(1.0, 2001.0)).p99_upper_ms == 1988.0


@pytest.mark.parametrize("n", [299, 700])
def test_the_bound_lies_above_the_true_percentile_at_least_95_percent_of_the_time(n: int) -> None:
    """Also for a heavy-tailed law; the true 99th percentile of a lognormal is exp(2.3263)."""
    rng = np.random.default_rng(0)
    above = [summarize_latency(rng.lognormal(size=n)).p99_upper_ms > np.exp(2.3263) for _ in range(1500)]

    assert np.mean(above) >= 0.94
