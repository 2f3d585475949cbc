"""Accuracy and net Sharpe ratio with intervals that respect overlapping labels and correlated symbols.

Accuracy is the share of correct directions among rows that moved beyond the cost band (label != 0). An undecided
prediction of exactly 0.5 counts as half a hit. Intervals are 95 %, by `ratchet.evaluation.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.errors import InputError
from ratchet.evaluation.bootstrap import FloatArray, Resampled, block_length, correct, resample_sums
from ratchet.settings import CostSettings

IntArray = NDArray[np.int64]
LabelArray = NDArray[np.int8]

N_RESAMPLES = 1000
_TWO_SIDED_95 = 0.975
_BPS = 1e-4
_DAY_NS = 86_400_000_000_000
_VANISHING = 1e-12  # variance below this share of the second moment is rounding


class Metric(BaseModel):
    """A figure with its 95 % interval."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    low: float
    high: float


def to_metric(resampled: Resampled) -> Metric:
    """Return the estimate with its two-sided 95 % interval."""
    low, high = resampled.bounds(_TWO_SIDED_95)
    return Metric(value=resampled.value, low=low, high=high)


def hits(label: LabelArray, p_up: FloatArray) -> FloatArray:
    """Return 1 for a correct direction, 0 for a wrong one, 0.5 for p_up = 0.5; meaningless where label is 0."""
    return np.asarray(0.5 * (1.0 + np.sign(p_up - 0.5) * label), dtype=np.float64)


def accuracy(label: LabelArray, p_up: FloatArray) -> float:
    """Return the share of correct directions among rows with label != 0.

    Raises:
        InputError: no row moved beyond the cost band.
    """
    moved = label != 0
    if not moved.any():
        raise InputError(f"none of {len(label)} rows moved beyond the cost band, so there is no direction to predict")
    return float(hits(label, p_up)[moved].mean())


def hit_interval(
    ts_ns: IntArray, label: LabelArray, p_up: FloatArray, *, horizon: int, seed: int, n_resamples: int = N_RESAMPLES
) -> Metric:
    """Return the accuracy with its 95 % interval, resampling timestamps; the interval stays within [0, 1]."""
    metric = to_metric(
        _share_of_moves(ts_ns, label, hits(label, p_up), horizon=horizon, seed=seed, n_resamples=n_resamples)
    )
    return Metric(value=metric.value, low=max(metric.low, 0.0), high=min(metric.high, 1.0))


