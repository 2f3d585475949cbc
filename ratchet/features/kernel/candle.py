"""Features of the bars themselves: returns, shape, volume, higher moments, time of day.

Flat bars (high == low) and bars without volume give the neutral value, never NaN or infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratchet.features.kernel.bars import CLOSE, HIGH, LOG_RETURN, LOW, OPEN, TIME_OF_DAY, VOLUME, FloatArray
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.windows import highest, ratio, remember, spread, total

_DAY_NS: Final = 86_400_000_000_000
_NORMAL_KURTOSIS: Final = 3.0


@formula
def log_return(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the log return of the close over `p[0]` bars."""
    return math.log(bars[CLOSE, end - 1] / bars[CLOSE, end - 1 - int(p[0])])


@formula
def range_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the bar's range over its close."""
    share: float = (bars[HIGH, end - 1] - bars[LOW, end - 1]) / bars[CLOSE, end - 1]
    return share


@formula
def body_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the signed body over the range, -1..1."""
    i = end - 1
    return ratio(bars[CLOSE, i] - bars[OPEN, i], bars[HIGH, i] - bars[LOW, i], 0.0)


@formula
def upper_wick(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the part of the range above the body, 0..1."""
    i = end - 1
    return ratio(bars[HIGH, i] - max(bars[OPEN, i], bars[CLOSE, i]), bars[HIGH, i] - bars[LOW, i], 0.0)


@formula
def lower_wick(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the part of the range below the body, 0..1."""
    i = end - 1
    return ratio(min(bars[OPEN, i], bars[CLOSE, i]) - bars[LOW, i], bars[HIGH, i] - bars[LOW, i], 0.0)


@formula
def location(bars: FloatArray, i: int) -> float:
    """Return where bar `i` closes in its range: -1 at the low, +1 at the high, 0 where the range is empty."""
    above_low = bars[CLOSE, i] - bars[LOW, i]
    below_high = bars[HIGH, i] - bars[CLOSE, i]
    return ratio(above_low - below_high, bars[HIGH, i] - bars[LOW, i], 0.0)


@formula
def close_location(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return where the close lies in the range, -1 at the low, +1 at the high."""
    return location(bars, end - 1)


@formula
def open_gap(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the log return from the previous close to this open."""
    return math.log(bars[OPEN, end - 1] / bars[CLOSE, end - 2])


@formula
def volume_z(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the volume's z-score over the last `p[0]` bars, this one included."""
    period = int(p[0])
    mean_above, squares = spread(bars[VOLUME], end, period)
    return ratio(-mean_above, math.sqrt(squares / period), 0.0)


@formula
def log_dollar_volume(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the log of the traded value over its mean of `p[0]` bars, at least log(`p[1]`), as a bar may be silent."""
    period, value = int(p[0]), bars[CLOSE, end - 1] * bars[VOLUME, end - 1]
    relative = ratio(value, total(s, remember(s, 0, n, period, value), period) / period, 1.0)
    return math.log(max(relative, p[1]))


@formula
def skewness(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the skewness of the last `p[0]` one-bar log returns; 0 where they do not vary."""
    period = int(p[0])
    returns = bars[LOG_RETURN]
    last = returns[end - 1]
    mean_above, squares = spread(returns, end, period)
    third = 0.0
    for i in range(end - period, end):
        deviation = returns[i] - last - mean_above
        third += deviation * deviation * deviation
    variance = squares / period
    return ratio(third / period, variance * math.sqrt(variance), 0.0)


@formula
def excess_kurtosis(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the kurtosis minus 3 of the last `p[0]` one-bar log returns; 0 where they do not vary."""
    period = int(p[0])
    returns = bars[LOG_RETURN]
    last = returns[end - 1]
    mean_above, squares = spread(returns, end, period)
    fourth = 0.0
    for i in range(end - period, end):
        square = (returns[i] - last - mean_above) ** 2
        fourth += square * square
    variance = squares / period
    return ratio(fourth / period, variance * variance, _NORMAL_KURTOSIS) - _NORMAL_KURTOSIS


@formula
def drawdown(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close below the highest close of the last `p[0]` bars, as a fraction <= 0."""
    close: float = bars[CLOSE, end - 1]
    return close / highest(bars[CLOSE], end, int(p[0])) - 1.0


@formula
def time_of_day_sin(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the sine of the UTC time of day at the bar's close, when the decision is taken."""
    return math.sin(2.0 * math.pi * bars[TIME_OF_DAY, end - 1] / _DAY_NS)


@formula
def time_of_day_cos(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the cosine of the UTC time of day at the bar's close, when the decision is taken."""
    return math.cos(2.0 * math.pi * bars[TIME_OF_DAY, end - 1] / _DAY_NS)


FORMULAS: Final = (
    log_return,
    range_ratio,
    body_ratio,
    upper_wick,
    lower_wick,
    close_location,
    open_gap,
    volume_z,
    log_dollar_volume,
    skewness,
    excess_kurtosis,
    drawdown,
    time_of_day_sin,
    time_of_day_cos,
)
"""The formulas of the family; their names are those of the definitions."""

SLOTS: Final[Mapping[str, Callable[[Sequence[float]], int]]] = {"log_dollar_volume": lambda params: 2 * int(params[0])}
"""How much memory a formula has, from its parameters."""
