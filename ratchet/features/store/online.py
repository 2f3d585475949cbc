"""The newest feature window of every symbol, as the model server reads it.

The flow that computes features writes, the server reads. Values are packed float32, one row per (view, symbol).
"""

from __future__ import annotations

import fcntl
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, BusyError, ConfigurationError, InputError, UnavailableError

_URL_PREFIX = "sqlite:///"
_BUSY_TIMEOUT_S = 5.0
_PACKED = np.dtype("<f4")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS online_window (
    view TEXT NOT NULL,
    symbol TEXT NOT NULL,
    schema_hash TEXT NOT NULL,
    ts_event_ns INTEGER NOT NULL,
    timeframe_ns INTEGER NOT NULL,
    n_time INTEGER NOT NULL,
    n_feature INTEGER NOT NULL,
    packed BLOB NOT NULL,
    PRIMARY KEY (view, symbol)
) WITHOUT ROWID
"""

_WRITE = """
INSERT INTO online_window
VALUES (:view, :symbol, :schema_hash, :ts_event_ns, :timeframe_ns, :n_time, :n_feature, :packed)
ON CONFLICT (view, symbol) DO UPDATE SET
    schema_hash = excluded.schema_hash, ts_event_ns = excluded.ts_event_ns, timeframe_ns = excluded.timeframe_ns,
    n_time = excluded.n_time, n_feature = excluded.n_feature, packed = excluded.packed
WHERE :replace OR excluded.ts_event_ns >= ts_event_ns OR excluded.schema_hash <> schema_hash
"""

_READ = """
SELECT schema_hash, ts_event_ns, timeframe_ns, n_time, n_feature, packed
FROM online_window WHERE view = ? AND symbol = ?
"""


@dataclass(frozen=True, slots=True)
class OnlineWindow:
    """The newest window of one symbol.

    `values` is a read-only float32 array (time, feature), oldest row first; `ts_event_ns` is the open time of its last
    bar, so everything in it is known from `ts_event_ns + timeframe_ns` on.
    """

    values: NDArray[np.float32]
    ts_event_ns: int
    schema_hash: str
    timeframe_ns: int


class OnlineStore(Protocol):
    """Holds one window per (view, symbol).

    Implementers owe: a write is all or nothing over its symbols and survives a power cut once it has returned; a
    reader sees a whole window or the one before it; any number of threads and processes may read and write.
    """

    def write_windows(
        self,
        view: str,
        schema_hash: str,
        windows: Mapping[str, tuple[int, NDArray[np.float32]]],
        timeframe_ns: int,
        *,
        replace: bool = False,
    ) -> int:
        """Store `{symbol: (ts_event_ns of the last bar, values (time, feature))}` and return how many were stored.

        A window whose last bar is older than the stored one is left out, so that a slow writer cannot turn time
        back; a changed `schema_hash` or `replace` overrides that.

        Raises:
            InputError: a window is not two-dimensional, is empty or holds a number that is not finite.
            BusyError: another writer held the store for too long.
        """
        ...

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        """Return the newest window, or None where nothing was stored.

        Raises:
            ArtifactError: the stored bytes do not fit their shape.
        """
        ...


class SqliteOnlineStore:
    """An `OnlineStore` in one SQLite file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = SqliteOnlineStore(f"sqlite:///{folder}/online.sqlite")
    ...     stored = store.write_windows("demo", "abc", {"BTC/USDT": (0, np.ones((3, 2), np.float32))}, 60_000_000_000)
    ...     window = store.read_window("demo", "BTC/USDT")
    ...     store.close()
    >>> window.values.shape
    (3, 2)

    Args:
        url: `sqlite:///PATH`; the folder is made if it is missing.

    Raises:
        ConfigurationError: the URL names another engine.
        UnavailableError: the file cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._path = _database_path(url)
        self._lock = threading.Lock()
        self._connection = self._open()

    def write_windows(
        self,
        view: str,
        schema_hash: str,
        windows: Mapping[str, tuple[int, NDArray[np.float32]]],
        timeframe_ns: int,
        *,
        replace: bool = False,
    ) -> int:
        """Store the windows in one transaction; see `OnlineStore`."""
        shared = {"view": view, "schema_hash": schema_hash, "timeframe_ns": int(timeframe_ns), "replace": replace}
        rows = [shared | _pack(symbol, ts_event_ns, values) for symbol, (ts_event_ns, values) in windows.items()]
        with self._transaction() as connection:
            return sum(connection.execute(_WRITE, row).rowcount for row in rows)

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        """Return the newest window; see `OnlineStore`."""
        with self._lock, self._translated():
            row = self._connection.execute(_READ, (view, symbol)).fetchone()
        return None if row is None else _unpack(view, symbol, row)

    def close(self) -> None:
        """Release the file."""
        with self._lock, self._alone():
            self._connection.close()

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._translated(), self._alone():
                return self._connect()
        except OSError as error:
            raise UnavailableError(f"online store {self._path}: {error.strerror}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", _SCHEMA):
            connection.execute(statement)
        return connection

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from opening or closing: SQLite does not wait there, as it does for a write."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise BusyError(f"online store {self._path} is held by another writer") from error
            raise UnavailableError(f"online store {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ArtifactError(f"online store {self._path}: {error}") from error


def _database_path(url: str) -> Path:
    path = url.removeprefix(_URL_PREFIX)
    if path == url or not path:
        raise ConfigurationError(f"online store {url!r}: only sqlite:///PATH is supported")
    return Path(path)


def _pack(symbol: str, ts_event_ns: int, values: NDArray[np.float32]) -> dict[str, object]:
    packed = np.ascontiguousarray(values, dtype=_PACKED)
    if packed.ndim != 2 or packed.size == 0:
        raise InputError(f"{symbol}: a window is (time, feature), got shape {packed.shape}")
    if not np.isfinite(packed).all():
        raise InputError(f"{symbol}: the window holds numbers that are not finite; it was not published")
    n_time, n_feature = packed.shape
    return {
        "symbol": symbol,
        "ts_event_ns": int(ts_event_ns),
        "n_time": n_time,
        "n_feature": n_feature,
        "packed": packed.tobytes(),
    }


def _unpack(view: str, symbol: str, row: tuple[str, int, int, int, int, bytes]) -> OnlineWindow:
    schema_hash, ts_event_ns, timeframe_ns, n_time, n_feature, packed = row
    if len(packed) != n_time * n_feature * _PACKED.itemsize:
        raise ArtifactError(f"online window {view} {symbol}: {len(packed)} bytes for {n_time} x {n_feature} float32")
    values = np.frombuffer(packed, dtype=_PACKED).reshape(n_time, n_feature)
    return OnlineWindow(values, ts_event_ns, schema_hash, timeframe_ns)
