"""The online store in one SQLite file."""

from __future__ import annotations

import fcntl
import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, BusyError, ConfigurationError, UnavailableError
from ratchet.features.store.online import OnlineVector, OnlineWindow, within_ttl
from ratchet.features.store.packing import PackedWindow, as_int64, pack_vector, pack_window, unpack

_URL_PREFIX = "sqlite:///"
_BUSY_TIMEOUT_S = 5.0

_WINDOWS = """
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

_WRITE_WINDOW = """
INSERT INTO online_window
VALUES (:view, :symbol, :schema_hash, :ts_event_ns, :timeframe_ns, :n_time, :n_feature, :packed)
ON CONFLICT (view, symbol) DO UPDATE SET
    schema_hash = excluded.schema_hash, ts_event_ns = excluded.ts_event_ns, timeframe_ns = excluded.timeframe_ns,
    n_time = excluded.n_time, n_feature = excluded.n_feature, packed = excluded.packed
WHERE :replace OR excluded.ts_event_ns >= ts_event_ns OR excluded.schema_hash <> schema_hash
"""

_READ_WINDOW = """
SELECT schema_hash, ts_event_ns, timeframe_ns, n_time, n_feature, packed
FROM online_window WHERE view = ? AND symbol = ?
"""

_VECTORS = """
CREATE TABLE IF NOT EXISTS online_vector (
    view TEXT NOT NULL,
    symbol TEXT NOT NULL,
    schema_hash TEXT NOT NULL,
    ts_event_ns INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    n_feature INTEGER NOT NULL,
    packed BLOB NOT NULL,
    PRIMARY KEY (view, symbol)
) WITHOUT ROWID
"""

_WRITE_VECTOR = """
INSERT INTO online_vector
VALUES (:view, :symbol, :schema_hash, :ts_event_ns, :sequence, :n_feature, :packed)
ON CONFLICT (view, symbol) DO UPDATE SET
    schema_hash = excluded.schema_hash, ts_event_ns = excluded.ts_event_ns, sequence = excluded.sequence,
    n_feature = excluded.n_feature, packed = excluded.packed
WHERE (excluded.ts_event_ns, excluded.sequence) > (ts_event_ns, sequence) OR excluded.schema_hash <> schema_hash
"""

_READ_VECTORS = """
SELECT symbol, schema_hash, ts_event_ns, sequence, n_feature, packed
FROM online_vector WHERE view = ? AND symbol IN (SELECT value FROM json_each(?))
"""


class SqliteOnlineStore:
    """An `OnlineStore` in one SQLite file, for any number of threads and processes of one machine.

    A write that has returned survives a power cut: the file is synchronised with the disk before.

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
        shared = {
            "view": view,
            "schema_hash": schema_hash,
            "timeframe_ns": as_int64("timeframe_ns", timeframe_ns),
            "replace": replace,
        }
        return self._write(
            _WRITE_WINDOW,
            [shared | _window_row(symbol, pack_window(symbol, *given)) for symbol, given in windows.items()],
        )

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        """Return the newest window; see `OnlineStore`."""
        with self._lock, self._translated():
            row = self._connection.execute(_READ_WINDOW, (view, symbol)).fetchone()
        if row is None:
            return None
        schema_hash, ts_event_ns, timeframe_ns, *shape, packed = row
        values = unpack(f"online window {view} {symbol}", packed, tuple(shape))
        return OnlineWindow(values, ts_event_ns, schema_hash, timeframe_ns)

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        """Store the vectors in one transaction; see `OnlineStore`."""
        shared = {"view": view, "schema_hash": schema_hash}
        return self._write(
            _WRITE_VECTOR,
            [shared | {"symbol": symbol} | pack_vector(symbol, *given)._asdict() for symbol, given in vectors.items()],
        )

    def read_vectors(
        self, view: str, symbols: Sequence[str], *, now_ns: int | None = None, ttl_ns: int | None = None
    ) -> dict[str, OnlineVector]:
        """Return the newest vectors with one statement; see `OnlineStore`."""
        with self._lock, self._translated():
            rows = self._connection.execute(_READ_VECTORS, (view, json.dumps(list(symbols)))).fetchall()
        found = {
            symbol: OnlineVector(
                unpack(f"online vector {view} {symbol}", packed, (n_feature,)), ts_event_ns, sequence, schema_hash
            )
            for symbol, schema_hash, ts_event_ns, sequence, n_feature, packed in rows
        }
        return within_ttl(found, now_ns, ttl_ns)

    def close(self) -> None:
        """Release the file."""
        with self._lock, self._alone():
            self._connection.close()

    def _write(self, statement: str, rows: Sequence[Mapping[str, object]]) -> int:
        with self._transaction() as connection:
            return sum(connection.execute(statement, row).rowcount for row in rows)

    def _open(self) -> sqlite3.Connection:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._translated(), self._alone():
                return self._connect()
        except OSError as error:
            raise UnavailableError(f"online store {self._path}: {error.strerror}") from error

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
        for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", _WINDOWS, _VECTORS):
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
            code = getattr(error, "sqlite_errorcode", None)
            if code is None:  # not from SQLite but from Python, about a column that holds no proper text
                raise ArtifactError(f"online store {self._path}: {error!r:.100}") from error
            if code & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise BusyError(f"online store {self._path} is held by another writer") from error
            raise UnavailableError(f"online store {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise ArtifactError(f"online store {self._path}: {error}") from error


def _database_path(url: str) -> Path:
    path = url.removeprefix(_URL_PREFIX)
    if path == url or not path:
        raise ConfigurationError(f"online store {url!r}: only sqlite:///PATH is supported")
    return Path(path)


def _window_row(symbol: str, window: PackedWindow) -> dict[str, object]:
    n_time, n_feature = window.shape
    sizes = {"n_time": n_time, "n_feature": n_feature}
    return sizes | {"symbol": symbol, "ts_event_ns": window.ts_event_ns, "packed": window.packed}
