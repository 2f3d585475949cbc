"""The compiled formulas of the 67 candle-based features: equal to the vectorised oracle, exact, scale-free, finite."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ratchet.features.bars import Bars, FloatArray
from ratchet.features.catalogue.candle import CANDLE_FEATURES
from ratchet.features.catalogue.indicator import INDICATOR_FEATURES
from ratchet.features.catalogue.volatility import VOLATILITY_FEATURES
from ratchet.features.definitions import FeatureDefinition
from ratchet.features.kernel import candle, indicators, volatility
from ratchet.features.kernel.bars import N_FIELDS, push_bar
from ratchet.features.kernel.compiling import dispatcher, section
from tests.candle_paths import HOUR, START_NS, random_candles, recorded_candles, rescaled, with_new_future
from tests.oracles.bars import FORMULAS as ORACLE
from tests.oracles.bars.scaling import unit_scaled

FEATURES = (*CANDLE_FEATURES, *VOLATILITY_FEATURES, *INDICATOR_FEATURES)
WINDOWED = tuple(item for item in FEATURES if not item.is_recursive)
FORMULAS = (*candle.FORMULAS, *volatility.FORMULAS, *indicators.FORMULAS)
SLOTS = {**candle.SLOTS, **volatility.SLOTS, **indicators.SLOTS}
REGRESSIONS = {"linreg_slope_20", "forecast_distance_14"}
"""TA-Lib's sums of uncentred prices lose four digits, so here the oracle is trusted less and fractions are asked."""

_value = dispatcher(FORMULAS, "bars, end, n, p, s")


@section
def _run(
    operations: NDArray[np.int64],
    params: FloatArray,
    slot: NDArray[np.int64],
    slots: FloatArray,
    ring: FloatArray,
    close_ns: NDArray[np.int64],
    bars: FloatArray,
    out: FloatArray,
) -> None:
    for k in range(len(close_ns)):
        end = push_bar(ring, k, close_ns[k], bars[k])
        for i in range(len(operations)):
            memory = slots[slot[i] : slot[i + 1]]
            out[k, i] = _value(operations[i], ring, end, k + 1, params[i], memory)


def _step(bars: Bars, *, capacity: int = 202) -> dict[str, FloatArray]:
    """Feed bars one by one; return each feature's values, NaN in its warm-up."""
    places = {function.__name__: place for place, function in enumerate(FORMULAS)}
    params = np.zeros((len(FEATURES), 6))
    for row, item in enumerate(FEATURES):
        params[row, : len(item.params)] = [value for _, value in item.params]
    sizes = [_n_slots(item) for item in FEATURES]
    columns = np.stack((bars.open, bars.high, bars.low, bars.close, bars.volume), axis=1)
    out = np.full((len(bars), len(FEATURES)), np.nan)
    _run(
        np.array([places[item.formula] for item in FEATURES]),
        params,
        np.concatenate(([0], np.cumsum(sizes))),
        np.zeros(sum(sizes)),
        np.zeros((N_FIELDS, 2 * capacity)),
        bars.ts_ns + bars.timeframe_ns,
        np.ascontiguousarray(columns),
        out,
    )
    for column, item in enumerate(FEATURES):
        out[: item.warmup_bars, column] = np.nan
    return {item.name: out[:, column] for column, item in enumerate(FEATURES)}


def _n_slots(item: FeatureDefinition) -> int:
    size: Callable[[Sequence[float]], int] = SLOTS.get(item.formula, lambda _: 0)
    return size([value for _, value in item.params])


def _oracle(bars: Bars) -> dict[str, FloatArray]:
    scaled = unit_scaled(bars)
    return {item.name: ORACLE[item.formula](scaled, **dict(item.params)) for item in FEATURES}


def _bars(candles: pd.DataFrame) -> Bars:
    return Bars.from_frame(candles, HOUR)


def _on_grid(candles: pd.DataFrame, tick: float) -> pd.DataFrame:
    prices = ["open", "high", "low", "close"]
    return candles.assign(**{name: (candles[name] / tick).round() * tick for name in prices})


