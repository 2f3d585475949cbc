"""The feature engine: order, kernel and universe of the symbols that one process looks after."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ratchet.errors import ArtifactError, InputError
from ratchet.features.kernel.program import bar_capacity, compile_program
from ratchet.features.kernel.state import State, last_close, new_state, pack_state, unpack_state
from ratchet.features.kernel.step import step
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.checks import refuse_unusable
from ratchet.features.streaming.events import N_VALUES, EventKind, FeatureEvent, FeatureRow
from ratchet.features.streaming.ordering import EventOrder
from ratchet.features.streaming.universe import Universe
from ratchet.market.symbols import Timeframe, parse_symbol

_UNIVERSE = "@universe"
_MAX_SYMBOLS = 2_000
_PART = struct.Struct("<16sqqI")


@dataclass(slots=True)
class _Symbol:
    state: State
    order: EventOrder
    n_events: int = 0
    n_rows: int = 0


class FeatureEngine:
    """Turns events into rows of a feature set; see `ports.Engine` for what it owes its host.

    A row comes with each closed bar, as of its close; with `every_event` also with each book, trade and derivatives
    event. Features that relate symbols to each other need `universe`, all symbols of which come to this engine: a
    bar's rows then wait until every symbol has closed it, or until some symbol is a whole bar ahead.

    Args:
        features: what to compute.
        timeframe: of the bars.
        lateness_ns: how far events may overtake each other, see `EventOrder`; costs as much delay.
        every_event: give a row with every event that may change a feature.
        universe: the symbols that relate to each other.
    """

    def __init__(
        self,
        features: FeatureSet,
        timeframe: Timeframe,
        *,
        lateness_ns: int = 0,
        every_event: bool = False,
        universe: Sequence[str] = (),
    ) -> None:
        self.features = features
        self.timeframe = timeframe
        self._lateness_ns = lateness_ns
        self._program = compile_program(features.definitions, timeframe.ns, every_event=every_event)
        self._capacity = bar_capacity(features.definitions)
        self._kind, self._times = np.zeros(1, np.int64), np.zeros((1, 2), np.int64)
        # The values of events may be read-only, which is another type to the compiler.
        self._values = np.zeros(max(N_VALUES.values()))
        self._offsets, self._row_times = np.zeros(2, np.int64), np.zeros((1, 3), np.int64)
        self._symbols: dict[str, _Symbol] = {}
        self._changed: set[str] = set()
        needs_universe = "universe" in features.sources
        self._universe = Universe(features, timeframe, universe) if needs_universe else None

    @property
    def schema_hash(self) -> str:
        """Hash of the feature set."""
        return self.features.schema_hash

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns of a row, in order."""
        return self.features.names

    def apply(self, event: FeatureEvent) -> list[FeatureRow]:
        """Take an event; see `ports.Engine`."""
        refuse_unusable(event)
        symbol = self._symbols.get(event.symbol)
        if symbol is None:
            symbol = self._admit(event.symbol)
        self._changed.add(event.symbol)
        rows = [row for released in symbol.order.take(event) if (row := self._step(symbol, released)) is not None]
        return self._related(rows)

    def flush(self) -> list[FeatureRow]:
        """Take what is held back; see `ports.Engine`."""
        rows = []
        for name in sorted(self._symbols):
            symbol = self._symbols[name]
            rows += [row for event in symbol.order.flush() if (row := self._step(symbol, event)) is not None]
            self._changed.add(name)
        released = self._related(rows)
        return released if self._universe is None else released + self._universe.flush()

    def counts(self) -> dict[str, int]:
        """Return totals over all symbols."""
        totals = {"events": 0, "rows": 0, "duplicates": 0, "late": 0}
        for symbol in self._symbols.values():
            totals["events"] += symbol.n_events
            totals["rows"] += symbol.n_rows
            for name in ("duplicates", "late"):
                totals[name] += symbol.order.counts[name]
        return totals

    def changed_state(self) -> dict[str, bytes]:
        """Return the changed parts of the state, by symbol; see `ports.Engine`."""
        parts = {name: self._pack(self._symbols[name]) for name in sorted(self._changed)}
        if self._universe is not None and self._changed:
            parts[_UNIVERSE] = self._universe.pack()
        self._changed.clear()
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Continue from the parts of the state; see `ports.Engine`."""
        self._symbols = {name: self._unpack(name, packed) for name, packed in parts.items() if name != _UNIVERSE}
        self._changed.clear()
        if self._universe is not None and _UNIVERSE in parts:
            self._universe.unpack(parts[_UNIVERSE])

    def _admit(self, name: str) -> _Symbol:
        if len(self._symbols) >= _MAX_SYMBOLS:
            raise InputError(f"{name}: {_MAX_SYMBOLS} symbols are as many as one engine takes; use more partitions")
        if parse_symbol(name) != name:
            raise InputError(f"{name!r} is not a canonical symbol; it is {parse_symbol(name)}")
        symbol = self._symbols[name] = self._new_symbol()
        return symbol

    def _new_symbol(self) -> _Symbol:
        return _Symbol(new_state(self._program, self._capacity), EventOrder(self._lateness_ns))

    def _step(self, symbol: _Symbol, event: FeatureEvent) -> FeatureRow | None:
        symbol.n_events += 1
        self._kind[0], self._times[0] = event.kind, (event.ts_event_ns, event.known_ns)
        self._offsets[1] = len(event.values)
        self._values[: len(event.values)] = event.values
        rows = np.empty((1, len(self._program.operation)), dtype=np.float32)
        n_rows = step(
            self._program, symbol.state, self._kind, self._times, self._offsets, self._values, rows, self._row_times
        )
        if n_rows == 0:
            return None
        symbol.n_rows += 1
        _, as_of_ns, known_ns = self._row_times[0].tolist()
        return FeatureRow(event.symbol, as_of_ns, max(known_ns, as_of_ns), event.kind, event.sequence, rows[0])

    def _related(self, rows: list[FeatureRow]) -> list[FeatureRow]:
        """Let rows of bars wait for the other symbols' where features need them."""
        if self._universe is None:
            return rows
        released: list[FeatureRow] = []
        for row in rows:
            if row.kind is EventKind.BAR:
                released += self._universe.take(row, last_close(self._symbols[row.symbol].state))
            else:
                released.append(self._universe.latest(row))
        return released

    def _pack(self, symbol: _Symbol) -> bytes:
        state, order = pack_state(symbol.state), symbol.order.pack()
        head = _PART.pack(self.schema_hash[:16].encode(), symbol.n_events, symbol.n_rows, len(state))
        return head + state + order

    def _unpack(self, name: str, packed: bytes) -> _Symbol:
        try:
            schema, n_events, n_rows, size = _PART.unpack_from(packed)
        except struct.error as error:
            raise ArtifactError(f"the state of {name} is damaged: {error}") from error
        if schema != self.schema_hash[:16].encode():
            raise ArtifactError(f"the state of {name} belongs to another feature set; begin anew without it")
        symbol = self._new_symbol()
        unpack_state(packed[_PART.size : _PART.size + size], symbol.state)
        symbol.order.unpack(packed[_PART.size + size :])
        symbol.n_events, symbol.n_rows = n_events, n_rows
        return symbol
