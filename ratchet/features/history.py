"""Features over history: the same kernel as in real time, run over whole tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError
from ratchet.features.bars import Bars
from ratchet.features.kernel.program import bar_capacity, compile_program
from ratchet.features.kernel.state import new_state
from ratchet.features.kernel.step import step
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.checks import problem_of
from ratchet.features.streaming.events import EventKind, FeatureEvent, FeatureRow
from ratchet.features.streaming.ordering import EventOrder
from ratchet.features.streaming.universe import Universe
from ratchet.market.symbols import Timeframe

_CLOSE = 3


@dataclass(frozen=True, slots=True, eq=False)
class EventTable:
    """The events of one symbol in order, as arrays.

    `kinds` and `sequences` int64 (event,); `times` int64 (event, 2), event time and arrival; event k has the values
    `values[offsets[k]:offsets[k + 1]]`, float64.
    """

    symbol: str
    kinds: NDArray[np.int64]
    times: NDArray[np.int64]
    sequences: NDArray[np.int64]
    offsets: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.kinds)

    @classmethod
    def of(cls, symbol: str, events: Sequence[FeatureEvent]) -> EventTable:
        """Put events, which are in order already, into arrays."""
        sizes = [len(event.values) for event in events]
        return cls(
            symbol=symbol,
            kinds=np.array([event.kind for event in events], dtype=np.int64),
            times=np.array([(event.ts_event_ns, event.known_ns) for event in events], dtype=np.int64).reshape(-1, 2),
            sequences=np.array([event.sequence for event in events], dtype=np.int64),
            offsets=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
            values=np.concatenate([event.values for event in events]) if events else np.empty(0),
        )


def bar_table(bars: Bars, known_ns: NDArray[np.int64] | None = None) -> EventTable:
    """Return bars as a table of events; each is known at its close, or at `known_ns` where that is given."""
    close_ns = bars.ts_ns + bars.timeframe_ns
    columns = (bars.open, bars.high, bars.low, bars.close, bars.volume)
    return EventTable(
        symbol=bars.symbol,
        kinds=np.full(len(bars), EventKind.BAR, dtype=np.int64),
        times=np.column_stack((close_ns, close_ns if known_ns is None else known_ns)),
        sequences=np.zeros(len(bars), dtype=np.int64),
        offsets=np.arange(len(bars) + 1, dtype=np.int64) * len(columns),
        values=np.column_stack(columns).ravel(),
    )


def bar_features(features: FeatureSet, bars: Bars) -> NDArray[np.float32]:
    """Compute the features that need one symbol's bars only: float32 (time, feature), NaN in the warm-up.

    Row i rests on bars <= i and is known at the close of bar i. Features of other sources are NaN throughout.
    """
    return _replay_one(features, bars.timeframe_ns, bar_table(bars), every_event=False).values


def bar_events(table: EventTable, venue: str) -> list[FeatureEvent]:
    """Return the bars of a table one by one."""
    values = table.values.reshape(len(table), -1)
    return [
        FeatureEvent(EventKind.BAR, venue, table.symbol, ts_ns, known_ns, 0, row)
        for (ts_ns, known_ns), row in zip(table.times.tolist(), values, strict=True)
    ]


def merged(bars: EventTable, market: EventTable) -> EventTable:
    """Put the bars of a symbol among its other events: each before the first event at or after its close.

    In real time a bar comes later than that, and has the same row: the kernel keeps the market of its close for it.
    """
    passed_ns = np.maximum.accumulate(market.times[:, 0])
    places = np.searchsorted(passed_ns, bars.times[:, 0], side="left")
    order = np.argsort(np.concatenate((places * 2, np.arange(len(market)) * 2 + 1)), kind="stable")
    sizes = np.concatenate((np.diff(bars.offsets), np.diff(market.offsets)))[order]
    parts = [*np.split(bars.values, bars.offsets[1:-1]), *np.split(market.values, market.offsets[1:-1])]
    return EventTable(
        symbol=bars.symbol,
        kinds=np.concatenate((bars.kinds, market.kinds))[order],
        times=np.concatenate((bars.times, market.times))[order],
        sequences=np.concatenate((bars.sequences, market.sequences))[order],
        offsets=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        values=np.concatenate([parts[place] for place in order.tolist()]),
    )


def ordered_tables(events: Iterable[FeatureEvent], *, lateness_ns: int = 0) -> list[EventTable]:
    """Order the events of each symbol as the engine does, and return them by symbol, sorted.

    `events` come in the order of arrival, of all symbols together. What is late, repeated or can never be used is left
    out, as hosts set it aside.
    """
    orders: dict[str, EventOrder] = {}
    ordered: dict[str, list[FeatureEvent]] = {}
    for event in events:
        if problem_of(event):
            continue
        order = orders.setdefault(event.symbol, EventOrder(lateness_ns))
        ordered.setdefault(event.symbol, []).extend(order.take(event))
    for symbol, order in orders.items():
        ordered[symbol].extend(order.flush())
    return [EventTable.of(symbol, ordered[symbol]) for symbol in sorted(ordered)]


@dataclass(frozen=True, slots=True, eq=False)
class RowTable:
    """Rows of one symbol as arrays: what a list of `FeatureRow` holds, without an object for each.

    `times` int64 (row, 2), as of when and since when known; `kinds` and `sequences` int64 (row,), those of the event
    that caused the row; `values` float32 (row, feature).
    """

    symbol: str
    times: NDArray[np.int64]
    kinds: NDArray[np.int64]
    sequences: NDArray[np.int64]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.kinds)

    def rows(self) -> Iterator[FeatureRow]:
        """Yield the rows one by one."""
        columns = (self.times.tolist(), self.kinds.tolist(), self.sequences.tolist())
        for number, ((as_of_ns, known_ns), kind, sequence) in enumerate(zip(*columns, strict=True)):
            yield FeatureRow(self.symbol, as_of_ns, known_ns, EventKind(kind), sequence, self.values[number])


def replay(
    features: FeatureSet,
    timeframe: Timeframe,
    tables: Iterable[EventTable],
    *,
    every_event: bool = False,
    universe: Sequence[str] = (),
) -> list[RowTable]:
    """Compute the rows of whole tables; the same rows as `FeatureEngine` gives for their events one by one.

    Raises:
        ConfigurationError: features relate symbols to each other, and every event shall have a row, or there are not
            two symbols.
    """
    whole = list(tables)
    if "universe" not in features.sources:
        return [_replay_one(features, timeframe.ns, table, every_event=every_event) for table in whole]
    if every_event:
        raise ConfigurationError(
            f"feature set {features.name!r} relates symbols to each other: over history it has a row for each bar only"
        )
    related = Universe(features, timeframe, universe)
    return _relate(related, [_replay_one(features, timeframe.ns, table, every_event=False) for table in whole], whole)


def row_table(symbol: str, rows: Sequence[FeatureRow]) -> RowTable:
    """Put the rows of a symbol into arrays."""
    return RowTable(
        symbol,
        np.array([(row.ts_event_ns, row.known_ns) for row in rows], dtype=np.int64),
        np.array([row.kind for row in rows], dtype=np.int64),
        np.array([row.sequence for row in rows], dtype=np.int64),
        np.stack([row.values for row in rows]),
    )


def row_frame(tables: Iterable[RowTable], features: FeatureSet) -> pd.DataFrame:
    """Return rows as the frame that the offline store keeps: symbol, times, one float32 column for each feature."""
    frames = [
        pd.concat(
            [
                pd.DataFrame(
                    {"symbol": table.symbol, "ts_event_ns": table.times[:, 0], "known_ns": table.times[:, 1]},
                    index=range(len(table)),
                ),
                pd.DataFrame(table.values, columns=list(features.names)),
            ],
            axis=1,
        )
        for table in tables
    ]
    return pd.concat(frames, ignore_index=True)


def _replay_one(features: FeatureSet, timeframe_ns: int, table: EventTable, *, every_event: bool) -> RowTable:
    program = compile_program(features.definitions, timeframe_ns, every_event=every_event)
    last_kind = EventKind.DERIVATIVE if every_event else EventKind.BAR
    n_most = int(np.sum(table.kinds <= last_kind))
    values = np.empty((n_most, len(features.definitions)), dtype=np.float32)
    times = np.empty((n_most, 3), dtype=np.int64)
    state = new_state(program, bar_capacity(features.definitions))
    step(program, state, table.kinds, table.times, table.offsets, table.values, values, times)
    times[:, 2] = np.maximum(times[:, 1], times[:, 2])
    caused = times[:, 0]
    return RowTable(table.symbol, times[:, 1:], table.kinds[caused], table.sequences[caused], values)


def _relate(universe: Universe, rows: Iterable[RowTable], tables: Iterable[EventTable]) -> list[RowTable]:
    closes: dict[tuple[str, int], float] = {}
    for table in tables:
        is_bar = table.kinds == EventKind.BAR
        prices = table.values[table.offsets[:-1][is_bar] + _CLOSE]
        times = table.times[is_bar, 0].tolist()
        closes.update(((table.symbol, ts_ns), price) for ts_ns, price in zip(times, prices.tolist(), strict=True))
    released: dict[str, list[FeatureRow]] = {}
    waiting = sorted(
        (row for part in rows for row in part.rows()), key=lambda row: (row.known_ns, row.ts_event_ns, row.symbol)
    )
    for row in waiting:
        for complete in universe.take(row, closes[row.symbol, row.ts_event_ns]):
            released.setdefault(complete.symbol, []).append(complete)
    for complete in universe.flush():
        released.setdefault(complete.symbol, []).append(complete)
    return [row_table(symbol, released[symbol]) for symbol in sorted(released)]
