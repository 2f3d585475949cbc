"""Where a worker of a partitioned stream keeps what it must not forget, and who may write it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKeyConstraint,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    delete,
    select,
    update,
)
from sqlalchemy.dialects.sqlite import insert

from ratchet.data.lock import hold
from ratchet.data.sqlite import BUSY_TIMEOUT_S, SqliteDatabase
from ratchet.errors import BusyError, ConfigurationError

_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What was done with a partition up to, and without, `next_offset` (None where nothing was done yet).

    `parts` is the state of the engine, `counts` are its host's totals. `epoch` is needed to write the next one.
    """

    epoch: int
    next_offset: int | None
    parts: Mapping[str, bytes]
    counts: Mapping[str, int]


class CheckpointStore(Protocol):
    """Keeps one checkpoint per (stream, partition), and one writer.

    Implementers owe: a save is all or nothing and survives a power cut once it has returned; after an `acquire`,
    nobody who acquired before can change the partition, however long he was away.
    """

    def acquire(self, stream: str, partition: int, n_partitions: int) -> Checkpoint:
        """Become the only writer of a partition and return what the last one left.

        Raises:
            ConfigurationError: the stream was divided into another number of partitions so far.
        """
        ...

    def save(
        self,
        stream: str,
        partition: int,
        epoch: int,
        *,
        next_offset: int,
        changed_parts: Mapping[str, bytes],
        counts: Mapping[str, int],
    ) -> None:
        """Replace the offset, the counts and the parts that changed.

        Raises:
            BusyError: someone else has acquired the partition since, or the store is held by another writer for too
                long. Nothing was written.
        """
        ...


_metadata = MetaData()

_partitions = Table(
    "stream_partition",
    _metadata,
    Column("stream", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("n_partitions", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("next_offset", BigInteger),
    Column("counts", Text, nullable=False),
)

_parts = Table(
    "state_part",
    _metadata,
    Column("stream", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("packed", LargeBinary, nullable=False),
    ForeignKeyConstraint(
        ["stream", "partition"], ["stream_partition.stream", "stream_partition.partition"], ondelete="CASCADE"
    ),
)


class SqliteCheckpointStore:
    """A `CheckpointStore` in one SQLite file, shared by the workers of one machine.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = SqliteCheckpointStore(Path(folder) / "checkpoints.sqlite")
    ...     mine = store.acquire("market", 0, 4)
    ...     store.save("market", 0, mine.epoch, next_offset=7, changed_parts={"BTC/USDT": b"state"}, counts={})
    ...     store.acquire("market", 0, 4).next_offset
    ...     store.close()
    7

    Args:
        path: the file, on a local disk; it and its folder are made where missing.

    Raises:
        ConfigurationError: a newer release made the file.
        BusyError: another process is making it and does not get done.
        UnavailableError: it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._database = SqliteDatabase(
            path,
            title="the checkpoints",
            schema_version=_SCHEMA_VERSION,
            create_schema=_metadata.create_all,
        )
        with self._database.translated(), hold(path.with_suffix(".lock"), patience_s=BUSY_TIMEOUT_S) as is_alone:
            if not is_alone:
                raise BusyError(f"{path}: another process is still making this file; try again")
            if self._database.is_empty():
                self._database.create()

    def acquire(self, stream: str, partition: int, n_partitions: int) -> Checkpoint:
        """Raise the epoch and return the checkpoint, in one transaction; see `CheckpointStore`."""
        with self._database.write() as connection:
            _refuse_other_division(connection, stream, n_partitions)
            first = insert(_partitions).values(
                stream=stream, partition=partition, n_partitions=n_partitions, epoch=1, counts="{}"
            )
            raised = first.on_conflict_do_update(
                index_elements=["stream", "partition"], set_={"epoch": _partitions.c.epoch + 1}
            )
            kept = raised.returning(_partitions.c.epoch, _partitions.c.next_offset, _partitions.c.counts)
            epoch, next_offset, counts = connection.execute(kept).one()
            query = select(_parts.c.name, _parts.c.packed).where(
                _parts.c.stream == stream, _parts.c.partition == partition
            )
            parts = {row.name: row.packed for row in connection.execute(query)}
        return Checkpoint(epoch, next_offset, parts, json.loads(counts))

    def save(
        self,
        stream: str,
        partition: int,
        epoch: int,
        *,
        next_offset: int,
        changed_parts: Mapping[str, bytes],
        counts: Mapping[str, int],
    ) -> None:
        """Write state, offset and counts in one transaction; see `CheckpointStore`."""
        mine = (
            (_partitions.c.stream == stream) & (_partitions.c.partition == partition) & (_partitions.c.epoch == epoch)
        )
        moved = update(_partitions).where(mine).values(next_offset=next_offset, counts=json.dumps(dict(counts)))
        rows = [
            {"stream": stream, "partition": partition, "name": name, "packed": packed}
            for name, packed in changed_parts.items()
        ]
        with self._database.write() as connection:
            if connection.execute(moved).rowcount == 0:
                raise BusyError(f"{stream}, partition {partition}: someone else has taken it over; nothing was saved")
            if rows:
                new = insert(_parts)
                replacing = new.on_conflict_do_update(
                    index_elements=["stream", "partition", "name"], set_={"packed": new.excluded.packed}
                )
                connection.execute(replacing, rows)

    def forget(self, stream: str) -> None:
        """Remove all checkpoints of a stream: it will be read from its beginning, into an empty engine."""
        with self._database.write() as connection:
            connection.execute(delete(_partitions).where(_partitions.c.stream == stream))

    def close(self) -> None:
        """Close all connections."""
        self._database.close()


def _refuse_other_division(connection: Connection, stream: str, n_partitions: int) -> None:
    """A symbol would go to another partition, whose engine knows nothing about it."""
    query = select(_partitions.c.n_partitions).where(_partitions.c.stream == stream).limit(1)
    before = connection.execute(query).scalar()
    if before is not None and before != n_partitions:
        raise ConfigurationError(
            f"{stream} has {n_partitions} partitions, its checkpoints are of {before}; "
            "give back the old number, or begin anew under another name"
        )
