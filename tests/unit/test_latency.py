"""The latency bound holds for any distribution, and exists only where it can."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ratchet.errors import InputError
from ratchet.evaluation.latency import least_calls, measure_latency, summarize_latency


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
    """P(Binomial(2000, 0.99) <= 1987) is the first to reach 95 %, and <= 1989 the first to reach 98.3 %."""
    latency_ms = np.arange(1.0, 2001.0)
    assert summarize_latency(latency_ms).p99_upper_ms == 1988.0
    assert summarize_latency(latency_ms, confidence=1 - 0.05 / 3).p99_upper_ms == 1990.0


@pytest.mark.parametrize(
    ("confidence", "n_least"), [(0.5, 69), (0.9, 230), (0.95, 299), (1 - 0.05 / 3, 408), (0.99, 459), (1 - 1e-9, 2062)]
)
def test_the_least_number_of_calls_follows_from_the_confidence(confidence: float, n_least: int) -> None:
    """There the bound is the slowest call; with one call less there is none, and the message says how many it takes."""
    assert least_calls(confidence) == n_least
    assert 1 - 0.99**n_least >= confidence > 1 - 0.99 ** (n_least - 1)
    latency_ms = np.arange(1.0, n_least + 1.0)
    assert summarize_latency(latency_ms, confidence=confidence).p99_upper_ms == n_least
    report = measure_latency(lambda: None, n_least, clock_of(list(latency_ms)), confidence=confidence)
    assert report.p99_upper_ms == n_least
    with pytest.raises(InputError, match=f"at least {n_least}"):
        summarize_latency(latency_ms[:-1], confidence=confidence)
    with pytest.raises(InputError, match=f"at least {n_least}"):
        measure_latency(lambda: None, n_least - 1, confidence=confidence)


@pytest.mark.parametrize("confidence", [0.0, 1.0, -0.5, 95.0, float("nan")])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    """A share between 0 and 1, not a percentage."""
    with pytest.raises(InputError, match="between 0 and 1"):
        summarize_latency(np.arange(1.0, 3001.0), confidence=confidence)


@pytest.mark.parametrize("n", [299, 700])
def test_the_bound_lies_above_the_true_percentile_at_least_95_percent_of_the_time(n: int) -> None:
    """Also for a heavy-tailed law; the true 99th percentile of a lognormal is exp(2.3263)."""
    rng = np.random.default_rng(0)
    above = [summarize_latency(rng.lognormal(size=n)).p99_upper_ms > np.exp(2.3263) for _ in range(1500)]

    assert np.mean(above) >= 0.94
