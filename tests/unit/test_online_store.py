"""The online store: what was written last and newest is what is read."""

from __future__ import annotations

import multiprocessing
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, BusyError, ConfigurationError, InputError, UnavailableError
from ratchet.features.store import SqliteOnlineStore

_HOUR_NS = 3_600 * 1_000_000_000


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'online' / 'online.sqlite'}"


def _window(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(60, 67)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteOnlineStore]:
    opened = SqliteOnlineStore(_url(tmp_path))
    yield opened
    opened.close()


def test_a_window_is_read_as_it_was_written(store: SqliteOnlineStore) -> None:
    """Every bit of the values and the time, schema and bar length come back; unknown keys give None."""
    written = _window(1)
    assert store.write_windows("view", "abc", {"BTC/USDT": (7 * _HOUR_NS, written)}, _HOUR_NS) == 1
    found = store.read_window("view", "BTC/USDT")
    assert found is not None
    assert found.values.tobytes() == written.tobytes()
    assert (found.values.shape, found.values.dtype.name) == ((60, 67), "float32")
    assert (found.ts_event_ns, found.schema_hash, found.timeframe_ns) == (7 * _HOUR_NS, "abc", _HOUR_NS)
    assert not found.values.flags.writeable
    assert store.read_window("view", "ETH/USDT") is None
    assert store.read_window("other", "BTC/USDT") is None


def test_views_and_symbols_are_kept_apart(store: SqliteOnlineStore) -> None:
    """The same symbol in two views, and two symbols in one view, are four different windows."""
    for number, view in enumerate(("a", "b")):
        windows = {symbol: (0, _window(10 * number + row)) for row, symbol in enumerate(("BTC/USDT", "ETH/USDT"))}
        assert store.write_windows(view, "abc", windows, _HOUR_NS) == 2
    found = store.read_window("b", "ETH/USDT")
    assert found is not None
    np.testing.assert_array_equal(found.values, _window(11))


def test_an_older_window_does_not_replace_a_newer_one(store: SqliteOnlineStore) -> None:
    """A slow writer cannot turn time back, unless the schema changed or it says so."""
    store.write_windows("view", "abc", {"BTC/USDT": (5, _window(5))}, 1)
    assert store.write_windows("view", "abc", {"BTC/USDT": (4, _window(4)), "ETH/USDT": (4, _window(4))}, 1) == 1
    assert _read_time(store) == 5
    assert store.write_windows("view", "abc", {"BTC/USDT": (5, _window(55))}, 1) == 1
    assert store.write_windows("view", "abc", {"BTC/USDT": (3, _window(3))}, 1, replace=True) == 1
    assert _read_time(store) == 3
    assert store.write_windows("view", "new", {"BTC/USDT": (2, _window(2))}, 1) == 1
    assert _read_time(store) == 2


def _read_time(store: SqliteOnlineStore) -> int:
    found = store.read_window("view", "BTC/USDT")
    assert found is not None
    return found.ts_event_ns


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_window_that_is_not_finite_stops_the_whole_write(store: SqliteOnlineStore, value: float) -> None:
    """All symbols or none: the good window beside the bad one is not stored either."""
    bad = _window(2)
    bad[3, 4] = value
    with pytest.raises(InputError, match="ETH/USDT: the window holds numbers that are not finite"):
        store.write_windows("view", "abc", {"BTC/USDT": (0, _window(1)), "ETH/USDT": (0, bad)}, 1)
    assert store.read_window("view", "BTC/USDT") is None


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,), (2, 3, 4)])
def test_only_a_two_dimensional_window_is_stored(store: SqliteOnlineStore, shape: tuple[int, ...]) -> None:
    """Anything but (time, feature) with something in it is refused."""
    with pytest.raises(InputError, match="a window is"):
        store.write_windows("view", "abc", {"BTC/USDT": (0, np.zeros(shape, dtype=np.float32))}, 1)


