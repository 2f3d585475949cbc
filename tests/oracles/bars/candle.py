"""Features of the bars themselves: returns, shape, volume, higher moments, time of day.

Every formula takes `Bars` and its parameters, and returns float64 (time,). Row i uses rows <= i only. Flat bars
(high == low) and bars without volume give the neutral value, never NaN or infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import talib

from ratchet.clock import NS_PER_S
from ratchet.features.bars import Bars, FloatArray
from tests.oracles.bars.rolling import aligned, deviations, lagged, ratio, rolling_mean, rolling_std

_DAY_NS = 86_400 * NS_PER_S


def log_return(bars: Bars, period: int) -> FloatArray:
    """Return the log return of the close over `period` bars."""
    change: FloatArray = np.log(bars.close / lagged(bars.close, period))
    return change


def range_ratio(bars: Bars) -> FloatArray:
    """Return the bar's range over its close."""
    return (bars.high - bars.low) / bars.close


def body_ratio(bars: Bars) -> FloatArray:
    """Return the signed body over the range, -1..1."""
    return ratio(bars.close - bars.open, bars.high - bars.low, 0.0)


def upper_wick(bars: Bars) -> FloatArray:
    """Return the part of the range above the body, 0..1."""
    return ratio(bars.high - np.maximum(bars.open, bars.close), bars.high - bars.low, 0.0)


def lower_wick(bars: Bars) -> FloatArray:
    """Return the part of the range below the body, 0..1."""
    return ratio(np.minimum(bars.open, bars.close) - bars.low, bars.high - bars.low, 0.0)


def close_location(bars: Bars) -> FloatArray:
    """Return where the close lies in the range, -1 at the low, +1 at the high."""
    return ratio((bars.close - bars.low) - (bars.high - bars.close), bars.high - bars.low, 0.0)


def open_gap(bars: Bars) -> FloatArray:
    """Return the log return from the previous close to this open."""
    gap: FloatArray = np.log(bars.open / lagged(bars.close, 1))
    return gap


def volume_z(bars: Bars, period: int) -> FloatArray:
    """Return the volume's z-score over the last `period` bars, this one included."""
    centred = aligned(deviations(bars.volume, period)[:, -1], len(bars))
    return ratio(centred, rolling_std(bars.volume, period), 0.0)


def log_dollar_volume(bars: Bars, period: int, floor: float) -> FloatArray:
    """Return the log of the traded value over its own mean, floored so that a bar without trades stays finite."""
    value = bars.close * bars.volume
    relative: FloatArray = np.log(np.maximum(ratio(value, rolling_mean(value, period), 1.0), floor))
    return relative


def skewness(bars: Bars, period: int) -> FloatArray:
    """Return the skewness of the last `period` one-bar log returns; 0 where they do not vary."""
    return _standard_moment(log_return(bars, 1), period, 3)


def excess_kurtosis(bars: Bars, period: int) -> FloatArray:
    """Return the kurtosis minus 3 of the last `period` one-bar log returns; 0 where they do not vary."""
    return _standard_moment(log_return(bars, 1), period, 4, normal=3.0)


def drawdown(bars: Bars, period: int) -> FloatArray:
    """Return the close below the highest close of the last `period` bars, as a fraction <= 0."""
    peak: FloatArray = talib.MAX(bars.close, period)
    return bars.close / peak - 1.0


def time_of_day_sin(bars: Bars) -> FloatArray:
    """Return the sine of the UTC time of day at the bar's close, when the decision is taken."""
    sine: FloatArray = np.sin(_day_angle(bars))
    return sine


def time_of_day_cos(bars: Bars) -> FloatArray:
    """Return the cosine of the UTC time of day at the bar's close, when the decision is taken."""
    cosine: FloatArray = np.cos(_day_angle(bars))
    return cosine


def _day_angle(bars: Bars) -> FloatArray:
    angle: FloatArray = 2 * np.pi * ((bars.ts_ns + bars.timeframe_ns) % _DAY_NS) / _DAY_NS
    return angle


def _standard_moment(values: FloatArray, period: int, order: int, normal: float = 0.0) -> FloatArray:
    centred = deviations(values, period)
    spread = (centred**2).mean(axis=1)
    moment = ratio((centred**order).mean(axis=1), spread ** (order / 2), normal) - normal
    return aligned(moment, len(values))


FORMULAS: Mapping[str, Callable[..., FloatArray]] = {
    formula.__name__: formula
    for formula in (
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
}
"""The formulas of the family `candle`, by name."""
