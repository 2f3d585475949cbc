"""The skew audit: planted differences between serving and history are found, and none is where there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from ratchet.errors import InputError
from ratchet.features.audit.recomputing import recomputer
from ratchet.features.audit.served_log import ServedVector
from ratchet.features.audit.skew import Recompute, Share, SkewReport, audit_served
from ratchet.features.panel import latest_windows
from ratchet.features.sets import FeatureSet
from tests.candle_paths import HOUR, START_NS, random_candles, recorded_candles

_FEATURES = FeatureSet.base()
_WINDOW = 4
_N_BARS = 620
_ENDS = range(540, _N_BARS, 8)


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    """Two symbols with as many hourly bars each."""
    frames = [random_candles(_N_BARS, seed=seed, symbol=symbol) for seed, symbol in ((1, "BTC/USDT"), (2, "ETH/USDT"))]
    return pd.concat(frames, ignore_index=True)


@pytest.fixture(scope="module")
def served(candles: pd.DataFrame) -> list[ServedVector]:
    """What a writer that computes the newest window after every eighth bar would have had served."""
    return [vector for n_bars in _ENDS for vector in _publish(_first(candles, n_bars))]


def _first(candles: pd.DataFrame, n_bars: int) -> pd.DataFrame:
    return candles[candles["ts_event_ns"] < START_NS + n_bars * HOUR.ns]


def _publish(candles: pd.DataFrame) -> list[ServedVector]:
    windows = latest_windows(candles, _FEATURES, timeframe=HOUR, window=_WINDOW)
    return [_vector(symbol, ts_ns, values) for symbol, (ts_ns, values) in windows.items()]


def _vector(symbol: str, ts_ns: int, window: NDArray[np.float32]) -> ServedVector:
    digest = hashlib.sha256(window.tobytes()).hexdigest()
    return ServedVector("demo", "5c" * 32, symbol, ts_ns, ts_ns + HOUR.ns, "alpha", "v1.0.0", window[-1], digest)


def _audit(candles: pd.DataFrame, served: Sequence[ServedVector]) -> SkewReport:
    return audit_served(served, recomputer(candles, _FEATURES, HOUR), _FEATURES.names)


def test_what_history_gives_has_no_skew(candles: pd.DataFrame, served: list[ServedVector]) -> None:
    """Windows that were computed when their bar was the newest equal those computed from all of history."""
    report = _audit(candles, served)
    assert (report.verdict, report.alarm, report.n_unknown) == ("agrees", False, 0)
    assert (report.windows.n, report.windows.total, report.windows.low) == (0, 2 * len(_ENDS), 0.0)
    assert 0.1 < report.windows.high < 0.2
    assert all(feature.largest_difference == 0.0 for feature in report.features)


def test_a_shifted_feature_is_found(candles: pd.DataFrame, served: list[ServedVector]) -> None:
    """One feature of one window in twenty, off by a hundredth of a percent, is named and nothing else is."""
    column = _FEATURES.names.index("rsi_14")
    planted = [_altered(vector, column, 1.0001) if row == 7 else vector for row, vector in enumerate(served)]
    report = _audit(candles, planted)
    assert (report.verdict, report.alarm, report.windows.n) == ("skew", True, 1)
    (found,) = report.mismatched
    assert (found.name, found.n_mismatched, found.n_one_sided) == ("rsi_14", 1, 0)
    assert found.largest_difference is not None
    assert 1e-5 < found.largest_difference < 1.1e-4
    assert "| rsi_14 | 1 | 20 | 5.00% | 0 |" in report.to_markdown()


def _altered(vector: ServedVector, column: int, factor: float) -> ServedVector:
    values = vector.values.copy()
    values[column] *= factor
    return replace(vector, values=values)


def test_an_unfinished_bar_is_found(candles: pd.DataFrame) -> None:
    """A writer that took the newest bar half way through served features that the closed bar does not have."""
    planted = []
    for n_bars in _ENDS:
        seen = _first(candles, n_bars).copy()
        newest = seen["ts_event_ns"] == seen["ts_event_ns"].max()
        seen.loc[newest, "close"] = (seen.loc[newest, "open"] + seen.loc[newest, "close"]) / 2
        seen.loc[newest, "volume"] /= 2
        planted += _publish(seen)
    report = _audit(candles, planted)
    assert (report.verdict, report.windows.value) == ("skew", 1.0)
    wrong = {feature.name: feature.rate for feature in report.mismatched}
    assert wrong["log_return_1"] == wrong["volume_z_20"] == wrong["rsi_14"] == 1.0
    assert not {"open_gap", "time_of_day_sin", "parkinson_20"} & set(wrong)


def test_features_in_another_order_are_found(candles: pd.DataFrame, served: list[ServedVector]) -> None:
    """Two columns that changed places under the same schema hash are each recognised as the other."""
    first, second = (_FEATURES.names.index(name) for name in ("rsi_14", "adx_14"))
    order = np.arange(len(_FEATURES.names))
    order[[first, second]] = second, first
    report = _audit(candles, [replace(vector, values=vector.values[order]) for vector in served])
    assert report.alarm
    assert {(item.name, item.resembles) for item in report.mismatched} == {("rsi_14", "adx_14"), ("adx_14", "rsi_14")}


def test_what_history_does_not_reach_is_no_match(candles: pd.DataFrame, served: list[ServedVector]) -> None:
    """Bars after the end, in the warm-up, between two bars, or of another symbol are unknown, not right."""
    recompute = recomputer(candles, _FEATURES, HOUR)
    warm = START_NS + _FEATURES.warmup_bars * HOUR.ns
    assert recompute("demo", "BTC/USDT", warm) is not None
    for symbol, ts_ns in (
        ("BTC/USDT", warm - HOUR.ns),
        ("BTC/USDT", warm + 1),
        ("BTC/USDT", START_NS + _N_BARS * HOUR.ns),
        ("SOL/USDT", warm),
    ):
        assert recompute("demo", symbol, ts_ns) is None
    report = _audit(_first(candles, 560), served)
    assert (report.verdict, report.windows.total, report.n_unknown) == ("agrees", 6, len(served) - 6)
    report = _audit(candles[candles["symbol"] == "BTC/USDT"].head(100), served)
    assert (report.verdict, report.alarm, report.windows.total) == ("nothing compared", False, 0)


def test_features_whose_source_was_not_recorded_are_missing_on_both_sides(candles: pd.DataFrame) -> None:
    """A set with books can be audited; without a recording its book features are missing, served and recomputed."""
    core = FeatureSet.named("core")
    found = recomputer(candles, core, HOUR)("view", "BTC/USDT", int(candles["ts_event_ns"].max()))
    assert found is not None
    book = [item.source == "book" for item in core.definitions]
    assert np.isnan(found[book]).all()
    assert np.isfinite(found[[item.source == "bars" for item in core.definitions]]).all()


def test_recorded_candles_have_no_skew() -> None:
    """The same holds for a real market."""
    real = recorded_candles("BTC/USDT", n_bars=900)
    planted = [vector for n_bars in (600, 700, 800, 900) for vector in _publish(real.head(n_bars))]
    report = _audit(real, planted)
    assert (report.verdict, report.windows.n, report.windows.total) == ("agrees", 0, 4)


def _plain(
    left: NDArray[np.float64], right: NDArray[np.float64], *, tolerance: float = 1e-5, max_mismatch_rate: float = 1e-3
) -> SkewReport:
    """Compare rows as they are; row number = time."""
    vectors = [_vector("BTC/USDT", row, values[None]) for row, values in enumerate(left.astype(np.float32))]
    names = [f"f{column}" for column in range(left.shape[1])]
    return audit_served(vectors, _rows(right), names, tolerance=tolerance, max_mismatch_rate=max_mismatch_rate)


def _rows(values: NDArray[np.float64]) -> Recompute:
    table = values.astype(np.float32)
    return lambda _view, _symbol, row: table[row]


def test_missing_equals_missing_and_nothing_else() -> None:
    """NaN on both sides is agreement; on one side it is a difference without a size."""
    left, right = np.ones((10, 3)), np.ones((10, 3))
    left[:, 0] = right[:, 0] = np.nan
    left[4, 1], right[5, 1] = np.nan, np.nan
    report = _plain(left, right)
    both, one_sided, same = report.features
    assert (both.n_mismatched, both.largest_difference) == (0, None)
    assert (one_sided.n_mismatched, one_sided.n_one_sided, one_sided.largest_difference) == (2, 2, 0.0)
    assert same.n_mismatched == 0
    assert SkewReport.model_validate_json(report.model_dump_json()) == report


def test_differences_are_relative_to_the_usual_size_of_a_feature() -> None:
    """A small feature is judged as strictly as a large one, and a value near zero by its neighbours."""
    rng = np.random.default_rng(1)
    scale = np.array([1e-7, 1.0, 1e6])
    truth = rng.normal(size=(200, 3)) * scale
    truth[0] = scale * 1e-9
    off = truth.copy()
    off[0] += scale * 1e-7
    assert _plain(off, truth).windows.n == 0
    off[1] += scale * 1e-3
    assert [feature.n_mismatched for feature in _plain(off, truth).features] == [1, 1, 1]


def test_the_alarm_is_raised_above_the_rate() -> None:
    """One in a thousand is tolerated, two are not, by default."""
    truth = np.ones((1_000, 2))
    off = truth.copy()
    off[0, 1] = 2.0
    assert _plain(off, truth).verdict == "agrees"
    assert _plain(off, truth).windows.n == 1
    assert _plain(off, truth, max_mismatch_rate=0.0).alarm
    off[1, 1] = 2.0
    assert _plain(off, truth).alarm


def test_answers_from_one_window_are_one_observation() -> None:
    """A thousand answers on one wrong window are one window that differs, and a thousand answers."""
    good, bad = (np.full((1, 1), value, np.float32) for value in (1.0, 2.0))
    vectors = [_vector("BTC/USDT", 0, bad)] * 1_000 + [_vector("BTC/USDT", row, good) for row in range(1, 100)]
    report = audit_served(vectors, _rows(np.ones((100, 1))), ["f0"])
    assert (report.windows.n, report.windows.total) == (1, 100)
    assert (report.n_answers, report.n_answers_mismatched) == (1_099, 1_000)
    assert report.n_rewritten == 0


def test_a_bar_that_was_rewritten_after_use_is_counted() -> None:
    """Two windows of one bar, served by the same version, mean that what was stored changed."""
    first, second = np.ones((2, 1), np.float32), np.array([[5.0], [1.0]], np.float32)
    vectors = [_vector("BTC/USDT", 0, first), _vector("BTC/USDT", 0, second)]
    assert audit_served(vectors, _rows(np.ones((1, 1))), ["f0"]).n_rewritten == 1
    vectors[1] = replace(vectors[1], version="v1.1.0")
    assert audit_served(vectors, _rows(np.ones((1, 1))), ["f0"]).n_rewritten == 0


def test_vectors_of_another_schema_are_refused() -> None:
    """Vectors of another width or of several schemas cannot be compared by position."""
    vector = _vector("BTC/USDT", 0, np.ones((1, 2), np.float32))
    with pytest.raises(InputError, match=r"was served \(2,\) features of BTC/USDT, the schema has 1"):
        audit_served([vector], _rows(np.ones((1, 1))), ["f0"])
    with pytest.raises(InputError, match="of the schemas 000000000000, 5c5c5c5c5c5c"):
        audit_served([vector, replace(vector, schema_hash="00" * 32)], _rows(np.ones((1, 2))), ["f0", "f1"])


@pytest.mark.parametrize(("n", "total"), [(0, 10), (1, 10), (10, 10), (3, 7_000)])
def test_the_interval_is_wilsons(n: int, total: int) -> None:
    """It equals scipy's."""
    share, expected = Share.of(n, total), binomtest(n, total).proportion_ci(method="wilson")
    assert (share.low, share.high) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_is_known_of_nothing() -> None:
    """Without a single window the interval is everything."""
    share = Share.of(0, 0)
    assert (share.value, share.low, share.high) == (0.0, 0.0, 1.0)
