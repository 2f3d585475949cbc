"""What the model server answered from: one row for each prediction, the newest of them kept; free of pandas."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from ratchet.data.sqlite import SqliteDatabase
from ratchet.errors import NotFoundError
from ratchet.features.store.packing import unpack

_VERSION = 1
_SERVED = """
CREATE TABLE served (
    id INTEGER PRIMARY KEY,
    view TEXT NOT NULL,
    schema_hash TEXT NOT NULL,
    symbol TEXT NOT NULL,
    ts_event_ns INTEGER NOT NULL,
    served_ns INTEGER NOT NULL,
    model TEXT NOT NULL,
    version TEXT NOT NULL,
    n_feature INTEGER NOT NULL,
    packed BLOB NOT NULL,
    window_sha256 BLOB NOT NULL
)
"""
_LOST = "CREATE TABLE lost (id INTEGER PRIMARY KEY CHECK (id = 1), n_samples INTEGER NOT NULL)"
_APPEND = """
INSERT INTO served
(view, schema_hash, symbol, ts_event_ns, served_ns, model, version, n_feature, packed, window_sha256)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_TRIM = "DELETE FROM served WHERE id <= (SELECT MAX(id) FROM served) - ?"
_READ = """
SELECT view, schema_hash, symbol, ts_event_ns, served_ns, model, version, n_feature, packed, window_sha256
FROM served WHERE served_ns >= ? AND (? IS NULL OR schema_hash = ?) ORDER BY id
"""


@dataclass(frozen=True, slots=True, eq=False)
class ServedVector:
    """The features that one prediction rested on.

    `values` is float32 (feature,): the last row of the window, whose last bar opened at `ts_event_ns`. `window_sha256`
    is lower-case hex, over the packed float32 of the whole window. `served_ns` is when the answer was given.
    """

    view: str
    schema_hash: str
    symbol: str
    ts_event_ns: int
    served_ns: int
    model: str
    version: str
    values: NDArray[np.float32]
    window_sha256: str


class ServedLog:
    """The newest served vectors, in one SQLite file that several servers may write and an audit reads meanwhile.

    Args:
        path: the file; a writer makes it.
        read_only: open for reading only.

    Raises:
        NotFoundError: the log is to be read and nothing was ever written.
        UnavailableError: the file cannot be opened.
        ArtifactError: the file is damaged.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._database = SqliteDatabase(
            path, title="the served log", schema_version=_VERSION, create_schema=_create, read_only=read_only
        )
        if read_only:
            if self._database.is_empty():
                raise NotFoundError(f"{path}: nothing was served yet; predictions by symbol are logged there")
            return
        with self._database.translated(), _alone(path):
            self._database.create()

    def append(self, vectors: Sequence[ServedVector], *, kept: int, n_lost: int = 0) -> None:
        """Add vectors, drop all but the `kept` newest, and count `n_lost` samples that could not be added.

        Raises:
            BusyError: another writer held the file for too long.
            UnavailableError: the disk is full or gone.
        """
        with self._database.write() as connection:
            if vectors:
                connection.exec_driver_sql(_APPEND, [_row(vector) for vector in vectors])
                connection.exec_driver_sql(_TRIM, (kept,))
            connection.exec_driver_sql("UPDATE lost SET n_samples = n_samples + ?", (n_lost,))

    def read(self, *, schema_hash: str | None = None, since_ns: int = 0) -> list[ServedVector]:
        """Return the vectors in the order in which they were written; of one feature schema where it is given.

        Raises:
            ArtifactError: stored bytes do not fit their shape.
        """
        with self._database.read() as connection:
            rows = connection.exec_driver_sql(_READ, (since_ns, schema_hash, schema_hash)).all()
        return [_vector(*row) for row in rows]

    def n_lost(self) -> int:
        """Return how many samples were left out since the file was made, because the log could not keep up."""
        with self._database.read() as connection:
            return int(connection.exec_driver_sql("SELECT n_samples FROM lost").scalar_one())

    def close(self) -> None:
        """Release the file."""
        self._database.close()


def _create(connection: Connection) -> None:
    for statement in (_SERVED, _LOST, "INSERT INTO lost VALUES (1, 0)"):
        connection.exec_driver_sql(statement)


def _vector(
    view: str,
    schema_hash: str,
    symbol: str,
    ts_event_ns: int,
    served_ns: int,
    model: str,
    version: str,
    n_feature: int,
    packed: bytes,
    digest: bytes,
) -> ServedVector:
    values = unpack(f"served vector {symbol} {ts_event_ns}", packed, (n_feature,))
    return ServedVector(view, schema_hash, symbol, ts_event_ns, served_ns, model, version, values, digest.hex())


def _row(vector: ServedVector) -> tuple[object, ...]:
    return (
        vector.view,
        vector.schema_hash,
        vector.symbol,
        vector.ts_event_ns,
        vector.served_ns,
        vector.model,
        vector.version,
        vector.values.size,
        vector.values.astype("<f4").tobytes(),
        bytes.fromhex(vector.window_sha256),
    )


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other processes from making the file at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
