"""How symbols move beside two references, beside the market, and after the first reference."""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.compiling import formula, section

CORR_BTC_SHORT: Final = 0
CORR_BTC_LONG: Final = 1
CORR_ETH_SHORT: Final = 2
CORR_ETH_LONG: Final = 3
BETA_BTC: Final = 4
BETA_MARKET: Final = 5
RESIDUAL_BTC: Final = 6
RESIDUAL_MARKET: Final = 7
BTC_LEAD: Final = 8
BETA_CHANGE: Final = 23

_RESOLUTION = 1e-12  # returns that differ by less are equal but for rounding


@formula
def _means(window: FloatArray, mean: FloatArray) -> None:
    n_rows, n = window.shape
    for i in range(n):
        mean[i] = 0.0
    for row in range(n_rows):
        for i in range(n):
            mean[i] += window[row, i] / n_rows


@section
def covariances(window: FloatArray, covariance: FloatArray, mean: FloatArray, deviation: FloatArray) -> None:
    """Write the covariances of the columns of `window` float64 (time, n); the other arrays are memory, (n,)."""
    n_rows, n = window.shape
    scale = 1.0 / math.sqrt(n_rows)
    _means(window, mean)
    for i in range(n):
        for j in range(n):
            covariance[i, j] = 0.0
    for row in range(n_rows):
        for i in range(n):
            deviation[i] = scale * (window[row, i] - mean[i])
        for i in range(n):
            for j in range(n):
                covariance[i, j] += deviation[i] * deviation[j]


@formula
def correlation_of(covariance: float, first_variance: float, second_variance: float) -> float:
    """Return the correlation; 0 where one of the two does not move."""
    if min(first_variance, second_variance) <= _RESOLUTION * _RESOLUTION:
        return 0.0
    return min(max(covariance / math.sqrt(first_variance * second_variance), -1.0), 1.0)


@formula
def beta_of(covariance: float, variance: float) -> float:
    """Return the slope on something of this variance; 0 where that does not move."""
    return covariance / variance if variance > _RESOLUTION * _RESOLUTION else 0.0


@section
def _correlate_with(covariance: FloatArray, reference: int, column: int, rows: FloatArray) -> None:
    """Write each member's correlation with the member `reference`."""
    for i in range(covariance.shape[0]):
        if i == reference:
            rows[i, column] = 1.0
        else:
            variance = covariance[reference, reference]
            rows[i, column] = correlation_of(covariance[i, reference], covariance[i, i], variance)


@formula
def relate_to_market(covariance: FloatArray, last: FloatArray, rows: FloatArray) -> None:
    """Write beta and residual of the mean of all members' returns; `last` are the last bar's."""
    n = covariance.shape[0]
    variance = market = 0.0
    for i in range(n):
        market += last[i] / n
        for j in range(n):
            variance += covariance[i, j] / (n * n)
    for i in range(n):
        shared = 0.0
        for j in range(n):
            shared += covariance[i, j] / n
        beta = beta_of(shared, variance)
        rows[i, BETA_MARKET] = beta
        rows[i, RESIDUAL_MARKET] = last[i] - beta * market


@formula
def follow(window: FloatArray, earlier: FloatArray, column: int, rows: FloatArray) -> None:
    """Write each member's correlation with `earlier` float64 (time,), NaN where that has no value in some bar."""
    n_rows, n = window.shape
    mean = variance = 0.0
    for row in range(n_rows):
        mean += earlier[row] / n_rows
    for row in range(n_rows):
        variance += (earlier[row] - mean) ** 2 / n_rows
    if not math.isfinite(variance):
        return
    for i in range(n):
        own_mean = own_variance = shared = 0.0
        for row in range(n_rows):
            own_mean += window[row, i] / n_rows
        for row in range(n_rows):
            own = window[row, i] - own_mean
            own_variance += own * own / n_rows
            shared += own * (earlier[row] - mean) / n_rows
        rows[i, column] = correlation_of(shared, own_variance, variance)


@formula
def relate_to_references(
    recent: FloatArray, covariance: FloatArray, last: FloatArray, btc: int, eth: int, rows: FloatArray
) -> None:
    """Write correlations with, betas on and residuals of the references among the members; -1 where one is absent.

    `recent` and `covariance` are the covariances over the short and the long window, `last` the last bar's returns.
    """
    if eth >= 0:
        _correlate_with(recent, eth, CORR_ETH_SHORT, rows)
        _correlate_with(covariance, eth, CORR_ETH_LONG, rows)
    if btc >= 0:
        _correlate_with(recent, btc, CORR_BTC_SHORT, rows)
        _correlate_with(covariance, btc, CORR_BTC_LONG, rows)
        for i in range(covariance.shape[0]):
            beta = beta_of(covariance[i, btc], covariance[btc, btc])
            rows[i, BETA_BTC] = beta
            rows[i, RESIDUAL_BTC] = last[i] - beta * last[btc]
            rows[i, BETA_CHANGE] = beta_of(recent[i, btc], recent[btc, btc]) - beta
