"""Accuracy, net returns and Sharpe ratios against figures worked out by hand, and intervals against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.bootstrap import Resampled, block_length, correct, resample_sums
from ratchet.evaluation.metrics import (
    NetReturns,
    accuracy,
    accuracy_gain,
    hit_interval,
    net_returns,
    sharpe,
    sharpe_difference,
    sharpe_interval,
)
from ratchet.settings import CostSettings
from tests.panels import HOUR_NS, START_NS, rival_predictions

HOURS_PER_YEAR = 8760.0


def test_accuracy_counts_only_moves_and_half_for_the_undecided() -> None:
    """Flat rows do not count; two right, one wrong and one undecided of four moves make 62.5 %."""
    label = np.array([1, -1, 1, -1, 0, 0], dtype=np.int8)
    p_up = np.array([0.9, 0.2, 0.4, 0.5, 0.9, 0.1])

    assert accuracy(label, p_up) == 0.625


def test_accuracy_of_no_move_at_all_is_refused() -> None:
    """Where everything is flat there is no accuracy, and no interval either."""
    flat = np.zeros(3, dtype=np.int8)
    with pytest.raises(InputError, match="none of 3 rows moved"):
        accuracy(flat, np.full(3, 0.7))
    with pytest.raises(InputError, match="none of 3 rows moved"):
        hit_interval(np.arange(3), flat, np.full(3, 0.7), horizon=1, seed=0)


def trade(
    p_up: list[float], bar_return: list[float], *, horizon: int, cost_bps: float = 0.0, edge: float = 0.0
) -> list[float]:
    """Net returns of one symbol on consecutive hours."""
    n = len(p_up)
    returns = net_returns(
        START_NS + np.arange(n) * HOUR_NS,
        np.full(n, "BTC/USDT"),
        np.array(p_up),
        np.array(bar_return),
        horizon=horizon,
        timeframe_ns=HOUR_NS,
        one_side_bps=cost_bps,
        min_edge=edge,
    )
    assert returns.ts_ns.tolist() == (START_NS + np.arange(1, n) * HOUR_NS).tolist()
    return [float(value) for value in returns.value]


def test_a_decision_earns_the_next_bar_and_pays_for_what_it_trades() -> None:
    """Long, long, short at 10 bps: buy 1 (10 bps), hold (0), turn from +1 to -1 (20 bps)."""
    got = trade([0.9, 0.6, 0.1, 0.5], [0.5, 0.01, -0.02, 0.03], horizon=1, cost_bps=10)

    assert got == pytest.approx([0.01 - 0.001, -0.02, -0.03 - 0.002], abs=1e-9)


def test_a_horizon_of_two_bars_holds_two_half_tranches() -> None:
    """Decisions +, +, -, none: weights 1/2, 1, 0 are held over the next bars; turnover 1/2, 1/2, 1 pays 10 bps each."""
    got = trade([0.9, 0.9, 0.1, 0.5], [0.7, 0.01, 0.02, 0.04], horizon=2, cost_bps=10)

    assert got == pytest.approx([0.005 - 0.0005, 0.02 - 0.0005, -0.001], abs=1e-9)


def test_a_tranche_expires_after_its_horizon() -> None:
    """One long decision of three bars is worth a third of each of the next three bars, and nothing of the fourth."""
    got = trade([0.9, 0.5, 0.5, 0.5, 0.5], [0.0, 0.03, 0.06, 0.09, 0.12], horizon=3)

    assert got == pytest.approx([0.01, 0.02, 0.03, 0.0], abs=1e-9)


def test_predictions_too_close_to_a_coin_are_not_traded() -> None:
    """With min_edge 0.1 a probability of 0.55 takes no position and pays nothing."""
    got = trade([0.55, 0.61, 0.39, 0.5], [0.0, 0.01, 0.02, 0.03], horizon=1, cost_bps=10, edge=0.1)

    assert got == pytest.approx([0.0, 0.02 - 0.001, -0.03 - 0.002], abs=1e-9)


def test_symbols_share_the_capital_equally_and_a_gap_pays_nothing() -> None:
    """Two symbols get half each; the second has no row at hour 2, so it earns nothing there and loses its position."""
    hour = np.array([0, 0, 1, 1, 2, 3, 3])
    returns = net_returns(
        START_NS + hour * HOUR_NS,
        np.array(["A", "B", "A", "B", "A", "A", "B"]),
        np.array([0.9, 0.1, 0.9, 0.1, 0.9, 0.9, 0.1]),
        np.array([0.0, 0.0, 0.02, 0.04, 0.02, 0.02, 0.04]),
        horizon=1,
        timeframe_ns=HOUR_NS,
        one_side_bps=0.0,
    )

    np.testing.assert_allclose(returns.value, [0.01 - 0.02, 0.01, 0.01], atol=1e-15)


def hourly(p_up: list[float], bar_return: list[float], costs: CostSettings, *, horizon: int = 1) -> NetReturns:
    """One symbol on consecutive hours."""
    n = len(p_up)
    return net_returns(
        START_NS + np.arange(n) * HOUR_NS,
        np.full(n, "BTC/USDT"),
        np.array(p_up),
        np.array(bar_return),
        horizon=horizon,
        timeframe_ns=HOUR_NS,
        costs=costs,
    )


def free(**costs: float) -> CostSettings:
    """Costs of nothing but what is named."""
    return CostSettings.model_validate({"fee_bps": 0.0, "half_spread_bps": 0.0, "slippage_bps": 0.0} | costs)


def test_gross_returns_and_traded_value_explain_the_net_return() -> None:
    """Long, long, short at 5 + 3 + 2 bps: the value traded is 1, 0 and 2, and each unit of it costs 10 bps."""
    costs = CostSettings(fee_bps=5.0, half_spread_bps=3.0, slippage_bps=2.0)
    got = hourly([0.9, 0.6, 0.1, 0.5], [0.5, 0.01, -0.02, 0.03], costs)

    np.testing.assert_allclose(got.gross, [0.01, -0.02, -0.03], atol=1e-15)
    np.testing.assert_allclose(got.traded, [1.0, 0.0, 2.0], atol=1e-15)
    np.testing.assert_allclose(got.value, [0.009, -0.02, -0.032], atol=1e-15)


def test_funding_is_paid_by_the_hour_on_long_and_short_alike() -> None:
    """At 24 bps a day an hour costs 1 bp of what is held: all long, all short, nothing; half of it for half a unit."""
    zero = [0.0] * 4
    whole = hourly([0.9, 0.1, 0.5, 0.5], zero, free(funding_bps_per_day=24.0))
    halves = hourly([0.9, 0.5, 0.5, 0.5], zero, free(funding_bps_per_day=24.0), horizon=2)

    np.testing.assert_allclose(whole.value, [-1e-4, -1e-4, 0.0], atol=1e-18)
    np.testing.assert_allclose(halves.value, [-0.5e-4, -0.5e-4, 0.0], atol=1e-18)
    assert not whole.gross.any()


def test_a_late_order_earns_and_pays_that_many_bars_later() -> None:
    """One bar of delay: the long decision of bar 0 earns bar 2, not bar 1, pays 10 bps there and 10 bps to leave."""
    moves = [0.0, 0.01, 0.02, 0.03]
    late = hourly([0.9, 0.5, 0.5, 0.5], moves, free(fee_bps=10.0, latency_bars=1))
    too_late = hourly([0.9, 0.5, 0.5, 0.5], moves, free(fee_bps=10.0, latency_bars=9))

    np.testing.assert_allclose(late.gross, [0.0, 0.02, 0.0], atol=1e-15)
    np.testing.assert_allclose(late.value, [0.0, 0.019, -0.001], atol=1e-15)
    assert too_late.value.tolist() == [0.0, 0.0, 0.0]


def test_one_sides_costs_are_given_once() -> None:
    """Costs and one_side_bps mean the same where nothing else is paid; both or neither, or no rows, are refused."""
    rows = (START_NS + np.arange(3) * HOUR_NS, np.full(3, "A"), np.array([0.9, 0.1, 0.9]), np.array([0.0, 0.01, 0.02]))
    costs = CostSettings()
    by_costs = net_returns(*rows, horizon=1, timeframe_ns=HOUR_NS, costs=costs)
    by_side = net_returns(*rows, horizon=1, timeframe_ns=HOUR_NS, one_side_bps=costs.one_side_bps)

    np.testing.assert_array_equal(by_costs.value, by_side.value)
    with pytest.raises(InputError, match="either costs or one_side_bps"):
        net_returns(*rows, horizon=1, timeframe_ns=HOUR_NS)
    with pytest.raises(InputError, match="either costs or one_side_bps"):
        net_returns(*rows, horizon=1, timeframe_ns=HOUR_NS, one_side_bps=1.0, costs=costs)
    with pytest.raises(InputError, match="no predictions to trade"):
        net_returns(
            np.zeros(0, dtype=np.int64), rows[1][:0], rows[2][:0], rows[3][:0], horizon=1, timeframe_ns=1, costs=costs
        )


@pytest.mark.parametrize("wrong", [{"funding_bps_per_day": -0.1}, {"latency_bars": -1}])
def test_costs_that_would_pay_or_look_ahead_are_refused(wrong: dict[str, float]) -> None:
    """A negative delay would trade before the decision."""
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        CostSettings.model_validate(wrong)


def test_net_returns_do_not_depend_on_later_predictions() -> None:
    """Changing every prediction from bar 50 on changes no return up to bar 50."""
    rng = np.random.default_rng(0)
    p_up, bar_return = rng.random(100), rng.normal(0, 0.01, 100)
    changed = np.where(np.arange(100) < 50, p_up, 1.0 - p_up)

    before = trade(p_up.tolist(), bar_return.tolist(), horizon=4, cost_bps=5)
    after = trade(changed.tolist(), bar_return.tolist(), horizon=4, cost_bps=5)
    assert before[:50] == after[:50]
    assert before[50:] != after[50:]


def test_sharpe_is_mean_over_deviation_times_the_root_of_bars_per_year() -> None:
    """Returns of 1, 2 and 3 % have mean 2 % and deviation 1 %; returns that never vary have ratio 0."""
    assert sharpe(np.array([0.01, 0.02, 0.03]), 400.0) == pytest.approx(2.0 * 20.0)
    assert sharpe(np.full(10, 0.01), 400.0) == 0.0
    with pytest.raises(InputError, match="at least two bars"):
        sharpe(np.array([0.01]), 400.0)


def test_the_sharpe_difference_of_equal_returns_is_exactly_zero() -> None:
    """Pairing bar by bar removes all error when both portfolios are the same."""
    value = np.random.default_rng(1).normal(size=200)
    difference = sharpe_difference(value, value, bars_per_year=HOURS_PER_YEAR, horizon=1, seed=0)

    assert difference.value == 0.0
    assert difference.bounds(0.95) == (0.0, 0.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    """Intervals are functions of data and seed."""
    model, _ = rival_predictions((0.2, 0.0), n_times=200, horizon=4, seed=1)
    first, again, other = (
        hit_interval(model.ts_ns, model.label, model.p_up, horizon=4, seed=seed) for seed in (3, 3, 4)
    )

    assert first == again
    assert first != other


def test_blocks_are_at_least_two_horizons_and_the_cube_root_of_the_sample() -> None:
    """Block length in timestamps for long and for short horizons."""
    assert block_length(1000, 24) == 48
    assert block_length(1000, 1) == 10
    assert block_length(1001, 1) == 11


def test_timestamps_are_resampled_whole() -> None:
    """Columns of one timestamp stay together: equal columns have equal sums in every resample."""
    column = np.random.default_rng(0).normal(size=100)
    sums = resample_sums(np.column_stack([column, column, np.ones(100)]), block=5, n_resamples=50, seed=0)

    assert np.array_equal(sums[:, 0], sums[:, 1])
    assert np.all(sums[:, 2] == 100.0)
    assert len(np.unique(sums[:, 0])) > 40


def test_a_p_value_is_below_alpha_exactly_where_the_lower_bound_is_above_zero() -> None:
    """Test and bound are one statement, for every level."""
    rng = np.random.default_rng(0)
    estimate = Resampled(value=1.5, errors=rng.normal(size=2000), n_blocks=20.0)
    p_value = estimate.p_value()

    assert 0.05 < p_value < 0.11
    for alpha in (0.01, 0.05, 0.9 * p_value, 1.1 * p_value, 0.2, 0.4):
        assert (estimate.bounds(1.0 - alpha)[0] > 0.0) == (p_value < alpha)
    assert Resampled(value=-1.5, errors=estimate.errors, n_blocks=20.0).p_value() > 0.85


def test_few_blocks_widen_the_bounds() -> None:
    """The same errors from five blocks give wider bounds than from a hundred: there t has four degrees of freedom."""
    errors = np.random.default_rng(0).normal(size=5000)
    few = Resampled(value=0.0, errors=errors, n_blocks=5.0).bounds(0.975)[1]
    many = Resampled(value=0.0, errors=errors, n_blocks=100.0).bounds(0.975)[1]

    assert few / many == pytest.approx(2.776 / 1.984, rel=1e-3)


def test_the_correction_undoes_the_variance_that_finite_blocks_lose() -> None:
    """For means of labels that overlap 12 bars, corrected errors have the true variance, uncorrected ones 20 % less."""
    rng = np.random.default_rng(7)
    n, h, block = 600, 12, block_length(600, 12)
    kernel = np.ones(h) / math.sqrt(h)
    means, raw, corrected = [], [], []
    for seed in range(250):
        value = np.convolve(rng.normal(size=n + h - 1), kernel, mode="valid")
        draws = resample_sums(value[:, None], block=block, n_resamples=100, seed=seed)[:, 0] / n
        means.append(value.mean())
        raw.append(draws.var())
        corrected.append(correct(value.mean(), draws, n_times=n, block=block, overlap=h).errors.var())

    true = h / n  # long-run variance over sample size
    assert np.var(means) == pytest.approx(true, rel=0.25)
    assert np.mean(raw) == pytest.approx(0.78 * true, rel=0.06)
    assert np.mean(corrected) == pytest.approx(true, rel=0.08)


@pytest.mark.parametrize(("horizon", "n_times"), [(1, 300), (12, 480)])
def test_accuracy_intervals_cover_the_truth_about_95_percent_of_the_time(horizon: int, n_times: int) -> None:
    """On simulated models of known skill, also with labels that overlap, 95 % intervals mean 95 %."""
    skill, n_worlds = 0.2, 200
    truth = 0.5 + math.atan(skill) / math.pi
    covered = 0
    for seed in range(n_worlds):
        model, _ = rival_predictions((skill, 0.0), n_times=n_times, horizon=horizon, seed=seed)
        found = hit_interval(model.ts_ns, model.label, model.p_up, horizon=horizon, seed=seed, n_resamples=200)
        covered += found.low <= truth <= found.high

    assert 0.915 <= covered / n_worlds <= 0.985


def test_sharpe_intervals_cover_the_truth_about_95_percent_of_the_time() -> None:
    """Autocorrelated returns of known annual Sharpe ratio lie in their 95 % intervals."""
    n_worlds, n, rho = 200, 500, 0.3
    true = 0.05 * math.sqrt(HOURS_PER_YEAR)
    covered = 0
    for seed in range(n_worlds):
        value = 0.05 + _autoregressive(np.random.default_rng(seed), n, rho)
        found = sharpe_interval(value, bars_per_year=HOURS_PER_YEAR, horizon=6, seed=seed, n_resamples=200)
        covered += found.low <= true <= found.high

    assert 0.915 <= covered / n_worlds <= 0.985


def test_the_paired_gain_is_sharper_than_two_separate_intervals() -> None:
    """Two models that mostly agree are compared far more precisely in pairs than their own intervals would allow."""
    first, second = rival_predictions((0.25, 0.2), n_times=500, horizon=1, seed=5, alike=0.98)
    gain = accuracy_gain(first.ts_ns, first.label, first.p_up, second.p_up, horizon=1, seed=0)
    alone = hit_interval(first.ts_ns, first.label, first.p_up, horizon=1, seed=0)
    low, high = gain.bounds(0.975)

    assert gain.value == pytest.approx(accuracy(first.label, first.p_up) - accuracy(second.label, second.p_up))
    assert high - low < 0.5 * (alone.high - alone.low)


def _autoregressive(rng: np.random.Generator, n: int, rho: float) -> NDArray[np.float64]:
    """A stationary AR(1) of unit variance."""
    shock = rng.normal(size=n) * math.sqrt(1.0 - rho * rho)
    value = np.empty(n)
    value[0] = rng.normal()
    for t in range(1, n):
        value[t] = rho * value[t - 1] + shock[t]
    return value