def _frozen(n_frozen: int, *, price: float = 1.0) -> pd.DataFrame:
    """Return a market that stops moving and trading for `n_frozen` bars, then wakes up."""
    lively, late = random_candles(700, seed=1), random_candles(700, seed=2)
    frozen = random_candles(n_frozen, seed=3, flat_share=1.0, silent_share=1.0)
    still = dict.fromkeys(("open", "high", "low", "close"), lively["close"].iloc[-1])
    joined = pd.concat([lively, frozen.assign(**still), late], ignore_index=True)
    joined["ts_event_ns"] = START_NS + np.arange(len(joined)) * HOUR.ns
    return rescaled(joined, price=price)


# --- what there is


def test_every_feature_has_a_formula_and_every_formula_is_used() -> None:
    names = [function.__name__ for function in FORMULAS]
    assert len(FEATURES) == 67
    assert len(set(names)) == len(names)
    assert set(names) == {item.formula for item in FEATURES}
    assert set(SLOTS) <= set(names)


# --- equality with the oracle

MARKETS: Mapping[str, Callable[[], pd.DataFrame]] = {
    "walk": lambda: random_candles(2500, seed=1),
    "often flat and silent": lambda: random_candles(2500, seed=2, flat_share=0.3, silent_share=0.3),
    "hardly moves or trades": lambda: random_candles(2500, seed=3, flat_share=0.95, silent_share=0.95),
    "never moves or trades": lambda: random_candles(800, seed=3, flat_share=1.0, silent_share=1.0),
    "never trades": lambda: random_candles(800, seed=4, silent_share=1.0),
    "coarse ticks": lambda: _on_grid(random_candles(2500, seed=5), 0.5),
    "ticks without a binary fraction": lambda: _on_grid(random_candles(2500, seed=6), 0.1),
    "cheap": lambda: rescaled(random_candles(2500, seed=7), price=1e-10),
    "dear": lambda: rescaled(random_candles(2500, seed=8), price=1e6, volume=1e-6),
    "jumps by orders of magnitude": lambda: with_new_future(random_candles(2500, seed=9), 0, seed=9),
    "recorded BTC": lambda: recorded_candles("BTC/USDT", n_bars=8000),
    "recorded SHIB": lambda: recorded_candles("SHIB/USDT", n_bars=8000),
    "recorded DOGE": lambda: recorded_candles("DOGE/USDT", n_bars=8000),
    "recorded with outages": lambda: recorded_candles("AXS/USDT", n_bars=8000, folder="spot_1h_with_outages"),
}


@pytest.mark.parametrize("market", MARKETS)
def test_bar_by_bar_gives_what_the_vectorised_formulas_give(market: str) -> None:
    """Windowed features to 1e-12, recursive ones to 1e-9, relative to the value or the feature's usual size."""
    bars = _bars(MARKETS[market]())
    ours, theirs = _step(bars), _oracle(bars)
    for item in FEATURES:
        expected = theirs[item.name][item.warmup_bars :]
        size = float(np.sqrt(np.mean(expected**2)))
        tolerance = 1e-9 if item.is_recursive or item.name in REGRESSIONS else 1e-12
        np.testing.assert_allclose(
            ours[item.name][item.warmup_bars :],
            expected,
            rtol=tolerance,
            atol=max(tolerance * size, 1e-14),  # on flat prices the oracle keeps some rounding where we have none
            err_msg=item.name,
        )


def test_regressions_agree_with_exact_fractions() -> None:
    bars = _bars(recorded_candles("BTC/USDT", n_bars=400))
    ours = _step(bars)
    for row in range(20, len(bars), 7):
        slope, _ = _regression(bars.close[row - 19 : row + 1])
        _, forecast = _regression(bars.close[row - 13 : row + 1])
        close = Fraction(float(bars.close[row]))
        assert ours["linreg_slope_20"][row] == pytest.approx(float(slope / close), rel=1e-12)
        assert ours["forecast_distance_14"][row] == pytest.approx(float(1 - forecast / close), rel=1e-12, abs=1e-16)


def _regression(closes: FloatArray) -> tuple[Fraction, Fraction]:
    """Return the slope and the next value of the least-squares line."""
    n, values = len(closes), [Fraction(float(close)) for close in closes]
    positions = [Fraction(2 * k - n + 1, 2) for k in range(n)]
    products = sum((k * value for k, value in zip(positions, values, strict=True)), Fraction())
    slope = products / sum((k * k for k in positions), Fraction())
    return slope, sum(values, Fraction()) / n + slope * (positions[-1] + 1)


