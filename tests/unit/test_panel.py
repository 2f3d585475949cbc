"""The panel: which samples exist, what their windows hold, and how a panel is stored."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import ArtifactError, InputError
from ratchet.features.labels import label_horizon
from ratchet.features.panel import Panel, PanelRef, build_panel, latest_windows, load_panel, save_panel
from ratchet.features.sets import FeatureSet
from tests.candle_paths import HOUR, random_candles, recorded_candles, without_rows
from tests.kernel_columns import compute

FEATURES = FeatureSet.base()
QUICK = FeatureSet("quick", tuple(item for item in FEATURES.definitions if item.warmup_bars <= 20))
SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
HORIZON, WINDOW = 4, 16


def _market(n_bars: int, *, seed: int = 0) -> pd.DataFrame:
    paths = [random_candles(n_bars, seed=seed + i, symbol=symbol) for i, symbol in enumerate(SYMBOLS)]
    return pd.concat(paths, ignore_index=True)


def _panel(candles: pd.DataFrame, features: FeatureSet = QUICK, *, window: int = WINDOW) -> Panel:
    return build_panel(candles, features, timeframe=HOUR, horizon=HORIZON, window=window, round_trip_bps=10.0)


@pytest.fixture(scope="module")
def panel() -> Panel:
    return _panel(_market(120))


# --- samples


def test_the_panel_has_the_promised_shapes_and_dtypes(panel: Panel) -> None:
    n = len(panel)
    assert n == 3 * (120 - QUICK.warmup_bars - WINDOW - HORIZON + 1)
    assert panel.features.shape == (360, len(QUICK.names))
    dtypes = {
        "features": "float32",
        "row_ts_ns": "int64",
        "end_row": "int64",
        "symbol_id": "int16",
        "ts_ns": "int64",
        "t1_ns": "int64",
        "label": "int8",
        "ret": "float64",
        "band": "float64",
        "last_return": "float32",
    }
    for name, dtype in dtypes.items():
        array = getattr(panel, name)
        assert array.dtype == dtype, name
        assert len(array) == (360 if name in {"features", "row_ts_ns"} else n), name
    assert panel.symbols == SYMBOLS
    assert panel.feature_names == QUICK.names
    assert panel.schema_hash == QUICK.schema_hash
    assert (panel.timeframe, panel.horizon, panel.window) == ("1h", HORIZON, WINDOW)


def test_samples_are_sorted_by_time_and_then_by_symbol(panel: Panel) -> None:
    keys = list(zip(panel.ts_ns.tolist(), panel.symbol_id.tolist(), strict=True))
    assert keys == sorted(set(keys))


def test_a_window_is_the_features_of_the_past_bars_of_its_own_symbol_and_nothing_else() -> None:
    candles = without_rows(_market(150), [40, 200, 201])
    panel = _panel(candles)
    windows = panel.windows(np.arange(len(panel)))
    assert windows.dtype == np.float32
    assert windows.shape == (len(panel), WINDOW, len(QUICK.names))
    by_symbol = {symbol: group.reset_index(drop=True) for symbol, group in candles.groupby("symbol")}
    features = {symbol: compute(QUICK, group) for symbol, group in by_symbol.items()}
    for sample, window in enumerate(windows):
        symbol = panel.symbols[panel.symbol_id[sample]]
        times = by_symbol[symbol]["ts_event_ns"].to_numpy()
        is_past = times + HOUR.ns <= panel.decision_ns[sample]
        assert window.tobytes() == features[symbol][is_past][-WINDOW:].tobytes()


@pytest.mark.parametrize("name", ["graph", "alpha158", "alpha360"])
def test_every_set_of_candles_gives_a_panel(name: str) -> None:
    candles = pd.concat([random_candles(640, seed=n, symbol=symbol) for n, symbol in enumerate(SYMBOLS)])
    features = FeatureSet.named(name)
    found = _panel(candles, features)
    assert found.schema_hash == features.schema_hash
    assert np.isfinite(found.windows(np.arange(len(found)))).all()
    windows = latest_windows(candles, features, timeframe=HOUR, window=WINDOW)
    assert set(windows) == set(SYMBOLS)


def test_a_symbol_that_is_listed_later_does_not_take_the_others_samples_away() -> None:
    young = random_candles(640, seed=3, symbol="SOL/USDT").iloc[60:]
    old = [random_candles(640, seed=n, symbol=symbol) for n, symbol in enumerate(SYMBOLS[:2])]
    graph = FeatureSet.named("graph")
    both = _panel(pd.concat([*old, young]), graph)
    alone = _panel(pd.concat(old), graph)
    assert np.sum(both.symbol_id < 2) == len(alone)


def test_a_set_whose_books_were_not_recorded_is_refused_and_not_filled_with_zeros() -> None:
    candles = random_candles(640, seed=1, symbol="BTC/USDT")
    with pytest.raises(InputError, match=r"BTC/USDT: 43 of 110 features .* no book and no trades"):
        _panel(candles, FeatureSet.named("core"))
    assert latest_windows(candles, FeatureSet.named("core"), timeframe=HOUR, window=WINDOW) == {}


def test_no_row_of_a_window_is_later_than_the_decision_bar(panel: Panel) -> None:
    rows = panel.end_row[:, None] + np.arange(1 - WINDOW, 1)
    times = panel.row_ts_ns[rows]
    assert (times[:, -1] == panel.ts_ns).all()
    assert (np.diff(times, axis=1) == HOUR.ns).all()
    assert (panel.decision_ns == panel.ts_ns + HOUR.ns).all()
    assert (panel.t1_ns == panel.decision_ns + HORIZON * HOUR.ns).all()


def test_outcomes_are_those_of_the_labels_and_the_last_return_is_the_decision_bars_own() -> None:
    candles = _market(150, seed=5)
    panel = _panel(candles)
    for symbol_id, symbol in enumerate(SYMBOLS):
        own = candles[candles["symbol"] == symbol].reset_index(drop=True)
        labels = label_horizon(own, HORIZON, HOUR, 10.0)
        mine = panel.symbol_id == symbol_id
        row = np.searchsorted(own["ts_event_ns"].to_numpy(), panel.ts_ns[mine])
        for name in ("label", "ret", "band", "t1_ns"):
            assert getattr(panel, name)[mine].tolist() == getattr(labels, name)[row].tolist(), name
        last = (own["close"] / own["open"] - 1).to_numpy(dtype=np.float32)[row]
        assert panel.last_return[mine].tolist() == last.tolist()


def test_windows_are_copies_in_the_order_asked_for(panel: Panel) -> None:
    index = np.array([7, 3, 3], dtype=np.int64)
    windows = panel.windows(index)
    assert windows[1].tobytes() == windows[2].tobytes() == panel.windows(np.array([3]))[0].tobytes()
    windows[:] = 0
    assert panel.windows(index).any()


def test_a_gap_inside_the_window_or_the_horizon_excludes_the_sample() -> None:
    gap = 60
    full = _panel(random_candles(120, seed=1))
    cut = _panel(without_rows(random_candles(120, seed=1), [gap]))
    start_ns = full.row_ts_ns[0]
    decisions = set(((full.ts_ns - start_ns) // HOUR.ns).tolist())
    kept = set(((cut.ts_ns - start_ns) // HOUR.ns).tolist())
    assert decisions - kept == set(range(gap - HORIZON, gap + WINDOW))
    assert kept < decisions


def test_recorded_candles_with_outages_give_samples_without_gaps() -> None:
    candles = recorded_candles("AXS/USDT", n_bars=6000, folder="spot_1h_with_outages")
    assert (np.diff(candles["ts_event_ns"]) != HOUR.ns).any()
    panel = _panel(candles, FEATURES, window=64)
    rows = panel.end_row[:, None] + np.arange(-63, HORIZON + 1)
    assert (np.diff(panel.row_ts_ns[rows], axis=1) == HOUR.ns).all()
    assert np.isfinite(panel.windows(np.arange(len(panel)))).all()
    assert np.isfinite(panel.ret).all()


def test_the_order_of_the_candles_rows_does_not_matter(panel: Panel) -> None:
    shuffled = _market(120).sample(frac=1.0, random_state=1)
    _assert_same(_panel(shuffled), panel)


# --- refusals


def test_a_history_of_ten_rows_is_refused_with_symbol_bars_there_and_bars_needed() -> None:
    candles = pd.concat([_market(600), random_candles(10, seed=9, symbol="XRP/USDT")])
    with pytest.raises(InputError) as caught:
        _panel(candles, FEATURES, window=64)
    assert str(caught.value) == (
        "history too short: XRP/USDT has 10 bars; 568 are needed (warm-up 500 + window 64 + horizon 4)"
    )
    with pytest.raises(InputError, match="XRP/USDT has 10 bars; 564 are needed"):
        latest_windows(candles, FEATURES, timeframe=HOUR, window=64)


def test_the_bars_needed_are_exactly_enough_for_one_sample() -> None:
    needed = QUICK.warmup_bars + WINDOW + HORIZON
    assert len(_panel(random_candles(needed, seed=2))) == 1
    with pytest.raises(InputError, match=f"has {needed - 1} bars; {needed} are needed"):
        _panel(random_candles(needed - 1, seed=2))


def test_every_short_symbol_is_named() -> None:
    with pytest.raises(InputError, match="BTC/USDT has 10 bars, ETH/USDT has 10 bars, SOL/USDT has 10 bars; 40 are"):
        _panel(_market(10))


def test_a_history_that_gaps_leave_without_samples_is_refused() -> None:
    candles = without_rows(random_candles(200, seed=3), list(range(0, 200, 15)))
    with pytest.raises(
        InputError, match=r"gaps leave no sample: BTC/USDT has 186 bars, but .* never 20 in a row at steps of 1h"
    ):
        _panel(candles)


def test_missing_columns_no_rows_and_empty_windows_are_refused() -> None:
    candles = _market(100)
    with pytest.raises(InputError, match="lack the column low, volume"):
        _panel(candles.drop(columns=["low", "volume"]))
    with pytest.raises(InputError, match="no candles"):
        _panel(candles.head(0))
    with pytest.raises(InputError, match="window must be at least one bar"):
        _panel(candles, window=0)
    with pytest.raises(InputError, match="horizon must be at least one bar"):
        build_panel(candles, QUICK, timeframe=HOUR, horizon=0, window=4, round_trip_bps=1.0)


# --- the newest windows


def test_the_newest_window_is_the_one_the_panel_has_for_the_same_bar() -> None:
    candles = _market(700, seed=7)
    last_decision = candles["ts_event_ns"].unique()[-1 - HORIZON]
    panel = _panel(candles, FEATURES, window=64)
    known = candles[candles["ts_event_ns"] <= last_decision]
    for symbol, (ts_ns, window) in latest_windows(known, FEATURES, timeframe=HOUR, window=64).items():
        sample = np.flatnonzero((panel.ts_ns == ts_ns) & (panel.symbol_id == SYMBOLS.index(symbol)))
        assert ts_ns == last_decision
        np.testing.assert_allclose(window, panel.windows(sample)[0], rtol=1e-6, atol=1e-6)


def test_a_symbol_whose_newest_window_has_a_gap_is_left_out() -> None:
    candles = _market(100)
    newest = latest_windows(without_rows(candles, [90, 150]), QUICK, timeframe=HOUR, window=WINDOW)
    assert set(newest) == {"ETH/USDT", "SOL/USDT"}
    assert all(np.isfinite(window).all() and window.shape[0] == WINDOW for _, window in newest.values())


# --- storage


def _assert_same(left: Panel, right: Panel) -> None:
    for field in dataclasses.fields(Panel):
        a, b = getattr(left, field.name), getattr(right, field.name)
        if isinstance(a, np.ndarray):
            assert a.dtype == b.dtype, field.name
            assert a.tobytes() == b.tobytes(), field.name
        else:
            assert a == b, field.name


def test_a_stored_panel_comes_back_unchanged(panel: Panel, tmp_path: Path) -> None:
    ref = save_panel(tmp_path, panel)
    assert Path(ref.uri).is_absolute()
    _assert_same(load_panel(PanelRef.model_validate_json(ref.model_dump_json())), panel)


def test_saving_the_same_panel_again_gives_the_same_reference_and_writes_nothing(panel: Panel, tmp_path: Path) -> None:
    ref = save_panel(tmp_path, panel)
    before = {path.name: path.stat().st_mtime_ns for path in Path(ref.uri).iterdir()}
    assert save_panel(tmp_path, _panel(_market(120))) == ref
    assert {path.name: path.stat().st_mtime_ns for path in Path(ref.uri).iterdir()} == before
    assert set(before) == {"panel.json", "panel.npz"}


@pytest.mark.parametrize("change", ["ret", "label", "features", "horizon", "symbols"])
def test_the_digest_covers_arrays_and_header(panel: Panel, tmp_path: Path, change: str) -> None:
    changes: dict[str, Any] = {
        "ret": panel.ret + 1,
        "label": -panel.label,
        "features": panel.features[:, ::-1],
        "horizon": panel.horizon + 1,
        "symbols": ("A/B", *panel.symbols[1:]),
    }
    changed = dataclasses.replace(panel, **{change: changes[change]})
    assert save_panel(tmp_path, changed).digest != save_panel(tmp_path, panel).digest


@pytest.mark.parametrize("name", ["panel.npz", "panel.json"])
def test_a_damaged_panel_is_refused_and_saving_it_again_repairs_it(panel: Panel, tmp_path: Path, name: str) -> None:
    """Bytes overwritten, cut off, emptied or removed: an ArtifactError each time, never another panel."""
    ref = save_panel(tmp_path, panel)
    path = Path(ref.uri) / name
    intact = path.read_bytes()
    rng = np.random.default_rng(4)
    for position in rng.integers(0, len(intact), 40):
        flipped = bytearray(intact)
        flipped[position] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        _assert_refused_or_same(ref, panel)
    for damaged in (intact[: len(intact) // 2], b"", b"{}", b"[]", b"null"):
        path.write_bytes(damaged)
        with pytest.raises(ArtifactError, match="build it again"):
            load_panel(ref)
    path.unlink()
    with pytest.raises(ArtifactError, match="build it again"):
        load_panel(ref)
    assert save_panel(tmp_path, panel) == ref
    _assert_same(load_panel(ref), panel)


def _assert_refused_or_same(ref: PanelRef, panel: Panel) -> None:
    try:
        loaded = load_panel(ref)
    except ArtifactError:
        return
    _assert_same(loaded, panel)


def test_an_array_that_would_need_pickle_is_refused(panel: Panel, tmp_path: Path) -> None:
    ref = save_panel(tmp_path, panel)
    path = Path(ref.uri) / "panel.npz"
    with np.load(path) as stored:
        arrays = dict(stored)
    arrays["ret"] = np.array([{"not": "a number"}], dtype=object)
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(ArtifactError, match="build it again"):
        load_panel(ref)
