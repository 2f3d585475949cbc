"""The offline feature store: versions side by side, corrections kept, batches whole after a crash, joins in place."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.data.lock import hold
from ratchet.errors import (
    ArtifactError,
    BusyError,
    ConfigurationError,
    InputError,
    NotFoundError,
    RatchetError,
    UnavailableError,
)
from ratchet.features.store.joins import ViewRequest, join_features
from ratchet.features.store.offline import EngineLimits, OfflineStore
from ratchet.features.store.offline import store as store_module
from tests.candle_paths import HOUR, START_NS, recorded_candles

ROOT = Path(__file__).resolve().parents[2]
OLD, NEW = "0a" * 32, "f1" * 32
N_BATCH = 20


def _batch(number: int = 0, symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT")) -> pd.DataFrame:
    """Return one hour-bar row per symbol and hour, known two seconds after its event; batches follow each other."""
    hours = number * N_BATCH + np.arange(N_BATCH)
    rows = pd.DataFrame(
        {"symbol": np.repeat(symbols, N_BATCH), "ts_event_ns": np.tile(START_NS + hours * HOUR.ns, len(symbols))}
    )
    rng = np.random.default_rng(number)
    values = {name: rng.standard_normal(len(rows)).astype(np.float32) for name in ("ret_1", "vol_20")}
    return rows.assign(known_ns=rows["ts_event_ns"] + 2_000_000_000, **values)


def _write(store: OfflineStore, rows: pd.DataFrame, version: str = OLD) -> str:
    return store.write("candles", version, rows, timeframe="1h", lineage={"dataset": "d" * 64}).digest


def _files(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file() and path.name != ".lock"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Rows of several batches come back sorted, with their types and declared missing values."""
    store = OfflineStore(tmp_path)
    rows = pd.concat([_batch(number) for number in range(3)], ignore_index=True)
    rows.loc[[3, 50], "vol_20"] = np.nan
    for number in (2, 0, 1):
        part = rows.iloc[number * 2 * N_BATCH : (number + 1) * 2 * N_BATCH]
        _write(store, part.sample(frac=1, random_state=1))
    expected = rows.sort_values(["symbol", "ts_event_ns"], ignore_index=True)
    pd.testing.assert_frame_equal(store.read("candles", OLD), expected)


def test_parts_of_a_table_are_read(tmp_path: Path) -> None:
    """Symbols and a half-open period choose rows; what no row meets is an empty frame of the same columns."""
    store = OfflineStore(tmp_path)
    rows = _batch()
    _write(store, rows)
    one = store.read("candles", OLD, symbols=["ETH/USDT"], start_ns=START_NS + HOUR.ns, end_ns=START_NS + 3 * HOUR.ns)
    pd.testing.assert_frame_equal(one, rows.iloc[N_BATCH + 1 : N_BATCH + 3].reset_index(drop=True))
    for nothing in (
        store.read("candles", OLD, symbols=[]),
        store.read("candles", OLD, symbols=["it's/none"]),
        store.read("candles", OLD, end_ns=START_NS),
        store.read("candles", OLD, known_by_ns=START_NS),
    ):
        pd.testing.assert_frame_equal(nothing, rows.iloc[:0])


def test_a_correction_replaces_a_row_from_when_it_was_known(tmp_path: Path) -> None:
    """Both values are kept; which one is read depends on the moment."""
    store = OfflineStore(tmp_path)
    rows = _batch()
    _write(store, rows)
    later_ns = int(rows["known_ns"].max()) + 5
    _write(store, rows.iloc[[4]].assign(known_ns=later_ns, ret_1=np.float32(9)))
    values = [store.read("candles", OLD, known_by_ns=by)["ret_1"][4] for by in (later_ns - 1, later_ns, None)]
    assert values == [rows["ret_1"][4], 9.0, 9.0]
    assert store.versions("candles")[0].n_rows == 2 * N_BATCH + 1


