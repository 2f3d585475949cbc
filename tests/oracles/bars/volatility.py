"""Volatility estimators: standard deviation per bar, never annualised.

Variance of one bar from its prices, after Parkinson (1980), Garman and Klass (1980), Rogers and Satchell (1991); over
a window with opening jumps, Yang and Zhang (2000). Row i uses rows <= i only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import talib

from ratchet.features.bars import Bars, FloatArray
from tests.oracles.bars.rolling import lagged, rolling_mean, rolling_std

EWMA_DECAY = 0.94
"""RiskMetrics' daily decay; the features and the labels' cost band share it."""


def close_to_close(bars: Bars, period: int) -> FloatArray:
    """Return the sample standard deviation of the last `period` log returns."""
    return rolling_std(_log_returns(bars.close), period, ddof=1)


def parkinson_variance(bars: Bars) -> FloatArray:
    """Return one bar's variance from its range; about 5 times as efficient as the squared return."""
    variance: FloatArray = np.log(bars.high / bars.low) ** 2 / (4 * np.log(2))
    return variance


def garman_klass_variance(bars: Bars) -> FloatArray:
    """Return one bar's variance from range and body; about 7 to 8 times as efficient, assumes no drift."""
    body = np.log(bars.close / bars.open) ** 2
    variance: FloatArray = 0.5 * np.log(bars.high / bars.low) ** 2 - (2 * np.log(2) - 1) * body
    return variance


def rogers_satchell_variance(bars: Bars) -> FloatArray:
    """Return one bar's variance from range and body; unbiased under drift."""
    up = np.log(bars.high / bars.close) * np.log(bars.high / bars.open)
    down = np.log(bars.low / bars.close) * np.log(bars.low / bars.open)
    variance: FloatArray = up + down
    return variance


def parkinson(bars: Bars, period: int) -> FloatArray:
    """Return the Parkinson estimate over the last `period` bars."""
    return _root(rolling_mean(parkinson_variance(bars), period))


def garman_klass(bars: Bars, period: int) -> FloatArray:
    """Return the Garman-Klass estimate over the last `period` bars."""
    return _root(rolling_mean(garman_klass_variance(bars), period))


def rogers_satchell(bars: Bars, period: int) -> FloatArray:
    """Return the Rogers-Satchell estimate over the last `period` bars."""
    return _root(rolling_mean(rogers_satchell_variance(bars), period))


def yang_zhang(bars: Bars, period: int) -> FloatArray:
    """Return the Yang-Zhang estimate over the last `period` bars: opening jumps, bodies and ranges weighted."""
    jump = rolling_std(np.log(bars.open / lagged(bars.close, 1)), period, ddof=1) ** 2
    body = rolling_std(np.log(bars.close / bars.open), period, ddof=1) ** 2
    inside = rolling_mean(rogers_satchell_variance(bars), period)
    weight = 0.34 / (1.34 + (period + 1) / (period - 1))
    return _root(jump + weight * body + (1 - weight) * inside)


def atr_ratio(bars: Bars, period: int) -> FloatArray:
    """Return Wilder's average true range over the close."""
    atr: FloatArray = talib.ATR(bars.high, bars.low, bars.close, period)
    return atr / bars.close


def ewma(bars: Bars, decay: float) -> FloatArray:
    """Return the exponentially weighted standard deviation of log returns."""
    return ewma_volatility(bars.close, decay)


def ewma_volatility(close: FloatArray, decay: float = EWMA_DECAY) -> FloatArray:
    """Return sigma at each close: root of the weighted mean of squared log returns, weights `decay**age` summing to 1.

    float64 (time,), per bar; row 0 is NaN. Row i uses closes <= i only.
    """
    squared = pd.Series(_log_returns(close) ** 2)
    variance = squared.ewm(alpha=1 - decay, adjust=True).mean().to_numpy(dtype=np.float64)
    return _root(variance)


def _log_returns(close: FloatArray) -> FloatArray:
    change: FloatArray = np.log(close / lagged(close, 1))
    return change


def _root(variance: FloatArray) -> FloatArray:
    root: FloatArray = np.sqrt(np.maximum(variance, 0.0))
    return root


FORMULAS: Mapping[str, Callable[..., FloatArray]] = {
    formula.__name__: formula
    for formula in (close_to_close, parkinson, garman_klass, rogers_satchell, yang_zhang, atr_ratio, ewma)
}
"""The formulas of the family `volatility`, by name."""
