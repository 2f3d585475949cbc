"""Qlib's Alpha158 and Alpha360: the counts, and every value against pandas, bar by bar as in a stream."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ratchet.features.catalogue.alpha import ALPHA158_FEATURES, ALPHA360_FEATURES, ALPHA_ROLLING_FEATURES
from ratchet.features.definitions import FeatureDefinition
from ratchet.features.kernel import alpha, alpha_price, bars, candle
from ratchet.features.kernel.compiling import dispatcher, section
from tests.candle_paths import random_candles, recorded_candles, rescaled, with_new_future
from tests.oracles.alpha import alpha158, alpha360

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Compute = Callable[..., pd.DataFrame]
Definitions = tuple[FeatureDefinition, ...]

_NUMBERS = ["open", "high", "low", "close", "volume"]
_CAPACITY = 61  # the longest window and the bar before it
_FORMULAS = (*alpha.FORMULAS, candle.body_ratio, candle.upper_wick, candle.lower_wick, candle.close_location)
_PLACES = {function.__name__: place for place, function in enumerate(_FORMULAS)}
_ALL = (*ALPHA158_FEATURES, *ALPHA360_FEATURES)


@pytest.fixture(scope="module")
def compute() -> Compute:
    """Return a function that pushes one bar after another and evaluates features after each."""
    value = dispatcher(_FORMULAS, "bars, end, n, p, s")
    push = bars.push_bar

    @section
    def run(
        rows: FloatArray,
        places: IntArray,
        params: FloatArray,
        n_slots: IntArray,
        ring: FloatArray,
        memory: FloatArray,
        out: FloatArray,
    ) -> None:
        for row in range(rows.shape[0]):
            end = push(ring, row, 0, rows[row])
            for i in range(places.shape[0]):
                own = memory[n_slots[i] : n_slots[i + 1]]
                out[row, i] = value(places[i], ring, end, row + 1, params[i], own)

    def of(candles: pd.DataFrame, definitions: Definitions = _ALL) -> pd.DataFrame:
        params = np.zeros((len(definitions), 3))
        for row, item in enumerate(definitions):
            params[row, : len(item.params)] = [number for _, number in item.params]
        places = np.array([_PLACES[item.formula] for item in definitions])
        n_slots = np.cumsum([0, *(_slots(item) for item in definitions)])
        rows = np.ascontiguousarray(candles[_NUMBERS], dtype=np.float64)
        ring, values = np.zeros((bars.N_FIELDS, 2 * _CAPACITY)), np.empty((len(rows), len(definitions)))
        run(rows, places, params, n_slots, ring, np.zeros(n_slots[-1]), values)
        for column, item in enumerate(definitions):
            values[: item.warmup_bars, column] = np.nan
        return pd.DataFrame(values, columns=[item.name for item in definitions])

    return of


def _slots(item: FeatureDefinition) -> int:
    size = alpha.SLOTS.get(item.formula)
    return 0 if size is None else size([number for _, number in item.params])


def _same(n_bars: int) -> pd.DataFrame:
    """Bars that are all equal."""
    return random_candles(n_bars, seed=1).assign(open=7.1, high=7.1, low=7.1, close=7.1, volume=3.3)


def _growing(n_bars: int) -> pd.DataFrame:
    """Prices and volumes that grow by the same rate in every bar."""
    candles, growth = _same(n_bars), 1.001 ** np.arange(n_bars)
    return candles.assign(**{name: candles[name] * growth for name in _NUMBERS})


def _on_a_grid(n_bars: int) -> pd.DataFrame:
    """Few different prices and volumes, so that there are many ties and bars without volume."""
    candles = random_candles(n_bars, seed=2, silent_share=0.3)
    return candles.assign(**{name: candles[name].round(0) for name in _NUMBERS})


def _silent(n_bars: int) -> pd.DataFrame:
    """Moving prices without any volume."""
    return random_candles(n_bars, seed=3).assign(volume=0.0)


PATHS: dict[str, Callable[[], pd.DataFrame]] = {
    "random": lambda: random_candles(160, seed=4),
    "flat and silent bars": lambda: random_candles(160, seed=5, flat_share=0.3, silent_share=0.3),
    "ties": lambda: _on_a_grid(160),
    "equal bars": lambda: _same(100),
    "constant growth": lambda: _growing(100),
    "no volume": lambda: _silent(100),
    "cheap coin": lambda: rescaled(random_candles(100, seed=6), price=1e-10, volume=1e12),
    "expensive coin": lambda: rescaled(random_candles(100, seed=7), price=1e7, volume=1e-9),
    "recorded bitcoin": lambda: recorded_candles("BTC/USDT", n_bars=300),
    "recorded shiba": lambda: recorded_candles("SHIB/USDT", n_bars=150),
}


def test_there_are_as_many_as_in_qlib() -> None:
    assert (len(ALPHA158_FEATURES), len(ALPHA360_FEATURES), len(ALPHA_ROLLING_FEATURES)) == (158, 360, 145)
    assert len({item.name for item in _ALL}) == 518
    assert ALPHA360_FEATURES[0].name == "lag_close_59"
    assert ALPHA360_FEATURES[-1].name == "lag_volume_0"


def test_windows_are_qlibs() -> None:
    operators: dict[str, list[int]] = {}
    for item in ALPHA_ROLLING_FEATURES:
        _, operator, window = item.name.split("_")
        operators.setdefault(operator, []).append(int(window))
    assert len(operators) == 29
    assert set(map(tuple, operators.values())) == {(5, 10, 20, 30, 60)}


def test_field_numbers_are_those_of_the_bars() -> None:
    numbers = {item.name: dict(item.params)["field"] for item in ALPHA360_FEATURES if item.name.endswith("_0")}
    assert numbers == {
        "lag_open_0": bars.OPEN,
        "lag_high_0": bars.HIGH,
        "lag_low_0": bars.LOW,
        "lag_close_0": bars.CLOSE,
        "lag_volume_0": bars.VOLUME,
        "lag_vwap_0": alpha_price.TYPICAL_PRICE,
    }


def test_memory_is_what_the_windows_need() -> None:
    sizes = {item.name: _slots(item) for item in ALPHA158_FEATURES}
    assert (sizes["alpha_qtld_5"], sizes["alpha_qtlu_60"]) == (2, 13)
    assert (sizes["alpha_corr_60"], sizes["alpha_cord_60"]) == (120, 240)


@pytest.mark.parametrize("path", PATHS)
def test_values_are_those_of_pandas(compute: Compute, path: str) -> None:
    """Alpha158 and Alpha360 agree with the whole-history formulas from the first full window on, and are finite."""
    candles = PATHS[path]()
    expected = pd.concat([alpha158(candles), alpha360(candles)], axis=1)
    actual = compute(candles)
    assert set(actual.columns) == set(expected.columns)
    pd.testing.assert_frame_equal(actual, expected[actual.columns], rtol=1e-9, atol=1e-9, check_dtype=False)
    assert np.isfinite(actual.iloc[60:].to_numpy()).all()


def test_equal_bars_give_the_neutral_values(compute: Compute) -> None:
    """Position 0.5, ratios 1, spreads and correlations 0; ranks and places are those of ties."""
    last = compute(_same(80)).iloc[-1]
    one = ("roc", "ma", "max", "min", "qtlu", "qtld", "vma")
    zero = ("std", "beta", "rsqr", "resi", "imxd", "corr", "cord", "cntp", "cntn", "cntd", "vstd", "wvma")
    sums = ("sump", "sumn", "sumd", "vsump", "vsumn", "vsumd")
    for n in (5, 60):
        assert [last[f"alpha_{name}_{n}"] for name in one] == pytest.approx([1.0] * len(one), abs=1e-12)
        assert [last[f"alpha_{name}_{n}"] for name in (*zero, *sums)] == [0.0] * (len(zero) + len(sums))
        assert last[f"alpha_rsv_{n}"] == 0.5
        assert last[f"alpha_rank_{n}"] == (n + 1) / 2 / n
        assert last[f"alpha_imax_{n}"] == last[f"alpha_imin_{n}"] == 1 / n


def test_a_last_bar_without_volume_gives_the_largest_ratio(compute: Compute) -> None:
    candles = random_candles(80, seed=8)
    candles.loc[79, "volume"] = 0.0
    last = compute(candles).iloc[-1]
    assert [last[name] for name in ("alpha_vma_5", "alpha_vstd_60", "lag_volume_7")] == pytest.approx([1000.0] * 3)
    assert last["lag_volume_0"] == 0.0
    silent = compute(_silent(80)).iloc[-1]
    assert (silent[["alpha_vma_5", "alpha_vstd_60", "lag_volume_7", "alpha_corr_60", "alpha_wvma_5"]] == 0.0).all()


def test_a_rising_market_is_seen_as_one(compute: Compute) -> None:
    """One unit per bar: the line fits, the slope is 1 / close, every change is a gain, the last close is the top."""
    prices = 100.0 + np.arange(80)
    candles = _same(80).assign(open=prices, high=prices, low=prices, close=prices)
    last = compute(candles).iloc[-1]
    shown = {name: last[f"alpha_{name}_20"] for name in ("beta", "rsqr", "resi", "rank", "rsv", "imax", "imin", "sump")}
    expected = {"beta": 1 / 179, "rsqr": 1, "resi": 0, "rank": 1, "rsv": 1, "imax": 1, "imin": 1 / 20, "sump": 1}
    assert shown == pytest.approx(expected, abs=1e-12)
    assert last["alpha_qtld_5"] == pytest.approx((175 + 0.8) / 179, rel=1e-12)
    assert last["alpha_cntd_10"] == 1.0
    assert last["lag_close_59"] == 120 / 179


def test_no_value_sees_the_future(compute: Compute) -> None:
    candles = random_candles(200, seed=9, flat_share=0.1, silent_share=0.1)
    before = compute(candles)
    for row in (60, 99, 150):
        after = compute(with_new_future(candles, row, seed=row))
        pd.testing.assert_frame_equal(after.iloc[: row + 1], before.iloc[: row + 1], check_exact=True)
        assert not after.iloc[row + 1 :].equals(before.iloc[row + 1 :])


def test_values_do_not_depend_on_where_the_history_starts(compute: Compute) -> None:
    candles = random_candles(300, seed=10, flat_share=0.1, silent_share=0.1)
    whole, part = compute(candles), compute(candles.iloc[100:])
    pd.testing.assert_frame_equal(part.iloc[60:], whole.iloc[160:].set_axis(part.index[60:]), check_exact=True)


def test_values_are_free_of_price_and_volume_units(compute: Compute) -> None:
    candles = random_candles(200, seed=11, flat_share=0.1, silent_share=0.1)
    scaled = compute(rescaled(candles, price=3e-9, volume=7e8))
    pd.testing.assert_frame_equal(scaled, compute(candles), rtol=1e-9, atol=1e-9)