# --- exactness


def test_a_windowed_value_is_the_same_to_the_bit_wherever_the_history_starts() -> None:
    candles = random_candles(900, seed=10, flat_share=0.1, silent_share=0.1)
    full = _step(_bars(candles))
    for start in (1, 137, 400):
        late = _step(_bars(candles.iloc[start:]))
        for item in WINDOWED:
            mine, its = late[item.name][item.warmup_bars :], full[item.name][start + item.warmup_bars :]
            assert mine.tobytes() == its.tobytes(), item.name


def test_values_do_not_depend_on_how_many_bars_are_kept() -> None:
    bars = _bars(random_candles(700, seed=11))
    wide, narrow = _step(bars, capacity=500), _step(bars, capacity=202)
    assert all(wide[name].tobytes() == narrow[name].tobytes() for name in wide)


@pytest.mark.parametrize("price", [2.0**-60, 2.0**40])
def test_a_power_of_two_in_the_price_changes_no_bit(price: float) -> None:
    candles = _frozen(900)
    expected, scaled = _step(_bars(candles)), _step(_bars(rescaled(candles, price=price)))
    assert all(scaled[name].tobytes() == expected[name].tobytes() for name in expected)


@pytest.mark.parametrize(("price", "volume"), [(10.0, 1.0), (1.0, 10.0), (1e-9, 1e9)])
def test_other_units_of_price_and_volume_change_no_feature(price: float, volume: float) -> None:
    candles = random_candles(1500, seed=12)
    expected, scaled = _step(_bars(candles)), _step(_bars(rescaled(candles, price=price, volume=volume)))
    for name, values in expected.items():
        np.testing.assert_allclose(scaled[name], values, rtol=1e-7, atol=1e-9, err_msg=name)


# --- neutral and finite values


@pytest.mark.parametrize("market", MARKETS)
def test_values_are_finite_as_soon_as_the_warm_up_is_over(market: str) -> None:
    values = _step(_bars(MARKETS[market]()))
    for item in FEATURES:
        assert np.isfinite(values[item.name][item.warmup_bars :]).all(), item.name


def test_flat_bars_without_volume_give_exactly_the_neutral_value() -> None:
    values = _step(_bars(random_candles(700, seed=13, flat_share=1.0, silent_share=1.0)))
    half = {"percent_b_20", "stochastic_k", "stochastic_d", "stochastic_rsi_k", "stochastic_rsi_d"}
    half |= {"ultimate_oscillator", "donchian_position_20"}
    exponential = {"macd_line", "macd_signal", "macd_histogram", "trix_15", "ema_ratio_9", "ema_ratio_21"}
    exponential |= {"ema_ratio_50", "ema_ratio_200"}
    for item in FEATURES:
        if item.name.startswith("time_of_day"):
            continue
        expected = 0.5 if item.name in half else -0.5 if item.name == "williams_r_14" else 0.0
        # The mean that seeds an exponential mean may differ from equal prices by a rounding.
        tolerance = 1e-12 if item.name in exponential else 0.0
        np.testing.assert_allclose(values[item.name][item.warmup_bars :], expected, atol=tolerance, err_msg=item.name)


@pytest.mark.parametrize("price", [1.0, 1e-10, 1e8])
def test_a_market_that_froze_has_no_strength_at_any_price_level(price: float) -> None:
    values = _step(_bars(_frozen(2000, price=price)))
    last_frozen = 2699
    for name in ("rsi_7", "rsi_14", "rsi_28", "kama_ratio_10", "obv_slope_20", "skewness_60", "kurtosis_60"):
        assert values[name][last_frozen] == pytest.approx(0.0, abs=1e-12), name
    assert values["stochastic_rsi_k"][last_frozen] == 0.5
    woken = np.stack([values[item.name][500:] for item in FEATURES])
    assert np.isfinite(woken).all()
    assert np.abs(woken).max() < 60  # the kurtosis of a single move among 60 is 56