def accuracy_gain(
    ts_ns: IntArray,
    label: LabelArray,
    p_up: FloatArray,
    other_p_up: FloatArray,
    *,
    horizon: int,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> Resampled:
    """Return how much more often `p_up` is right than `other_p_up`, paired row by row, with its bootstrap error.

    Raises:
        InputError: no row moved beyond the cost band.
    """
    difference = hits(label, p_up) - hits(label, other_p_up)
    return _share_of_moves(ts_ns, label, difference, horizon=horizon, seed=seed, n_resamples=n_resamples)


@dataclass(frozen=True, slots=True, eq=False)
class NetReturns:
    """A portfolio per bar (time,): `ts_ns` int64 is the bar's open, the rest are float64 shares of the capital.

    `value` is the return after costs, `gross` the return before them, `traded` the value bought and sold at the open.
    """

    ts_ns: IntArray
    value: FloatArray
    gross: FloatArray
    traded: FloatArray


def net_returns(
    ts_ns: IntArray,
    symbol: NDArray[Any],
    p_up: FloatArray,
    bar_return: FloatArray,
    *,
    horizon: int,
    timeframe_ns: int,
    one_side_bps: float | None = None,
    costs: CostSettings | None = None,
    min_edge: float = 0.0,
) -> NetReturns:
    """Trade the predictions and return what is left after costs, marked to market at every bar.

    The decision at bar t is sign(p_up - 0.5), or nothing where |p_up - 0.5| < `min_edge`. It is entered at the next
    bar's open, or `costs.latency_bars` later, and held `horizon` bars; each decision gets 1/horizon of its symbol's
    capital, and each symbol an equal, fixed share of the whole. Orders of the same bar are netted, and one side's costs
    are paid on what is really traded. Funding is paid on what is held, long and short alike: in truth one side receives
    it, so this is on the safe side.

    Args:
        ts_ns: bar open of each decision, int64 ns UTC (row,).
        symbol: each row's symbol (row,).
        p_up: predicted probability of an upward move (row,).
        bar_return: simple return of the decision bar itself, close over open - 1 (row,). It pays positions that earlier
            bars have decided, never its own. A bar without a row, as in a gap, pays nothing.
        one_side_bps: cost of one side, bps of the value traded, where that is all that is to be paid.
        costs: all costs, instead of `one_side_bps`.
        min_edge: least distance of p_up from 0.5 that is traded.

    Returns:
        One return per bar from the second bar to the last; positions that are open then are not charged for closing.

    Raises:
        InputError: no rows, or not exactly one of `costs` and `one_side_bps`.
    """
    if not len(ts_ns):
        raise InputError("there are no predictions to trade")
    side_bps, funding_bps_per_day, latency_bars = _costs_of(costs, one_side_bps)
    names, column = np.unique(symbol, return_inverse=True)
    start_ns = int(ts_ns.min())
    row = (ts_ns - start_ns) // timeframe_ns
    shape = (int(row.max()) + 1, len(names))
    edge = p_up - 0.5
    position, market = np.zeros(shape), np.zeros(shape)
    position[row, column] = np.where(np.abs(edge) >= min_edge, np.sign(edge), 0.0)
    market[row, column] = bar_return
    weight = _mean_of_last(_delayed(position, latency_bars), horizon)[:-1]
    traded = np.abs(np.diff(weight, axis=0, prepend=np.zeros((1, shape[1])))).mean(axis=1)
    held = np.abs(weight).mean(axis=1)
    gross = (weight * market[1:]).mean(axis=1)
    funding_bps = funding_bps_per_day * timeframe_ns / _DAY_NS
    return NetReturns(
        ts_ns=start_ns + timeframe_ns * np.arange(1, shape[0], dtype=np.int64),
        value=gross - _BPS * (side_bps * traded + funding_bps * held),
        gross=gross,
        traded=traded,
    )


def sharpe(value: FloatArray, bars_per_year: float) -> float:
    """Return the annualised Sharpe ratio of per-bar returns (time,); 0 where they never vary.

    Raises:
        InputError: fewer than two bars.
    """
    if len(value) < 2:
        raise InputError(f"a Sharpe ratio needs at least two bars of returns, not {len(value)}")
    return float(_sharpe_of_sums(_moments(value).sum(axis=0), len(value), bars_per_year))


def sharpe_interval(
    value: FloatArray, *, bars_per_year: float, horizon: int, seed: int, n_resamples: int = N_RESAMPLES
) -> Metric:
    """Return the annualised Sharpe ratio of per-bar returns (time,) with its 95 % interval."""
    point = sharpe(value, bars_per_year)

    def ratio(sums: FloatArray) -> FloatArray:
        return _sharpe_of_sums(sums, len(value), bars_per_year)

    return to_metric(
        _resample_returns(point, _moments(value), ratio, horizon=horizon, seed=seed, n_resamples=n_resamples)
    )


def sharpe_difference(
    value: FloatArray,
    other: FloatArray,
    *,
    bars_per_year: float,
    horizon: int,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> Resampled:
    """Return the annualised Sharpe ratio of `value` minus that of `other`, paired bar by bar, with its error."""
    point = sharpe(value, bars_per_year) - sharpe(other, bars_per_year)

    def difference(sums: FloatArray) -> FloatArray:
        first = _sharpe_of_sums(sums[:, :2], len(value), bars_per_year)
        return first - _sharpe_of_sums(sums[:, 2:], len(value), bars_per_year)

    both = np.hstack([_moments(value), _moments(other)])
    return _resample_returns(point, both, difference, horizon=horizon, seed=seed, n_resamples=n_resamples)


def _share_of_moves(
    ts_ns: IntArray, label: LabelArray, score: FloatArray, *, horizon: int, seed: int, n_resamples: int
) -> Resampled:
    """Return the mean score over rows with label != 0, with its bootstrap error."""
    moved = label != 0
    if not moved.any():
        raise InputError(f"none of {len(label)} rows moved beyond the cost band, so there is nothing to compare")
    times, row = np.unique(ts_ns, return_inverse=True)
    total = np.bincount(row, weights=np.where(moved, score, 0.0), minlength=len(times))
    count = np.bincount(row, weights=moved.astype(np.float64), minlength=len(times))
    block = block_length(len(times), horizon)
    sums = resample_sums(np.column_stack([total, count]), block=block, n_resamples=n_resamples, seed=seed)
    sums = sums[sums[:, 1] > 0]
    point = float(total.sum() / count.sum())
    return correct(point, sums[:, 0] / sums[:, 1], n_times=len(times), block=block, overlap=horizon)


def _resample_returns(
    point: float,
    per_time: FloatArray,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    horizon: int,
    seed: int,
    n_resamples: int,
) -> Resampled:
    block = block_length(len(per_time), horizon)
    sums = resample_sums(per_time, block=block, n_resamples=n_resamples, seed=seed)
    return correct(point, statistic(sums), n_times=len(per_time), block=block, overlap=1)


def _moments(value: FloatArray) -> FloatArray:
    return np.column_stack([value, value * value])


def _sharpe_of_sums(sums: FloatArray, n: int, bars_per_year: float) -> FloatArray:
    """Return the annualised ratio from the sums of returns and of squared returns, float64 (..., 2) -> (...)."""
    mean, second = sums[..., 0] / n, sums[..., 1] / n
    variance = (second - mean * mean) * n / (n - 1)
    varies = variance > _VANISHING * second
    deviation = np.sqrt(np.where(varies, variance, 1.0))
    ratio: FloatArray = np.where(varies, mean / deviation, 0.0) * np.sqrt(bars_per_year)
    return ratio


def _costs_of(costs: CostSettings | None, one_side_bps: float | None) -> tuple[float, float, int]:
    """Return the cost of one side and the funding per day, bps, and the delay in bars."""
    if costs is not None and one_side_bps is None:
        return costs.one_side_bps, costs.funding_bps_per_day, costs.latency_bars
    if costs is None and one_side_bps is not None:
        return one_side_bps, 0.0, 0
    raise InputError("net returns need either costs or one_side_bps, not both and not neither")


def _delayed(position: FloatArray, n_bars: int) -> FloatArray:
    """Return the decisions of `n_bars` earlier at each bar, with none before the first (time, symbol)."""
    late = min(n_bars, len(position))
    return np.vstack([np.zeros((late, position.shape[1])), position[: len(position) - late]])


def _mean_of_last(position: FloatArray, horizon: int) -> FloatArray:
    """Return the mean of each bar's and the `horizon` - 1 earlier decisions, with none before the first (time, ...)."""
    total = np.cumsum(position, axis=0)
    total[horizon:] = total[horizon:] - total[:-horizon].copy()
    mean: FloatArray = total / horizon
    return mean
