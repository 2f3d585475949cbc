"""The lease, the checkpoint and the rows of one partition in Redis; who has lost the lease can write nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ratchet.errors import BusyError
from ratchet.features.streaming.redis import scripts
from ratchet.features.streaming.redis.connection import translated
from ratchet.features.streaming.redis.keys import FIRST_ID, StreamKeys

if TYPE_CHECKING:
    import redis


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a group stands in a partition.

    Everything up to the entry `last_id` is in `state`; rows are stored up to the entry `row_id`, often a bit further.
    """

    last_id: bytes
    row_id: bytes
    state: dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Poison:
    """An entry that can never be used."""

    entry_id: bytes
    reason: str
    message: bytes


class PartitionLedger:
    """What one owner of one partition writes.

    Each write is one script and renews the lease. All methods raise `BusyError` where the lease is gone or Redis holds
    another position than this owner wrote last: the owner must forget what it has and begin again from `load`.
    `UnavailableError` leaves open whether the write happened, so the same holds there.
    """

    def __init__(self, client: redis.Redis, keys: StreamKeys, group: str, partition: int, *, lease_ms: int) -> None:
        self._group, self.partition, self._lease_ms, self._keys = group, partition, lease_ms, keys
        self._client = client
        self._token = b""
        self._acquire = client.register_script(scripts.ACQUIRE)
        self._renew = client.register_script(scripts.RENEW)
        self._release = client.register_script(scripts.RELEASE)
        self._store = client.register_script(scripts.STORE)
        self._checkpoint = client.register_script(scripts.CHECKPOINT)
        self._lease, self._mark = keys.lease(group, partition), keys.mark(group, partition)
        self._events, self._rows = keys.events(partition), keys.rows(group, partition)

    def acquire(self, owner: str) -> bool:
        """Take the lease with a new epoch and return True, or return False where someone else holds it."""
        names = [self._lease, self._mark, self._events, self._keys.config]
        with self._translated():
            token = self._acquire(names, [owner, self._lease_ms, self._token, self._group, self.partition])
        if token is None:
            return False
        self._token = token
        return True

    def is_free(self) -> bool:
        """Return whether nobody holds the lease."""
        with self._translated():
            return not self._client.exists(self._lease)

    def load(self) -> Checkpoint:
        """Return the newest checkpoint; call it after `acquire`, since then nobody else writes."""
        with self._translated():
            pipeline = self._client.pipeline(transaction=True)
            pipeline.hmget(self._mark, ["last_id", "row_id"])
            pipeline.hgetall(self._keys.state(self._group, self.partition))
            (last_id, row_id), state = pipeline.execute()
        parts = {name.decode(): part for name, part in state.items()}
        return Checkpoint(last_id or FIRST_ID, row_id or FIRST_ID, parts)

    def renew(self) -> None:
        """Hold the lease for another `lease_ms`."""
        with self._translated():
            self._fenced(self._renew([self._lease], [self._token, self._lease_ms]))

    def release(self) -> None:
        """Give the lease back if it is still held."""
        with self._translated():
            self._release([self._lease], [self._token])

    def store_rows(
        self, row_id: bytes, rows: Sequence[tuple[bytes, Sequence[bytes]]], *, keep_rows: int | None
    ) -> None:
        """Append packed rows by the id of the event that caused them, ids rising; `row_id` is the last one stored."""
        arguments: list[Any] = [self._token, self._lease_ms, row_id, "" if keep_rows is None else keep_rows]
        for entry_id, packed in rows:
            arguments += [entry_id, len(packed), *packed]
        with self._translated():
            self._fenced(self._store([self._lease, self._mark, self._rows], arguments))

    def checkpoint(
        self,
        *,
        last_id: bytes,
        new_last_id: bytes,
        n_taken: int,
        parts: Mapping[str, bytes],
        counts: Mapping[str, int],
        poison: Sequence[Poison],
        keep_poison: int,
    ) -> int:
        """Move from `last_id` to `new_last_id` with what changed on the way; return how many entries wait behind it."""
        keys, partition = self._keys, self.partition
        names = [
            *(self._lease, self._mark, keys.state(self._group, partition), self._events),
            *(keys.poison(self._group), keys.config, keys.groups),
        ]
        arguments: list[Any] = [self._token, self._lease_ms, last_id, new_last_id, n_taken]
        arguments += [json.dumps(dict(counts), sort_keys=True), self._group, keys.prefix, partition, keep_poison]
        arguments.append(len(parts))
        for name, part in parts.items():
            arguments += [name, part]
        for message in poison:
            arguments += [message.entry_id, message.reason, message.message]
        with self._translated():
            return int(self._fenced(self._checkpoint(names, arguments)))

    def _fenced(self, answer: Any) -> Any:
        if answer in {b"LOST", b"MOVED"}:
            why = (
                "someone else has taken it over"
                if answer == b"LOST"
                else "Redis holds another position than was written"
            )
            raise BusyError(f"partition {self.partition} of {self._group}: {why}; nothing was written")
        return answer

    def _translated(self) -> Any:
        return translated(f"partition {self.partition} of {self._group}")
