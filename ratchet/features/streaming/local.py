"""The host in this process: the default, without a broker."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from ratchet.clock import Clock
from ratchet.errors import InputError
from ratchet.features.streaming.events import FeatureEvent, FeatureRow
from ratchet.features.streaming.metrics import StreamMetrics
from ratchet.features.streaming.ports import Engine
from ratchet.features.streaming.sinks import Sink

_KEPT_POISON = 1_000


class LocalHost:
    """Drives an engine with the events of one process.

    Events that can never be used are set aside in `poison` (the last thousand, with the reason); the stream goes on.
    There is no queue: who calls `take` waits for it. Latency counts events that arrived since the host was made, not
    the history that it was warmed up with.
    """

    def __init__(self, engine: Engine, sinks: Sequence[Sink], clock: Clock) -> None:
        self.metrics = StreamMetrics()
        self.poison: deque[tuple[FeatureEvent, str]] = deque(maxlen=_KEPT_POISON)
        self._engine, self._sinks, self._clock = engine, tuple(sinks), clock
        self._since_ns = clock.now_ns()

    def take(self, event: FeatureEvent) -> list[FeatureRow]:
        """Take an event; return the rows that it caused, after every sink has them."""
        self.metrics.add(events=1)
        try:
            rows = self._engine.apply(event)
        except InputError as error:
            self.metrics.add(poison=1)
            self.poison.append((event, str(error)))
            return []
        if rows:
            self._hand_on(rows)
            if event.known_ns >= self._since_ns:
                self.metrics.observe_stored(event.known_ns, self._clock.now_ns())
        return rows

    def run(self, events: Iterable[FeatureEvent]) -> list[FeatureRow]:
        """Take a finite stream to its end and return all rows."""
        rows = [row for event in events for row in self.take(event)]
        held = self._engine.flush()
        if held:
            self._hand_on(held)
        self.flush()
        return rows + held

    def flush(self) -> None:
        """Let every sink pass on what it holds back; call it now and then where events may pause."""
        for sink in self._sinks:
            sink.flush()

    def counts(self) -> dict[str, float]:
        """Return the engine's totals and the host's metrics."""
        return {**self.metrics.snapshot(), **{name: float(n) for name, n in self._engine.counts().items()}}

    def _hand_on(self, rows: Sequence[FeatureRow]) -> None:
        self.metrics.add(rows=len(rows))
        for sink in self._sinks:
            sink.take(rows)
