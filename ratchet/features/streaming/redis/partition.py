"""One partition in the hands of its owner: entries in, rows out, a checkpoint now and then."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ratchet.clock import Clock
from ratchet.errors import InputError
from ratchet.features.store.online import OnlineStore
from ratchet.features.streaming.events import FeatureRow, decode_event, encode_rows
from ratchet.features.streaming.metrics import StreamMetrics
from ratchet.features.streaming.ports import Engine
from ratchet.features.streaming.redis.keys import id_order
from ratchet.features.streaming.redis.ledger import PartitionLedger, Poison

Entry = tuple[bytes, Mapping[bytes, bytes]]
"""A stream entry: its id and its fields."""

EVENT_FIELD = b"event"
END_FIELD = b"end"
"""An entry with this field asks the engine to flush: the stream ends here, for every group."""


class _Taken(NamedTuple):
    """An entry that the engine has seen; `known_ns` is when its event had arrived, None where it is no event."""

    entry_id: bytes
    known_ns: int | None
    rows: list[FeatureRow]


class OwnedPartition:
    """Takes the entries of one partition in order and keeps Redis at most one checkpoint behind.

    The rows of a batch are stored before the next one is read, each entry's under the entry's own id. After a crash the
    entries since the checkpoint are taken again; their rows come out the same, and those that are there are left out.
    """

    def __init__(
        self,
        ledger: PartitionLedger,
        engine: Engine,
        *,
        group: str,
        clock: Clock,
        metrics: StreamMetrics,
        store: OnlineStore | None,
        keep_rows: int | None,
        keep_poison: int,
    ) -> None:
        self.ledger, self._engine, self._group = ledger, engine, group
        self._clock, self._metrics, self._vectors = clock, metrics, store
        self._keep_rows, self._keep_poison = keep_rows, keep_poison
        checkpoint = ledger.load()
        if checkpoint.state:
            engine.restore(checkpoint.state)
        self.last_id = self._checkpoint_id = checkpoint.last_id
        self._row_id = checkpoint.row_id
        self._poison: list[Poison] = []
        self.n_since_checkpoint = 0
        self.lease_s = self.checkpoint_s = time.monotonic()
        """When the lease was last renewed and the checkpoint last written, seconds of the monotonic clock."""
        self.n_waiting = 0
        """How many entries waited behind the last checkpoint."""
        self.known_ns: int | None = None
        """When the newest event taken had arrived, ns UTC."""

    def take(self, entries: Sequence[Entry]) -> None:
        """Run entries through the engine and store their rows.

        Raises:
            BusyError: the partition is no longer ours; forget it.
            UnavailableError: it is not known whether the rows are stored; forget it and begin from the checkpoint.
        """
        taken = [_Taken(entry_id, *self._apply(entry_id, fields)) for entry_id, fields in entries]
        stored_before = id_order(self._row_id)
        new = [one for one in taken if one.rows and id_order(one.entry_id) > stored_before]
        if new:
            packed = [(one.entry_id, [encode_rows(one.rows)]) for one in new]
            self.lease_s = time.monotonic()
            self.ledger.store_rows(self._row_id, packed, keep_rows=self._keep_rows)
            self._row_id = new[-1].entry_id
        # After a crash the vectors may be behind the rows, so those of rows that are there are offered again.
        self._write_vectors([row for one in taken for row in one.rows])
        self._measure(new, len(taken), n_replayed=sum(id_order(one.entry_id) <= stored_before for one in taken))
        self.last_id = taken[-1].entry_id
        self.n_since_checkpoint += len(taken)

    def checkpoint(self) -> None:
        """Write the state as of the last entry taken and acknowledge up to there; raises as `take` does."""
        self.checkpoint_s = self.lease_s = time.monotonic()
        self.n_waiting = self.ledger.checkpoint(
            last_id=self._checkpoint_id,
            new_last_id=self.last_id,
            n_taken=self.n_since_checkpoint,
            parts=self._engine.changed_state(),
            counts=self._engine.counts(),
            poison=self._poison,
            keep_poison=self._keep_poison,
        )
        self._checkpoint_id = self.last_id
        self._metrics.add(poison=len(self._poison))
        self._poison, self.n_since_checkpoint = [], 0

    def renew(self) -> None:
        """Hold the lease for longer; raises as `take` does."""
        self.lease_s = time.monotonic()
        self.ledger.renew()

    def _apply(self, entry_id: bytes, fields: Mapping[bytes, bytes]) -> tuple[int | None, list[FeatureRow]]:
        try:
            if END_FIELD in fields:
                return None, self._engine.flush()
            if EVENT_FIELD not in fields:
                raise InputError(f"the entry has no field {EVENT_FIELD.decode()}")
            event = decode_event(fields[EVENT_FIELD])
            self.known_ns = event.known_ns
            return event.known_ns, self._engine.apply(event)
        except InputError as error:
            self._poison.append(Poison(entry_id, str(error), fields.get(EVENT_FIELD, b" ".join(fields.values()))))
            return None, []
        except Exception as error:
            where = f"partition {self.ledger.partition}, entry {entry_id.decode()}"
            error.add_note(f"The feature engine failed at {where}; the checkpoint before it stands.")
            raise

    def _measure(self, new: Sequence[_Taken], n_taken: int, *, n_replayed: int) -> None:
        now_ns = self._clock.now_ns()
        for one in new:
            if one.known_ns is not None:
                self._metrics.observe_stored(one.known_ns, now_ns)
        n_rows = sum(len(one.rows) for one in new)
        self._metrics.add(events=n_taken, rows=n_rows, batches=1, replayed=n_replayed)

    def _write_vectors(self, rows: Sequence[FeatureRow]) -> None:
        if self._vectors is None or not rows:
            return
        newest: dict[str, FeatureRow] = {}
        for row in rows:
            known = newest.get(row.symbol)
            if known is None or (row.ts_event_ns, row.sequence) >= (known.ts_event_ns, known.sequence):
                newest[row.symbol] = row
        vectors = {symbol: (row.ts_event_ns, row.sequence, row.values) for symbol, row in newest.items()}
        self._vectors.write_vectors(self._group, self._engine.schema_hash, vectors)
