"""A small engine whose rows depend on every event before them, and events to feed it.

Each symbol holds its newest event back and answers it when the next one comes, as an engine does that puts events in
order. A lost, repeated or swapped event changes every later row of its symbol.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, InputError
from ratchet.features.streaming.events import EventKind, FeatureEvent, FeatureRow, encode_event
from ratchet.features.streaming.ports import Engine
from ratchet.market.symbols import Timeframe
from ratchet.market.venue import BOOK_LEVELS

_STATE = struct.Struct("<dqqqIqqBqq?")
START_NS = 1_700_000_000_000_000_000
MINUTE_NS = 60_000_000_000
FIRST_CLOSE_NS = 28_333_334 * MINUTE_NS


@dataclass(slots=True)
class _Symbol:
    total: float = 0.0
    n_events: int = 0
    n_duplicates: int = 0
    last_sequence: int = 0
    chain: int = 0
    ts_event_ns: int = 0
    known_ns: int = 0
    kind: int = 0
    sequence: int = 0
    n_rows: int = 0
    holds: bool = False

    def pack(self) -> bytes:
        values = (self.total, self.n_events, self.n_duplicates, self.last_sequence, self.chain, self.ts_event_ns)
        return _STATE.pack(*values, self.known_ns, self.kind, self.sequence, self.n_rows, self.holds)

    def answer(self, symbol: str) -> FeatureRow:
        self.holds = False
        self.n_rows += 1
        values = np.array([self.total, self.n_events, self.chain % 65_536, self.chain // 65_536, np.nan], np.float32)
        return FeatureRow(symbol, self.ts_event_ns, self.known_ns, EventKind(self.kind), self.sequence, values)


class SummingEngine:
    """An `Engine`: running sum, counter and a checksum over all events of a symbol. It drops repeated sequences."""

    schema_hash = "summing-1"
    feature_names: Sequence[str] = ("total", "n_events", "chain_low", "chain_high", "never")

    def __init__(self) -> None:
        self._symbols: dict[str, _Symbol] = {}
        self._changed: set[str] = set()

    def apply(self, event: FeatureEvent) -> list[FeatureRow]:
        if event.values.size and event.values[0] < 0:
            raise InputError(f"{event.symbol}: a price below zero")
        if event.values.size and event.values[0] == 666:
            raise ZeroDivisionError("the engine has a bug")
        symbol = self._symbols.setdefault(event.symbol, _Symbol())
        self._changed.add(event.symbol)
        if event.sequence <= symbol.last_sequence:
            symbol.n_duplicates += 1
            return []
        rows = [symbol.answer(event.symbol)] if symbol.holds else []
        symbol.total += float(np.nansum(event.values[:2]))
        symbol.n_events += 1
        symbol.chain = zlib.crc32(encode_event(event), symbol.chain)
        symbol.last_sequence = symbol.sequence = event.sequence
        symbol.ts_event_ns, symbol.known_ns, symbol.kind, symbol.holds = (
            event.ts_event_ns,
            event.known_ns,
            event.kind,
            True,
        )
        return rows

    def flush(self) -> list[FeatureRow]:
        held = [name for name in sorted(self._symbols) if self._symbols[name].holds]
        self._changed.update(held)
        return [self._symbols[name].answer(name) for name in held]

    def counts(self) -> Mapping[str, int]:
        symbols = self._symbols.values()
        return {
            "events": sum(symbol.n_events for symbol in symbols),
            "rows": sum(symbol.n_rows for symbol in symbols),
            "duplicates": sum(symbol.n_duplicates for symbol in symbols),
            "late": 0,
        }

    def changed_state(self) -> dict[str, bytes]:
        parts = {name: self._symbols[name].pack() for name in sorted(self._changed)}
        self._changed.clear()
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        try:
            self._symbols = {name: _Symbol(*_STATE.unpack(part)) for name, part in parts.items()}
        except struct.error as error:
            raise ArtifactError(f"the state is damaged: {error}") from error
        self._changed.clear()


class OtherEngine(SummingEngine):
    """The same under another schema hash."""

    schema_hash = "summing-2"


def trades(n_events: int, n_symbols: int = 5, *, seed: int = 0, known_ns: int | None = None) -> list[FeatureEvent]:
    """Trades of some symbols by turns, 1 ms apart; `known_ns` stamps all with the same arrival."""
    rng = np.random.default_rng(seed)
    prices = rng.uniform(1.0, 100.0, n_events)
    sizes = rng.uniform(0.0, 2.0, n_events)
    sides = rng.choice([-1.0, 1.0], n_events)
    return [
        FeatureEvent(
            EventKind.TRADE,
            "binance",
            f"S{number % n_symbols}/USDT",
            START_NS + number * 1_000_000,
            START_NS + number * 1_000_000 + 250 if known_ns is None else known_ns,
            number + 1,
            np.array([prices[number], sizes[number], sides[number]]),
        )
        for number in range(n_events)
    ]


def core_engine() -> Engine:
    """The real engine with 110 features of candles, books and trades, a row with every event."""
    from ratchet.features.sets import FeatureSet  # noqa: PLC0415
    from ratchet.features.streaming.engine import FeatureEngine  # noqa: PLC0415

    return FeatureEngine(FeatureSet.named("core"), Timeframe.parse("1m"), every_event=True)


def market(n_events: int, n_symbols: int = 20, *, seed: int = 0) -> list[FeatureEvent]:
    """Bars of a minute, books and trades of some symbols by turns, such as any engine takes."""
    rng = np.random.default_rng(seed)
    middles = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-4, n_events)))
    draws = rng.uniform(0.1, 1.0, (n_events, 2 * BOOK_LEVELS))
    events = []
    for number in range(n_events):
        turn, middle, draw = number // n_symbols, float(middles[number]), draws[number]
        kind = (EventKind.BAR, EventKind.TRADE, EventKind.BOOK)[min(turn % 6, 1 + turn % 2)]
        ts_event_ns = MINUTE_NS * (turn // 6) + MINUTE_NS // 6 * (turn % 6) + FIRST_CLOSE_NS
        values = _VALUES[kind](middle, draw)
        symbol = f"S{number % n_symbols}/USDT"
        events.append(FeatureEvent(kind, "binance", symbol, ts_event_ns, ts_event_ns + 250, number + 1, values))
    return events


def _bar(middle: float, draw: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([middle, middle + draw[0], middle - draw[1], middle + draw[0] - draw[1] / 2, 10.0 * draw[2]])


def _book(middle: float, draw: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = 0.01 * (1 + np.arange(BOOK_LEVELS))
    return np.concatenate([middle - steps, draw[:BOOK_LEVELS], middle + steps, draw[BOOK_LEVELS:]])


def _trade(middle: float, draw: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([middle, draw[0], 1.0 if draw[1] > 0.5 else -1.0])


_VALUES = {EventKind.BAR: _bar, EventKind.BOOK: _book, EventKind.TRADE: _trade}


def rows_in_process(
    events: Iterable[FeatureEvent], engine: Engine | None = None, *, flush: bool = True
) -> list[FeatureRow]:
    """The rows of an uninterrupted run in this process."""
    runner = SummingEngine() if engine is None else engine
    rows = [row for event in events for row in runner.apply(event)]
    return rows + (runner.flush() if flush else [])
