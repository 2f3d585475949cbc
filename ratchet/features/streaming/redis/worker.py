"""The process that turns the events of its partitions into rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self

from ratchet.clock import Clock
from ratchet.errors import BusyError, ConfigurationError, UnavailableError
from ratchet.features.store.online import OnlineStore
from ratchet.features.streaming.metrics import StreamMetrics
from ratchet.features.streaming.ports import Engine
from ratchet.features.streaming.redis.claims import Claims
from ratchet.features.streaming.redis.connection import connect, translated
from ratchet.features.streaming.redis.groups import agree_partitions, join_group
from ratchet.features.streaming.redis.keys import StreamKeys
from ratchet.features.streaming.redis.ledger import PartitionLedger
from ratchet.features.streaming.redis.partition import Entry, OwnedPartition
from ratchet.features.streaming.redis.patience import Patience

_LONGEST_BLOCK_S = 0.1


class RedisWorker:
    """Owns partitions of the stream below `prefix` for one feature view and runs an engine on each.

    A partition has one owner at a time, by a lease. An owner that dies is replaced once its lease has run out, an owner
    that was paused meanwhile can write nothing when it wakes up. The new one goes on from the checkpoint; the result is
    bit for bit that of an uninterrupted run, each row once. Entries are read from the owner's own position rather than
    through the consumer group: a paused reader that waits in a group would be handed the next entry, and the new owner
    would never see it. The group's position follows with each checkpoint and shows in XINFO GROUPS.

    Redis must keep what it has acknowledged (`appendonly yes`) and may not evict (`maxmemory-policy noeviction`). Where
    it comes back with older data nonetheless, the worker goes on from there.

    Args:
        url: `redis://HOST:PORT/DB`, `rediss://...` or `unix://PATH`; not Redis Cluster.
        prefix: begins the names of all keys.
        group: name of the feature view; several may run side by side.
        make_engine: makes an empty engine; called for each partition taken.
        owner: who this is, unlike every other worker; shows in the lease.
        clock: for latencies.
        partitions: which to take whenever they are free; None takes all, () waits for others to fail.
        takeover_after_ms: the others are taken once they were free for that long; None never does.
        n_partitions: of the stream; None asks the stream, which must then have events.
        store: where the newest vector of each symbol goes, after its row.
        lease_ms: how long a dead owner keeps its partitions.
        checkpoint_every_ms, checkpoint_every_events: how much is done again after a crash, at most. A checkpoint of 50
            symbols is some 3 MB, and events wait for it.
        read_count: entries read at once per partition; rows are stored after each read.
        keep_rows: about how many entries the rows stream of a partition keeps; None keeps all, and Redis grows.
        keep_poison: about how many messages set aside are kept.
        patience_s: how long Redis may be away.

    Raises:
        ConfigurationError: another number of partitions or another feature set is in use; wrong URL or password.
        UnavailableError: Redis does not answer.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        group: str,
        make_engine: Callable[[], Engine],
        *,
        owner: str,
        clock: Clock,
        partitions: Collection[int] | None = None,
        takeover_after_ms: int | None = 10_000,
        n_partitions: int | None = None,
        store: OnlineStore | None = None,
        lease_ms: int = 3_000,
        checkpoint_every_ms: int = 10_000,
        checkpoint_every_events: int = 20_000,
        read_count: int = 64,
        keep_rows: int | None = 100_000,
        keep_poison: int = 10_000,
        patience_s: float = 30.0,
    ) -> None:
        self._client, self._keys, self._group = connect(url), StreamKeys(prefix), group
        self._make_engine, self._clock, self._store = make_engine, clock, store
        self._checkpoint_every_s, self._checkpoint_every_events = checkpoint_every_ms / 1e3, checkpoint_every_events
        self._renew_every_s = lease_ms / 3e3
        self._read_count, self._keep_rows, self._keep_poison = read_count, keep_rows, keep_poison
        self._patience = Patience(patience_s)
        self.metrics = StreamMetrics()
        n_agreed = agree_partitions(self._client, self._keys, n_partitions)
        own = range(n_agreed) if partitions is None else partitions
        if not set(own) <= set(range(n_agreed)):
            raise ConfigurationError(f"partitions {sorted(own)} of stream {prefix}: it has 0 to {n_agreed - 1}")
        join_group(self._client, self._keys, group, make_engine().schema_hash)
        self._ledgers = {
            number: PartitionLedger(self._client, self._keys, group, number, lease_ms=lease_ms)
            for number in range(n_agreed)
        }
        self._claims = Claims(
            self._ledgers, owner, own=own, takeover_after_ms=takeover_after_ms, every_ms=max(lease_ms // 3, 1)
        )
        self._owned: dict[int, OwnedPartition] = {}

    @property
    def owned(self) -> frozenset[int]:
        """Partitions held now, as far as this process knows."""
        return frozenset(self._owned)

    def run(self, until: Callable[[], bool]) -> None:
        """Work until `until` says so (asked about ten times a second), then write checkpoints and give the leases back.

        Raises:
            UnavailableError: Redis or the store were away for `patience_s`.
            ArtifactError: the state in Redis cannot be restored.
            Exception: whatever the engine failed with, with a note where; the checkpoint before it stands.
        """
        with self._leaving():
            while not until():
                self._step()

    def drain(self, *, timeout_s: float = 60.0) -> None:
        """Work until this worker's partitions are its own and have no entry left; for finite streams.

        The engine flushes only at the end mark of `RedisPublisher.publish_end`. Raises as `run` does, and:

        Raises:
            BusyError: there was still work, or another owner, after `timeout_s`.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._leaving():
            while self._step() or not self._is_settled():
                if time.monotonic() >= deadline_s:
                    missing = sorted(self._claims.own - self._owned.keys())
                    raise BusyError(
                        f"stream {self._keys.prefix} is not drained after {timeout_s:g} s; owned elsewhere: {missing}"
                    )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _is_settled(self) -> bool:
        owned = self._owned.values()
        return self._claims.own <= self._owned.keys() and not any(one.n_since_checkpoint for one in owned)

    def _step(self) -> int:
        """Claim, read, compute, store, and keep checkpoints and leases fresh; return the number of entries taken."""
        try:
            self._claim()
            n_taken = self._read()
            self._refresh()
        except UnavailableError as error:
            # It is not known what was written. The leases are still ours by their tokens; begin from the checkpoints.
            self._owned.clear()
            self._claims.look_at_once()
            self._patience.failed(error)
            return 0
        self._patience.worked()
        return n_taken

    def _claim(self) -> None:
        for number in self._claims.take(self._owned.keys()):
            self._owned[number] = OwnedPartition(
                self._ledgers[number],
                self._make_engine(),
                group=self._group,
                clock=self._clock,
                metrics=self.metrics,
                store=self._store,
                keep_rows=self._keep_rows,
                keep_poison=self._keep_poison,
            )

    def _read(self) -> int:
        if not self._owned:
            time.sleep(_LONGEST_BLOCK_S / 10)
            return 0
        positions: dict[Any, Any] = {self._keys.events(number): one.last_id for number, one in self._owned.items()}
        with translated(f"stream {self._keys.prefix}"):
            reply = self._client.xread(positions, count=self._read_count, block=self._block_ms())
        entries = dict(_by_stream(reply))
        n_taken = 0
        for number, one in list(self._owned.items()):
            new = entries.get(self._keys.events(number).encode())
            if new:
                self._guarded(number, one.take, new)
                n_taken += len(new)
        return n_taken

    def _refresh(self) -> None:
        now_s = time.monotonic()
        for number, one in list(self._owned.items()):
            age_s = now_s - one.checkpoint_s
            is_due = age_s >= self._checkpoint_every_s or one.n_since_checkpoint >= self._checkpoint_every_events
            if one.n_since_checkpoint and is_due:
                self._guarded(number, one.checkpoint)
                self._note_lag()
            elif now_s - one.lease_s >= self._renew_every_s:
                self._guarded(number, one.renew)

    def _note_lag(self) -> None:
        """What waits arrived after the newest event taken, so its age is at most that event's."""
        behind = [one for one in self._owned.values() if one.n_waiting]
        arrived = [one.known_ns for one in behind if one.known_ns is not None]
        n_waiting = sum(one.n_waiting for one in behind)
        self.metrics.set_lag(n_waiting, min(arrived, default=None), self._clock.now_ns())

    def _guarded(self, number: int, act: Callable[..., None], *arguments: object) -> None:
        try:
            act(*arguments)
        except BusyError:
            del self._owned[number]
            self._claims.look_at_once()

    @contextmanager
    def _leaving(self) -> Iterator[None]:
        """Give the leases back at the end, after a last checkpoint unless the work ended in an error."""
        try:
            yield
            # Where Redis is away now, the next owner goes on from the checkpoint before.
            with suppress(UnavailableError):
                for number, one in list(self._owned.items()):
                    if one.n_since_checkpoint:
                        self._guarded(number, one.checkpoint)
        finally:
            with suppress(UnavailableError):
                for one in self._owned.values():
                    one.ledger.release()
            self._owned.clear()

    def _block_ms(self) -> int:
        """How long a read may wait before the next checkpoint or renewal is due."""
        now_s = time.monotonic()
        due_s = [now_s + _LONGEST_BLOCK_S]
        for one in self._owned.values():
            due_s.append(one.lease_s + self._renew_every_s)
            if one.n_since_checkpoint:
                due_s.append(one.checkpoint_s + self._checkpoint_every_s)
        return max(int((min(due_s) - now_s) * 1e3), 1)


def _by_stream(reply: Any) -> Iterator[tuple[bytes, list[Entry]]]:
    """Yield name and entries of each stream; with RESP3 the reply is a mapping and nests entries one deeper."""
    for name, found in reply.items() if isinstance(reply, Mapping) else reply or ():
        yield name, found[0] if found and isinstance(found[0], list) else found
