"""The probability that the best trial of a search is best by luck."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError

FloatArray = NDArray[np.float64]

_MOST_GROUPS = 16  # 12,870 combinations; with 20 groups they would be 184,756
_VANISHING = 1e-12  # variance below this share of the second moment is rounding


@dataclass(frozen=True, slots=True, eq=False)
class Overfitting:
    """How the best trial of one half of the time fares in the other half, over all halves.

    `pbo` is the share of combinations in which it is no better than the median there. `logits`, float64 (combination,),
    are ln(w / (1 - w)) of its relative rank w: above 0 it beats the median.
    """

    pbo: float
    logits: FloatArray

    @property
    def n_combinations(self) -> int:
        """How many ways there are to choose half of the groups."""
        return len(self.logits)


def probability_of_backtest_overfitting(returns: FloatArray, n_groups: int = 10) -> Overfitting:
    """Choose the trial with the best Sharpe ratio on half of the time and rank it on the other half.

    Combinatorially symmetric cross-validation: the bars are cut into `n_groups` stretches of the same length (within a
    bar), and each half of them is once the past. (Bailey, Borwein, Lopez de Prado and Zhu, 2017, The probability of
    backtest overfitting.)

    Args:
        returns: of each trial on the same bars in order of time, float64 (time, trial).
        n_groups: an even number from 2 to 16.

    Raises:
        InputError: fewer than two trials, an odd number of groups, fewer than two bars per group, or returns that are
            not finite.
    """
    _refuse_unusable(returns, n_groups)
    n_bars, n_trials = returns.shape
    edges = np.linspace(0, n_bars, n_groups + 1).astype(np.int64)
    total, square = (np.add.reduceat(values, edges[:-1], axis=0) for values in (returns, returns * returns))
    is_past = _halves(n_groups)
    past = _sharpe(is_past @ total, is_past @ square, is_past @ np.diff(edges))
    is_future = 1.0 - is_past
    future = _sharpe(is_future @ total, is_future @ square, is_future @ np.diff(edges))
    chosen = np.take_along_axis(future, past.argmax(axis=1)[:, None], axis=1)
    rank = np.sum(future < chosen, axis=1) + 0.5 * (np.sum(future == chosen, axis=1) + 1)
    share = rank / (n_trials + 1)
    logits = np.log(share / (1.0 - share))
    return Overfitting(pbo=float(np.mean(logits <= 0.0)), logits=logits)


def _halves(n_groups: int) -> FloatArray:
    """Return 1 where a group belongs to the chosen half, float64 (combination, group)."""
    chosen = np.array(list(combinations(range(n_groups), n_groups // 2)))
    halves = np.zeros((len(chosen), n_groups))
    np.put_along_axis(halves, chosen, 1.0, axis=1)
    return halves


def _sharpe(total: FloatArray, square: FloatArray, n: FloatArray) -> FloatArray:
    """Return mean over deviation per bar, 0 where returns never vary, from sums (combination, trial) over n bars."""
    mean, second = total / n[:, None], square / n[:, None]
    variance = second - mean * mean
    varies = variance > _VANISHING * second
    ratio: FloatArray = np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
    return ratio


def _refuse_unusable(returns: FloatArray, n_groups: int) -> None:
    if n_groups % 2 or not 2 <= n_groups <= _MOST_GROUPS:
        raise InputError(f"the time is cut into an even number of groups from 2 to {_MOST_GROUPS}, not {n_groups}")
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise InputError(f"overfitting needs the returns (time, trial) of at least two trials, not {returns.shape}")
    if len(returns) < 2 * n_groups:
        raise InputError(f"{len(returns)} bars are too few for {n_groups} groups; give at least {2 * n_groups}")
    if not np.isfinite(returns).all():
        raise InputError("the returns of the trials hold values that are not finite; keep bars that all trials share")
