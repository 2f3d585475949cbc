"""Technical indicators with a finite window, scaled to be free of the price and volume level.

They have a defined neutral value on flat bars and without volume, where TA-Lib's functions of the same names return an
extreme or rounding noise; elsewhere the two agree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratchet.features.kernel import recursive
from ratchet.features.kernel.bars import CLOSE, HIGH, LOW, VOLUME, FloatArray
from ratchet.features.kernel.candle import location
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.volatility import true_range
from ratchet.features.kernel.windows import highest, lowest, ratio, remember, spread, total

_PRICE_RESOLUTION: Final = 1e-12
"""Relative differences of prices below this are rounding."""


@formula
def percent_b(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close's place in the Bollinger bands of `p[0]` bars, `p[1]` deviations wide: 0 lower, 1 upper."""
    period = int(p[0])
    mean_above, squares = spread(bars[CLOSE], end, period)
    return 0.5 + ratio(-mean_above, 2.0 * p[1] * math.sqrt(squares / period), 0.0)


@formula
def bandwidth(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the distance between the Bollinger bands of `p[0]` bars, `p[1]` deviations wide, over their middle."""
    period = int(p[0])
    mean_above, squares = spread(bars[CLOSE], end, period)
    width: float = 2.0 * p[1] * math.sqrt(squares / period) / (bars[CLOSE, end - 1] + mean_above)
    return width


@formula
def _thrice_typical(bars: FloatArray, i: int) -> float:
    """Return three times the typical price: a division less where the factor cancels."""
    price: float = bars[HIGH, i] + bars[LOW, i] + bars[CLOSE, i]
    return price


@formula
def cci(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the commodity channel index of `p[0]` bars over 100; 0 where the typical price does not vary."""
    period = int(p[0])
    last = _thrice_typical(bars, end - 1)
    mean = 0.0
    for i in range(end - period, end):
        mean += _thrice_typical(bars, i) - last
    mean /= period
    deviation = 0.0
    for i in range(end - period, end):
        deviation += abs(_thrice_typical(bars, i) - last - mean)
    return ratio(-mean, 1.5 * deviation / period, 0.0)


@formula
def _range_position(bars: FloatArray, end: int, period: int) -> float:
    low = lowest(bars[LOW], end, period)
    return ratio(bars[CLOSE, end - 1] - low, highest(bars[HIGH], end, period) - low, 0.5)


@formula
def stochastic_k(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the slow stochastic %K of `p[0]` bars, a mean of `p[1]`, 0..1; 0.5 where the range is empty."""
    smooth = int(p[1])
    last = remember(s, 0, n, smooth, _range_position(bars, end, int(p[0])))
    return total(s, last, smooth) / smooth


@formula
def stochastic_d(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the slow stochastic %D, the mean of `p[1]` values of %K, 0..1."""
    smooth = int(p[1])
    last = remember(s, 2 * smooth, n, smooth, stochastic_k(bars, end, n, p, s))
    return total(s, last, smooth) / smooth


@formula
def williams_r(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return Williams %R of `p[0]` bars over 100: -1 at the lowest low, 0 at the highest high, -0.5 without range."""
    return _range_position(bars, end, int(p[0])) - 1.0


@formula
def donchian_position(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close's place between lowest low and highest high of `p[0]` bars, 0..1; 0.5 where they coincide."""
    return _range_position(bars, end, int(p[0]))


@formula
def mfi(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return (money flow index of `p[0]` bars - 50) / 50, -1..1; 0 where no money flowed."""
    signed = flow = 0.0
    previous = _thrice_typical(bars, end - 1 - int(p[0]))
    for i in range(end - int(p[0]), end):
        price = _thrice_typical(bars, i)
        if abs(price - previous) >= _PRICE_RESOLUTION * price:
            money = price * bars[VOLUME, i]
            signed += money if price > previous else -money
            flow += money
        previous = price
    return ratio(signed, flow, 0.0)


@formula
def roc(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the change of the close over `p[0]` bars, over the old close."""
    old: float = bars[CLOSE, end - 1 - int(p[0])]
    change: float = bars[CLOSE, end - 1] - old
    return change / old


@formula
def momentum(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the change of the close over `p[0]` bars, over the close."""
    close: float = bars[CLOSE, end - 1]
    change: float = close - bars[CLOSE, end - 1 - int(p[0])]
    return change / close


@formula
def _pressure(bars: FloatArray, end: int, period: int) -> float:
    """Return the buying pressure over the true range; 0.5 where that is zero."""
    pressure = extent = 0.0
    for i in range(end - period, end):
        pressure += bars[CLOSE, i] - min(bars[LOW, i], bars[CLOSE, i - 1])
        extent += true_range(bars, i)
    return ratio(pressure, extent, 0.5)


@formula
def ultimate_oscillator(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the buying pressure of `p[0]`, `p[1]` and `p[2]` bars, weighted 4, 2 and 1, 0..1."""
    short, medium = _pressure(bars, end, int(p[0])), _pressure(bars, end, int(p[1]))
    return (4.0 * short + 2.0 * medium + _pressure(bars, end, int(p[2]))) / 7.0


@formula
def aroon_oscillator(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return by how much the high of `p[0]` bars and the one before them is younger than the low, -1..1."""
    highest_at = lowest_at = end - 1 - int(p[0])
    high, low = bars[HIGH, highest_at], bars[LOW, lowest_at]
    for i in range(end - int(p[0]), end):
        if bars[HIGH, i] >= high:
            high, highest_at = bars[HIGH, i], i
        if bars[LOW, i] <= low:
            low, lowest_at = bars[LOW, i], i
    return (highest_at - lowest_at) / float(p[0])


@formula
def sma_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close over its mean of `p[0]` bars, minus 1."""
    close: float = bars[CLOSE, end - 1]
    mean_above, _ = spread(bars[CLOSE], end, int(p[0]))
    return -mean_above / (close + mean_above)


@formula
def obv_slope(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the least-squares slope per bar of on-balance volume over `p[0]` bars, over the mean volume; 0 without it.

    Its level depends on where the history starts, so the slope is taken from its steps: step k weighs k * (period - k).
    """
    period = int(p[0])
    slope = 0.0
    for k in range(1, period):
        i = end - period + k
        change = bars[CLOSE, i] - bars[CLOSE, i - 1]
        if change != 0.0:
            step = bars[VOLUME, i] * (k * (period - k))
            slope += step if change > 0.0 else -step
    slope *= 6.0 / (period * (period * period - 1))
    return ratio(slope, total(bars[VOLUME], end, period) / period, 0.0)


@formula
def chaikin_money_flow(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the volume-weighted place of the close in its range over `p[0]` bars, -1..1; 0 without volume."""
    flow = volume = 0.0
    for i in range(end - int(p[0]), end):
        flow += location(bars, i) * bars[VOLUME, i]
        volume += bars[VOLUME, i]
    return ratio(flow, volume, 0.0)


@formula
def vwap_distance(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close over the volume-weighted typical price of `p[0]` bars, minus 1; 0 without volume."""
    traded = volume = 0.0
    for i in range(end - int(p[0]), end):
        traded += _thrice_typical(bars, i) * bars[VOLUME, i]
        volume += bars[VOLUME, i]
    return ratio(3.0 * bars[CLOSE, end - 1] * volume, traded, 1.0) - 1.0


@formula
def _slope(values: FloatArray, end: int, n: int) -> float:
    """Return the least-squares slope of the window per bar; exactly zero for equal values."""
    last = values[end - 1]
    centre = 0.5 * (n - 1)
    result = 0.0
    for k in range(n):
        result += (k - centre) * (values[end - n + k] - last)
    return 12.0 * result / (n * (n * n - 1))


@formula
def linreg_slope(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the least-squares slope of `p[0]` closes per bar, over the close."""
    close: float = bars[CLOSE, end - 1]
    return _slope(bars[CLOSE], end, int(p[0])) / close


@formula
def forecast_distance(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close minus the forecast of the next close by the regression of `p[0]`, over the close."""
    period = int(p[0])
    close: float = bars[CLOSE, end - 1]
    mean_above, _ = spread(bars[CLOSE], end, period)
    return -(mean_above + 0.5 * (period + 1) * _slope(bars[CLOSE], end, period)) / close


FORMULAS: Final = (
    percent_b,
    bandwidth,
    cci,
    stochastic_k,
    stochastic_d,
    williams_r,
    donchian_position,
    mfi,
    roc,
    momentum,
    ultimate_oscillator,
    aroon_oscillator,
    sma_ratio,
    obv_slope,
    chaikin_money_flow,
    vwap_distance,
    linreg_slope,
    forecast_distance,
    *recursive.FORMULAS,
)
"""The formulas of the family; their names are those of the definitions."""

SLOTS: Final[Mapping[str, Callable[[Sequence[float]], int]]] = {
    "stochastic_k": lambda params: 2 * int(params[1]),
    "stochastic_d": lambda params: 4 * int(params[1]),
    **recursive.SLOTS,
}
"""How much memory a formula has, from its parameters."""
