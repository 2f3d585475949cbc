"""Qlib's Alpha158 operators on prices: the shape of a bar, and windows of closes, highs and lows.

Definitions: qlib/contrib/data/loader.py and qlib/data/ops.py of github.com/microsoft/qlib. Qlib adds 1e-12 to
denominators, which means something else at every price level; here only a denominator of exactly zero is special. It
gives 0, what qlib's formula comes to, but 0.5 for `alpha_range_place`.

`p[0]` is the window n in bars where nothing else is said.
"""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.bars import CLOSE, HIGH, LOW, OPEN, VOLUME, FloatArray
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.windows import highest, lowest, ratio, spread

TYPICAL_PRICE: Final = -1
"""The field number of (high + low + close) / 3, which stands for qlib's VWAP: candles do not have one."""


@formula
def alpha_body(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return KMID: close minus open over the open."""
    opening: float = bars[OPEN, end - 1]
    body: float = bars[CLOSE, end - 1] - opening
    return body / opening


@formula
def alpha_length(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return KLEN: the range over the open."""
    length: float = (bars[HIGH, end - 1] - bars[LOW, end - 1]) / bars[OPEN, end - 1]
    return length


@formula
def alpha_upper(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return KUP: the upper wick over the open."""
    opening: float = bars[OPEN, end - 1]
    wick: float = bars[HIGH, end - 1] - max(opening, bars[CLOSE, end - 1])
    return wick / opening


@formula
def alpha_lower(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return KLOW: the lower wick over the open."""
    opening: float = bars[OPEN, end - 1]
    wick: float = min(opening, bars[CLOSE, end - 1]) - bars[LOW, end - 1]
    return wick / opening


@formula
def alpha_shift(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return KSFT: twice the close, minus high and low, over the open."""
    close = bars[CLOSE, end - 1]
    shift: float = ((close - bars[LOW, end - 1]) - (bars[HIGH, end - 1] - close)) / bars[OPEN, end - 1]
    return shift


@formula
def lag_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return field `p[0]` of `p[1]` bars ago over the last close, a volume over the last volume.

    The last volume counts as at least `p[2]` times the earlier one, so the ratio is at most 1 / p[2]; two bars without
    volume give 0.
    """
    field, row = int(p[0]), end - 1 - int(p[1])
    if field == VOLUME:
        volume = bars[VOLUME, row]
        return ratio(volume, max(bars[VOLUME, end - 1], p[2] * volume), 0.0)
    close: float = bars[CLOSE, end - 1]
    price: float = bars[field, row]
    if field == TYPICAL_PRICE:
        price = (bars[HIGH, row] + bars[LOW, row] + bars[CLOSE, row]) / 3.0
    return price / close


@formula
def alpha_mean(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return MA: the mean close over the last."""
    close: float = bars[CLOSE, end - 1]
    mean_above_last, _ = spread(bars[CLOSE], end, int(p[0]))
    return 1.0 + mean_above_last / close


@formula
def alpha_deviation(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return STD: the sample deviation of the closes over the last."""
    close: float = bars[CLOSE, end - 1]
    _, squares = spread(bars[CLOSE], end, int(p[0]))
    return math.sqrt(squares / (p[0] - 1.0)) / close


@formula
def _trend(closes: FloatArray, end: int, period: int) -> float:
    """Return the sum of products of the closes' and the places' deviations from their means."""
    last, middle = closes[end - 1], 0.5 * (period - 1)
    result = 0.0
    for i in range(period):
        result += (i - middle) * (closes[end - period + i] - last)
    return result


@formula
def _time_squares(period: float) -> float:
    """Return the sum of squared deviations of the places 0, 1, ... from their mean."""
    return period * (period * period - 1.0) / 12.0


@formula
def alpha_slope(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return BETA: the slope per bar of the regression of the closes on time, over the last close."""
    close: float = bars[CLOSE, end - 1]
    return _trend(bars[CLOSE], end, int(p[0])) / _time_squares(p[0]) / close


@formula
def alpha_fit(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return RSQR: the share of the closes' variance that a straight line explains; 0 where they do not move."""
    trend = _trend(bars[CLOSE], end, int(p[0]))
    _, squares = spread(bars[CLOSE], end, int(p[0]))
    return min(ratio(trend * trend, _time_squares(p[0]) * squares, 0.0), 1.0)


@formula
def alpha_residual(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return RESI: the last close minus the regression line, over the close."""
    close: float = bars[CLOSE, end - 1]
    rise: float = _trend(bars[CLOSE], end, int(p[0])) / _time_squares(p[0]) * 0.5 * (p[0] - 1.0)
    mean_above_last, _ = spread(bars[CLOSE], end, int(p[0]))
    return -(mean_above_last + rise) / close


@formula
def alpha_highest(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return MAX: the highest high over the last close."""
    close: float = bars[CLOSE, end - 1]
    return highest(bars[HIGH], end, int(p[0])) / close


@formula
def alpha_lowest(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return MIN: the lowest low over the last close."""
    close: float = bars[CLOSE, end - 1]
    return lowest(bars[LOW], end, int(p[0])) / close


@formula
def alpha_quantile(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return QTLU, QTLD: the `p[1]` quantile of the closes over the last, linear between two closes as in pandas.

    `s` holds the closes up to the quantile, counted from the nearer end, in order.
    """
    period, is_upper = int(p[0]), p[1] > 0.5
    sign, share = (-1.0, 1.0 - p[1]) if is_upper else (1.0, p[1])
    place = share * (period - 1)
    below = int(place)
    kept, n_kept = 0, min(below + 2, period)
    for i in range(end - period, end):
        value = sign * bars[CLOSE, i]
        if kept < n_kept:
            kept += 1
        elif value >= s[n_kept - 1]:
            continue
        k = kept - 1
        while k > 0 and s[k - 1] > value:
            s[k] = s[k - 1]
            k -= 1
        s[k] = value
    lower, upper = s[below], s[n_kept - 1]
    share_of_close: float = sign * (lower + (place - below) * (upper - lower)) / bars[CLOSE, end - 1]
    return share_of_close


@formula
def alpha_rank(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return RANK: the last close's rank among the n from 1 / n to 1, equal closes sharing the mean of their ranks."""
    period, last = int(p[0]), bars[CLOSE, end - 1]
    n_less = n_equal = 0
    for i in range(end - period, end):
        n_less += bars[CLOSE, i] < last
        n_equal += bars[CLOSE, i] == last
    return (n_less + 0.5 * (n_equal + 1)) / period


@formula
def alpha_range_place(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return RSV: the close's place between lowest low (0) and highest high (1); 0.5 where they are equal."""
    period = int(p[0])
    low = lowest(bars[LOW], end, period)
    return ratio(bars[CLOSE, end - 1] - low, highest(bars[HIGH], end, period) - low, 0.5)


@formula
def _place_of_highest(highs: FloatArray, end: int, period: int) -> int:
    """Return the place, from 1 for the oldest, of the first of the highest values."""
    best = end - period
    for i in range(end - period + 1, end):
        if highs[i] > highs[best]:
            best = i
    return best - (end - period) + 1


@formula
def _place_of_lowest(lows: FloatArray, end: int, period: int) -> int:
    """Return the place, from 1 for the oldest, of the first of the lowest values."""
    best = end - period
    for i in range(end - period + 1, end):
        if lows[i] < lows[best]:
            best = i
    return best - (end - period) + 1


@formula
def alpha_highest_place(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return IMAX: the place of the highest high over n; 1 is the last bar, of several the oldest counts."""
    period = int(p[0])
    return _place_of_highest(bars[HIGH], end, period) / period


@formula
def alpha_lowest_place(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return IMIN: the place of the lowest low over n; 1 is the last bar, of several the oldest counts."""
    period = int(p[0])
    return _place_of_lowest(bars[LOW], end, period) / period


@formula
def alpha_extremes_distance(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return IMXD: the place of the highest high minus that of the lowest low, over n."""
    period = int(p[0])
    return (_place_of_highest(bars[HIGH], end, period) - _place_of_lowest(bars[LOW], end, period)) / period
