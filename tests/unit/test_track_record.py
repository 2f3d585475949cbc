"""Sharpe ratios beside the figures of the papers, skfolio, and Monte Carlo."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.track_record import (
    deflated_sharpe,
    effective_trials,
    expected_best_sharpe,
    min_track_record,
    probabilistic_sharpe,
)

FloatArray = NDArray[np.float64]

DAYS = 250
DAILY_SHARPE = 2.5 / math.sqrt(DAYS)
DAILY_VARIANCE = 0.5 / DAYS
"""The example of Bailey and Lopez de Prado (2014): a yearly 2.5, trials with a yearly variance of 1/2, 1,250 days."""


def test_the_best_of_a_hundred_trials_in_the_paper() -> None:
    assert expected_best_sharpe(DAILY_VARIANCE, 100) == pytest.approx(0.113172, abs=5e-7)


@pytest.mark.parametrize(
    ("n_trials", "skewness", "kurtosis", "expected"),
    [(100, -3.0, 10.0, 0.90040), (46, -3.0, 10.0, 0.95050), (88, 0.0, 3.0, 0.95049)],
)
def test_the_deflated_ratios_of_the_paper(n_trials: int, skewness: float, kurtosis: float, expected: float) -> None:
    deflated = deflated_sharpe(
        DAILY_SHARPE, 1250, skewness, kurtosis, variance_of_trials=DAILY_VARIANCE, n_trials=n_trials
    )

    assert deflated == pytest.approx(expected, abs=5e-6)


@pytest.mark.parametrize(
    ("per_year", "skewness", "kurtosis", "years"),
    [(250, 0.0, 3.0, 2.73), (52, 0.0, 3.0, 2.83), (12, 0.0, 3.0, 3.24), (12, -0.72, 5.78, 4.99)],
)
def test_the_track_records_of_the_paper(per_year: int, skewness: float, kurtosis: float, years: float) -> None:
    """A yearly Sharpe ratio of 2 above 1, at 95 %."""
    root = math.sqrt(per_year)

    bars = min_track_record(2.0 / root, 1.0 / root, skewness, kurtosis)

    assert bars / per_year == pytest.approx(years, abs=0.005)


def test_a_record_of_the_least_length_has_just_the_confidence_asked_for() -> None:
    bars = min_track_record(0.1, 0.04, -0.5, 6.0, confidence=0.99)

    assert probabilistic_sharpe(0.1, math.ceil(bars), -0.5, 6.0, threshold=0.04) == pytest.approx(0.99, abs=5e-5)


@pytest.mark.parametrize("sharpe", [0.05, 0.04])
def test_no_record_is_long_enough_for_a_ratio_that_is_not_above_the_threshold(sharpe: float) -> None:
    assert min_track_record(sharpe, 0.05, 0.0, 3.0) == math.inf


@pytest.mark.parametrize(("n_trials", "formula"), [(10, 1.575), (100, 2.531), (1000, 3.255)])
def test_the_expected_maximum_of_normals_beside_monte_carlo(n_trials: int, formula: float) -> None:
    """The approximation is known, and at most 3 % above the truth."""
    maxima = np.random.default_rng(n_trials).normal(size=(4000, n_trials)).max(axis=1)

    assert expected_best_sharpe(1.0, n_trials) == pytest.approx(formula, abs=5e-4)
    assert 0.99 < formula / maxima.mean() < 1.035


def test_one_trial_and_trials_that_never_differ_are_not_deflated() -> None:
    plain = probabilistic_sharpe(0.05, 800, -1.0, 5.0)

    for variance, n_trials in ((0.01, 1), (0.0, 500), (0.01, 1.1)):
        assert deflated_sharpe(0.05, 800, -1.0, 5.0, variance_of_trials=variance, n_trials=n_trials) == plain


def test_the_probability_that_a_ratio_is_above_zero_is_right_for_normal_returns() -> None:
    """Of 4,000 records of 500 bars without skill, 5 % reach a probability of 95 %."""
    returns = np.random.default_rng(8).normal(size=(4000, 500))
    ratios = returns.mean(axis=1) / returns.std(axis=1, ddof=1)

    convinced = np.mean([probabilistic_sharpe(ratio, 500, 0.0, 3.0) >= 0.95 for ratio in ratios.tolist()])

    assert convinced == pytest.approx(0.05, abs=0.012)


def test_the_ratios_are_those_of_skfolio() -> None:
    measures = pytest.importorskip("skfolio.measures")
    rng = np.random.default_rng(3)
    for n_trials in (2, 7, 300):
        returns = 0.002 + 0.01 * rng.standard_t(5, size=700)
        trials = rng.normal(0.0, 0.04, n_trials)
        variance = float(trials.var(ddof=1))
        moments = float(measures.skew(returns)), float(measures.kurtosis(returns))
        ratio = float(returns.mean() / returns.std(ddof=1))

        best = measures.expected_max_sharpe_ratio(n_trials=n_trials, trial_sharpe_ratio_std=math.sqrt(variance))
        assert expected_best_sharpe(variance, n_trials) == pytest.approx(best, rel=1e-12)
        assert probabilistic_sharpe(ratio, 700, *moments, threshold=0.1) == pytest.approx(
            measures.probabilistic_sharpe_ratio(returns, benchmark_sharpe_ratio=0.1), rel=1e-9
        )
        assert deflated_sharpe(ratio, 700, *moments, variance_of_trials=variance, n_trials=n_trials) == pytest.approx(
            measures.deflated_sharpe_ratio(returns, trials), rel=1e-9
        )


def alike_trials(rng: np.random.Generator, n_trials: int, correlation: float, n_bars: int = 1000) -> FloatArray:
    """Returns without skill (time, trial), of which every two correlate alike."""
    common = rng.normal(size=(n_bars, 1))
    own = rng.normal(size=(n_bars, n_trials))
    returns: FloatArray = np.sqrt(correlation) * common + np.sqrt(1.0 - correlation) * own
    return returns


def test_independent_trials_count_in_full_and_copies_once() -> None:
    rng = np.random.default_rng(1)
    alone = rng.normal(size=(1000, 1))

    assert effective_trials(alone) == 1.0
    assert effective_trials(np.repeat(alone, 40, axis=1) * np.linspace(0.5, 3.0, 40)) == pytest.approx(1.0, abs=1e-4)
    assert effective_trials(rng.normal(size=(1000, 100))) == pytest.approx(100.0, rel=0.04)
    assert effective_trials(np.repeat(rng.normal(size=(1000, 10)), 10, axis=1)) == pytest.approx(10.0, rel=0.02)


def test_more_alike_trials_count_less() -> None:
    rng = np.random.default_rng(2)

    counts = [effective_trials(alike_trials(rng, 100, correlation)) for correlation in (0.0, 0.3, 0.6, 0.9, 0.99)]

    assert counts == sorted(counts, reverse=True)
    assert 1.0 < counts[-1] < 5.0


@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6, 0.9])
def test_the_luck_of_alike_trials_is_not_understated(correlation: float) -> None:
    """The best of 50 alike trials, by simulation, is not above what the formula expects of so many independent ones."""
    rng = np.random.default_rng(4)
    ratios = alike_trials(rng, 50, correlation, n_bars=4000)  # each row: the estimates of 50 trials, of variance 1
    counted = effective_trials(alike_trials(rng, 50, correlation))

    assert ratios.max(axis=1).mean() <= expected_best_sharpe(1.0, counted) + 0.03


def test_trials_that_never_traded_do_not_count() -> None:
    returns = np.random.default_rng(5).normal(size=(500, 3))
    with_idle = np.column_stack([returns, np.zeros(500), np.zeros(500)])

    assert effective_trials(with_idle) == pytest.approx(effective_trials(returns))
    assert effective_trials(np.zeros((500, 2))) == 1.0


@pytest.mark.parametrize("returns", [np.zeros(9), np.zeros((1, 3)), np.zeros((9, 0)), np.full((9, 2), np.nan)])
def test_returns_that_cannot_be_compared_are_refused(returns: FloatArray) -> None:
    with pytest.raises(InputError, match="trials must be compared by finite returns"):
        effective_trials(returns)


def test_figures_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="at least two bars"):
        probabilistic_sharpe(0.1, 1, 0.0, 3.0)
    with pytest.raises(InputError, match="kurtosis of a normal distribution as 3"):
        probabilistic_sharpe(3.0, 100, 1.0, 0.0)  # an excess kurtosis, given by mistake
    with pytest.raises(InputError, match="confidence must lie"):
        min_track_record(0.1, 0.0, 0.0, 3.0, confidence=95.0)
    for variance, n_trials in ((-0.1, 5), (0.1, 0.5), (math.nan, 5)):
        with pytest.raises(InputError, match="at least one trial"):
            expected_best_sharpe(variance, n_trials)
