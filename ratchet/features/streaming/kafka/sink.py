"""Where a worker's results go: rows, messages set aside, newest vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.features.streaming.events import FeatureRow, encode_row, partition_of
from ratchet.features.streaming.kafka.messages import REASON_HEADER, input_header, poison_topic, rows_topic
from ratchet.features.streaming.kafka.outbox import ANY_PARTITION, Outbox

if TYPE_CHECKING:
    from confluent_kafka import Message


class VectorStore(Protocol):
    """Keeps the newest vector of each (view, symbol); see `ratchet.features.store.online.OnlineStore`."""

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        """Store `{symbol: (ts_event_ns, sequence, values)}` where newer than what is there."""
        ...


class RowSink:
    """Sends rows and poison of one view to their topics, which must exist, and vectors to a store, if there is one.

    Raises:
        ConfigurationError: a topic does not exist.
        UnavailableError: no broker answered.
    """

    def __init__(self, outbox: Outbox, prefix: str, view: str, *, schema_hash: str, store: VectorStore | None) -> None:
        self._outbox, self._view, self._schema_hash, self._store = outbox, view, schema_hash, store
        self._rows, self._poison = rows_topic(prefix, view), poison_topic(prefix, view)
        self._n_partitions = outbox.count_partitions(self._rows)
        outbox.count_partitions(self._poison)
        self._newest: dict[str, FeatureRow] = {}

    def put(self, rows: Sequence[FeatureRow], partition: int, offset: int) -> None:
        """Send the rows that the event at (partition, offset) caused; raises as `Outbox.send` does."""
        for number, row in enumerate(rows):
            self._outbox.send(
                self._rows,
                partition_of(row.symbol, self._n_partitions),
                row.symbol,
                encode_row(row),
                [input_header(partition, offset, number)],
                known_ns=row.known_ns,
            )
            known = self._newest.get(row.symbol)
            if known is None or (row.ts_event_ns, row.sequence) > (known.ts_event_ns, known.sequence):
                self._newest[row.symbol] = row

    def set_aside(self, message: Message, partition: int, offset: int, reason: str) -> None:
        """Send a message that can never be used, as it is, to the poison topic; raises as `Outbox.send` does."""
        headers = [input_header(partition, offset, 0), (REASON_HEADER, reason.encode())]
        self._outbox.send(self._poison, ANY_PARTITION, message.key(), message.value(), headers)

    def write_vectors(self) -> None:
        """Give the store the newest vector of each symbol since the last call; it may have them already."""
        if self._newest and self._store is not None:
            vectors = {symbol: (row.ts_event_ns, row.sequence, row.values) for symbol, row in self._newest.items()}
            self._store.write_vectors(self._view, self._schema_hash, vectors)
        self._newest.clear()
