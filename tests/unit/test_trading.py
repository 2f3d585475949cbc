"""What trading would have earned, against figures worked out by hand and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import kurtosis, skew

from ratchet.errors import InputError
from ratchet.evaluation.metrics import sharpe_interval
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import Trading
from ratchet.evaluation.track_record import min_track_record, probabilistic_sharpe
from ratchet.evaluation.trading import equity_curve, trade
from ratchet.settings import CostSettings
from tests.panels import HOUR_NS, START_NS, rival_predictions

FREE = CostSettings(fee_bps=0.0, half_spread_bps=0.0, slippage_bps=0.0)
HOURS_PER_YEAR = 8760.0


def rows_of(
    p_up: list[float], bar_return: list[float] | NDArray[np.float64], *, horizon: int = 1, n_symbols: int = 1
) -> Predictions:
    """The same rows for each symbol on consecutive hours."""
    n = len(p_up) * n_symbols
    ts_ns = START_NS + np.repeat(np.arange(len(p_up)), n_symbols) * HOUR_NS
    return Predictions(
        timeframe="1h",
        horizon=horizon,
        symbol=np.tile(np.array(["A/USDT", "B/USDT", "C/USDT"][:n_symbols]), len(p_up)),
        ts_ns=ts_ns,
        t1_ns=ts_ns + (horizon + 1) * HOUR_NS,
        fold=np.zeros(n, dtype=np.int16),
        label=np.ones(n, dtype=np.int8),
        ret=np.zeros(n),
        band=np.zeros(n),
        bar_return=np.repeat(np.asarray(bar_return, dtype=np.float64), n_symbols),
        p_up=np.repeat(np.asarray(p_up), n_symbols),
    )


@pytest.mark.parametrize("n_symbols", [1, 3])
def test_the_account_is_as_by_hand(n_symbols: int) -> None:
    """Long, short, long, none at 10 bps and 24 bps a day: gross +1, +2, -3 %, traded 1, 2, 2, held 1, 1, 1."""
    costs = CostSettings(fee_bps=10.0, half_spread_bps=0.0, slippage_bps=0.0, funding_bps_per_day=24.0)
    rows = rows_of([0.9, 0.1, 0.8, 0.5], [0.0, 0.01, -0.02, -0.03], n_symbols=n_symbols)
    found, curve = trade(rows, costs, seed=0), equity_curve(rows, costs)

    net = [0.01 - 0.0010 - 0.0001, 0.02 - 0.0020 - 0.0001, -0.03 - 0.0020 - 0.0001]
    assert found.n_bars == 3
    assert found.gross_return == pytest.approx(0.0)
    assert found.costs == pytest.approx(0.0053)
    assert found.net_return == pytest.approx(-0.0053)
    assert found.turnover_per_bar == pytest.approx(5 / 3)
    assert found.max_drawdown == pytest.approx(0.0321)
    assert found.net_sharpe.value == pytest.approx(np.mean(net) / np.std(net, ddof=1) * math.sqrt(HOURS_PER_YEAR))
    assert curve.ts_ns.tolist() == (START_NS + np.arange(1, 4) * HOUR_NS).tolist()
    np.testing.assert_allclose(curve.gross, [0.01, 0.03, 0.0], atol=1e-15)
    np.testing.assert_allclose(curve.net, np.cumsum(net), atol=1e-15)
    np.testing.assert_allclose(curve.drawdown, [0.0, 0.0, 0.0321], atol=1e-15)


def test_moments_and_track_record_are_those_of_the_net_returns() -> None:
    """Skewness and kurtosis by SciPy; both probabilities from them and the Sharpe ratio per bar."""
    rng = np.random.default_rng(0)
    bar_return = 0.002 + 0.01 * rng.standard_t(5, size=400)
    found = trade(rows_of([0.9] * 400, bar_return), FREE.model_copy(update={"funding_bps_per_day": 24.0}), seed=0)
    value = bar_return[1:] - 1e-4
    per_bar = value.mean() / value.std(ddof=1)

    assert found.skewness == pytest.approx(skew(value))
    assert found.kurtosis == pytest.approx(kurtosis(value, fisher=False))
    assert found.kurtosis > 3.0
    assert found.probabilistic_sharpe == pytest.approx(
        probabilistic_sharpe(per_bar, 399, found.skewness, found.kurtosis)
    )
    assert 0.9 < found.probabilistic_sharpe < 1.0
    assert found.min_track_record_bars == pytest.approx(min_track_record(per_bar, 0.0, found.skewness, found.kurtosis))
    expected = sharpe_interval(value, bars_per_year=HOURS_PER_YEAR, horizon=1, seed=0)
    assert found.net_sharpe.model_dump() == pytest.approx(expected.model_dump())


def test_a_losing_record_is_never_long_enough() -> None:
    """Where the net Sharpe ratio is not above 0 no number of bars shows that it is."""
    rng = np.random.default_rng(0)
    found = trade(rows_of([0.9] * 200, rng.normal(-0.001, 0.01, 200)), FREE, seed=0)

    assert found.min_track_record_bars is None
    assert found.probabilistic_sharpe < 0.5


def test_nothing_traded_earns_and_costs_nothing() -> None:
    """With an edge that no prediction has there are no positions; every figure stays a number and survives JSON."""
    found = trade(rows_of([0.6, 0.4] * 20, [0.01] * 40), CostSettings(), min_edge=0.2, seed=0)

    assert (found.gross_return, found.costs, found.turnover_per_bar, found.max_drawdown) == (0.0, 0.0, 0.0, 0.0)
    assert found.net_sharpe.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert (found.skewness, found.kurtosis, found.probabilistic_sharpe) == (0.0, 3.0, 0.5)
    assert Trading.model_validate_json(found.model_dump_json()) == found


def test_two_bars_are_too_few() -> None:
    """They hold one return, which has no deviation."""
    with pytest.raises(InputError, match="at least two bars of returns"):
        trade(rows_of([0.9, 0.9], [0.0, 0.01]), FREE, seed=0)


def test_every_cost_lowers_the_net_return_and_none_the_gross() -> None:
    """Fee, spread, slippage and funding each cost; what they cost is the difference of gross and net."""
    rows, _ = rival_predictions((0.3, 0.0), n_times=200, horizon=4, seed=0, n_symbols=2)
    free = trade(rows, FREE, seed=0)
    assert free.costs == 0.0
    for name in ("fee_bps", "half_spread_bps", "slippage_bps", "funding_bps_per_day"):
        found = trade(rows, FREE.model_copy(update={name: 5.0}), seed=0)
        assert found.gross_return == free.gross_return
        assert found.gross_sharpe == free.gross_sharpe
        assert found.net_return < free.net_return
        assert found.net_return == pytest.approx(found.gross_return - found.costs)


def test_delay_costs_a_model_that_foresees_the_next_bar() -> None:
    """A model that knows the next bar's sign earns nothing of it one bar late."""
    rng = np.random.default_rng(0)
    bar_return = rng.normal(0.0, 0.01, 500)
    p_up = np.where(np.r_[bar_return[1:], 0.0] > 0, 0.9, 0.1).tolist()
    prompt = trade(rows_of(p_up, bar_return), FREE, seed=0)
    late = trade(rows_of(p_up, bar_return), FREE.model_copy(update={"latency_bars": 1}), seed=0)

    assert prompt.gross_return == pytest.approx(np.abs(bar_return[1:]).sum())
    assert abs(late.gross_return) < 0.2 * prompt.gross_return


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-0.2, 0.2), min_size=2, max_size=40))
def test_drawdown_is_the_deepest_fall_from_any_earlier_sum(value: list[float]) -> None:
    """By brute force over all pairs of start and end, the start at nothing included."""
    curve = equity_curve(rows_of([0.9] * (len(value) + 1), [0.0, *value]), FREE)
    summed = [0.0, *np.cumsum(value).tolist()]
    brute = [max(summed[start] - summed[end] for start in range(end + 1)) for end in range(1, len(summed))]

    np.testing.assert_allclose(curve.drawdown, brute, atol=1e-12)
    assert (curve.drawdown >= 0.0).all()
