"""Paired tests beside closed forms, other libraries, and their own error rates under simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chi2

from ratchet.errors import InputError
from ratchet.evaluation.paired import diebold_mariano, mcnemar, sharpe_difference_hac, sharpe_influence

FloatArray = NDArray[np.float64]

_PARZEN_SQUARED_AREA = 151.0 / 280.0


def market_returns(n_pairs: int, n_bars: int, correlation: float, seed: int) -> FloatArray:
    """Pairs of equal Sharpe ratio (time, pair, 2): AR(0.25), GARCH(1,1) volatility, innovations t with 5 degrees."""
    rng = np.random.default_rng(seed)
    warm_up = 200
    shock = rng.standard_t(5, size=(warm_up + n_bars, n_pairs, 2)) * math.sqrt(3.0 / 5.0)
    shock[..., 1] = correlation * shock[..., 0] + math.sqrt(1.0 - correlation**2) * shock[..., 1]
    returns = np.zeros_like(shock)
    variance, last = np.ones((n_pairs, 2)), np.zeros((n_pairs, 2))
    for bar, news in enumerate(shock):
        variance = 0.05 + 0.10 * last**2 + 0.85 * variance
        last = np.sqrt(variance) * news
        returns[bar] = 0.25 * (returns[bar - 1] if bar else 0.0) + last
    return 0.05 + returns[warm_up:]


def overlapping_differences(rng: np.random.Generator, n_times: int, horizon: int) -> FloatArray:
    """A series of mean 0 whose values reach over `horizon` bars each."""
    total = np.cumsum(rng.normal(size=n_times + horizon))
    return np.asarray(total[horizon:] - total[:-horizon])


def iid_two_sided(value: FloatArray, other: FloatArray) -> bool:
    """Whether the delta method without regard to time finds a difference at 5 %."""
    difference = value.mean() / value.std() - other.mean() / other.std()
    spread = (sharpe_influence(value) - sharpe_influence(other)).std()
    return bool(abs(difference) > 1.96 * spread / math.sqrt(len(value)))


def test_mcnemar_of_the_approval_ratings() -> None:
    """Agresti's table [[794, 86], [150, 570]], with and without the correction, and by the closed form."""
    corrected, plain = mcnemar(86, 150), mcnemar(86, 150, correction=False)

    assert corrected.statistic == pytest.approx(16.818, abs=5e-4)
    assert plain.statistic == pytest.approx(17.356, abs=5e-4)
    assert corrected.statistic == pytest.approx((abs(86 - 150) - 1) ** 2 / (86 + 150))
    assert plain.statistic == pytest.approx((86 - 150) ** 2 / (86 + 150))
    assert plain.p_value == pytest.approx(chi2.sf(plain.statistic, 1))


def test_mcnemar_does_not_mind_which_model_is_the_first() -> None:
    assert mcnemar(86, 150) == mcnemar(150, 86)


@pytest.mark.parametrize("counts", [(0, 0), (-1, 5)])
def test_mcnemar_without_disagreement_is_refused(counts: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="rows on which one model alone is right"):
        mcnemar(*counts)


def test_the_kernel_is_that_of_arch() -> None:
    """With a horizon of 8 the bandwidth is 32, and the standard error that of arch's Parzen estimate."""
    kernel = pytest.importorskip("arch.covariance.kernel")
    series = 0.1 + np.random.default_rng(1).normal(size=900)

    found = diebold_mariano(series, horizon=8)

    bandwidth = len(series) / (_PARZEN_SQUARED_AREA * found.degrees_of_freedom)
    assert bandwidth == pytest.approx(32.0)
    long_run = kernel.Parzen(series - series.mean(), bandwidth=bandwidth - 1.0, df_adjust=0).cov.long_run
    seen = 1.0 - 0.75 * bandwidth / len(series)
    assert found.standard_error == pytest.approx(math.sqrt(float(np.squeeze(long_run)) / seen / len(series)))
    assert found.difference == series.mean()