def test_writing_again_changes_nothing(tmp_path: Path) -> None:
    """The same batch, in any order and with repeated rows, touches no file; an overlapping one adds its new rows."""
    store = OfflineStore(tmp_path)
    digest = _write(store, _batch())
    before = _files(tmp_path)
    again = pd.concat([_batch().sample(frac=1, random_state=1), _batch().head(3)])
    assert _write(store, again) == digest
    assert _files(tmp_path) == before
    assert _write(store, pd.concat([_batch(), _batch(1)])) != digest
    info = store.versions("candles")[0]
    assert (info.n_rows, info.n_batches) == (4 * N_BATCH, 2)


def test_other_values_need_a_later_time_of_knowledge(tmp_path: Path) -> None:
    """A row with the key of another but other values is refused, in one batch and against stored ones."""
    store = OfflineStore(tmp_path)
    rows = _batch()
    _write(store, rows)
    changed = rows.assign(vol_20=rows["vol_20"].where(rows.index != 21, np.nan))
    with pytest.raises(InputError, match=r"candles: 1 rows given again .* ETH/USDT 2024-01-01T01:00:00Z"):
        _write(store, changed)
    with pytest.raises(InputError, match="1 rows given again"):
        _write(store, pd.concat([rows, changed]), NEW)
    assert store.versions("candles")[0].n_rows == 2 * N_BATCH


def test_versions_stand_side_by_side(tmp_path: Path) -> None:
    """A new version leaves the old one as it was; both are described."""
    store = OfflineStore(tmp_path)
    digest = _write(store, _batch())
    before = _files(tmp_path)
    _write(store, _batch().drop(columns="vol_20"), NEW)
    _write(store, _batch(1).drop(columns="vol_20"), NEW)
    assert before.items() <= _files(tmp_path).items()
    old, new = store.versions("candles")
    assert store.views() == ["candles"]
    assert (old.ref.digest, old.ref.version, old.features) == (digest, OLD, ("ret_1", "vol_20"))
    assert old.ref.uri == str(tmp_path / "candles" / OLD[:16])
    assert (new.ref.version, new.features, new.timeframe, new.n_batches) == (NEW, ("ret_1",), "1h", 2)
    assert (new.symbols, new.n_rows) == (("BTC/USDT", "ETH/USDT"), 4 * N_BATCH)
    assert (new.first_event_ns, new.last_event_ns) == (START_NS, START_NS + (2 * N_BATCH - 1) * HOUR.ns)
    assert new.last_known_ns == new.last_event_ns + 2_000_000_000
    assert new.lineage == ({"dataset": "d" * 64},) * 2


def test_what_is_not_stored_is_named_beside_what_is(tmp_path: Path) -> None:
    """An unknown view or version says which ones there are; a name that cannot be one is refused."""
    store = OfflineStore(tmp_path)
    with pytest.raises(NotFoundError, match=r"no feature view candles .* none"):
        store.read("candles", OLD)
    assert store.views() == []
    _write(store, _batch())
    with pytest.raises(NotFoundError, match=r"no feature view books .* candles"):
        store.versions("books")
    with pytest.raises(NotFoundError, match=f"no version {NEW[:16]}; stored are: {OLD[:16]}"):
        store.read("candles", NEW)
    with pytest.raises(NotFoundError, match=f"no version {OLD[:16]}"):
        store.read("candles", OLD[:16] + "0" * 48)
    for view in ("../candles", "Candles", "", ".spill"):
        with pytest.raises(InputError, match="no name of a feature view"):
            store.read(view, OLD)
    with pytest.raises(InputError, match="no version of a feature view"):
        store.read("candles", OLD[:16])


