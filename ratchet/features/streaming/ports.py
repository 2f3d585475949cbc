"""The engine as its hosts see it: in process, Redis Streams, Kafka, Spark and Flink drive the same thing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from ratchet.features.streaming.events import FeatureEvent, FeatureRow


class Engine(Protocol):
    """Turns the events of some symbols into feature rows; deterministic, and does no input or output.

    The same events in the same order give the same rows, bit for bit; also when the engine is restored from its state
    in between and goes on with the event after. Memory is bounded.
    """

    @property
    def schema_hash(self) -> str:
        """Hash of the feature set: order, definitions, versions."""
        ...

    @property
    def feature_names(self) -> Sequence[str]:
        """Columns of a row, in order."""
        ...

    def apply(self, event: FeatureEvent) -> list[FeatureRow]:
        """Take an event; return the rows that it caused, often none.

        Raises:
            InputError: an event that can never be used, such as a negative price. The state is as before.
        """
        ...

    def flush(self) -> list[FeatureRow]:
        """Take what is still held back to be put in order; for the end of a finite stream."""
        ...

    def counts(self) -> Mapping[str, int]:
        """Return totals since the beginning: events, rows, duplicates, late; they are part of the state."""
        ...

    def changed_state(self) -> dict[str, bytes]:
        """Return the parts of the state that changed since the last call; all parts of all calls are the state."""
        ...

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Continue from the parts; replaces what the engine holds.

        Raises:
            ArtifactError: they are damaged, or of another feature set or release.
        """
        ...
