"""Combinatorially symmetric cross-validation beside its definition, and beside what probability theory expects."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from ratchet.errors import InputError
from ratchet.evaluation.overfitting import probability_of_backtest_overfitting

FloatArray = NDArray[np.float64]


def trials(seed: int, skill: float = 0.0, n_bars: int = 1000, n_trials: int = 100) -> FloatArray:
    """Returns (time, trial) of white noise; the first trial has the given Sharpe ratio per bar."""
    returns = np.random.default_rng(seed).normal(size=(n_bars, n_trials))
    returns[:, 0] += skill
    return returns


def by_definition(returns: FloatArray, n_groups: int) -> FloatArray:
    """The logits, one combination at a time, by means and deviations of the bars themselves."""
    group = np.repeat(np.arange(n_groups), len(returns) // n_groups)
    logits = []
    for chosen in combinations(range(n_groups), n_groups // 2):
        past, future = returns[np.isin(group, chosen)], returns[~np.isin(group, chosen)]
        best = int(np.argmax(past.mean(axis=0) / past.std(axis=0)))
        share = rankdata(future.mean(axis=0) / future.std(axis=0))[best] / (returns.shape[1] + 1)
        logits.append(np.log(share / (1.0 - share)))
    return np.array(logits)


def expected(skill: float, n_draws: int = 40_000, n_trials: int = 100, half: int = 500) -> float:
    """The same probability for Sharpe ratios drawn from their normal law, once for the past and once for the future."""
    rng = np.random.default_rng(17)
    past, future = rng.normal(size=(2, n_draws, n_trials)).astype(np.float32)
    past[:, 0] += skill * np.sqrt(half)
    future[:, 0] += skill * np.sqrt(half)
    chosen = np.take_along_axis(future, past.argmax(axis=1)[:, None], axis=1)
    return float(np.mean(np.sum(future <= chosen, axis=1) / (n_trials + 1) <= 0.5))


@pytest.mark.parametrize(("n_groups", "n_combinations"), [(2, 2), (4, 6), (10, 252)])
def test_every_logit_is_that_of_the_definition(n_groups: int, n_combinations: int) -> None:
    returns = trials(seed=n_groups, skill=0.1, n_bars=200, n_trials=9)

    found = probability_of_backtest_overfitting(returns, n_groups)

    np.testing.assert_allclose(found.logits, by_definition(returns, n_groups), rtol=1e-12, atol=1e-12)
    assert found.n_combinations == n_combinations
    assert found.pbo == np.mean(found.logits <= 0.0)


@pytest.mark.parametrize("skill", [0.0, 0.05, 0.10, 0.20])
def test_noise_is_a_coin_and_skill_is_found(skill: float) -> None:
    """The mean over 100 searches is that of theory: 0.50, 0.47, 0.30 and 0.02."""
    found = [probability_of_backtest_overfitting(trials(seed, skill)).pbo for seed in range(1000, 1100)]

    assert np.mean(found) == pytest.approx(expected(skill), abs=0.05)


def test_a_search_among_noise_spreads_as_widely_as_known() -> None:
    found = [probability_of_backtest_overfitting(trials(seed)).pbo for seed in range(2000, 2100)]

    assert 0.12 < np.std(found) < 0.20


def test_a_trial_that_is_always_best_is_never_overfitted_and_one_that_was_best_once_is() -> None:
    steady = trials(seed=1, skill=1.0, n_trials=10)
    once = trials(seed=1, n_trials=2)
    once[:500] += [1.0, -1.0]
    once[500:] += [-1.0, 1.0]

    assert probability_of_backtest_overfitting(steady).pbo == 0.0
    assert probability_of_backtest_overfitting(once, 2).pbo == 1.0


def test_trials_that_never_vary_rank_as_a_ratio_of_zero() -> None:
    """Beside a trial that always earns, the idle one is never chosen, and no figure is infinite."""
    returns = np.column_stack([np.zeros(100), np.random.default_rng(0).normal(0.5, 1.0, 100)])

    found = probability_of_backtest_overfitting(returns, 4)

    assert np.isfinite(found.logits).all()
    assert found.pbo == 0.0


def test_groups_of_unequal_length_use_every_bar() -> None:
    """With 103 bars in 10 groups, changing any single bar by much changes something."""
    returns = trials(seed=2, n_bars=103, n_trials=5)
    plain = probability_of_backtest_overfitting(returns).logits

    for bar in (0, 50, 102):
        changed = returns.copy()
        changed[bar] = [200.0, -200.0, 200.0, -200.0, 200.0]
        assert not np.array_equal(probability_of_backtest_overfitting(changed).logits, plain)


@pytest.mark.parametrize("n_groups", [0, 7, 18])
def test_odd_and_excessive_numbers_of_groups_are_refused(n_groups: int) -> None:
    with pytest.raises(InputError, match="an even number of groups from 2 to 16"):
        probability_of_backtest_overfitting(trials(0), n_groups)


@pytest.mark.parametrize(
    ("returns", "reason"),
    [
        (np.zeros((100, 1)), "at least two trials"),
        (np.zeros(100), "at least two trials"),
        (np.zeros((19, 5)), "19 bars are too few for 10 groups; give at least 20"),
        (np.full((100, 5), np.nan), "not finite"),
    ],
)
def test_returns_that_cannot_be_judged_are_refused(returns: FloatArray, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        probability_of_backtest_overfitting(returns)
