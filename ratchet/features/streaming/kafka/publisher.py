"""Puts market events onto Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Self

from ratchet.features.streaming.events import FeatureEvent, encode_event, partition_of
from ratchet.features.streaming.kafka.connection import KafkaOptions
from ratchet.features.streaming.kafka.messages import END_HEADER, events_topic
from ratchet.features.streaming.kafka.outbox import Outbox


class KafkaPublisher:
    """Sends events, those of a symbol always to the same partition and in order.

    An event is safe once `flush` has returned. Where a method raised, it is not known which events since the last flush
    arrived: make a new publisher and send them again, the engine drops what it has seen.

    Args:
        bootstrap: `HOST:PORT,...` of some brokers.
        prefix: the topic is `PREFIX.events`; it must exist, its number of partitions must never change.
        options: settings of librdkafka, for example `sasl.*`; `queue.buffering.max.messages` limits how many wait.
        patience_s: how long to wait for room, and for events to arrive.

    Raises:
        ConfigurationError: confluent-kafka is missing, an option is wrong, or there is no such topic.
        UnavailableError: no broker answered.
    """

    def __init__(
        self, bootstrap: str, prefix: str, *, options: KafkaOptions | None = None, patience_s: float = 30.0
    ) -> None:
        self._topic = events_topic(prefix)
        self._outbox = Outbox(bootstrap, options=options, patience_s=patience_s)
        self.n_partitions = self._outbox.count_partitions(self._topic)

    def publish(self, events: Iterable[FeatureEvent]) -> int:
        """Hand events over and return how many; waits where too many are on their way.

        Raises:
            BusyError: the brokers did not keep up for `patience_s`.
            UnavailableError: an event was lost.
        """
        n_sent = 0
        for event in events:
            partition = partition_of(event.symbol, self.n_partitions)
            self._outbox.send(self._topic, partition, event.symbol, encode_event(event))
            n_sent += 1
        return n_sent

    def publish_end(self) -> None:
        """Say in every partition that the stream ends here, so that engines give out what they hold back.

        For recordings. It is part of the stream, so a replay gives the same rows; an event that comes after it and
        belongs before it is late. Raises as `publish` does.
        """
        for partition in range(self.n_partitions):
            self._outbox.send(self._topic, partition, None, None, [(END_HEADER, b"")])

    def flush(self) -> None:
        """Return once everything has arrived.

        Raises:
            UnavailableError: it did not within `patience_s`, or an event was lost.
        """
        self._outbox.flush()

    def close(self) -> None:
        """Let go of the brokers; what was not flushed may be lost."""
        self._outbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if error is None:
                self.flush()
        finally:
            self.close()
