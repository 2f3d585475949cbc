"""The store of trials: it counts every one, and deducts the luck of many."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ratchet.errors import InputError
from ratchet.evaluation.metrics import NetReturns
from ratchet.evaluation.track_record import probabilistic_sharpe
from ratchet.evaluation.trials import Trial, TrialStore, judge_selection

HOURS_A_YEAR = 24 * 365.25


def trial(seed: int, *, mean: float = 0.0, n_bars: int = 1_000, start: int = 0, model: str = "btc") -> Trial:
    value = np.random.default_rng(seed).normal(mean, 1.0, n_bars)
    ts_ns = np.arange(start, start + n_bars, dtype=np.int64)
    zero = np.zeros_like(value)
    returns = NetReturns(ts_ns=ts_ns, value=value, gross=value, traded=zero)
    return Trial.of(str(seed), model, "retrain", ts_ns=seed, run_id=f"run-{seed}", traded=returns)


def test_a_trial_is_kept_whole_and_counted_once(tmp_path: Path) -> None:
    """What was stored comes back bit by bit; the same key again, as after a crash, is no further trial."""
    with TrialStore(tmp_path / "trials.sqlite") as store:
        for seed in (1, 2, 1):
            store.add(trial(seed))
        store.add(trial(1, model="eth"))
        kept = store.all("btc")
        assert len(store.all("eth")) == 1
    assert [item.key for item in kept] == ["1", "2"]
    again = trial(1)
    assert np.array_equal(kept[0].returns, again.returns)
    assert np.array_equal(kept[0].bars_ns, again.bars_ns)
    assert (kept[0].sharpe, kept[0].skewness, kept[0].kurtosis) == (again.sharpe, again.skewness, again.kurtosis)


def test_trials_survive_the_process(tmp_path: Path) -> None:
    """A second store on the same file goes on counting."""
    for seed in range(3):
        with TrialStore(tmp_path / "trials.sqlite") as store:
            store.add(trial(seed))
    with TrialStore(tmp_path / "trials.sqlite") as store:
        assert len(store.all("btc")) == 3


def test_a_first_trial_pays_for_no_luck() -> None:
    """With one trial the deflated ratio is the probabilistic one, and overfitting cannot be told."""
    own = trial(1, mean=0.1)
    found = judge_selection([own], own, bars_per_year=HOURS_A_YEAR)
    expected = probabilistic_sharpe(own.sharpe, 1_000, own.skewness, own.kurtosis)
    assert found.deflated_sharpe == pytest.approx(expected)
    assert (found.n_trials, found.effective_trials, found.expected_best_sharpe, found.pbo) == (1, 1.0, 0.0, None)


def test_the_more_trials_the_less_the_best_of_them_counts() -> None:
    """The best of fifty tries without skill looks significant alone, and no longer once the tries are counted."""
    tries = [trial(seed) for seed in range(50)]
    best = max(tries, key=lambda item: item.sharpe)
    alone = judge_selection([best], best, bars_per_year=HOURS_A_YEAR)
    counted = judge_selection(tries, best, bars_per_year=HOURS_A_YEAR)
    assert alone.deflated_sharpe is not None
    assert counted.deflated_sharpe is not None
    assert alone.deflated_sharpe > 0.95
    assert counted.deflated_sharpe < 0.75
    assert counted.expected_best_sharpe > 0
    assert (counted.n_trials, counted.pbo_trials) == (50, 50)
    assert 30 < counted.effective_trials <= 50


def test_only_trials_on_shared_bars_tell_of_overfitting() -> None:
    """A trial of other bars counts, but cannot be compared bar by bar."""
    tries = [trial(seed) for seed in range(4)]
    elsewhere = trial(9, start=5_000)
    found = judge_selection([elsewhere, *tries], tries[-1], bars_per_year=HOURS_A_YEAR)
    assert (found.n_trials, found.pbo_trials) == (5, 4)
    assert found.n_same_data == 4
    assert found.pbo is not None


def test_a_strategy_with_skill_is_not_taken_for_luck() -> None:
    """One real strategy among ten tries without skill has a low probability of overfitting."""
    tries = [trial(seed) for seed in range(9)] + [trial(77, mean=0.2)]
    found = judge_selection(tries, tries[-1], bars_per_year=HOURS_A_YEAR)
    assert found.pbo is not None
    assert found.pbo < 0.1
    assert found.deflated_sharpe is not None
    assert found.deflated_sharpe > 0.95


def test_returns_of_one_bar_are_no_trial() -> None:
    """A single bar has no spread."""
    with pytest.raises(InputError, match="at least two bars"):
        trial(1, n_bars=1)
