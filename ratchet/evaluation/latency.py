"""How long one prediction takes, with a bound that holds for every distribution."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.errors import InputError

_SHARE = 0.99
_CONFIDENCE = 0.95
_MIN_CALLS = 299  # the least n with 1 - 0.99**n >= 0.95: below it no sample bounds the 99th percentile
_NS_PER_MS = 1e6


class LatencyReport(BaseModel):
    """Latency of `n` single calls, ms: median, 99th percentile, and the 95 % upper bound of the latter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50_ms: float
    p99_ms: float
    p99_upper_ms: float
    n: int


def measure_latency(
    predict: Callable[[], object], n: int = 500, clock: Callable[[], int] = time.perf_counter_ns, warm_up: int = 20
) -> LatencyReport:
    """Call `predict` `warm_up` times unmeasured, then `n` times measured.

    `clock` returns nanoseconds from any fixed origin.

    Raises:
        InputError: `n` is below 299, where no distribution-free 95 % bound of the 99th percentile exists.
    """
    if n < _MIN_CALLS:
        raise InputError(f"{n} calls cannot bound the 99th percentile; measure at least {_MIN_CALLS}")
    for _ in range(warm_up):
        predict()
    return summarize_latency(np.array([_time_once(predict, clock) for _ in range(n)]) / _NS_PER_MS)


def summarize_latency(latency_ms: NDArray[np.float64]) -> LatencyReport:
    """Summarize measured latencies, float64 ms (call,), at least 299 of them.

    The bound is the order statistic k with P(Binomial(n, 0.99) < k) >= 0.95: it exceeds the true 99th percentile in
    95 % of samples, whatever the distribution. (Hahn and Meeker, 1991, section 5.2.)

    Raises:
        InputError: fewer than 299 latencies.
    """
    from scipy.stats import binom  # noqa: PLC0415 - scipy is slow to import

    n = len(latency_ms)
    if n < _MIN_CALLS:
        raise InputError(f"{n} calls cannot bound the 99th percentile; measure at least {_MIN_CALLS}")
    ordered = np.sort(latency_ms)
    rank = int(binom.ppf(_CONFIDENCE, n, _SHARE)) + 1
    return LatencyReport(
        p50_ms=float(np.quantile(ordered, 0.5)),
        p99_ms=float(np.quantile(ordered, _SHARE, method="higher")),
        p99_upper_ms=float(ordered[rank - 1]),
        n=n,
    )


def _time_once(predict: Callable[[], object], clock: Callable[[], int]) -> int:
    begin = clock()
    predict()
    return clock() - begin
