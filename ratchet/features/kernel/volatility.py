"""Volatility estimators: standard deviation per bar, never annualised.

Variance of one bar from its prices, after Parkinson (1980), Garman and Klass (1980), Rogers and Satchell (1991); over a
window with opening jumps, Yang and Zhang (2000). What a bar contributes takes logarithms, so it is computed once and
remembered as long as a window needs it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratchet.features.kernel.bars import CLOSE, HIGH, LOG_RETURN, LOW, OPEN, FloatArray
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.smoothing import wilder
from ratchet.features.kernel.windows import remember, spread, total


@formula
def close_to_close(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the sample standard deviation of the last `p[0]` log returns."""
    period = int(p[0])
    return math.sqrt(spread(bars[LOG_RETURN], end, period)[1] / (period - 1))


@formula
def _root_mean(s: FloatArray, n: int, period: int, variance: float) -> float:
    """Return the root of the mean of the last variances, rounding below zero taken as zero."""
    last = remember(s, 0, n, period, variance)
    return math.sqrt(max(total(s, last, period) / period, 0.0))


@formula
def parkinson(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the Parkinson estimate over the last `p[0]` bars."""
    reach = math.log(bars[HIGH, end - 1] / bars[LOW, end - 1])
    return _root_mean(s, n, int(p[0]), reach * reach / (4.0 * math.log(2.0)))


@formula
def garman_klass(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the Garman-Klass estimate over the last `p[0]` bars."""
    reach = math.log(bars[HIGH, end - 1] / bars[LOW, end - 1])
    body = math.log(bars[CLOSE, end - 1] / bars[OPEN, end - 1])
    variance = 0.5 * (reach * reach) - (2.0 * math.log(2.0) - 1.0) * (body * body)
    return _root_mean(s, n, int(p[0]), variance)


@formula
def _rogers_satchell_variance(bars: FloatArray, i: int) -> float:
    up = math.log(bars[HIGH, i] / bars[CLOSE, i]) * math.log(bars[HIGH, i] / bars[OPEN, i])
    down = math.log(bars[LOW, i] / bars[CLOSE, i]) * math.log(bars[LOW, i] / bars[OPEN, i])
    return up + down


@formula
def rogers_satchell(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the Rogers-Satchell estimate over the last `p[0]` bars."""
    return _root_mean(s, n, int(p[0]), _rogers_satchell_variance(bars, end - 1))


@formula
def yang_zhang(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the Yang-Zhang estimate over the last `p[0]` bars: opening jumps, bodies and ranges weighted.

    The first bar has no jump; what it leaves in the memory is overwritten by the first bar that is not warm-up.
    """
    period = int(p[0])
    width = 2 * period
    jump_end = remember(s, 0, n, period, math.log(bars[OPEN, end - 1] / bars[CLOSE, end - 2]))
    body_end = remember(s, width, n, period, math.log(bars[CLOSE, end - 1] / bars[OPEN, end - 1]))
    inside_end = remember(s, 2 * width, n, period, _rogers_satchell_variance(bars, end - 1))
    jump = spread(s, jump_end, period)[1] / (period - 1)
    body = spread(s, body_end, period)[1] / (period - 1)
    inside = total(s, inside_end, period) / period
    weight = 0.34 / (1.34 + (period + 1) / (period - 1))
    return math.sqrt(max(jump + weight * body + (1.0 - weight) * inside, 0.0))


@formula
def true_range(bars: FloatArray, i: int) -> float:
    """Return the range of bar `i` widened to the previous close."""
    previous = bars[CLOSE, i - 1]
    top, bottom = float(max(bars[HIGH, i], previous)), float(min(bars[LOW, i], previous))
    return top - bottom


@formula
def atr_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return Wilder's average true range of `p[0]` bars over the close."""
    close: float = bars[CLOSE, end - 1]
    if n < 2:
        return math.nan
    return wilder(s, 0, true_range(bars, end - 1), n - 1, int(p[0])) / close


@formula
def ewma(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the root of the mean of squared log returns with weights `p[0]**age` that sum to 1 (RiskMetrics)."""
    if n < 2:
        return math.nan
    change = bars[LOG_RETURN, end - 1]
    s[0] = s[0] * p[0] + change * change
    s[1] = s[1] * p[0] + 1.0
    return math.sqrt(s[0] / s[1])


FORMULAS: Final = (close_to_close, parkinson, garman_klass, rogers_satchell, yang_zhang, atr_ratio, ewma)
"""The formulas of the family; their names are those of the definitions."""


def _window_slots(params: Sequence[float]) -> int:
    return 2 * int(params[0])


SLOTS: Final[Mapping[str, Callable[[Sequence[float]], int]]] = {
    "parkinson": _window_slots,
    "garman_klass": _window_slots,
    "rogers_satchell": _window_slots,
    "yang_zhang": lambda params: 3 * _window_slots(params),
    "atr_ratio": lambda params: 1,
    "ewma": lambda params: 2,
}
"""How much memory a formula has, from its parameters."""
