"""What a Sharpe ratio is worth: how long its record is, how its returns are spread, and how often one has tried.

Everything is per bar, never per year: divide a yearly ratio by the root of the bars in a year, and a variance of yearly
ratios by their number. The kurtosis of a normal distribution is 3.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError

FloatArray = NDArray[np.float64]


def probabilistic_sharpe(
    sharpe_per_bar: float, n: int, skewness: float, kurtosis: float, threshold: float = 0.0
) -> float:
    """Return P(true Sharpe ratio > `threshold`), given `n` bars that show `sharpe_per_bar`.

    (Bailey and Lopez de Prado, 2012, The Sharpe ratio efficient frontier.)

    Raises:
        InputError: fewer than two bars, or moments that no distribution has.
    """
    if n < 2:
        raise InputError(f"a Sharpe ratio needs at least two bars of returns, not {n}")
    from scipy.special import ndtr  # noqa: PLC0415 - scipy is slow to import

    spread = math.sqrt(_variance_of_estimate(sharpe_per_bar, skewness, kurtosis) / (n - 1))
    return float(ndtr((sharpe_per_bar - threshold) / spread))


def min_track_record(
    sharpe: float, threshold: float, skewness: float, kurtosis: float, confidence: float = 0.95
) -> float:
    """Return how many bars must show `sharpe` (per bar) before it is above `threshold` with the given confidence.

    Infinite where it is not above the threshold. (Bailey and Lopez de Prado, 2012.)

    Raises:
        InputError: a confidence that is not between 0.5 and 1, or moments that no distribution has.
    """
    if not 0.5 < confidence < 1.0:
        raise InputError(f"the confidence must lie between 0.5 and 1, not {confidence}")
    variance = _variance_of_estimate(sharpe, skewness, kurtosis)
    if sharpe <= threshold:
        return math.inf
    from scipy.special import ndtri  # noqa: PLC0415 - scipy is slow to import

    return float(1.0 + variance * (ndtri(confidence) / (sharpe - threshold)) ** 2)


def expected_best_sharpe(variance_of_trials: float, n_trials: float) -> float:
    """Return the Sharpe ratio per bar that the best of `n_trials` independent trials without skill is expected to show.

    Not below 0: one trial without skill is expected to show nothing, and the approximation is of use from two on.
    (Bailey and Lopez de Prado, 2014, The deflated Sharpe ratio.)

    Args:
        variance_of_trials: variance of the trials' Sharpe ratios per bar. Where trials are few or alike it comes out
            too small; that of a single trial without skill is about 1/n for n bars.
        n_trials: how many independent trials; `effective_trials` where they are alike.

    Raises:
        InputError: a negative variance, or less than one trial.
    """
    if not (variance_of_trials >= 0.0 and n_trials >= 1.0):
        raise InputError(
            f"the best of {n_trials} trials with a variance of {variance_of_trials} means nothing; "
            "give at least one trial and a variance of 0 or more"
        )
    if n_trials == 1.0:
        return 0.0
    from scipy.special import ndtri  # noqa: PLC0415 - scipy is slow to import

    median_like, tail = ndtri(1.0 - 1.0 / n_trials), ndtri(1.0 - 1.0 / (n_trials * math.e))
    maximum = (1.0 - np.euler_gamma) * median_like + np.euler_gamma * tail
    return math.sqrt(variance_of_trials) * max(float(maximum), 0.0)


def deflated_sharpe(
    sharpe_per_bar: float,
    n: int,
    skewness: float,
    kurtosis: float,
    *,
    variance_of_trials: float,
    n_trials: float,
) -> float:
    """Return P(true Sharpe ratio > what the best of so many trials without skill is expected to show).

    The arguments are those of `probabilistic_sharpe` and `expected_best_sharpe`. (Bailey and Lopez de Prado, 2014.)

    Raises:
        InputError: as those two.
    """
    best = expected_best_sharpe(variance_of_trials, n_trials)
    return probabilistic_sharpe(sharpe_per_bar, n, skewness, kurtosis, threshold=best)


def effective_trials(returns: FloatArray) -> float:
    """Return how many independent trials the trials amount to: 1 where all are alike, about all where none are.

    (sum of the roots of the correlation matrix's eigenvalues)^2 / their sum (Galwey, 2009, A new measure of the
    effective number of tests). Groups of alike trials count once each. For trials that are all alike to the same degree
    it errs towards more trials, which deflates more. Trials that never vary, as those that never traded, do not count.
    Give several times as many bars as trials: of 100 independent trials it counts 97 in 1,000 bars, but 71 in 100.

    Args:
        returns: of each trial on the same bars, float64 (time, trial).

    Returns:
        A number from 1 to the number of trials.

    Raises:
        InputError: no trial, fewer than two bars, or returns that are not finite.
    """
    if returns.ndim != 2 or returns.shape[0] < 2 or returns.shape[1] < 1 or not np.isfinite(returns).all():
        raise InputError(
            f"trials must be compared by finite returns (time, trial) of at least two bars, not {returns.shape}"
        )
    moving = returns[:, np.ptp(returns, axis=0) > 0.0]
    if moving.shape[1] < 2:
        return 1.0
    values = np.linalg.eigvalsh(np.corrcoef(moving, rowvar=False))
    roots = np.sqrt(np.maximum(values, 0.0))  # rounding makes some of the zeros negative
    return float(np.clip(roots.sum() ** 2 / values.sum(), 1.0, returns.shape[1]))


def _variance_of_estimate(sharpe: float, skewness: float, kurtosis: float) -> float:
    """Return n times the variance of an estimated Sharpe ratio of independent returns (Mertens, 2002)."""
    variance = 1.0 - skewness * sharpe + 0.25 * (kurtosis - 1.0) * sharpe * sharpe
    if not variance > 0.0:
        raise InputError(
            f"no returns have a Sharpe ratio of {sharpe} with skewness {skewness} and kurtosis {kurtosis}; "
            "give the kurtosis of a normal distribution as 3"
        )
    return variance