Change = Callable[[pd.DataFrame], pd.DataFrame]
_REFUSED: dict[str, tuple[Change, str]] = {
    "no known_ns": (
        lambda rows: rows.assign(known_ns=rows["known_ns"].where(rows.index > 1)),
        r"candles: 2 rows without known_ns, the first BTC/USDT 2024-01-01T00:00:00Z",
    ),
    "NA known_ns": (
        lambda rows: rows.assign(known_ns=rows["known_ns"].astype("Int64").where(rows.index != 21)),
        r"1 rows without known_ns, the first ETH/USDT 2024-01-01T01:00:00Z",
    ),
    "NaT as a number": (
        lambda rows: rows.assign(known_ns=rows["known_ns"].where(rows.index > 1, np.iinfo(np.int64).min)),
        r"2 rows without known_ns \(negative\)",
    ),
    "no ts_event_ns": (
        lambda rows: rows.assign(ts_event_ns=rows["ts_event_ns"].where(rows.index > 1)),
        "2 rows without ts_event_ns, the first BTC/USDT 2024-01-01T00:00:02Z",
    ),
    "known too early": (
        lambda rows: rows.assign(known_ns=rows["ts_event_ns"] - (rows.index == 3)),
        "1 rows known before their event, the first BTC/USDT 2024-01-01T03:00:00Z",
    ),
    "times as floats": (lambda rows: rows.assign(known_ns=rows["known_ns"] * 1.0), "known_ns holds float64"),
    "no symbol": (lambda rows: rows.assign(symbol=rows["symbol"].where(rows.index > 0)), "1 rows without symbol"),
    "no such symbol": (lambda rows: rows.assign(symbol="btc/usdt"), "write BTC/USDT"),
    "no times": (lambda rows: rows.drop(columns="known_ns"), "no column known_ns"),
    "float64": (lambda rows: rows.astype({"ret_1": np.float64}), "ret_1 holds float64"),
    "infinite": (
        lambda rows: rows.assign(ret_1=rows["ret_1"].where(rows.index != 2, np.float32(np.inf))),
        "1 rows infinite in ret_1, the first BTC/USDT 2024-01-01T02:00:00Z",
    ),
    "no rows": (lambda rows: rows.head(0), "no rows or no features"),
    "no features": (lambda rows: rows[["symbol", "ts_event_ns", "known_ns"]], "no rows or no features"),
    "a name of DuckDB": (lambda rows: rows.rename(columns={"vol_20": "file_index"}), "file_index is DuckDB's own"),
    "one name twice": (lambda rows: rows.rename(columns={"vol_20": "RET_1"}), "same name but for upper and lower"),
}


@pytest.mark.parametrize("case", _REFUSED)
def test_rows_that_cannot_be_stored_are_refused(tmp_path: Path, case: str) -> None:
    """One line names the view, how many rows are wrong and the first of them; nothing is written."""
    change, message = _REFUSED[case]
    store = OfflineStore(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        _write(store, change(_batch()))
    assert "\n" not in str(caught.value)
    assert store.views() == []


def test_a_table_keeps_its_features_and_timeframe(tmp_path: Path) -> None:
    """Columns may come in another order; more, fewer or other bars need a version of their own."""
    store = OfflineStore(tmp_path)
    _write(store, _batch())
    _write(store, _batch(1)[["vol_20", "known_ns", "ret_1", "ts_event_ns", "symbol"]])
    assert len(store.read("candles", OLD)) == 4 * N_BATCH
    with pytest.raises(InputError, match="differ in vol_20"):
        _write(store, _batch(2).drop(columns="vol_20"))
    with pytest.raises(InputError, match="holds 1h bars, not 1m"):
        store.write("candles", OLD, _batch(2), timeframe="1m", lineage={})


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "swap"])
def test_an_altered_batch_is_refused(tmp_path: Path, damage: str) -> None:
    """A changed, shortened, missing or exchanged file is an ArtifactError wherever it would be read."""
    store = OfflineStore(tmp_path)
    _write(store, _batch())
    (file,) = tmp_path.rglob("*.parquet")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.unlink()
    if damage == "swap":
        other = OfflineStore(tmp_path / "other")
        _write(other, _batch(1))
        shutil.copy(next((tmp_path / "other").rglob("*.parquet")), file)
    elif damage != "remove":
        file.write_bytes(data if damage == "flip" else data[:100])
    spine = pd.DataFrame({"symbol": ["BTC/USDT"], "ts_ns": [START_NS + 9 * HOUR.ns]})
    actions: list[Callable[[], object]] = [
        lambda: store.read("candles", OLD),
        lambda: join_features(store, spine, [ViewRequest("candles", OLD)]),
        lambda: _write(store, _batch()),
    ]
    for act in actions:
        with pytest.raises(ArtifactError, match=file.name):
            act()


