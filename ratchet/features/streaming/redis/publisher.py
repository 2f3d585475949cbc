"""Events onto the partition streams, never further ahead than the slowest group may be behind."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Self

from ratchet.errors import BusyError, InputError, UnavailableError
from ratchet.features.streaming.events import FeatureEvent, encode_event, partition_of
from ratchet.features.streaming.redis.connection import connect, translated
from ratchet.features.streaming.redis.groups import agree_partitions
from ratchet.features.streaming.redis.keys import StreamKeys
from ratchet.features.streaming.redis.partition import END_FIELD, EVENT_FIELD
from ratchet.features.streaming.redis.patience import Patience

# What redis-py takes; dictionaries must match it exactly.
_Field = bytes | bytearray | memoryview | str | int | float

_CHUNK = 256
_LOOK_AGAIN_S = 0.005


class RedisPublisher:
    """Appends events to the streams `PREFIX:events:P`.

    Entries go once every group has taken them, so a stream's length is the backlog of the slowest group; while no group
    has come yet, everything counts. Several publishers may run; the limit then holds to a few hundred entries each.

    After a lost connection the last chunk may be there twice. The engine finds duplicates by their sequence numbers;
    events that have none (signs of life, derivatives, trades of venues without numeric ids) may then count twice.

    Args:
        url: `redis://HOST:PORT/DB`, `rediss://...` or `unix://PATH`; not Redis Cluster.
        prefix: begins the names of all keys.
        n_partitions: of the stream; fixed by the first process that names it.
        max_backlog: how many entries may wait in a partition. Workers trim at their checkpoints, so it slows the stream
            down where it is less than what comes in between two of them.
        wait_s: how long `publish` waits for room.
        patience_s: how long it tries to reach Redis.

    Raises:
        ConfigurationError: another number of partitions was fixed, or the URL or the password is wrong.
        UnavailableError: Redis does not answer.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        n_partitions: int,
        max_backlog: int = 100_000,
        *,
        wait_s: float = 30.0,
        patience_s: float = 30.0,
    ) -> None:
        if n_partitions < 1 or max_backlog < 1:
            raise InputError(f"{n_partitions} partitions with a backlog of {max_backlog}: both are at least 1")
        self._client = connect(url)
        self._keys = StreamKeys(prefix)
        self.n_partitions, self._max_backlog, self._wait_s = n_partitions, max_backlog, wait_s
        self._patience = Patience(patience_s)
        self._lengths: dict[int, int] = dict.fromkeys(range(n_partitions), 0)
        agree_partitions(self._client, self._keys, n_partitions)

    def publish(self, events: Iterable[FeatureEvent]) -> int:
        """Append events in order and return how many; those of a symbol stay in order.

        Raises:
            BusyError: there was no room for `wait_s`; what was counted so far is published, the rest is not.
            UnavailableError: Redis did not answer for `patience_s`.
        """
        n_published = 0
        remaining = iter(events)
        while chunk := list(islice(remaining, min(_CHUNK, self._max_backlog))):
            by_partition: dict[int, list[dict[_Field, _Field]]] = defaultdict(list)
            for event in chunk:
                by_partition[partition_of(event.symbol, self.n_partitions)].append({EVENT_FIELD: encode_event(event)})
            self._append(by_partition, n_published)
            n_published += len(chunk)
        return n_published

    def publish_end(self) -> None:
        """Tell every group that the stream ends here: their engines flush what they hold back.

        It is an entry like others, so a worker that is killed at it flushes once all the same.
        """
        self._append({partition: [{END_FIELD: b""}] for partition in range(self.n_partitions)}, 0)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, by_partition: Mapping[int, Sequence[dict[_Field, _Field]]], n_before: int) -> None:
        deadline_s = time.monotonic() + self._wait_s
        while True:
            try:
                full = self._try_to_append(by_partition)
            except UnavailableError as error:
                self._patience.failed(error)
                continue
            self._patience.worked()
            if not full:
                return
            if time.monotonic() >= deadline_s:
                raise BusyError(
                    f"stream {self._keys.prefix}: {self._lengths[full[0]]} entries of partition {full[0]} wait for a "
                    f"group; {n_before} events were published: start its worker, or forget_group it"
                )
            time.sleep(_LOOK_AGAIN_S)

    def _try_to_append(self, by_partition: Mapping[int, Sequence[dict[_Field, _Field]]]) -> list[int]:
        """Append all or nothing; return the partitions without room."""
        # The newest entry that all groups have taken stays in the stream and does not count.
        room = {partition: self._max_backlog + 1 - len(entries) for partition, entries in by_partition.items()}
        if any(self._lengths[partition] > room[partition] for partition in by_partition):
            self._look(list(by_partition))
            full = [partition for partition in by_partition if self._lengths[partition] > room[partition]]
            if full:
                return full
        pipeline = self._client.pipeline(transaction=True)
        for partition, entries in by_partition.items():
            for fields in entries:
                pipeline.xadd(self._keys.events(partition), fields)
            pipeline.xlen(self._keys.events(partition))
        with translated(f"stream {self._keys.prefix}"):
            answers = iter(pipeline.execute())
        for partition, entries in by_partition.items():
            self._lengths[partition] = int(list(islice(answers, len(entries) + 1))[-1])
        return []

    def _look(self, partitions: Sequence[int]) -> None:
        pipeline = self._client.pipeline(transaction=False)
        for partition in partitions:
            pipeline.xlen(self._keys.events(partition))
        with translated(f"stream {self._keys.prefix}"):
            self._lengths.update(zip(partitions, map(int, pipeline.execute()), strict=True))
