"""Labels: the direction of the move from the next open to the close h bars ahead, after costs."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import InputError
from ratchet.features.labels import Labels, label_horizon
from ratchet.market.candles import as_candle_frame
from tests.candle_paths import HOUR, START_NS, random_candles, recorded_candles, rescaled, without_rows


def _sigma_by_hand(close: list[float], row: int) -> float:
    returns = [math.log(close[i] / close[i - 1]) for i in range(1, row + 1)]
    weights = [0.94**age for age in range(len(returns))][::-1]
    return math.sqrt(sum(w * r * r for w, r in zip(weights, returns, strict=True)) / sum(weights))


def _labels_by_hand(candles: pd.DataFrame, horizon: int, cost_bps: float, k_sigma: float) -> list[tuple[float, ...]]:
    """Walk the bars one by one: (label, ret, band, t1_ns) of each."""
    times, opens, closes = (candles[name].tolist() for name in ("ts_event_ns", "open", "close"))
    rows: list[tuple[float, ...]] = []
    for i, now in enumerate(times):
        band = cost_bps / 1e4
        if k_sigma > 0:
            band = max(band, k_sigma * _sigma_by_hand(closes, i) * math.sqrt(horizon)) if i else math.nan
        ahead = [now + step * HOUR.ns for step in range(1, horizon + 1)]
        ret = closes[i + horizon] / opens[i + 1] - 1 if times[i + 1 : i + horizon + 1] == ahead else math.nan
        if math.isnan(band):
            ret = math.nan
        label = 1 if ret > band else -1 if ret < -band else 0
        rows.append((label, ret, band, now + horizon * HOUR.ns + HOUR.ns))
    return rows


def _assert_equal(labels: Labels, expected: list[tuple[float, ...]]) -> None:
    label, ret, band, t1_ns = (list(column) for column in zip(*expected, strict=True))
    assert labels.label.dtype == np.int8
    assert labels.t1_ns.dtype == np.int64
    assert labels.label.tolist() == label
    assert labels.t1_ns.tolist() == t1_ns
    np.testing.assert_allclose(labels.ret, ret, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(labels.band, band, rtol=1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 5, 12])
@pytest.mark.parametrize(("cost_bps", "k_sigma"), [(0.0, 0.0), (10.0, 0.0), (60.0, 0.0), (5.0, 0.7)])
def test_labels_are_those_of_a_brute_force_loop_over_random_paths_with_gaps(
    horizon: int, cost_bps: float, k_sigma: float
) -> None:
    for seed in range(8):
        candles = random_candles(80, seed=seed, flat_share=0.1)
        candles = without_rows(candles, sorted({seed + 3, seed + 4, 3 * seed + 20, 60}))
        _assert_equal(
            label_horizon(candles, horizon, HOUR, cost_bps, k_sigma),
            _labels_by_hand(candles, horizon, cost_bps, k_sigma),
        )


def test_labels_are_those_of_a_brute_force_loop_over_recorded_candles_with_outages() -> None:
    candles = recorded_candles("SAND/USDT", n_bars=1200, folder="spot_1h_with_outages")
    _assert_equal(label_horizon(candles, 4, HOUR, 10.0), _labels_by_hand(candles, 4, 10.0, 0.0))


def test_each_outcome_on_a_hand_made_path() -> None:
    """Opens 100, closes +2 %, -2 %, +0.05 %: up, down, flat inside a band of 10 bps; the last bar has no outcome."""
    close = [100.0, 102.0, 98.0, 100.05]
    candles = as_candle_frame(
        pd.DataFrame(
            {
                "symbol": "BTC/USDT",
                "ts_event_ns": START_NS + np.arange(4) * HOUR.ns,
                "open": 100.0,
                "high": 103.0,
                "low": 97.0,
                "close": close,
                "volume": 1.0,
            }
        )
    )
    labels = label_horizon(candles, 1, HOUR, round_trip_bps=10.0)
    assert labels.label.tolist() == [1, -1, 0, 0]
    np.testing.assert_allclose(labels.ret, [0.02, -0.02, 0.0005, np.nan], atol=1e-12)
    assert labels.t1_ns.tolist() == [START_NS + (i + 2) * HOUR.ns for i in range(4)]


def test_a_move_of_exactly_the_band_is_flat() -> None:
    candles = random_candles(3, seed=1)
    candles[["open", "high", "low", "close"]] = [[1.0, 1.5, 0.5, 1.0], [1.0, 1.5, 0.5, 1.5], [1.0, 1.5, 0.5, 0.5]]
    assert label_horizon(candles, 1, HOUR, round_trip_bps=5_000.0).label.tolist() == [0, 0, 0]
    assert label_horizon(candles, 1, HOUR, round_trip_bps=4_999.0).label.tolist() == [1, -1, 0]


def test_costs_above_the_whole_range_make_every_label_flat() -> None:
    candles = random_candles(500, seed=2)
    range_bps = 1e4 * (candles["high"].max() / candles["low"].min() - 1)
    labels = label_horizon(candles, 6, HOUR, round_trip_bps=range_bps)
    assert not labels.label.any()
    assert np.isfinite(labels.ret[:-6]).all()


@pytest.mark.parametrize("horizon", [1, 3, 24])
def test_the_label_ends_when_the_horizon_does_and_never_later(horizon: int) -> None:
    candles = without_rows(random_candles(300, seed=3), slice(100, 103))
    labels = label_horizon(candles, horizon, HOUR, 10.0)
    ts_ns = candles["ts_event_ns"].to_numpy()
    decision_ns = ts_ns + HOUR.ns
    assert (labels.t1_ns - decision_ns == horizon * HOUR.ns).all()
    has_outcome = np.flatnonzero(np.isfinite(labels.ret))
    assert (labels.t1_ns[has_outcome] == ts_ns[has_outcome + horizon] + HOUR.ns).all()


def test_no_outcome_reaches_across_a_gap_or_beyond_the_end() -> None:
    candles = without_rows(random_candles(30, seed=4), [10])
    labels = label_horizon(candles, 3, HOUR, 10.0)
    missing = np.flatnonzero(np.isnan(labels.ret)).tolist()
    assert missing == [7, 8, 9, 26, 27, 28]
    assert not labels.label[missing].any()


def test_bars_off_the_grid_count_as_gaps() -> None:
    candles = random_candles(10, seed=5)
    is_late = np.arange(10) == 5
    candles["ts_event_ns"] += is_late * (HOUR.ns // 2)
    labels = label_horizon(candles, 2, HOUR, 10.0)
    assert np.flatnonzero(np.isnan(labels.ret)).tolist() == [3, 4, 5, 8, 9]


def test_the_price_level_changes_no_label() -> None:
    candles = random_candles(200, seed=6)
    dear = label_horizon(rescaled(candles, price=10.0), 3, HOUR, 20.0, k_sigma=0.3)
    same = label_horizon(candles, 3, HOUR, 20.0, k_sigma=0.3)
    assert dear.label.tolist() == same.label.tolist()
    np.testing.assert_allclose(dear.band, same.band, rtol=1e-9)


@pytest.mark.parametrize("n_bars", [0, 1, 2, 3])
def test_histories_not_longer_than_the_horizon_have_no_outcome(n_bars: int) -> None:
    labels = label_horizon(random_candles(3, seed=7).head(n_bars), 3, HOUR, 10.0, k_sigma=1.0)
    assert len(labels.ret) == len(labels.label) == n_bars
    assert np.isnan(labels.ret).all()


def test_a_horizon_below_one_bar_or_negative_costs_are_refused() -> None:
    candles = random_candles(10, seed=8)
    with pytest.raises(InputError, match="at least one bar"):
        label_horizon(candles, 0, HOUR, 10.0)
    for costs in ((-1.0, 0.0), (1.0, -0.1), (math.nan, 0.0)):
        with pytest.raises(InputError, match="must not be negative"):
            label_horizon(candles, 1, HOUR, *costs)