@pytest.mark.parametrize("damage", ["empty", "no json", "a row more", "another version"])
def test_a_damaged_manifest_is_refused(tmp_path: Path, damage: str) -> None:
    """A manifest that was altered or lies in the wrong folder is an ArtifactError, and is not written over."""
    store = OfflineStore(tmp_path)
    _write(store, _batch())
    path = tmp_path / "candles" / OLD[:16] / "table.json"
    manifest = json.loads(path.read_text())
    if damage == "a row more":
        manifest["batches"][0]["n_rows"] += 1
    texts = {"empty": "", "no json": "\x00", "a row more": json.dumps(manifest)}
    if damage in texts:
        path.write_text(texts[damage])
    else:
        shutil.copytree(path.parent, tmp_path / "candles" / NEW[:16])
    version = OLD if damage in texts else NEW
    actions: list[Callable[[], object]] = [
        lambda: store.read("candles", version),
        lambda: store.versions("candles"),
        lambda: _write(store, _batch(1), version),
    ]
    for act in actions:
        with pytest.raises(ArtifactError, match=r"table\.json"):
            act()


def _spine() -> pd.DataFrame:
    moments = START_NS + np.array([7, 1, 7, 400]) * HOUR.ns + 1_000_000_000
    symbols = ["ETH/USDT", "BTC/USDT", "XRP/USDT", "ETH/USDT"]
    return pd.DataFrame({"label": [1, 0, 1, 1], "ts_ns": moments, "symbol": symbols}, index=[9, 2, 2, 7])


def test_a_join_keeps_the_spine_and_adds_what_was_known(tmp_path: Path) -> None:
    """Order, index and columns stay; a bar that is known two seconds after it closed is not joined one second after."""
    store = OfflineStore(tmp_path)
    rows = _batch()
    _write(store, rows)
    spine = _spine()
    joined = join_features(store, spine, [ViewRequest("candles", OLD, ttl_ns=HOUR.ns * 24)])
    assert list(joined.columns) == [*spine.columns, "ret_1", "vol_20", "candles__ts_event_ns", "candles__known_ns"]
    pd.testing.assert_frame_equal(joined[spine.columns], spine)
    assert joined["ret_1"].dtype == np.float32
    found = joined.iloc[:2]
    assert found["candles__ts_event_ns"].tolist() == [START_NS + 6 * HOUR.ns, START_NS]
    assert found["candles__known_ns"].tolist() == [START_NS + 6 * HOUR.ns + 2 * 10**9, START_NS + 2 * 10**9]
    assert found["ret_1"].tolist() == [rows["ret_1"][N_BATCH + 6], rows["ret_1"][0]]
    assert joined.iloc[2:][["ret_1", "vol_20", "candles__ts_event_ns", "candles__known_ns"]].isna().all(axis=None)


def test_several_views_are_joined_at_once(tmp_path: Path) -> None:
    """Columns carry their view's name; each view has its own TTL and choice of features."""
    store = OfflineStore(tmp_path)
    _write(store, _batch())
    store.write("books", NEW, _batch().assign(ret_1=np.float32(5)), timeframe="1h", lineage={})
    requests = [ViewRequest("books", NEW, features=("ret_1",)), ViewRequest("candles", OLD, ("vol_20", "ret_1"), 0)]
    joined = join_features(store, _spine(), requests)
    assert list(joined.columns[3:]) == [
        "books__ret_1",
        "books__ts_event_ns",
        "books__known_ns",
        "candles__vol_20",
        "candles__ret_1",
        "candles__ts_event_ns",
        "candles__known_ns",
    ]
    assert joined["books__ret_1"].tolist()[:2] == [5.0, 5.0]
    assert joined["candles__ret_1"].isna().all()


def test_a_missing_value_is_not_a_missing_row(tmp_path: Path) -> None:
    """A declared missing value is joined as NaN with the times of its row; no older value stands in."""
    store = OfflineStore(tmp_path)
    rows = _batch()
    rows.loc[N_BATCH + 6, "ret_1"] = np.nan
    _write(store, rows)
    first = join_features(store, _spine(), [ViewRequest("candles", OLD)]).iloc[0]
    assert np.isnan(first["ret_1"])
    assert (first["vol_20"], first["candles__ts_event_ns"]) == (rows["vol_20"][N_BATCH + 6], START_NS + 6 * HOUR.ns)


