"""Sends messages in order and knows when they have arrived."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ratchet.errors import BusyError, RatchetError, UnavailableError
from ratchet.features.streaming.kafka.connection import (
    KafkaOptions,
    count_partitions,
    open_producer,
    translate,
    translated,
)
from ratchet.features.streaming.kafka.watch import ConnectionWatch

if TYPE_CHECKING:
    from confluent_kafka import KafkaError, Message

ANY_PARTITION = -1
"""Let Kafka choose by the key."""
_ROOM_S = 0.05


class Outbox:
    """Messages on their way to Kafka; the order within a partition is that of `send`, without holes.

    One lost message ends it: every later call raises, since nothing may overtake the lost one.

    Args:
        bootstrap: `HOST:PORT,...` of some brokers.
        options: settings of librdkafka.
        patience_s: how long to wait for room, and for messages to arrive.
        on_delivered: is called with the `known_ns` of each message that arrived and was sent with one.
    """

    def __init__(
        self,
        bootstrap: str,
        *,
        options: KafkaOptions | None,
        patience_s: float,
        on_delivered: Callable[[int], None] | None = None,
    ) -> None:
        self._patience_s, self._on_delivered = patience_s, on_delivered
        self._doing = f"sending to Kafka at {bootstrap}"
        self._failure: RatchetError | None = None
        self._watch = ConnectionWatch(self._doing, patience_s=patience_s)
        self._producer = open_producer(bootstrap, options, self._watch.hear)

    @property
    def n_waiting(self) -> int:
        """How many messages have not arrived yet, as far as is known."""
        return len(self._producer)

    def count_partitions(self, topic: str) -> int:
        """Return how many partitions a topic has; raises as `connection.count_partitions` does."""
        with self._watch.explained(self._producer.poll):
            return count_partitions(self._producer, topic, patience_s=self._patience_s)

    def send(
        self,
        topic: str,
        partition: int,
        key: str | bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        *,
        known_ns: int | None = None,
    ) -> None:
        """Hand a message over; where the queue is full, wait for room.

        Raises:
            BusyError: the queue stayed full for `patience_s`; this message was not taken.
            UnavailableError: an earlier message was lost.
            ConfigurationError: the brokers refuse it.
        """
        give_up_s = time.monotonic() + self._patience_s
        arrived = partial(self._arrived, known_ns)
        self.serve()
        while True:
            try:
                with translated(f"{self._doing}, topic {topic}"):
                    self._producer.produce(
                        topic, value, key, partition=partition, headers=list(headers), on_delivery=arrived
                    )
            except BufferError as error:
                if time.monotonic() > give_up_s:
                    raise BusyError(f"{self._doing}: no room for {self._patience_s:g} s; slow down") from error
                self.serve(_ROOM_S)
            except RatchetError:
                self.serve(_ROOM_S)  # the report of the message that was lost says why, and comes first if it is there
                raise
            else:
                return

    def serve(self, wait_s: float = 0.0) -> None:
        """Take note of what has arrived; raises as `send` does."""
        self._poll(wait_s)
        try:
            self._watch.refuse()
        except RatchetError:
            self._poll(_ROOM_S)  # the report of a lost message says more
            raise

    def _poll(self, wait_s: float) -> None:
        with translated(self._doing):
            self._producer.poll(wait_s)
        if self._failure is not None:
            raise self._failure

    def flush(self) -> None:
        """Wait until everything has arrived.

        Raises:
            UnavailableError: it did not within `patience_s`, or a message was lost.
        """
        with translated(self._doing):
            n_waiting = self._producer.flush(self._patience_s)
        if n_waiting:
            raise UnavailableError(f"{self._doing}: {n_waiting} messages did not arrive in {self._patience_s:g} s")
        self.serve()

    def close(self) -> None:
        """Give up what has not arrived; call `flush` first."""
        self._producer.purge()

    def _arrived(self, known_ns: int | None, error: KafkaError | None, _message: Message) -> None:
        if error is not None:
            self._failure = self._failure or translate(error, self._doing)
        elif known_ns is not None and self._on_delivered is not None:
            self._on_delivered(known_ns)
