"""Reads a view's feature rows back, each once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from ratchet.errors import InputError, UnavailableError
from ratchet.features.streaming.events import FeatureRow, decode_row
from ratchet.features.streaming.kafka.connection import (
    KafkaOptions,
    count_partitions,
    open_consumer,
    place,
    translate,
    translated,
)
from ratchet.features.streaming.kafka.messages import read_input_header, rows_topic
from ratchet.features.streaming.kafka.watch import ConnectionWatch

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

_BATCH = 1000
_POLL_S = 0.1


class Repetitions:
    """Knows which rows were seen before, in memory that does not grow with them.

    Every worker sends the rows of an input partition in the order of (offset, number), from its checkpoint on, and all
    rows before the checkpoint have arrived. So whatever mixture of a crashed, a paused and a new worker a partition of
    the rows' topic holds: rows appear for the first time in this order, and what is not beyond the furthest one is a
    repetition.
    """

    def __init__(self) -> None:
        self._furthest: dict[tuple[int, int], tuple[int, int]] = {}

    def is_new(self, partition: int, source: tuple[int, int, int]) -> bool:
        """Take note of a row in `partition` of its topic, caused by `source`; say whether it is no repetition."""
        input_partition, offset, number = source
        furthest = self._furthest.get((partition, input_partition), (-1, -1))
        if (offset, number) <= furthest:
            return False
        self._furthest[partition, input_partition] = offset, number
        return True


def read_rows(
    bootstrap: str, prefix: str, view: str, *, options: KafkaOptions | None = None, patience_s: float = 30.0
) -> Iterator[FeatureRow]:
    """Yield all rows of a view that are there by now, each once; those of a symbol in order, symbols in any.

    The topic may hold rows twice, after a crash of a worker; they are equal, and the second is left out. Rows that
    retention has removed are not seen.

    Raises:
        ConfigurationError: there is no such topic, confluent-kafka is missing, or an option is wrong.
        UnavailableError: nothing came for `patience_s`.
        InputError: a message in the topic is no row.
    """
    topic = rows_topic(prefix, view)
    watch = ConnectionWatch(f"reading {topic}", patience_s=patience_s)
    settings: KafkaOptions = {"enable.partition.eof": True}
    with closing(open_consumer(bootstrap, f"{prefix}.{view}.reader", settings, options, watch.hear)) as consumer:
        with watch.explained(consumer.poll):
            n_partitions = count_partitions(consumer, topic, patience_s=patience_s)
        with translated(f"reading {topic}"):
            consumer.assign([place(topic, number, None) for number in range(n_partitions)])
        repetitions = Repetitions()
        for message in _messages_until_the_end(consumer, topic, n_partitions, patience_s):
            row, partition, source = _decode(message)
            if repetitions.is_new(partition, source):
                yield row


def _messages_until_the_end(consumer: Consumer, topic: str, n_partitions: int, patience_s: float) -> Iterator[Message]:
    at_end: set[int | None] = set()
    give_up_s = time.monotonic() + patience_s
    while len(at_end) < n_partitions:
        with translated(f"reading {topic}"):
            messages = consumer.consume(_BATCH, _POLL_S)
        if messages:
            give_up_s = time.monotonic() + patience_s
        elif time.monotonic() > give_up_s:
            raise UnavailableError(f"reading {topic}: nothing came for {patience_s:g} s")
        for message in messages:
            error = message.error()
            if error is None:
                yield message
            elif error.name() == "_PARTITION_EOF":
                at_end.add(message.partition())
            elif not error.retriable():
                raise translate(error, f"reading {topic}")


def _decode(message: Message) -> tuple[FeatureRow, int, tuple[int, int, int]]:
    try:
        source = read_input_header(message.headers())
        return decode_row(message.value() or b""), message.partition() or 0, source
    except InputError as error:
        where = f"{message.topic()}, partition {message.partition()}, offset {message.offset()}"
        raise InputError(f"{where}: {error}") from error
