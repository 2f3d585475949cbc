"""The 67 features: what they are, that they are finite and scale-free, and that they agree with other sources."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import talib

from ratchet.errors import ConfigurationError, InputError
from ratchet.features.bars import Bars, FloatArray, run_length
from ratchet.features.definitions import FeatureDefinition, define
from ratchet.features.kernel.program import compile_program
from ratchet.features.sets import DEFINITIONS, FeatureSet
from tests.candle_paths import HOUR, START_NS, random_candles, recorded_candles, rescaled, with_new_future, without_rows
from tests.kernel_columns import compute, kernel_columns
from tests.oracles.bars import FORMULAS

FEATURES = FeatureSet.base()
BASE_SET = DEFINITIONS["base"]
RECURSIVE = tuple(item for item in BASE_SET if item.is_recursive)
WINDOWED = tuple(item for item in BASE_SET if not item.is_recursive)


def _bars(candles: pd.DataFrame) -> Bars:
    return Bars.from_frame(candles, HOUR)


def _raw(item: FeatureDefinition, bars: Bars) -> FloatArray:
    return FORMULAS[item.formula](bars, **dict(item.params))


# --- the registry


def test_the_sets_have_the_promised_counts() -> None:
    counts = {name: len(features) for name, features in DEFINITIONS.items()}
    assert counts == {"base": 67, "graph": 90, "core": 110, "full": 361, "alpha158": 158, "alpha360": 360}
    families = Counter(item.family for item in DEFINITIONS["full"])
    assert families == {
        "candle": 19,
        "volatility": 9,
        "indicator": 39,
        "book": 28,
        "trade": 15,
        "alpha": 145,
        "depth": 40,
        "flow": 30,
        "graph": 24,
        "derivative": 12,
    }


def test_every_feature_of_every_set_is_described_and_can_be_computed() -> None:
    for name, features in DEFINITIONS.items():
        compile_program(features, HOUR.ns, every_event=True)
        for item in features:
            assert item.unit, item.name
            assert item.inputs, item.name
            assert item.description.endswith("."), item.name
        assert len(FeatureSet.named(name).schema_hash) == 64
    assert len({FeatureSet.named(name).schema_hash for name in DEFINITIONS}) == len(DEFINITIONS)


def test_the_base_set_has_19_candle_9_volatility_and_39_indicator_features() -> None:
    assert Counter(item.family for item in BASE_SET) == {"candle": 19, "volatility": 9, "indicator": 39}
    assert len(set(FEATURES.names)) == len(BASE_SET) == 67


def test_every_definition_says_what_it_is() -> None:
    for item in BASE_SET:
        assert item.unit, item.name
        assert item.description.endswith("."), item.name
        assert item.inputs, item.name
        assert set(item.inputs) <= {"ts_event_ns", "open", "high", "low", "close", "volume"}, item.name
        assert item.revision >= 1, item.name
        assert len(item.version) == 12, item.name
        assert item.owner, item.name
        assert item.warmup_bars >= 0, item.name


def test_every_formula_is_used_by_a_feature() -> None:
    assert {item.formula for item in BASE_SET} == set(FORMULAS)


@pytest.mark.parametrize("item", BASE_SET, ids=lambda item: item.name)
def test_a_feature_depends_on_its_declared_inputs_and_on_no_other(item: FeatureDefinition) -> None:
    bars = _bars(random_candles(620, seed=3))
    other = _bars(random_candles(620, seed=4))
    names = ("ts_ns", "open", "high", "low", "close", "volume")
    declared = {"ts_ns" if name == "ts_event_ns" else name for name in item.inputs}
    columns = {name: getattr(bars if name in declared else other, name) for name in names}
    columns["ts_ns"] = bars.ts_ns if "ts_ns" in declared else bars.ts_ns + 7 * HOUR.ns
    mixed = Bars(symbol="X/Y", timeframe_ns=HOUR.ns, **columns)
    alone = FeatureSet("alone", (item,))
    ours, theirs = (kernel_columns(alone, one, with_warmup=True)[item.name] for one in (mixed, bars))
    assert ours.tobytes() == theirs.tobytes()


def test_the_schema_hash_changes_with_order_params_and_version_and_with_nothing_else() -> None:
    first, second, *rest = BASE_SET
    changed = [
        (second, first, *rest),
        BASE_SET[:-1],
        (_with(first, revision=2), second, *rest),
        (_with(first, params=(("period", 2),)), second, *rest),
        (_with(first, warmup_bars=9), second, *rest),
    ]
    hashes = {FeatureSet("base", definitions).schema_hash for definitions in changed}
    assert len(hashes | {FEATURES.schema_hash}) == len(changed) + 1
    assert (
        FeatureSet("other", (_with(first, description="New words."), second, *rest)).schema_hash == FEATURES.schema_hash
    )


def test_a_set_with_a_repeated_name_or_an_unknown_formula_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="twice"):
        FeatureSet("double", (BASE_SET[0], BASE_SET[0]))
    with pytest.raises(ConfigurationError, match="astrology"):
        compile_program((_with(BASE_SET[0], formula="astrology"),), HOUR.ns, every_event=False)
    with pytest.raises(ConfigurationError, match="base, graph"):
        FeatureSet.named("astrology")


def test_importing_the_package_loads_neither_pandas_nor_talib() -> None:
    modules = "ratchet.features, ratchet.features.definitions, ratchet.features.sets"
    code = f"import sys, {modules}; print({{'numba', 'pandas', 'talib', 'scipy', 'sklearn'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- warm-up


def _assert_complete_after_warmup(candles: pd.DataFrame) -> None:
    values = compute(FEATURES, candles)
    assert values.dtype == np.float32
    assert values.shape == (len(candles), 67)
    for item, column in zip(BASE_SET, values.T, strict=True):
        assert np.isnan(column[: item.warmup_bars]).all(), f"{item.name} has a value in its warm-up"
        assert np.isfinite(column[item.warmup_bars :]).all(), f"{item.name} is not finite after its warm-up"
    assert np.isfinite(values[FEATURES.warmup_bars :]).all()


@pytest.mark.parametrize(("flat_share", "silent_share"), [(0.0, 0.0), (0.3, 0.3), (0.95, 0.95), (1.0, 1.0), (0.0, 1.0)])
def test_random_candles_give_nan_in_the_warmup_and_finite_values_after_it(
    flat_share: float, silent_share: float
) -> None:
    _assert_complete_after_warmup(random_candles(900, seed=11, flat_share=flat_share, silent_share=silent_share))


@pytest.mark.parametrize("symbol", ["BTC/USDT", "SHIB/USDT", "DOGE/USDT"])
def test_recorded_candles_give_nan_in_the_warmup_and_finite_values_after_it(symbol: str) -> None:
    _assert_complete_after_warmup(recorded_candles(symbol, n_bars=5000))


def test_recorded_candles_with_outages_give_finite_values_after_the_warmup() -> None:
    _assert_complete_after_warmup(recorded_candles("AXS/USDT", n_bars=5000, folder="spot_1h_with_outages"))


@pytest.mark.parametrize("seed", range(5))
def test_prices_and_volumes_that_jump_by_orders_of_magnitude_give_finite_values(seed: int) -> None:
    _assert_complete_after_warmup(with_new_future(random_candles(700, seed=seed), 0, seed=seed))


@pytest.mark.parametrize("n_frozen", [300, 2000])
def test_a_market_that_freezes_and_wakes_up_stays_finite_and_bounded(n_frozen: int) -> None:
    lively, late = random_candles(900, seed=1), random_candles(900, seed=2)
    last = lively["close"].iloc[-1]
    frozen = random_candles(n_frozen, seed=3, flat_share=1.0, silent_share=1.0)
    for name in ("open", "high", "low", "close"):
        frozen[name] = last
    joined = pd.concat([lively, frozen, late], ignore_index=True)
    joined["ts_event_ns"] = START_NS + np.arange(len(joined)) * HOUR.ns
    values = compute(FEATURES, joined)[FEATURES.warmup_bars :]
    assert np.isfinite(values).all()
    assert np.abs(values).max() < 60  # the kurtosis of a single move among 60 is 56


def test_flat_bars_without_volume_give_the_neutral_value_of_each_feature() -> None:
    candles = random_candles(700, seed=5, flat_share=1.0, silent_share=1.0)
    neutral = {"percent_b_20", "stochastic_k", "stochastic_d", "stochastic_rsi_k", "stochastic_rsi_d"}
    neutral |= {"ultimate_oscillator", "donchian_position_20"}
    for name, column in kernel_columns(FEATURES, _bars(candles)).items():
        if name.startswith("time_of_day"):
            continue
        expected = 0.5 if name in neutral else -0.5 if name == "williams_r_14" else 0.0
        np.testing.assert_allclose(column[-1], expected, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("item", WINDOWED, ids=lambda item: item.name)
def test_the_warmup_of_a_windowed_feature_is_exactly_its_window(item: FeatureDefinition) -> None:
    raw = _raw(item, _bars(random_candles(300, seed=8)))
    assert np.isnan(raw[: item.warmup_bars]).all()
    assert np.isfinite(raw[item.warmup_bars :]).all()


def test_windowed_features_do_not_depend_on_where_the_history_starts() -> None:
    candles = random_candles(900, seed=9)
    full, late = kernel_columns(FEATURES, _bars(candles)), kernel_columns(FEATURES, _bars(candles.iloc[400:]))
    for item in WINDOWED:
        np.testing.assert_allclose(
            late[item.name][item.warmup_bars :],
            full[item.name][400 + item.warmup_bars :],
            rtol=1e-9,
            atol=1e-11,
            err_msg=item.name,
        )


@pytest.mark.parametrize("source", ["random", "recorded"])
def test_recursive_features_hardly_depend_on_where_the_history_starts_once_warm(source: str) -> None:
    recorded = source == "recorded"
    candles = recorded_candles("SOL/USDT", n_bars=3000) if recorded else random_candles(3000, seed=10)
    full = kernel_columns(FEATURES, _bars(candles))
    for start in range(300, 2000, 250):
        late = kernel_columns(FEATURES, _bars(candles.iloc[start : start + 700]))
        for item in RECURSIVE:
            error = np.abs(late[item.name] - full[item.name][start : start + 700]) / np.nanstd(full[item.name])
            assert error[item.warmup_bars :].max() < 0.25, f"{item.name} has not forgotten its start"
            assert error[FEATURES.warmup_bars :].max() < 0.05, f"{item.name} has not forgotten its start"


# --- scale


@pytest.mark.parametrize("source", ["random", "recorded"])
def test_ten_times_the_prices_or_the_volumes_change_no_feature(source: str) -> None:
    candles = recorded_candles("ADA/USDT", n_bars=2000) if source == "recorded" else random_candles(2000, seed=12)
    expected = compute(FEATURES, candles)
    for changed in (rescaled(candles, price=10.0), rescaled(candles, volume=10.0)):
        np.testing.assert_allclose(compute(FEATURES, changed), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("price", [2.0**-60, 2.0**40])
def test_features_of_very_cheap_and_very_dear_assets_are_the_same_to_the_bit(price: float) -> None:
    candles = random_candles(700, seed=13)
    expected = compute(FEATURES, candles)
    assert compute(FEATURES, rescaled(candles, price=price)).tobytes() == expected.tobytes()


# --- agreement with TA-Lib


def _talib_values(bars: Bars) -> dict[str, FloatArray]:
    o, h, l, c, v = bars.open, bars.high, bars.low, bars.close, bars.volume  # noqa: E741
    upper, middle, lower = talib.BBANDS(c, 20, 2.0, 2.0)
    slow_k, slow_d = talib.STOCH(h, l, c, 14, 3, 0, 3, 0)
    rsi_k, rsi_d = talib.STOCHRSI(c, 14, 14, 3, 0)
    typical = talib.TYPPRICE(h, l, c)
    return {
        "rsi_7": talib.RSI(c, 7) / 50 - 1,
        "rsi_14": talib.RSI(c, 14) / 50 - 1,
        "rsi_28": talib.RSI(c, 28) / 50 - 1,
        "percent_b_20": (c - lower) / (upper - lower),
        "bandwidth_20": (upper - lower) / middle,
        "adx_14": talib.ADX(h, l, c, 14) / 100,
        "plus_di_14": talib.PLUS_DI(h, l, c, 14) / 100,
        "minus_di_14": talib.MINUS_DI(h, l, c, 14) / 100,
        "cci_20": talib.CCI(h, l, c, 20) / 100,
        "stochastic_k": slow_k / 100,
        "stochastic_d": slow_d / 100,
        "stochastic_rsi_k": rsi_k / 100,
        "stochastic_rsi_d": rsi_d / 100,
        "williams_r_14": talib.WILLR(h, l, c, 14) / 100,
        "mfi_14": talib.MFI(h, l, c, v, 14) / 50 - 1,
        "ultimate_oscillator": talib.ULTOSC(h, l, c, 7, 14, 28) / 100,
        "obv_slope_20": talib.LINEARREG_SLOPE(talib.OBV(c, v), 20) / talib.SMA(v, 20),
        "chaikin_oscillator": talib.ADOSC(h, l, c, v, 3, 10) / talib.EMA(v, 20),
        "sma_ratio_50": c / talib.SMA(c, 50) - 1,
        "donchian_position_20": (c - talib.MIN(l, 20)) / (talib.MAX(h, 20) - talib.MIN(l, 20)),
        "vwap_distance_60": c * talib.SUM(v, 60) / talib.SUM(typical * v, 60) - 1,
        "close_to_close_20": talib.STDDEV(np.log(c[1:] / c[:-1]), 20) * np.sqrt(20 / 19),
        "body_ratio": talib.BOP(o, h, l, c),
    }


@pytest.mark.parametrize("source", ["random", "recorded"])
def test_own_formulas_agree_with_talib(source: str) -> None:
    candles = recorded_candles("BTC/USDT", n_bars=1500) if source == "recorded" else random_candles(1500, seed=14)
    bars = _bars(candles)
    ours = kernel_columns(FEATURES, bars)
    for name, theirs in _talib_values(bars).items():
        np.testing.assert_allclose(ours[name][600:], theirs[-900:], rtol=1e-6, atol=1e-7, err_msg=name)


# --- agreement with definitions written out


def test_candle_features_of_a_hand_made_bar() -> None:
    """One bar 100 -> 104, high 106, low 96, after a close of 99."""
    candles = random_candles(2, seed=0)
    candles.loc[0, ["open", "high", "low", "close"]] = [99.0, 99.0, 99.0, 99.0]
    candles.loc[1, ["open", "high", "low", "close"]] = [100.0, 106.0, 96.0, 104.0]
    values = {name: column[1] for name, column in kernel_columns(FEATURES, _bars(candles)).items()}
    expected = {
        "log_return_1": np.log(104 / 99),
        "range_ratio": 10 / 104,
        "body_ratio": 0.4,
        "upper_wick": 0.2,
        "lower_wick": 0.4,
        "close_location": 0.6,
        "open_gap": np.log(100 / 99),
        "time_of_day_sin": np.sin(2 * np.pi * 2 / 24),
        "time_of_day_cos": np.cos(2 * np.pi * 2 / 24),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(values[name], value, rtol=1e-12, err_msg=name)


def test_window_statistics_agree_with_pandas() -> None:
    candles = random_candles(400, seed=15)
    returns = pd.Series(np.log(candles["close"] / candles["close"].shift(1)))
    volume = candles["volume"].rolling(20)
    n = 60
    expected = {
        "volume_z_20": (candles["volume"] - volume.mean()) / volume.std(ddof=0),
        "close_to_close_60": returns.rolling(60).std(),
        "skewness_60": returns.rolling(n).skew() * (n - 2) / np.sqrt(n * (n - 1)),
        "kurtosis_60": (returns.rolling(n).kurt() * (n - 2) * (n - 3) / (n - 1) - 6) / (n + 1),
        "drawdown_60": candles["close"] / candles["close"].rolling(60).max() - 1,
        "ewma_94": np.sqrt((returns**2).ewm(alpha=0.06).mean()),
        "log_dollar_volume": np.log(
            candles["close"] * candles["volume"] / (candles["close"] * candles["volume"]).rolling(200).mean()
        ),
    }
    ours = kernel_columns(FEATURES, _bars(candles))
    for name, series in expected.items():
        np.testing.assert_allclose(ours[name][210:], series.to_numpy()[210:], rtol=1e-7, atol=1e-9, err_msg=name)


# --- volatility estimators on a geometric Brownian motion of known variance


def _simulated_days(n_days: int, n_steps: int, sigma: float, *, seed: int, jump: float = 0.0) -> Bars:
    """Return daily bars of a driftless Brownian motion observed at `n_steps` steps, opening jumps on demand."""
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(10):
        steps = rng.standard_normal((n_days // 10, n_steps), dtype=np.float32) * np.float32(sigma / np.sqrt(n_steps))
        path = np.cumsum(steps, axis=1, dtype=np.float32)
        parts.append(np.stack((np.maximum(path.max(1), 0), np.minimum(path.min(1), 0), path[:, -1]), axis=1))
    high, low, move = np.concatenate(parts).astype(np.float64).T
    jumps = jump * rng.standard_normal(n_days)
    start = np.cumsum(jumps) + np.concatenate(([0.0], np.cumsum(move)[:-1]))
    prices = {"open": start, "high": start + high, "low": start + low, "close": start + move}
    return Bars(
        symbol="GBM/USDT",
        timeframe_ns=HOUR.ns,
        ts_ns=START_NS + np.arange(n_days) * HOUR.ns,
        volume=np.ones(n_days),
        **{name: np.exp(values) for name, values in prices.items()},
    )


def test_range_estimators_are_nearly_unbiased_and_as_efficient_as_published() -> None:
    """Known, on 20,000 days of 1,000 steps: mean 0.953, 0.936, 0.936 of the variance; efficiency 5.2, 8.1, 6.4."""
    sigma = 0.02
    bars = _simulated_days(20_000, 1_000, sigma, seed=16)
    squared_return = np.log(bars.close / bars.open) ** 2
    assert squared_return.mean() / sigma**2 == pytest.approx(1.0, abs=0.03)
    bands = {"parkinson": (0.953, 4.5, 6.0), "garman_klass": (0.936, 6.5, 9.0), "rogers_satchell": (0.936, 5.5, 7.3)}
    deviations = kernel_columns(_estimators(dict.fromkeys(bands, 1)), bars)
    for name, (mean, least, most) in bands.items():
        variance = deviations[name] ** 2
        assert variance.mean() / sigma**2 == pytest.approx(mean, abs=0.02), name
        assert least < squared_return.var() / variance.var() < most, name


def test_yang_zhang_sees_the_opening_jumps_and_beats_close_to_close() -> None:
    sigma, jump = 0.02, 0.01
    bars = _simulated_days(20_000, 100, sigma, seed=17, jump=jump)
    total = sigma**2 + jump**2
    ours = kernel_columns(_estimators({"yang_zhang": 20, "close_to_close": 20, "parkinson": 20}), bars)
    yang_zhang = ours["yang_zhang"][20::20] ** 2
    close_to_close = ours["close_to_close"][20::20] ** 2
    assert yang_zhang.mean() / total == pytest.approx(1.0, abs=0.12)
    assert close_to_close.mean() / total == pytest.approx(1.0, abs=0.03)
    assert close_to_close.var() / yang_zhang.var() > 3.0
    assert ours["parkinson"][20:].mean() < 0.95 * np.sqrt(total)


def _estimators(periods: dict[str, int]) -> FeatureSet:
    """Return volatility estimators over the given numbers of bars."""
    return FeatureSet(
        "estimators",
        tuple(
            define(name, "open high low close", period - 1, "", "", family="volatility", source="bars", period=period)
            for name, period in periods.items()
        ),
    )


# --- refusals


def test_candles_that_validation_would_reject_are_refused_by_symbol_and_time() -> None:
    candles = random_candles(50, seed=18)
    broken = {"close": np.nan, "low": 0.0, "open": -1.0, "high": np.inf, "volume": -1.0}
    for column, value in broken.items():
        frame = candles.copy()
        frame.loc[7, column] = value
        with pytest.raises(InputError, match=r"BTC/USDT: 1 bars have .* first 2024-01-01T07:00:00Z"):
            compute(FEATURES, frame)


def test_unsorted_repeated_or_mixed_candles_are_refused() -> None:
    candles = random_candles(50, seed=19)
    for frame in (candles.iloc[::-1], pd.concat([candles, candles.tail(1)])):
        with pytest.raises(InputError, match="does not increase"):
            compute(FEATURES, frame)
    with pytest.raises(InputError, match="ETH/USDT"):
        compute(FEATURES, pd.concat([candles, random_candles(5, seed=1, symbol="ETH/USDT")]))


@pytest.mark.parametrize("n_bars", [0, 1, 2, 21, 61])
def test_a_short_history_gives_nan_where_the_warmup_is_longer(n_bars: int) -> None:
    values = compute(FEATURES, random_candles(61, seed=20).head(n_bars))
    assert values.shape == (n_bars, 67)
    for item, column in zip(BASE_SET, values.T, strict=True):
        assert np.isfinite(column[item.warmup_bars :]).all()
        assert np.isnan(column[: item.warmup_bars]).all()


# --- steps and runs


def test_run_length_counts_what_a_loop_counts() -> None:
    is_true = np.random.default_rng(21).random(500) < 0.7
    count, expected = 0, []
    for value in is_true:
        count = count + 1 if value else 0
        expected.append(count)
    assert run_length(is_true).tolist() == expected
    assert run_length(np.array([], dtype=bool)).tolist() == []


def test_steps_restart_after_each_gap() -> None:
    candles = without_rows(random_candles(10, seed=22), [3, 4, 8])
    assert _bars(candles).steps().tolist() == [0, 1, 2, 0, 1, 2, 0]


def _with(item: FeatureDefinition, **changes: object) -> FeatureDefinition:
    values = {name: getattr(item, name) for name in FeatureDefinition.__dataclass_fields__}
    return FeatureDefinition(**{**values, **changes})