def test_joins_of_nothing(tmp_path: Path) -> None:
    """No rows, no requests, moments before everything, or only unknown symbols give a frame without features."""
    store = OfflineStore(tmp_path)
    _write(store, _batch())
    request = ViewRequest("candles", OLD, features=("ret_1",))
    assert join_features(store, _spine().head(0), [request])["ret_1"].dtype == np.float32
    pd.testing.assert_frame_equal(join_features(store, _spine(), []), _spine())
    for spine in (_spine().assign(ts_ns=0), _spine().assign(symbol="it's/none")):
        assert join_features(store, spine, [request])["ret_1"].isna().all()


def test_requests_that_cannot_be_answered_are_refused(tmp_path: Path) -> None:
    """Moments without a time, unknown features and clashing names are named in one line."""
    store = OfflineStore(tmp_path)
    _write(store, _batch())
    _write(store, _batch(), NEW)
    request, spine = ViewRequest("candles", OLD), _spine()
    refused: list[tuple[pd.DataFrame, list[ViewRequest], type[RatchetError], str]] = [
        (
            spine.assign(ts_ns=spine["ts_ns"].where(spine["label"] > 0)),
            [request],
            InputError,
            "spine: 1 rows without ts_ns",
        ),
        (spine.assign(ts_ns=[1, -5, 2, 3]), [request], InputError, "spine: 1 rows without ts_ns"),
        (spine.assign(symbol=None), [request], InputError, "spine: 4 rows without symbol"),
        (spine.drop(columns="ts_ns"), [request], InputError, "no column ts_ns"),
        (spine, [ViewRequest("candles", OLD, ("rsi",))], InputError, "no feature rsi; it has ret_1, vol_20"),
        (spine, [ViewRequest("candles", OLD, ttl_ns=-1)], InputError, "a TTL of -1 ns"),
        (spine, [request, ViewRequest("candles", NEW)], InputError, "candles__known_ns, .* would appear twice"),
        (spine.rename(columns={"label": "ret_1"}), [request], InputError, "ret_1 would appear twice"),
        (spine, [ViewRequest("books", OLD)], NotFoundError, "no feature view books"),
    ]
    for frame, requests, error, message in refused:
        with pytest.raises(error, match=message):
            join_features(store, frame, requests)


def test_recorded_candles_join_without_the_bar_that_is_still_open(tmp_path: Path) -> None:
    """On recorded hours each bar is joined from its close on: one nanosecond earlier the bar before it is."""
    candles = recorded_candles("BTC/USDT", n_bars=500)
    close_ns = candles["ts_event_ns"] + HOUR.ns
    rows = pd.DataFrame({"symbol": candles["symbol"], "ts_event_ns": close_ns, "known_ns": close_ns})
    rows["close"] = candles["close"].astype(np.float32)
    store = OfflineStore(tmp_path)
    store.write("bars", OLD, rows, timeframe="1h", lineage={})
    for early_ns, shift in ((0, 0), (1, 1)):
        spine = pd.DataFrame({"symbol": candles["symbol"], "ts_ns": close_ns - early_ns})
        joined = join_features(store, spine, [ViewRequest("bars", OLD)])
        np.testing.assert_array_equal(joined["close"], rows["close"].shift(shift))


@pytest.mark.parametrize("symbols", [("XRP/USDT",), ("BTC/USDT", "XRP/USDT"), ("BTC/USDT", "ETH/USDT", "XRP/USDT")])
def test_rows_are_found_across_row_groups_and_files(tmp_path: Path, symbols: tuple[str, ...]) -> None:
    """In files of several row groups, of which a join may skip some, each value comes from its own row."""
    n_bars = 100_000
    names = np.repeat(["BTC/USDT", "ETH/USDT", "XRP/USDT"], n_bars)
    times = np.tile(np.arange(n_bars), 3)
    rows = pd.DataFrame({"symbol": names, "ts_event_ns": times, "known_ns": times})
    rows["number"] = np.arange(len(rows), dtype=np.float32)  # exact below 2**24
    store = OfflineStore(tmp_path)
    for is_late in (False, True):
        _write(store, rows[(rows["ts_event_ns"] >= 90_000) == is_late])
    rng = np.random.default_rng(5)
    spine = pd.DataFrame({"symbol": rng.choice(symbols, 20_000), "ts_ns": rng.integers(0, n_bars, 20_000)})
    joined = join_features(store, spine, [ViewRequest("candles", OLD)])
    first = spine["symbol"].map({"BTC/USDT": 0, "ETH/USDT": n_bars, "XRP/USDT": 2 * n_bars})
    np.testing.assert_array_equal(joined["number"], first + spine["ts_ns"])


