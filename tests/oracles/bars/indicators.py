"""Technical indicators, scaled to be free of the price and volume level.

Smoothing, adaptive and path-dependent indicators come from TA-Lib. Those with a finite window are computed per window,
so that they do not depend on where the history starts and have a defined neutral value on flat bars and without volume,
where TA-Lib returns an extreme or rounding noise. Tests compare each with TA-Lib's own function where one exists.
Row i uses rows <= i only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import talib

from ratchet.features.bars import Bars, FloatArray
from tests.oracles.bars.candle import close_location
from tests.oracles.bars.rolling import (
    aligned,
    deviations,
    lagged,
    ratio,
    rolling_mean,
    rolling_std,
    rolling_sum,
    windows,
)

_RSI_RESOLUTION = 1e-9  # differences of an RSI below this are rounding
_PRICE_RESOLUTION = 1e-12  # relative differences of prices below this are rounding


def rsi(bars: Bars, period: int) -> FloatArray:
    """Return (RSI - 50) / 50, -1..1; TA-Lib calls that scale CMO and, unlike its RSI, makes it 0 on flat prices."""
    cmo: FloatArray = talib.CMO(bars.close, period)
    return cmo / 100.0


def macd_line(bars: Bars, fast: int, slow: int, signal: int) -> FloatArray:
    """Return the MACD line over the close."""
    return _macd(bars, fast, slow, signal, 0)


def macd_signal(bars: Bars, fast: int, slow: int, signal: int) -> FloatArray:
    """Return the MACD signal line over the close."""
    return _macd(bars, fast, slow, signal, 1)


def macd_histogram(bars: Bars, fast: int, slow: int, signal: int) -> FloatArray:
    """Return MACD line minus signal, over the close."""
    return _macd(bars, fast, slow, signal, 2)


def percent_b(bars: Bars, period: int, width: float) -> FloatArray:
    """Return the close's place in the Bollinger bands: 0 at the lower, 1 at the upper, 0.5 if they coincide."""
    above_mean = aligned(deviations(bars.close, period)[:, -1], len(bars))
    return 0.5 + ratio(above_mean, 2 * width * rolling_std(bars.close, period), 0.0)


def bandwidth(bars: Bars, period: int, width: float) -> FloatArray:
    """Return the distance between the Bollinger bands over their middle."""
    return 2 * width * rolling_std(bars.close, period) / rolling_mean(bars.close, period)


def adx(bars: Bars, period: int) -> FloatArray:
    """Return the average directional index, 0..1."""
    plus, minus = plus_di(bars, period), minus_di(bars, period)
    return _wilder(ratio(np.abs(plus - minus), plus + minus, 0.0), period)


def plus_di(bars: Bars, period: int) -> FloatArray:
    """Return the positive directional indicator, 0..1; 0 where the true range is zero."""
    return _directional(bars, period, bars.high - lagged(bars.high, 1), lagged(bars.low, 1) - bars.low)


def minus_di(bars: Bars, period: int) -> FloatArray:
    """Return the negative directional indicator, 0..1; 0 where the true range is zero."""
    return _directional(bars, period, lagged(bars.low, 1) - bars.low, bars.high - lagged(bars.high, 1))


def cci(bars: Bars, period: int) -> FloatArray:
    """Return the commodity channel index over 100; 0 where the typical price does not vary."""
    centred = deviations(_typical(bars), period)
    mean_deviation = np.abs(centred).mean(axis=1)
    return aligned(ratio(centred[:, -1], 1.5 * mean_deviation, 0.0), len(bars))


def stochastic_k(bars: Bars, period: int, smooth: int) -> FloatArray:
    """Return the slow stochastic %K, 0..1; 0.5 where the range is empty."""
    return rolling_mean(_range_position(bars, period), smooth)


def stochastic_d(bars: Bars, period: int, smooth: int) -> FloatArray:
    """Return the slow stochastic %D, the mean of %K, 0..1."""
    return rolling_mean(stochastic_k(bars, period, smooth), smooth)


def stochastic_rsi_k(bars: Bars, period: int) -> FloatArray:
    """Return where the RSI lies in its own range of `period` bars, 0..1; 0.5 where the RSI does not vary."""
    strength = rsi(bars, period)
    frame = windows(strength, period)
    low, high = frame.min(axis=1), frame.max(axis=1)
    spread = np.where(high - low > _RSI_RESOLUTION, high - low, 0.0)
    spread[np.isnan(high)] = np.nan
    return aligned(ratio(frame[:, -1] - low, spread, 0.5), len(bars))


