"""A Kafka worker for a process of its own, which has accidents.

It works until SIGTERM, then saves, leaves the group and says its totals. Meanwhile it says its partitions whenever they
change. `mode` decides what happens at its Nth checkpoint:

- `run`: nothing.
- `kill-before`: it is killed when the rows have arrived, and state and offset are not saved.
- `kill-after`: it is killed when these are saved, and Kafka does not know.
- `stop-before`: it is stopped instead (until SIGCONT), and then tries to save.
- `kill-unsent`: the mutant; it saves without waiting for its rows, and is killed right after.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

from ratchet.clock import SystemClock
from ratchet.errors import BusyError
from ratchet.features.streaming.checkpoints import Checkpoint, SqliteCheckpointStore
from ratchet.features.streaming.kafka.connection import KafkaOptions
from ratchet.features.streaming.kafka.outbox import Outbox
from ratchet.features.streaming.kafka.worker import KafkaLimits, KafkaWorker
from tests.streaming_engine import SummingEngine

VIEW = "summing"
LIMITS = KafkaLimits(
    max_batch=50,
    poll_s=0.02,
    checkpoint_every_events=100,
    checkpoint_every_ms=50,
    session_timeout_ms=1_500,
    patience_s=10.0,
)


class _Accident:
    """A `CheckpointStore` during whose Nth save something happens."""

    def __init__(self, store: SqliteCheckpointStore, mode: str, at: int, say: Callable[[object], None]) -> None:
        self._store, self._mode, self._at, self._say = store, mode, at, say
        self._n_saves = 0

    def acquire(self, stream: str, partition: int, n_partitions: int) -> Checkpoint:
        return self._store.acquire(stream, partition, n_partitions)

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
        self._n_saves += 1
        is_now = self._n_saves == self._at
        if is_now and self._mode == "kill-before":
            os.kill(os.getpid(), signal.SIGKILL)
        if is_now and self._mode == "stop-before":
            self._say("stopping")
            os.kill(os.getpid(), signal.SIGSTOP)
        try:
            self._store.save(
                stream, partition, epoch, next_offset=next_offset, changed_parts=changed_parts, counts=counts
            )
        except BusyError:
            self._say("refused")
            raise
        if is_now and self._mode in {"kill-after", "kill-unsent"}:
            os.kill(os.getpid(), signal.SIGKILL)


def work(connection: Connection, bootstrap: str, prefix: str, checkpoints: Path, mode: str, at: int) -> None:
    """Work until SIGTERM, or until what `mode` says."""
    options: KafkaOptions = {}
    if mode == "kill-unsent":
        Outbox.flush = Outbox.serve  # type: ignore[method-assign]
        options = {"linger.ms": 2_000}
    is_told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: is_told.append(number))
    store = _Accident(SqliteCheckpointStore(checkpoints), mode, at, connection.send)
    clock = SystemClock()
    before: list[frozenset[int]] = [frozenset()]
    with KafkaWorker(
        bootstrap, prefix, VIEW, SummingEngine, store, clock=clock, limits=LIMITS, options=options
    ) as worker:

        def until() -> bool:
            if worker.owned != before[0]:
                before[0] = worker.owned
                connection.send(before[0])
            return bool(is_told)

        worker.run(until)
    connection.send(worker.metrics.snapshot())
