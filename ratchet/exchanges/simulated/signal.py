"""The planted signal: what the next bar owes to the bars before it.

A bar's log return is `sigma * (drift + noise)` with standard normal noise, so that P(up) = Phi(drift). The drift is

    drift = -strength * tanh(z) * w
    z = log return of the last 5 bars / (sqrt(5) * root mean square log return of the last 24 bars)
    w = 1 + 0.5 * tanh(z-score of the last log volume among the last 24)

Markets that ran too far come back, the more so on heavy volume. Both terms can be computed from candles alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

REVERSAL_BARS = 5
MEMORY_BARS = 24
"""How many bars the signal looks at; before that many are known the drift is zero."""

_TINY = float(np.finfo(np.float64).tiny)


def volume_weight(volumes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return w in [0.5, 1.5] per bar; 1 in the first `MEMORY_BARS` - 1 bars.

    `volumes` is (bar,) or (bar, symbol), positive. Row i uses rows up to i.
    """
    weight = np.ones_like(volumes)
    if len(volumes) >= MEMORY_BARS:
        recent = _lagged(np.log(volumes), MEMORY_BARS)
        mean = _total(recent) / MEMORY_BARS
        spread = np.sqrt(_total([np.square(values - mean) for values in recent]) / MEMORY_BARS)
        weight[MEMORY_BARS - 1 :] += 0.5 * np.tanh((recent[0] - mean) / np.maximum(spread, _TINY))
    return weight


def planted_drift(
    opens: NDArray[np.float64], closes: NDArray[np.float64], volumes: NDArray[np.float64], *, strength: float
) -> NDArray[np.float64]:
    """Return the drift of the bar AFTER each bar, in standard deviations; zero while fewer than 24 bars are known.

    The arrays are (bar,) or (bar, symbol). Look-ahead safe: row i uses the candles up to i.
    """
    drift = np.zeros_like(closes)
    if len(closes) >= MEMORY_BARS:
        recent = _lagged(np.log(closes / opens), MEMORY_BARS)
        mean_square = _total([np.square(values) for values in recent]) / MEMORY_BARS
        score = _total(recent[:REVERSAL_BARS]) / np.sqrt(np.maximum(REVERSAL_BARS * mean_square, _TINY))
        drift[MEMORY_BARS - 1 :] = -strength * np.tanh(score) * volume_weight(volumes)[MEMORY_BARS - 1 :]
    return drift


def _lagged(values: NDArray[np.float64], n_lags: int) -> list[NDArray[np.float64]]:
    """Return views of `values` 0, 1, ... bars back, aligned to the bars that have all of them."""
    n_rows = len(values) - n_lags + 1
    return [values[n_lags - 1 - lag :][:n_rows] for lag in range(n_lags)]


def _total(terms: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Add in a fixed order, so that the result does not depend on memory layout or on the number of bars."""
    total = np.zeros_like(terms[0])
    for term in terms:
        total += term
    return total