def test_a_query_keeps_within_its_limits(tmp_path: Path) -> None:
    """A query that needs more memory and disk than it may take says so, and leaves no file behind."""
    n_rows = 200_000
    rows = pd.DataFrame({"symbol": "BTC/USDT", "ts_event_ns": np.arange(n_rows), "known_ns": np.arange(n_rows) + 1})
    rng = np.random.default_rng(1)
    rows = rows.assign(**{f"f{number}": rng.standard_normal(n_rows).astype(np.float32) for number in range(2)})
    _write(OfflineStore(tmp_path), rows)
    spine = pd.DataFrame({"symbol": "BTC/USDT", "ts_ns": rng.permutation(n_rows)})
    tight = OfflineStore(tmp_path, limits=EngineLimits(memory_mib=8, threads=1, spill_mib=1))
    with pytest.raises(ConfigurationError, match="needs more than 8 MiB of memory and 1 MiB of disk"):
        join_features(tight, spine, [ViewRequest("candles", OLD)])
    assert list((tmp_path / ".spill").iterdir()) == []
    roomy = join_features(OfflineStore(tmp_path), spine, [ViewRequest("candles", OLD)])
    assert (roomy["candles__known_ns"].fillna(0) == spine["ts_ns"]).all()


def test_a_missing_engine_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without DuckDB rows can be written; reading says what to install."""
    store = OfflineStore(tmp_path)
    monkeypatch.setitem(sys.modules, "duckdb", None)
    _write(store, _batch())
    with pytest.raises(ConfigurationError, match=r"pip install duckdb"):
        store.read("candles", OLD)


def test_a_busy_or_unwritable_table_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A table that another process holds is busy; one whose folder cannot be made is unavailable."""
    store = OfflineStore(tmp_path)
    monkeypatch.setattr(store_module, "_PATIENCE_S", 0.1)
    with hold(tmp_path / "candles" / OLD[:16] / ".lock"), pytest.raises(BusyError, match="another process"):
        _write(store, _batch())
    (tmp_path / "file").write_text("")
    with pytest.raises(UnavailableError, match="cannot be written"):
        _write(OfflineStore(tmp_path / "file"), _batch())


def test_importing_the_store_loads_no_heavy_package() -> None:
    """What serving could come to import costs neither pandas nor the engines."""
    heavy = ("pandas", "pyarrow", "duckdb", "numba")
    modules = "ratchet.features.store.offline, ratchet.features.store.joins"
    code = f"import sys, {modules}; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


_DIE_AT_EVERY_POINT = """
import json, os, shutil, signal, sys
from pathlib import Path
from ratchet.features.store.offline import OfflineStore
from tests.unit.test_offline_store import OLD, _batch, _write

def die_at(point):
    left = [point]
    def at(name):
        left[0] -= 1
        if left[0] == 0:
            os.write(1, (name + "\\n").encode())
            os.kill(os.getpid(), signal.SIGKILL)
    writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
    def audit(event, args):
        if event in {"os.rename", "os.remove", "os.mkdir", "os.chmod"} or event == "open" and args[2] & writes:
            at(event)
    sync = os.fsync
    def fsync(descriptor):
        at("fsync")
        sync(descriptor)
    os.fsync = fsync
    sys.addaudithook(audit)

root, first = Path(sys.argv[1]), sys.argv[2] == "first"
for point in range(1, 100):
    case = root / str(point)
    if not first:
        shutil.copytree(root / "prepared", case)
    child = os.fork()
    if child == 0:
        die_at(point)
        _write(OfflineStore(case), _batch(1))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
"""


