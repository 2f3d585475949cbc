"""Labels: the direction of the move over a fixed horizon, after costs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.features.bars import Bars, FloatArray, IntArray
from ratchet.market.symbols import Timeframe

_BPS = 1e-4
_DECAY = 0.94  # RiskMetrics' daily decay, as of the feature `ewma_94`


@dataclass(frozen=True, slots=True)
class Labels:
    """One row per bar, arrays of shape (time,).

    `label` int8: +1 up, -1 down, 0 flat or no outcome. `ret` float64: simple return from the next bar's open to the
    close `horizon` bars ahead; NaN where that bar is missing or a gap lies between. `band` float64: what the return
    must exceed; known at the decision. `t1_ns` int64: when the outcome is known, `horizon` bars after the decision.
    """

    label: NDArray[np.int8]
    ret: FloatArray
    band: FloatArray
    t1_ns: IntArray


def label_horizon(
    candles: pd.DataFrame, horizon: int, timeframe: Timeframe, round_trip_bps: float, k_sigma: float = 0.0
) -> Labels:
    """Label each bar of one symbol by the move over the next `horizon` bars.

    The decision falls at the close of bar i, the entry at the open of bar i + 1, the exit at the close of bar
    i + horizon. The band is max(k_sigma * sigma_i * sqrt(horizon), round_trip_bps / 1e4), with sigma_i the EWMA(0.94)
    deviation of log returns up to bar i. With k_sigma > 0 the first row has no sigma, and so no band and no outcome.

    Raises:
        InputError: the horizon is below one bar, a cost or factor is negative, or the candles cannot be used.
    """
    return label_bars(Bars.from_frame(candles, timeframe), horizon, round_trip_bps, k_sigma)


def label_bars(bars: Bars, horizon: int, round_trip_bps: float, k_sigma: float = 0.0) -> Labels:
    """Label as `label_horizon`, from bars that were read already."""
    if horizon < 1:
        raise InputError(f"the horizon must be at least one bar, not {horizon}")
    if not (round_trip_bps >= 0 and k_sigma >= 0):
        raise InputError(f"round_trip_bps and k_sigma must not be negative, not {round_trip_bps} and {k_sigma}")
    band = _cost_band(bars.close, horizon, round_trip_bps, k_sigma)
    ret = np.where(np.isnan(band), np.nan, _forward_return(bars, horizon))
    label = (ret > band).astype(np.int8) - (ret < -band).astype(np.int8)
    t1_ns = bars.ts_ns + (horizon + 1) * bars.timeframe_ns
    return Labels(label=label, ret=ret, band=band, t1_ns=t1_ns)


def _forward_return(bars: Bars, horizon: int) -> FloatArray:
    """Return close[i + horizon] / open[i + 1] - 1, NaN unless bars i .. i + horizon follow without a gap."""
    ret = np.full(len(bars), np.nan)
    if len(bars) > horizon:
        is_gapless = bars.steps()[horizon:] >= horizon
        move = bars.close[horizon:] / bars.open[1 : len(bars) - horizon + 1] - 1.0
        ret[:-horizon] = np.where(is_gapless, move, np.nan)
    return ret


def _cost_band(close: FloatArray, horizon: int, round_trip_bps: float, k_sigma: float) -> FloatArray:
    cost = np.full(len(close), round_trip_bps * _BPS)
    if k_sigma == 0:
        return cost
    band: FloatArray = np.maximum(k_sigma * _volatility(close) * np.sqrt(horizon), cost)
    return band


def _volatility(close: FloatArray) -> FloatArray:
    """Return the exponentially weighted deviation of log returns up to each close; NaN in the first row."""
    squared = pd.Series(np.diff(np.log(close), prepend=np.nan) ** 2)
    variance = squared.ewm(alpha=1 - _DECAY, adjust=True).mean().to_numpy(dtype=np.float64)
    root: FloatArray = np.sqrt(np.maximum(variance, 0.0))
    return root
