"""What trading the predictions would have earned: Sharpe ratios, costs, drawdown, and how long a record it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.bootstrap import FloatArray
from ratchet.evaluation.metrics import Metric, NetReturns, net_returns, sharpe, sharpe_interval
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import Trading
from ratchet.evaluation.track_record import min_track_record, probabilistic_sharpe
from ratchet.market.symbols import Timeframe
from ratchet.settings import CostSettings

_VANISHING = 1e-12  # variance below this share of the second moment is rounding
_NORMAL_KURTOSIS = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class EquityCurve:
    """Returns summed up to and including each bar (bar,): `ts_ns` int64 is the bar's open, the rest are float64.

    `gross` and `net` are before and after costs, shares of the capital, not compounded; `drawdown` is how far `net`
    lies below its highest value so far, or below 0 where it never was higher; it is not negative.
    """

    ts_ns: NDArray[np.int64]
    gross: FloatArray
    net: FloatArray
    drawdown: FloatArray


def traded_returns(rows: Predictions, costs: CostSettings, *, min_edge: float = 0.0) -> NetReturns:
    """Return what trading the predictions earned per bar, before and after costs, as `metrics.net_returns` trades."""
    return net_returns(
        rows.ts_ns,
        rows.symbol,
        rows.p_up,
        rows.bar_return,
        horizon=rows.horizon,
        timeframe_ns=Timeframe.parse(rows.timeframe).ns,
        costs=costs,
        min_edge=min_edge,
    )


def trade(rows: Predictions, costs: CostSettings, *, min_edge: float = 0.0, seed: int) -> Trading:
    """Trade all rows as `ratchet.evaluation.metrics.net_returns` does and say what came of it.

    The probabilistic Sharpe ratio and the minimum track record take the bars' returns as independent, and correct for
    their skewness and kurtosis only; the intervals of the Sharpe ratios are by block bootstrap and need no such belief.

    Args:
        rows: out-of-sample predictions.
        costs: what trading, holding and delay cost.
        min_edge: least distance of p_up from 0.5 that is traded.
        seed: of the resampling; gross and net are resampled with the same draws.

    Raises:
        InputError: the rows span fewer than three bars.
    """
    bars = traded_returns(rows, costs, min_edge=min_edge)
    net_per_bar = sharpe(bars.value, 1.0)
    skewness, kurtosis = _shape(bars.value)
    needed_bars = min_track_record(net_per_bar, 0.0, skewness, kurtosis)
    return Trading(
        n_bars=len(bars.value),
        bars_per_year=Timeframe.parse(rows.timeframe).bars_per_year,
        gross_sharpe=_yearly_sharpe(rows, bars.gross, seed),
        net_sharpe=_yearly_sharpe(rows, bars.value, seed),
        net_return=float(bars.value.sum()),
        gross_return=float(bars.gross.sum()),
        costs=float((bars.gross - bars.value).sum()),
        turnover_per_bar=float(bars.traded.mean()),
        max_drawdown=float(_drawdown(np.cumsum(bars.value)).max()),
        skewness=skewness,
        kurtosis=kurtosis,
        probabilistic_sharpe=probabilistic_sharpe(net_per_bar, len(bars.value), skewness, kurtosis),
        min_track_record_bars=needed_bars if math.isfinite(needed_bars) else None,
    )


def equity_curve(rows: Predictions, costs: CostSettings, *, min_edge: float = 0.0) -> EquityCurve:
    """Trade all rows as `trade` does and return the summed returns bar by bar, from the second bar on.

    Raises:
        InputError: there are no rows.
    """
    bars = traded_returns(rows, costs, min_edge=min_edge)
    net = np.cumsum(bars.value)
    return EquityCurve(ts_ns=bars.ts_ns, gross=np.cumsum(bars.gross), net=net, drawdown=_drawdown(net))


def _yearly_sharpe(rows: Predictions, value: FloatArray, seed: int) -> Metric:
    per_year = Timeframe.parse(rows.timeframe).bars_per_year
    return sharpe_interval(value, bars_per_year=per_year, horizon=rows.horizon, seed=seed)


def _drawdown(summed: FloatArray) -> FloatArray:
    """Return how far each value lies below the highest up to it, the start at 0 included (bar,)."""
    highest: FloatArray = np.maximum.accumulate(np.maximum(summed, 0.0))
    return highest - summed


def _shape(value: FloatArray) -> tuple[float, float]:
    """Return skewness and kurtosis of the sample; those of a normal distribution where it never varies."""
    centred = value - value.mean()
    variance = float(np.mean(centred**2))
    if variance <= _VANISHING * float(np.mean(value**2)):
        return 0.0, _NORMAL_KURTOSIS
    return float(np.mean(centred**3)) / variance**1.5, float(np.mean(centred**4)) / variance**2
