"""How long one prediction takes, with a bound that holds for every distribution."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.errors import InputError

_SHARE = 0.99
_NS_PER_MS = 1e6


class LatencyReport(BaseModel):
    """Latency of `n` single calls, ms: median, 99th percentile, and an upper bound of the latter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    p50_ms: float
    p99_ms: float
    p99_upper_ms: float
    n: int


def measure_latency(
    predict: Callable[[], object],
    n: int = 500,
    clock: Callable[[], int] = time.perf_counter_ns,
    warm_up: int = 20,
    *,
    confidence: float = 0.95,
) -> LatencyReport:
    """Call `predict` `warm_up` times unmeasured, then `n` times measured.

    `clock` returns nanoseconds from any fixed origin; `confidence` is that of the bound of the 99th percentile.

    Raises:
        InputError: `n` is below `least_calls(confidence)`, or `confidence` not between 0 and 1.
    """
    _check_calls(n, confidence)
    for _ in range(warm_up):
        predict()
    latency_ms = np.array([_time_once(predict, clock) for _ in range(n)]) / _NS_PER_MS
    return summarize_latency(latency_ms, confidence=confidence)


def summarize_latency(latency_ms: NDArray[np.float64], *, confidence: float = 0.95) -> LatencyReport:
    """Summarize measured latencies, float64 ms (call,).

    The bound is the least order statistic k with P(Binomial(n, 0.99) < k) >= confidence: it exceeds the true 99th
    percentile in that share of samples or more, whatever the distribution. (Hahn and Meeker, 1991, section 5.2.)

    Who takes the least of m such bounds has that confidence only if each holds with 1 - (1 - confidence) / m.

    Raises:
        InputError: fewer than `least_calls(confidence)` latencies, or a confidence that is not between 0 and 1.
    """
    from scipy.stats import binom  # noqa: PLC0415 - scipy is slow to import

    n = len(latency_ms)
    _check_calls(n, confidence)
    ordered = np.sort(latency_ms)
    rank = int(binom.ppf(confidence, n, _SHARE)) + 1
    return LatencyReport(
        p50_ms=float(np.quantile(ordered, 0.5)),
        p99_ms=float(np.quantile(ordered, _SHARE, method="higher")),
        p99_upper_ms=float(ordered[rank - 1]),
        n=n,
    )


def least_calls(confidence: float = 0.95) -> int:
    """Return the least n with 1 - 0.99**n >= confidence, 299 for 95 %: below it no sample bounds the 99th percentile.

    Raises:
        InputError: a confidence that is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise InputError(f"the confidence must lie between 0 and 1, not {confidence}")
    return math.ceil(math.log1p(-confidence) / math.log(_SHARE))


def _check_calls(n: int, confidence: float) -> None:
    n_least = least_calls(confidence)
    if n < n_least:
        raise InputError(f"{n} calls cannot bound the 99th percentile; measure at least {n_least}")


def _time_once(predict: Callable[[], object], clock: Callable[[], int]) -> int:
    begin = clock()
    predict()
    return clock() - begin