@pytest.mark.parametrize("kind", ["first", "next"])
def test_a_writer_killed_at_any_point_leaves_the_old_or_the_new_table(tmp_path: Path, kind: str) -> None:
    """SIGKILL before every change of the disk: the table is whole, and the next write clears up and completes it."""
    prepared = OfflineStore(tmp_path / "prepared")
    digests = {_write(prepared, _batch(number)) for number in range(1 if kind == "next" else 0)}
    command = [sys.executable, "-c", _DIE_AT_EVERY_POINT, str(tmp_path), kind]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    points = done.stdout.split()
    assert points.count("os.rename") == 2, points
    assert points.count("fsync") >= 4, points
    states = [_state(OfflineStore(tmp_path / str(number + 1))) for number in range(len(points) + 1)]
    old, new = next(iter(digests), None), states[-1]
    assert new not in (None, old)
    last_rename = len(points) - 1 - points[::-1].index("os.rename")
    assert states == [old] * (last_rename + 1) + [new] * (len(states) - last_rename - 1)
    for number in range(len(points)):
        store = OfflineStore(tmp_path / str(number + 1))
        assert _write(store, _batch(1)) == new
        names = {path.name for path in (store.root / "candles" / OLD[:16]).iterdir()}
        assert len(names) == 2 + (1 if kind == "first" else 2), names


def _state(store: OfflineStore) -> str | None:
    """Return the digest of the table after reading all of it; None where there is none."""
    if not store.views():
        return None
    info = store.versions("candles")[0]
    assert len(store.read("candles", OLD)) == info.n_rows == 2 * N_BATCH * info.n_batches
    return info.ref.digest


_WRITE_FOREVER = """
import sys
from pathlib import Path
from ratchet.features.store.offline import OfflineStore
from tests.unit.test_offline_store import _batch, _write
store = OfflineStore(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    _write(store, _batch(number))
    print(number, flush=True)
"""


def _writer(root: Path, first: int, end: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _WRITE_FOREVER, str(root), str(first), str(end)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_writers_killed_at_random_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """After each SIGKILL every acknowledged batch is there, whole, and at most one more."""
    delays, store, n_done = np.random.default_rng(3), OfflineStore(tmp_path), 0
    for _ in range(5):
        with _writer(tmp_path, n_done, 10**6) as child:
            assert child.stdout is not None
            child.stdout.readline()
            time.sleep(delays.uniform(0.0, 0.15))
            child.send_signal(signal.SIGKILL)
            n_acknowledged = n_done + 1 + len(child.stdout.readlines())
        n_done = store.versions("candles")[0].n_batches
        assert n_acknowledged <= n_done <= n_acknowledged + 1
        assert store.read("candles", OLD)["ts_event_ns"].nunique() == N_BATCH * n_done
    assert n_done > 5


def test_writers_and_readers_at_once_see_whole_batches(tmp_path: Path) -> None:
    """Two processes add batches while this one reads: every read is of whole batches, and none is lost."""
    store, seen = OfflineStore(tmp_path), []
    _write(store, _batch(99))
    with _writer(tmp_path, 0, 12) as one, _writer(tmp_path, 6, 18) as other:
        while one.poll() is None or other.poll() is None:
            seen.append(len(store.read("candles", OLD)))
    assert (one.returncode, other.returncode) == (0, 0)
    assert all(count % (2 * N_BATCH) == 0 for count in seen)
    assert seen == sorted(seen)
    assert len(store.read("candles", OLD)) == 2 * N_BATCH * 19
    assert store.versions("candles")[0].n_batches == 19


def test_one_store_serves_several_threads(tmp_path: Path) -> None:
    """Joins in threads of one process do not meet in each other's engine or spill folder."""
    store = OfflineStore(tmp_path)
    answers: list[bool] = []
    _write(store, _batch())
    expected = join_features(store, _spine(), [ViewRequest("candles", OLD)])

    def join() -> None:
        answers.extend(join_features(store, _spine(), [ViewRequest("candles", OLD)]).equals(expected) for _ in range(5))

    threads = [threading.Thread(target=join) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [True] * 20