def test_float64_and_strided_values_are_stored_as_packed_float32(store: SqliteOnlineStore) -> None:
    """A slice of a wider panel is packed, not stored with its neighbours."""
    wide = np.arange(24, dtype=np.float64).reshape(4, 6)
    store.write_windows("view", "abc", {"BTC/USDT": (0, wide[::2, ::3])}, 1)  # type: ignore[dict-item]
    found = store.read_window("view", "BTC/USDT")
    assert found is not None
    np.testing.assert_array_equal(found.values, np.array([[0, 3], [12, 15]], dtype=np.float32))


def test_a_second_process_reads_what_the_first_wrote(tmp_path: Path, store: SqliteOnlineStore) -> None:
    """The flow writes, the server reads: two openings of one file see each other's commits."""
    reader = SqliteOnlineStore(_url(tmp_path))
    store.write_windows("view", "abc", {"BTC/USDT": (9, _window(9))}, 1)
    assert _read_time(reader) == 9
    reader.close()


_N_STORES = 12


def _write_many(folder: Path, start: threading.Barrier, symbol: str) -> None:
    for number in range(_N_STORES):
        start.wait()
        for turn in range(3):
            store = SqliteOnlineStore(_url(folder / str(number)))
            windows = {name: (turn, np.full((60, 67), turn, dtype=np.float32)) for name in (symbol, "ALL/USDT")}
            store.write_windows("view", "abc", windows, 1)
            store.close()


def test_processes_may_open_and_write_one_new_store_at_once(tmp_path: Path) -> None:
    """Four processes that make the same file together, twelve times over, lose no write and tear no window."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(4)
    symbols = [f"S{number}/USDT" for number in range(4)]
    writers = [spawn.Process(target=_write_many, args=(tmp_path, start, symbol)) for symbol in symbols]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    for number in range(_N_STORES):
        store = SqliteOnlineStore(_url(tmp_path / str(number)))
        for symbol in (*symbols, "ALL/USDT"):
            found = store.read_window("view", symbol)
            assert found is not None
            assert (found.ts_event_ns, np.unique(found.values).tolist()) == (2, [2.0])
        store.close()


def test_a_store_that_another_holds_says_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that waits for too long raises an error that may be retried, and leaves its store usable."""
    monkeypatch.setattr("ratchet.features.store.online._BUSY_TIMEOUT_S", 0.05)
    store = SqliteOnlineStore(_url(tmp_path))
    holder = sqlite3.connect(tmp_path / "online" / "online.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="held by another writer"):
        store.write_windows("view", "abc", {"BTC/USDT": (0, _window(1))}, 1)
    holder.execute("ROLLBACK")
    holder.close()
    assert store.write_windows("view", "abc", {"BTC/USDT": (0, _window(1))}, 1) == 1
    store.close()


def test_a_damaged_row_or_file_is_named(tmp_path: Path, store: SqliteOnlineStore) -> None:
    """Bytes that do not fit their shape, and a file that is no database, raise ArtifactError."""
    store.write_windows("view", "abc", {"BTC/USDT": (0, _window(1))}, 1)
    path = tmp_path / "online" / "online.sqlite"
    other = sqlite3.connect(path)
    other.execute("UPDATE online_window SET packed = substr(packed, 2)")
    other.commit()
    other.close()
    with pytest.raises(ArtifactError, match="16079 bytes for 60 x 67 float32"):
        store.read_window("view", "BTC/USDT")
    junk = tmp_path / "junk.sqlite"
    junk.write_bytes(b"this is not a database, and long enough to show it" * 100)
    with pytest.raises(ArtifactError, match=r"junk\.sqlite"):
        SqliteOnlineStore(f"sqlite:///{junk}")


@pytest.mark.parametrize("url", ["redis://localhost", "online.sqlite", "sqlite:///"])
def test_another_engine_is_refused_by_name(url: str) -> None:
    """Until there is another adapter, the setting must name SQLite."""
    with pytest.raises(ConfigurationError, match="only sqlite:///PATH"):
        SqliteOnlineStore(url)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A file in the place of the folder is an error with the path in it."""
    (tmp_path / "online").write_text("in the way")
    with pytest.raises(UnavailableError, match=r"online\.sqlite"):
        SqliteOnlineStore(_url(tmp_path))
