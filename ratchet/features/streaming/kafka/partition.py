"""One partition in the hands of its owner: the engine, and how far it has come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ratchet.errors import InputError
from ratchet.features.streaming.checkpoints import Checkpoint, CheckpointStore
from ratchet.features.streaming.events import FeatureRow, decode_event, partition_of
from ratchet.features.streaming.kafka.messages import END_HEADER
from ratchet.features.streaming.ports import Engine

if TYPE_CHECKING:
    from confluent_kafka import Message


class OwnedPartition:
    """Takes the messages of one partition in order, from where the checkpoint was made.

    Args:
        stream: name of the checkpoints.
        number: which partition, from 0.
        n_partitions: of how many.
        engine: a new one; it continues from the checkpoint.
        checkpoints: where the checkpoint comes from and goes to.

    Raises:
        ArtifactError: the checkpoint is damaged, or of another feature set.
        ConfigurationError: the number of partitions has changed.
    """

    def __init__(
        self, stream: str, number: int, n_partitions: int, engine: Engine, checkpoints: CheckpointStore
    ) -> None:
        self._stream, self.number, self._n_partitions = stream, number, n_partitions
        self._engine, self._checkpoints = engine, checkpoints
        begun: Checkpoint = checkpoints.acquire(stream, number, n_partitions)
        self._epoch, self.next_offset = begun.epoch, begun.next_offset
        self._n_poison = begun.counts.get("poison", 0)
        self._has_news = False
        if begun.parts:
            engine.restore(begun.parts)

    @property
    def counts(self) -> Mapping[str, int]:
        """Totals since the beginning of the stream: the engine's, and `poison`."""
        return {**self._engine.counts(), "poison": self._n_poison}

    def take(self, message: Message, offset: int) -> list[FeatureRow]:
        """Run the message at `offset` through the engine.

        Raises:
            InputError: the message can never be used; it counts as taken, and the engine is as before.
        """
        try:
            rows = self._apply(message)
        except InputError:
            self._n_poison += 1
            self._move_to(offset + 1)
            raise
        except Exception as error:
            error.add_note(f"The feature engine failed at {self._stream}, partition {self.number}, offset {offset}.")
            raise
        self._move_to(offset + 1)
        return rows

    def save(self) -> bool:
        """Write a checkpoint if something was taken since the last one; return whether one was written.

        All rows must have arrived before. After an error this object is of no more use, since the engine reports a
        change only once.

        Raises:
            BusyError: the partition belongs to someone else by now; nothing was written.
        """
        if not self._has_news or self.next_offset is None:
            return False
        self._checkpoints.save(
            self._stream,
            self.number,
            self._epoch,
            next_offset=self.next_offset,
            changed_parts=self._engine.changed_state(),
            counts=self.counts,
        )
        self._has_news = False
        return True

    def _move_to(self, next_offset: int) -> None:
        self.next_offset, self._has_news = next_offset, True

    def _apply(self, message: Message) -> list[FeatureRow]:
        if END_HEADER in dict(message.headers() or ()):
            return self._engine.flush()
        event = decode_event(message.value() or b"")
        expected = partition_of(event.symbol, self._n_partitions)
        if expected != self.number:
            raise InputError(f"{event.symbol} belongs to partition {expected}; send with `partition_of`")
        return self._engine.apply(event)