def stochastic_rsi_d(bars: Bars, period: int, smooth: int) -> FloatArray:
    """Return the mean of the stochastic RSI's %K over `smooth` bars, 0..1."""
    return rolling_mean(stochastic_rsi_k(bars, period), smooth)


def williams_r(bars: Bars, period: int) -> FloatArray:
    """Return Williams %R over 100: -1 at the lowest low, 0 at the highest high, -0.5 where the range is empty."""
    return _range_position(bars, period) - 1.0


def mfi(bars: Bars, period: int) -> FloatArray:
    """Return (money flow index - 50) / 50, -1..1; 0 where no money flowed."""
    typical = _typical(bars)
    change = typical - lagged(typical, 1)
    direction = np.where(np.abs(change) < _PRICE_RESOLUTION * typical, 0.0, np.sign(change))
    signed = direction * typical * bars.volume
    return ratio(rolling_sum(signed, period), rolling_sum(np.abs(signed), period), 0.0)


def roc(bars: Bars, period: int) -> FloatArray:
    """Return the rate of change of the close over `period` bars, as a fraction."""
    change: FloatArray = talib.ROCP(bars.close, period)
    return change


def momentum(bars: Bars, period: int) -> FloatArray:
    """Return the change of the close over `period` bars, over the close."""
    change: FloatArray = talib.MOM(bars.close, period)
    return change / bars.close


def trix(bars: Bars, period: int) -> FloatArray:
    """Return the one-bar rate of change of a triple exponential mean, in percent."""
    change: FloatArray = talib.TRIX(bars.close, period)
    return change


def ultimate_oscillator(bars: Bars, short: int, medium: int, long: int) -> FloatArray:
    """Return the ultimate oscillator, 0..1; 0.5 where the true range is zero."""
    pressure = bars.close - np.minimum(bars.low, lagged(bars.close, 1))
    true_range = _true_range(bars)
    parts = [
        weight * ratio(rolling_sum(pressure, n), rolling_sum(true_range, n), 0.5)
        for weight, n in ((4.0, short), (2.0, medium), (1.0, long))
    ]
    return (parts[0] + parts[1] + parts[2]) / 7.0


def aroon_oscillator(bars: Bars, period: int) -> FloatArray:
    """Return the Aroon oscillator, -1..1: whether the high or the low is the more recent."""
    oscillator: FloatArray = talib.AROONOSC(bars.high, bars.low, period)
    return oscillator / 100.0


def ema_ratio(bars: Bars, period: int) -> FloatArray:
    """Return the close over its exponential mean, minus 1."""
    return bars.close / _ema(bars.close, period) - 1.0


def sma_ratio(bars: Bars, period: int) -> FloatArray:
    """Return the close over its simple mean, minus 1."""
    return bars.close / rolling_mean(bars.close, period) - 1.0


def kama_ratio(bars: Bars, period: int) -> FloatArray:
    """Return the close over Kaufman's adaptive mean, minus 1."""
    mean: FloatArray = talib.KAMA(bars.close, period)
    return bars.close / mean - 1.0


def sar_distance(bars: Bars, acceleration: float, maximum: float) -> FloatArray:
    """Return the close's distance from the parabolic stop, over the close; its sign is the trend."""
    stop: FloatArray = talib.SAR(bars.high, bars.low, acceleration, maximum)
    return 1.0 - stop / bars.close


def obv_slope(bars: Bars, period: int) -> FloatArray:
    """Return the least-squares slope per bar of on-balance volume, over the mean volume; 0 without volume.

    The level of on-balance volume depends on where the history starts, its slope over a window does not.
    """
    signed = np.sign(bars.close - lagged(bars.close, 1)) * bars.volume
    position = np.arange(period) - (period - 1) / 2
    weight = np.cumsum(position[::-1])[::-1] / (position**2).sum()
    slope = windows(signed, period - 1) @ weight[1:]
    return ratio(aligned(slope, len(bars)), rolling_mean(bars.volume, period), 0.0)


