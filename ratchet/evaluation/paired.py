"""Tests of two models on the same rows or bars, each valid for what it says and not beyond.

`mcnemar` is for rows that do not depend on one another: labels that do not overlap. The others take series in order of
time and allow for autocorrelation (HAC: Parzen kernel, bandwidth by the rule of Andrews, 1991, for an autoregression).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError

FloatArray = NDArray[np.float64]

_LEAST_BARS = 20
_BARS_PER_HORIZON = 10
_BANDWIDTH_PER_HORIZON = 4.0
"""The kernel sees 95 % of the variance of outcomes that overlap over a horizon if it is four horizons wide."""
_PARZEN_AREA = 0.75
_PARZEN_SQUARED_AREA = 151.0 / 280.0
_ANDREWS_PARZEN = 2.6614
_MOST_PERSISTENT = 0.97


@dataclass(frozen=True, slots=True)
class McNemar:
    """The chi-square statistic with one degree of freedom and its two-sided p-value."""

    statistic: float
    p_value: float


@dataclass(frozen=True, slots=True)
class HacTest:
    """A difference, its standard error, and the one-sided p-value of "the true difference is not above 0"."""

    difference: float
    standard_error: float
    degrees_of_freedom: float
    p_value: float

    @property
    def two_sided_p_value(self) -> float:
        """The p-value of "there is no difference"."""
        return 2.0 * min(self.p_value, 1.0 - self.p_value)


def mcnemar(only_first: int, only_second: int, *, correction: bool = True) -> McNemar:
    """Test whether two models are right equally often, for labels that do not overlap.

    Args:
        only_first: rows on which the first model alone is right.
        only_second: rows on which the second model alone is right.
        correction: for continuity (Edwards, 1948).

    Raises:
        InputError: a negative count, or models that are never right apart. (McNemar, 1947.)
    """
    if min(only_first, only_second) < 0 or only_first + only_second == 0:
        raise InputError(
            f"McNemar's test needs rows on which one model alone is right, not {only_first} and {only_second}"
        )
    from statsmodels.stats.contingency_tables import mcnemar as test  # noqa: PLC0415 - statsmodels is slow to import

    found = test([[0, only_first], [only_second, 0]], exact=False, correction=correction)
    return McNemar(statistic=float(found.statistic), p_value=float(found.pvalue))


def diebold_mariano(difference: FloatArray, horizon: int) -> HacTest:
    """Test whether the mean of a series of differences is above 0, such as hits or losses of two models.

    The bandwidth is at least four horizons, and the p-value is that of a t distribution with as many degrees of freedom
    as that leaves. (Diebold and Mariano, 1995, with a kernel that cannot give a negative variance.)

    Args:
        difference: one value per moment in order of time, float64 (time,); average the symbols of a moment first.
        horizon: over how many bars one outcome reaches; 1 where outcomes do not overlap.

    Raises:
        InputError: fewer than 20 moments or than ten horizons, a value that is not finite, or none that varies.
    """
    if horizon < 1:
        raise InputError(f"an outcome reaches over at least one bar, not {horizon}")
    _refuse_unusable(difference, max(_LEAST_BARS, _BARS_PER_HORIZON * horizon))
    mean = float(difference.mean())
    return _hac_test(mean, difference - mean, least_bandwidth=_BANDWIDTH_PER_HORIZON * horizon)


def sharpe_difference_hac(value: FloatArray, other: FloatArray) -> HacTest:
    """Test whether the Sharpe ratio per bar of `value` is above that of `other`, both on the same bars (time,).

    The delta method with a HAC variance, which holds for fat tails, volatility that clusters, and returns that
    correlate over time and with each other. (Ledoit and Wolf, 2008, Robust performance hypothesis testing with the
    Sharpe ratio.)

    Raises:
        InputError: different lengths, fewer than 20 bars, a return that is not finite, or returns that never vary.
    """
    if value.shape != other.shape:
        raise InputError(f"the returns are of different bars: {value.shape} and {other.shape}")
    for returns in (value, other):
        _refuse_unusable(returns, _LEAST_BARS)
    difference = float(value.mean() / value.std() - other.mean() / other.std())
    return _hac_test(difference, sharpe_influence(value) - sharpe_influence(other), least_bandwidth=1.0)


def sharpe_influence(value: FloatArray) -> FloatArray:
    """Return how much each bar (time,) moves the Sharpe ratio per bar, times the number of bars; its mean is 0."""
    standard = (value - value.mean()) / value.std()
    ratio = value.mean() / value.std()
    influence: FloatArray = standard - 0.5 * ratio * (standard * standard - 1.0)
    return influence


def _hac_test(difference: float, centred: FloatArray, *, least_bandwidth: float) -> HacTest:
    n = len(centred)
    bandwidth = min(max(_andrews_bandwidth(centred), least_bandwidth), 0.5 * n)
    # Centring on the sample mean takes this share of the variance away.
    seen = 1.0 - _PARZEN_AREA * bandwidth / n
    error = math.sqrt(_long_run_variance(centred, bandwidth) / seen / n)
    if not error > 0.0:
        raise InputError("the two models never differ in a way that varies over time; there is nothing to test")
    from scipy.special import stdtr  # noqa: PLC0415 - scipy is slow to import

    freedom = n / (_PARZEN_SQUARED_AREA * bandwidth)
    p_value = float(stdtr(freedom, -difference / error))
    return HacTest(difference=difference, standard_error=error, degrees_of_freedom=freedom, p_value=p_value)


def _long_run_variance(centred: FloatArray, bandwidth: float) -> float:
    """Return the sum of the autocovariances at all lags, weighted by the Parzen kernel; not negative."""
    lag = np.arange(1, math.ceil(bandwidth))
    share = lag / bandwidth
    weight = np.where(share <= 0.5, 1.0 - 6.0 * share**2 * (1.0 - share), 2.0 * (1.0 - share) ** 3)
    autocovariance = np.array([centred[k:] @ centred[:-k] for k in lag.tolist()])
    total = float(centred @ centred + 2.0 * np.sum(weight * autocovariance))
    return max(total / len(centred), 0.0)


def _andrews_bandwidth(centred: FloatArray) -> float:
    """Return the bandwidth that is best for a first-order autoregression with the series' own persistence."""
    square = float(centred @ centred)
    if square == 0.0:
        return 1.0
    persistence = float(np.clip(centred[1:] @ centred[:-1] / square, -_MOST_PERSISTENT, _MOST_PERSISTENT))
    curvature = 4.0 * persistence**2 / (1.0 - persistence) ** 4
    return float(_ANDREWS_PARZEN * (curvature * len(centred)) ** 0.2)


def _refuse_unusable(series: FloatArray, least: int) -> None:
    if series.ndim != 1 or len(series) < least:
        raise InputError(f"a series (time,) of at least {least} bars is needed, not {series.shape}")
    if not np.isfinite(series).all():
        raise InputError("the series holds values that are not finite; keep bars that both models share")
    if np.ptp(series) == 0.0:
        raise InputError("the series never varies; there is nothing to test")
