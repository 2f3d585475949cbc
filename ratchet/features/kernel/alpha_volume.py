"""Qlib's Alpha158 operators on volumes, and on volumes beside closes.

Qlib adds 1 or 1e-12 to volumes, which means something else in every unit. Here a volume that something is divided by
counts as at least the share `p[1]` of what is divided, so no ratio exceeds 1 / p[1]; where a logarithm is taken, as at
least the share `p[1]` of the window's mean. Where nothing was traded in the whole window, and where one side of a
correlation does not move, the result is 0.

`p[0]` is the window n in bars; changes take one bar more.
"""

from __future__ import annotations

import math

from ratchet.features.kernel.bars import CLOSE, VOLUME, FloatArray
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.windows import ratio, remember, spread, total

_RESOLUTION = 1e-12  # relative deviations below this are rounding


@formula
def alpha_volume_mean(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return VMA: the mean volume over the last."""
    mean = total(bars[VOLUME], end, int(p[0])) / p[0]
    return ratio(mean, max(bars[VOLUME, end - 1], p[1] * mean), 0.0)


@formula
def alpha_volume_deviation(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return VSTD: the sample deviation of the volumes over the last volume."""
    _, squares = spread(bars[VOLUME], end, int(p[0]))
    deviation = math.sqrt(squares / (p[0] - 1.0))
    return ratio(deviation, max(bars[VOLUME, end - 1], p[1] * deviation), 0.0)


@formula
def _turbulence(bars: FloatArray, i: int) -> float:
    value: float = abs(bars[CLOSE, i] / bars[CLOSE, i - 1] - 1.0) * bars[VOLUME, i]
    return value


@formula
def alpha_turbulence(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return WVMA: the sample deviation of |return| x volume over its mean."""
    last = _turbulence(bars, end - 1)
    mean = first_order = second_order = 0.0
    for i in range(end - int(p[0]), end):
        value = _turbulence(bars, i)
        mean += value / p[0]
        first_order += value - last
        second_order += (value - last) ** 2
    variance = (second_order - first_order * first_order / p[0]) / (p[0] - 1.0)
    return ratio(math.sqrt(max(variance, 0.0)), mean, 0.0)


@formula
def _correlation(x: FloatArray, x_end: int, y: FloatArray, y_end: int, n: int, least_y: float) -> float:
    """Return the correlation of two windows, values of y counting as at least `least_y`; 0 where either is flat.

    Deviations are measured from the last pair, and those of x are relative to its last value.
    """
    last_x, last_y = x[x_end - 1], max(y[y_end - 1], least_y)
    sum_x = sum_y = xx = yy = xy = 0.0
    for i in range(-n, 0):
        dx = (x[x_end + i] - last_x) / last_x
        dy = max(y[y_end + i], least_y) - last_y
        sum_x, sum_y = sum_x + dx, sum_y + dy
        xx, yy, xy = xx + dx * dx, yy + dy * dy, xy + dx * dy
    spread_x, spread_y = xx - sum_x * sum_x / n, yy - sum_y * sum_y / n
    rounding = n * _RESOLUTION * _RESOLUTION
    if spread_x <= rounding or spread_y <= rounding:
        return 0.0
    return min(max((xy - sum_x * sum_y / n) / math.sqrt(spread_x * spread_y), -1.0), 1.0)


@formula
def alpha_correlation(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return CORR: the correlation of the close with the logarithm of the volume. `s` holds the logarithms."""
    period = int(p[0])
    y_end = remember(s, 0, n, period, math.log(bars[VOLUME, end - 1]))
    mean = total(bars[VOLUME], end, period) / period
    if mean == 0.0:
        return 0.0
    return _correlation(bars[CLOSE], end, s, y_end, period, math.log(p[1] * mean))


@formula
def alpha_change_correlation(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return CORD: the correlation of close over previous close with log(1 + volume over previous volume).

    After a bar without volume another one counts as unchanged. `s` holds both series.
    """
    period = int(p[0])
    volume = bars[VOLUME, end - 1]
    growth = ratio(volume, max(bars[VOLUME, end - 2], p[1] * volume), 1.0)
    x_end = remember(s, 0, n, period, bars[CLOSE, end - 1] / bars[CLOSE, end - 2])
    y_end = remember(s, 2 * period, n, period, math.log(1.0 + growth))
    return _correlation(s, x_end, s, y_end, period, 0.0)
