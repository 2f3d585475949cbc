"""Drives the feature engine over the partitions that Kafka assigns to this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ratchet.clock import Clock
from ratchet.errors import BusyError, InputError
from ratchet.features.streaming.checkpoints import CheckpointStore
from ratchet.features.streaming.kafka.connection import (
    KafkaOptions,
    open_consumer,
    place,
    translate,
    translated,
)
from ratchet.features.streaming.kafka.messages import events_topic
from ratchet.features.streaming.kafka.outbox import Outbox
from ratchet.features.streaming.kafka.partition import OwnedPartition
from ratchet.features.streaming.kafka.sink import RowSink, VectorStore
from ratchet.features.streaming.kafka.watch import ConnectionWatch
from ratchet.features.streaming.metrics import StreamMetrics
from ratchet.features.streaming.ports import Engine

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, TopicPartition

_DELIVERY_POLL_S = 0.001
_ASK_S = 1.0
_PASSING = {"_MAX_POLL_EXCEEDED", "_TRANSPORT", "_ALL_BROKERS_DOWN", "_RESOLVE"}


@dataclass(frozen=True, slots=True)
class KafkaLimits:
    """How much a worker takes at once, and how long it waits.

    Larger `checkpoint_every_*` cost less and mean more work done again after a crash. A worker that says nothing for
    `session_timeout_ms` loses its partitions to another; brokers have bounds for it (6 s to 30 min by default).
    """

    max_batch: int = 500
    poll_s: float = 0.05
    checkpoint_every_events: int = 20_000
    checkpoint_every_ms: int = 10_000
    session_timeout_ms: int = 10_000
    patience_s: float = 30.0


class KafkaWorker:
    """Reads events, writes rows; any number of workers of a view share the partitions.

    An event counts as done when its rows have arrived in `PREFIX.VIEW.rows` and the state after it is in the
    checkpoint, from which whoever has the partition next goes on. Kafka's own offsets are committed after that and only
    inform. A worker that was away for too long can save nothing; rows that it still sends, like those that a crash has
    repeated, are equal to the ones that are there, and `read_rows` leaves them out.

    A message that can never be used goes to `PREFIX.VIEW.poison` with the reason; it may be there again after a crash.

    Args:
        bootstrap: `HOST:PORT,...` of some brokers.
        prefix: of the topics, which must exist.
        view: name of the feature view. The consumer group and the checkpoints are called `PREFIX.VIEW`.
        make_engine: makes an engine for one partition.
        checkpoints: shared by all workers of the view.
        clock: for latencies and the age of checkpoints.
        metrics: what this worker tells about itself; Kafka does not know `replayed` and `lag_oldest_ns`.
        store: also gets the newest vector of each symbol.
        limits: sizes and times.
        options: settings of librdkafka, for example `sasl.*`, for reading and writing alike.

    Raises:
        ConfigurationError: confluent-kafka is missing, an option is wrong, or a topic does not exist.
        UnavailableError: no broker answered.
    """

    def __init__(
        self,
        bootstrap: str,
        prefix: str,
        view: str,
        make_engine: Callable[[], Engine],
        checkpoints: CheckpointStore,
        *,
        clock: Clock,
        metrics: StreamMetrics | None = None,
        store: VectorStore | None = None,
        limits: KafkaLimits | None = None,
        options: KafkaOptions | None = None,
    ) -> None:
        self.metrics = metrics or StreamMetrics()
        self._limits, self._clock = limits or KafkaLimits(), clock
        self._make_engine, self._checkpoints = make_engine, checkpoints
        self._topic, self._stream = events_topic(prefix), f"{prefix}.{view}"
        self._owned: dict[int, OwnedPartition] = {}
        self._n_unsaved, self._saved_ns = 0, clock.now_ns()

        patience_s = self._limits.patience_s
        self._outbox = Outbox(bootstrap, options=options, patience_s=patience_s, on_delivered=self._note_delivered)
        self._n_partitions = self._outbox.count_partitions(self._topic)
        self._sink = RowSink(self._outbox, prefix, view, schema_hash=make_engine().schema_hash, store=store)
        self._watch = ConnectionWatch(self._doing, patience_s=patience_s)
        session_ms = self._limits.session_timeout_ms
        settings: KafkaOptions = {"session.timeout.ms": session_ms, "heartbeat.interval.ms": session_ms // 5}
        self._consumer = open_consumer(bootstrap, self._stream, settings, options, self._watch.hear)
        self._join()

    @property
    def owned(self) -> frozenset[int]:
        """Partitions in the hands of this worker."""
        return frozenset(self._owned)

    def run(self, until: Callable[[], bool]) -> None:
        """Work until `until()`, which is asked after each batch and at least every `poll_s`; then save.

        After an error the worker is of no more use; what was not saved is done again by the next one.

        Raises:
            UnavailableError: no broker answered, or rows did not arrive, for `patience_s`.
            BusyError: the brokers or the checkpoint store did not keep up.
            ArtifactError: events after the checkpoint are gone, or the checkpoint does not fit the engine.
            ConfigurationError: the brokers refuse this worker, or the number of partitions has changed.
        """
        try:
            while not until():
                self._step()
            self._save_all()
        except BaseException:
            # A half-taken event must not be saved when the group is left.
            self._owned.clear()
            raise

    def drain(self, *, timeout_s: float = 60.0) -> None:
        """Work until nothing waits in the partitions of this worker, then save.

        For recordings, and for a worker that is alone in its group: what others have is not waited for. Only
        `KafkaPublisher.publish_end` makes engines give out what they hold back.

        Raises:
            BusyError: something still waits after `timeout_s`, or others have all partitions.
            RatchetError: as `run` does.
        """
        give_up_s = time.monotonic() + timeout_s

        def is_done() -> bool:
            if time.monotonic() > give_up_s:
                raise BusyError(
                    f"{self._doing}: not done in {timeout_s:g} s; {self.metrics.lag_entries} messages wait in "
                    f"{len(self._owned)} partitions of this worker"
                )
            return bool(self._owned) and self.metrics.lag_entries == 0 and self.lag() == 0

        self.run(is_done)

    def lag(self) -> int:
        """Ask the brokers how many messages wait in the partitions of this worker.

        Raises:
            UnavailableError: they do not answer.
        """
        n_waiting = 0
        for number, owned in self._owned.items():
            where = place(self._topic, number, None)
            with translated(self._doing):
                low, high = self._consumer.get_watermark_offsets(where, timeout=self._limits.patience_s)
            n_waiting += high - (low if owned.next_offset is None else owned.next_offset)
        return n_waiting

    def close(self) -> None:
        """Leave the group, which saves first, and let go of the brokers."""
        try:
            with translated(self._doing):
                self._consumer.close()
        finally:
            self._outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def _doing(self) -> str:
        return f"{self._stream} reading {self._topic}"

    def _join(self) -> None:
        with translated(self._doing):
            self._consumer.subscribe(
                [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
            )

    def _step(self) -> None:
        n_taken = self._take_what_is_there()
        self._outbox.serve()
        self._watch.check(lambda: self._consumer.list_topics(self._topic, timeout=_ASK_S))
        self._sink.write_vectors()
        self._n_unsaved += n_taken
        if n_taken:
            self.metrics.add(events=n_taken, batches=1)
        self._note_lag()
        if self._is_checkpoint_due():
            self._save_all()

    def _take_what_is_there(self) -> int:
        """Wait for a message, take it and those behind it, up to `max_batch`; return how many.

        One at a time: partitions come and go while Kafka is polled, and a message read before that may no longer be the
        next one after it.
        """
        n_taken = 0
        wait_s = _DELIVERY_POLL_S if self._outbox.n_waiting else self._limits.poll_s
        for _ in range(self._limits.max_batch):
            with translated(self._doing):
                message = self._consumer.poll(wait_s)
            if message is None:
                break
            n_taken += self._take(message)
            wait_s = 0.0
        return n_taken

    def _take(self, message: Message) -> bool:
        """Send the rows of a message; return whether it was for this worker to take."""
        error = message.error()
        if error is not None:
            if not error.retriable() and error.name() not in _PASSING:
                raise translate(error, self._doing)
            return False
        partition, offset = message.partition() or 0, message.offset() or 0
        owned = self._owned.get(partition)
        if owned is None:
            # Someone else has it, and the group has not said so yet.
            return False
        try:
            rows = owned.take(message, offset)
        except InputError as problem:
            self._sink.set_aside(message, partition, offset, str(problem))
            self.metrics.add(poison=1)
        else:
            self._sink.put(rows, partition, offset)
            self.metrics.add(rows=len(rows))
        return True

    def _is_checkpoint_due(self) -> bool:
        age_ms = (self._clock.now_ns() - self._saved_ns) // 1_000_000
        is_old = self._n_unsaved > 0 and age_ms >= self._limits.checkpoint_every_ms
        return is_old or self._n_unsaved >= self._limits.checkpoint_every_events

    def _save_all(self) -> None:
        self._outbox.flush()
        n_owned = len(self._owned)
        for number in sorted(self._owned):
            self._save(number)
        self._n_unsaved, self._saved_ns = 0, self._clock.now_ns()
        if len(self._owned) < n_owned:
            # Another worker has what this one still believes to own: hear from the group who has what.
            self._consumer.unsubscribe()
            self._join()

    def _save(self, number: int) -> None:
        """Save a partition whose rows have arrived; give it up where it belongs to someone else."""
        owned = self._owned[number]
        try:
            has_saved = owned.save()
        except BusyError:
            del self._owned[number]
            return
        if has_saved:
            with translated(self._doing):
                self._consumer.commit(offsets=[place(self._topic, number, owned.next_offset)], asynchronous=True)

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [each.partition for each in partitions]
        for number in numbers:
            self._owned[number] = OwnedPartition(
                self._stream, number, self._n_partitions, self._make_engine(), self._checkpoints
            )
        with translated(self._doing):
            consumer.incremental_assign(
                [place(self._topic, number, self._owned[number].next_offset) for number in numbers]
            )

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        owned = [each.partition for each in partitions if each.partition in self._owned]
        if owned:
            self._outbox.flush()
        for number in owned:
            self._save(number)
            self._owned.pop(number, None)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for lost in partitions:
            self._owned.pop(lost.partition, None)

    def _note_delivered(self, known_ns: int) -> None:
        self.metrics.observe_stored(known_ns, self._clock.now_ns())

    def _note_lag(self) -> None:
        n_waiting = 0
        for number, owned in self._owned.items():
            with translated(self._doing):
                _, high = self._consumer.get_watermark_offsets(place(self._topic, number, None), cached=True)
            n_waiting += max(high - (owned.next_offset or 0), 0)
        self.metrics.set_lag(n_waiting, None, self._clock.now_ns())