def test_the_standard_error_of_a_sharpe_difference_is_that_of_four_moments() -> None:
    """Ledoit and Wolf write the gradient of four moments; the influence of each bar is the same thing in one series."""
    kernel = pytest.importorskip("arch.covariance.kernel")
    first, second = np.moveaxis(market_returns(1, 1500, 0.5, seed=2), 2, 0)[:, :, 0]

    found = sharpe_difference_hac(first, second)

    moments = np.column_stack([first, second, first**2, second**2])
    mean_1, mean_2, square_1, square_2 = moments.mean(axis=0)
    cube_1, cube_2 = (square_1 - mean_1**2) ** 1.5, (square_2 - mean_2**2) ** 1.5
    gradient = np.array([square_1 / cube_1, -square_2 / cube_2, -0.5 * mean_1 / cube_1, 0.5 * mean_2 / cube_2])
    bandwidth = 1500 / (_PARZEN_SQUARED_AREA * found.degrees_of_freedom)
    estimate = kernel.Parzen(moments - moments.mean(axis=0), bandwidth=bandwidth - 1.0, df_adjust=0, center=False)
    variance = gradient @ np.asarray(estimate.cov.long_run) @ gradient / (1.0 - 0.75 * bandwidth / 1500)
    assert found.standard_error == pytest.approx(math.sqrt(variance / 1500), rel=2e-3)
    assert found.difference == pytest.approx(first.mean() / first.std() - second.mean() / second.std())


def test_for_independent_normal_returns_the_error_is_that_of_jobson_korkie_and_memmel() -> None:
    rng = np.random.default_rng(6)
    correlation, n = 0.6, 40_000
    normal = rng.normal(size=(2, n))
    first = 0.20 + normal[0]
    second = 0.05 + correlation * normal[0] + math.sqrt(1.0 - correlation**2) * normal[1]

    found = sharpe_difference_hac(first, second)

    term = 2.0 - 2.0 * correlation + 0.5 * (0.20**2 + 0.05**2 - 2.0 * 0.20 * 0.05 * correlation**2)
    assert found.standard_error == pytest.approx(math.sqrt(term / n), rel=0.03)
    assert found.difference == pytest.approx(0.15, abs=4 * found.standard_error)
    assert found.p_value < 1e-6


@pytest.mark.parametrize("correlation", [0.0, 0.5])
def test_equal_sharpe_ratios_are_rarely_found_different_in_market_like_returns(correlation: float) -> None:
    """At 5 % the test errs in at most 9 %; without regard to time it would err in more, about 13 %."""
    pairs = market_returns(1500, 750, correlation, seed=7).transpose(1, 2, 0).copy()

    found = [sharpe_difference_hac(first, second) for first, second in pairs]
    careless = np.mean([iid_two_sided(first, second) for first, second in pairs])

    assert np.mean([test.two_sided_p_value < 0.05 for test in found]) <= 0.09
    assert np.mean([test.p_value < 0.05 for test in found]) <= 0.09
    assert careless > 0.09


@pytest.mark.parametrize(("n_times", "horizon"), [(400, 1), (250, 12), (1000, 24)])
def test_the_mean_of_overlapping_outcomes_is_rarely_found_above_zero(n_times: int, horizon: int) -> None:
    """At 5 % the test errs in 4 to 7 %, however far outcomes reach; a plain t test errs much more often."""
    rng = np.random.default_rng(horizon)
    series = [overlapping_differences(rng, n_times, horizon) for _ in range(2000)]

    errs = np.mean([diebold_mariano(one, horizon).p_value < 0.05 for one in series])
    plain = np.mean([one.mean() / one.std() * math.sqrt(n_times) > 1.645 for one in series])

    assert 0.03 < errs < 0.07
    assert horizon == 1 or plain > 0.25


def test_a_real_difference_is_found() -> None:
    """A shift of 0.15 deviations in 1,000 moments is 4.7 standard errors, and found in nearly all cases."""
    rng = np.random.default_rng(9)

    found = [diebold_mariano(rng.normal(0.15, 1.0, 1000), 1).p_value < 0.05 for _ in range(200)]

    assert np.mean(found) > 0.97


def test_turning_the_models_round_turns_the_answer_round() -> None:
    first, second = np.random.default_rng(3).normal(0.05, 1.0, size=(2, 300))
    forth, back = sharpe_difference_hac(first, second), sharpe_difference_hac(second, first)

    assert back.difference == pytest.approx(-forth.difference)
    assert back.p_value == pytest.approx(1.0 - forth.p_value)
    assert back.two_sided_p_value == pytest.approx(forth.two_sided_p_value)


def test_series_that_say_nothing_are_refused() -> None:
    noise = np.random.default_rng(0).normal(size=100)

    with pytest.raises(InputError, match="at least 120 bars"):
        diebold_mariano(noise, horizon=12)
    with pytest.raises(InputError, match="at least one bar"):
        diebold_mariano(noise, horizon=0)
    with pytest.raises(InputError, match="never varies"):
        diebold_mariano(np.zeros(100), horizon=1)
    with pytest.raises(InputError, match="different bars"):
        sharpe_difference_hac(noise, noise[1:])
    with pytest.raises(InputError, match="not finite"):
        sharpe_difference_hac(noise, np.full(100, np.nan))
    with pytest.raises(InputError, match="never differ"):
        sharpe_difference_hac(noise, noise)
