"""The online store in a file, and the choice of an engine by URL; what all engines owe is in the contract suite."""

from __future__ import annotations

import multiprocessing
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ratchet.errors import ArtifactError, BusyError, ConfigurationError, UnavailableError
from ratchet.features.store import MemoryOnlineStore, SqliteOnlineStore, open_online_store
from ratchet.testing.online_store import make_vector, make_window


def _url(folder: Path) -> str:
    return f"sqlite:///{folder / 'online' / 'online.sqlite'}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteOnlineStore]:
    opened = SqliteOnlineStore(_url(tmp_path))
    yield opened
    opened.close()


def test_a_second_opening_reads_what_the_first_wrote(tmp_path: Path, store: SqliteOnlineStore) -> None:
    """The flow writes, the server reads: two openings of one file see each other's commits."""
    reader = SqliteOnlineStore(_url(tmp_path))
    store.write_vectors("view", "abc", {"BTC/USDT": (9, 0, make_vector(9))})
    assert reader.read_vectors("view", ["BTC/USDT"])["BTC/USDT"].ts_event_ns == 9
    reader.close()


def test_a_file_from_before_vectors_takes_them(tmp_path: Path, store: SqliteOnlineStore) -> None:
    """The table is added to a file that has only windows, which stay."""
    store.write_windows("view", "abc", {"BTC/USDT": (9, make_window(9))}, 1)
    other = sqlite3.connect(tmp_path / "online" / "online.sqlite")
    other.execute("DROP TABLE online_vector")
    other.close()
    later = SqliteOnlineStore(_url(tmp_path))
    assert later.write_vectors("view", "abc", {"BTC/USDT": (9, 0, make_vector(9))}) == 1
    assert later.read_window("view", "BTC/USDT") is not None
    later.close()


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
    monkeypatch.setattr("ratchet.features.store.sqlite_store._BUSY_TIMEOUT_S", 0.05)
    store = SqliteOnlineStore(_url(tmp_path))
    holder = sqlite3.connect(tmp_path / "online" / "online.sqlite", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError, match="held by another writer"):
        store.write_vectors("view", "abc", {"BTC/USDT": (0, 0, make_vector(1))})
    holder.execute("ROLLBACK")
    holder.close()
    assert store.write_vectors("view", "abc", {"BTC/USDT": (0, 0, make_vector(1))}) == 1
    store.close()


def test_a_damaged_row_or_file_is_named(tmp_path: Path, store: SqliteOnlineStore) -> None:
    """Bytes that do not fit their shape, and a file that is no database, raise ArtifactError."""
    store.write_windows("view", "abc", {"BTC/USDT": (0, make_window(1))}, 1)
    store.write_vectors("view", "abc", {"BTC/USDT": (0, 0, make_vector(1))})
    other = sqlite3.connect(tmp_path / "online" / "online.sqlite")
    other.execute("UPDATE online_window SET packed = substr(packed, 2)")
    other.execute("UPDATE online_vector SET packed = CAST(packed || 'x' AS BLOB)")
    other.commit()
    with pytest.raises(ArtifactError, match="16079 bytes for 60 x 67 float32"):
        store.read_window("view", "BTC/USDT")
    with pytest.raises(ArtifactError, match="441 bytes for 110 float32"):
        store.read_vectors("view", ["BTC/USDT"])
    other.execute("UPDATE online_vector SET packed = CAST(packed AS TEXT)")
    other.commit()
    other.close()
    with pytest.raises(ArtifactError, match="UTF-8"):
        store.read_vectors("view", ["BTC/USDT"])
    junk = tmp_path / "junk.sqlite"
    junk.write_bytes(b"this is not a database, and long enough to show it" * 100)
    with pytest.raises(ArtifactError, match=r"junk\.sqlite"):
        SqliteOnlineStore(f"sqlite:///{junk}")


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """A file in the place of the folder is an error with the path in it."""
    (tmp_path / "online").write_text("in the way")
    with pytest.raises(UnavailableError, match=r"online\.sqlite"):
        SqliteOnlineStore(_url(tmp_path))


def test_the_url_chooses_the_engine(tmp_path: Path) -> None:
    """A file and the memory, each with what it was given; every opening of the memory is a store of its own."""
    in_file = open_online_store(_url(tmp_path))
    assert isinstance(in_file, SqliteOnlineStore)
    assert (tmp_path / "online" / "online.sqlite").exists()
    in_file.close()
    in_memory = open_online_store("memory://")
    assert isinstance(in_memory, MemoryOnlineStore)
    in_memory.write_vectors("view", "abc", {"BTC/USDT": (0, 0, make_vector(1))})
    assert open_online_store("memory://").read_vectors("view", ["BTC/USDT"]) == {}


@pytest.mark.parametrize("url", ["", "online.sqlite", "postgresql://localhost/online", "memory:", "redis:6379"])
def test_a_url_of_no_engine_is_refused_with_those_that_there_are(url: str) -> None:
    """The error lists what could have been written."""
    with pytest.raises(ConfigurationError, match=r"memory://, sqlite:///PATH, redis://, rediss://, unix://"):
        open_online_store(url)


@pytest.mark.parametrize("url", ["redis://localhost", "online.sqlite", "sqlite:///"])
def test_the_store_in_a_file_refuses_other_urls(url: str) -> None:
    """An engine opens its own URLs only."""
    with pytest.raises(ConfigurationError, match="only sqlite:///PATH"):
        SqliteOnlineStore(url)


def test_choosing_a_file_loads_no_redis(tmp_path: Path) -> None:
    """Neither the import nor the opening of another engine needs the package, nor anything heavy."""
    code = (
        "import sys; from ratchet.features.store import open_online_store; open_online_store(sys.argv[1]).close(); "
        "print([m for m in ('redis', 'pandas', 'pyarrow', 'numba', 'duckdb', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, _url(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