def chaikin_oscillator(bars: Bars, fast: int, slow: int, volume_period: int) -> FloatArray:
    """Return the Chaikin oscillator (ADOSC) over an exponential mean of volume; 0 without volume.

    The difference of two exponential means of a running total is written as means of its steps: with
    a = 2 / (n + 1), total - EMA(total) = (1 - a) / a * EMA(step), and (1 - a) / a = (n - 1) / 2. So no total grows
    with the history.
    """
    flow = _money_flow(bars)
    lag_slow, lag_fast = (0.5 * (n - 1) * _ema(flow, n) for n in (slow, fast))
    return ratio(lag_slow - lag_fast, _ema(bars.volume, volume_period), 0.0)


def chaikin_money_flow(bars: Bars, period: int) -> FloatArray:
    """Return the volume-weighted close location over `period` bars, -1..1; 0 without volume."""
    return ratio(rolling_sum(_money_flow(bars), period), rolling_sum(bars.volume, period), 0.0)


def vwap_distance(bars: Bars, period: int) -> FloatArray:
    """Return the close over the rolling volume-weighted typical price, minus 1; 0 without volume."""
    traded = rolling_sum(_typical(bars) * bars.volume, period)
    return ratio(bars.close * rolling_sum(bars.volume, period), traded, 1.0) - 1.0


def donchian_position(bars: Bars, period: int) -> FloatArray:
    """Return the close's place between lowest low and highest high, 0..1; 0.5 where they coincide."""
    return _range_position(bars, period)


def linreg_slope(bars: Bars, period: int) -> FloatArray:
    """Return the least-squares slope of the close per bar, over the close."""
    slope: FloatArray = talib.LINEARREG_SLOPE(bars.close, period)
    return slope / bars.close


def forecast_distance(bars: Bars, period: int) -> FloatArray:
    """Return the close minus the regression's forecast of the next close (TSF), over the close."""
    forecast: FloatArray = talib.TSF(bars.close, period)
    return 1.0 - forecast / bars.close


def _macd(bars: Bars, fast: int, slow: int, signal: int, output: int) -> FloatArray:
    line: FloatArray = talib.MACD(bars.close, fast, slow, signal)[output]
    return line / bars.close


def _ema(values: FloatArray, period: int) -> FloatArray:
    mean: FloatArray = talib.EMA(values, period)
    return mean


def _wilder(values: FloatArray, period: int) -> FloatArray:
    """Smooth with weight 1 / period, as Wilder does: an exponential mean of 2 * period - 1 bars."""
    return _ema(values, 2 * period - 1)


def _true_range(bars: Bars) -> FloatArray:
    previous = lagged(bars.close, 1)
    extent: FloatArray = np.maximum(bars.high, previous) - np.minimum(bars.low, previous)
    return extent


def _directional(bars: Bars, period: int, extension: FloatArray, opposite: FloatArray) -> FloatArray:
    """Smooth the extensions that exceed zero and the opposite one; on a tie, common with ticks, neither counts.

    TA-Lib compares exactly and lets the last digit of the price decide a tie.
    """
    rounding = _PRICE_RESOLUTION * bars.close
    movement = np.where((extension > rounding) & (extension > opposite + rounding), extension, 0.0)
    movement[0] = np.nan
    return ratio(_wilder(movement, period), _wilder(_true_range(bars), period), 0.0)


def _typical(bars: Bars) -> FloatArray:
    return (bars.high + bars.low + bars.close) / 3.0


def _money_flow(bars: Bars) -> FloatArray:
    return close_location(bars) * bars.volume


def _range_position(bars: Bars, period: int) -> FloatArray:
    high: FloatArray = talib.MAX(bars.high, period)
    low: FloatArray = talib.MIN(bars.low, period)
    return ratio(bars.close - low, high - low, 0.5)


FORMULAS: Mapping[str, Callable[..., FloatArray]] = {
    formula.__name__: formula
    for formula in (
        rsi,
        macd_line,
        macd_signal,
        macd_histogram,
        percent_b,
        bandwidth,
        adx,
        plus_di,
        minus_di,
        cci,
        stochastic_k,
        stochastic_d,
        stochastic_rsi_k,
        stochastic_rsi_d,
        williams_r,
        mfi,
        roc,
        momentum,
        trix,
        ultimate_oscillator,
        aroon_oscillator,
        ema_ratio,
        sma_ratio,
        kama_ratio,
        sar_distance,
        obv_slope,
        chaikin_oscillator,
        chaikin_money_flow,
        vwap_distance,
        donchian_position,
        linreg_slope,
        forecast_distance,
    )
}
"""The formulas of the family `indicator`, by name."""
