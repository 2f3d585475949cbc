"""Recorded order books and trades, live or read back, as feature events."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.data.books import book_rule, read_events
from ratchet.data.books.ladder import Ladder
from ratchet.data.books.records import Record
from ratchet.data.books.sampling import event_starts
from ratchet.errors import NotFoundError
from ratchet.features.streaming.events import EventKind, FeatureEvent
from ratchet.market.venue import BOOK_LEVELS

_NOTHING: NDArray[np.float64] = np.empty(0)
_BOOKS = {"snapshot", "delta"}
_SIGNS = {"alive": EventKind.BOOK_ALIVE, "gap": EventKind.BOOK_LOST, "trade_gap": EventKind.TRADES_LOST}


class RecordedEvents:
    """Turns the records of one symbol, in the order of recording, into feature events.

    Signs of life and gaps have no time of the venue: they get that of the last event and what has passed since on this
    machine's clock, so that the difference between the two clocks does not matter.
    """

    def __init__(self, venue: str, symbol: str) -> None:
        self._venue, self._symbol = venue, symbol
        self._depth = book_rule(venue).depth
        self._bids: Ladder[tuple[float, float]] = Ladder(is_bid=True)
        self._asks: Ladder[tuple[float, float]] = Ladder(is_bid=False)
        self._is_known = False
        self._last_ns = (0, 0)

    def take(self, record: Record) -> FeatureEvent | None:
        """Take a record; return what it means, None for what the features do not use."""
        if record.kind in _BOOKS:
            return self._take_book(record)
        if record.kind == "trade":
            side, price, size = record.levels[0]
            number = int(record.note) if record.note.isdecimal() and len(record.note) < 19 else 0
            values = np.array([float(price), float(size), float(side)])
            return self._event(EventKind.TRADE, record, number, values)
        if record.kind in _SIGNS:
            if record.kind == "gap":
                self._is_known = False
            last_event_ns, last_recv_ns = self._last_ns
            ts_ns = last_event_ns + max(0, record.ts_recv_ns - last_recv_ns) if last_event_ns else record.ts_recv_ns
            kind = _SIGNS[record.kind]
            return FeatureEvent(kind, self._venue, self._symbol, ts_ns, record.ts_recv_ns, 0, _NOTHING)
        return None

    def _take_book(self, record: Record) -> FeatureEvent | None:
        if record.kind == "snapshot":
            self._bids.truncate(0)
            self._asks.truncate(0)
            self._is_known = True
        for side, price, size in record.levels:
            _set_level(self._bids if side > 0 else self._asks, float(price), float(size))
        if self._depth is not None:
            self._bids.truncate(self._depth)
            self._asks.truncate(self._depth)
        if not self._is_known or self._bids.best_price() is None or self._asks.best_price() is None:
            return None
        return self._event(EventKind.BOOK, record, max(record.last_id, 0), self._top())

    def _event(self, kind: EventKind, record: Record, sequence: int, values: NDArray[np.float64]) -> FeatureEvent:
        self._last_ns = (record.ts_event_ns, record.ts_recv_ns)
        return FeatureEvent(kind, self._venue, self._symbol, record.ts_event_ns, record.ts_recv_ns, sequence, values)

    def _top(self) -> NDArray[np.float64]:
        values = np.full(4 * BOOK_LEVELS, np.nan)
        for place, ladder in ((0, self._bids), (2, self._asks)):
            levels = ladder.top(BOOK_LEVELS)
            start = place * BOOK_LEVELS
            values[start : start + len(levels)] = [price for price, _ in levels]
            values[start + BOOK_LEVELS : start + BOOK_LEVELS + len(levels)] = [size for _, size in levels]
        return values


def recorded_events(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int) -> Iterator[FeatureEvent]:
    """Yield the feature events of a recording received in `[start_ns, end_ns)`, in the order of recording.

    Raises:
        NotFoundError: nothing was recorded for the symbol.
        ArtifactError: a segment is missing or was altered.
    """
    rows = read_events(root, venue, symbol, start_ns, end_ns)
    events = RecordedEvents(venue, symbol)
    for record in _records(rows):
        event = events.take(record)
        if event is not None:
            yield event


def recorded_market(
    root: Path, venue: str, symbols: Iterable[str], start_ns: int, end_ns: int
) -> Iterator[FeatureEvent]:
    """Yield the feature events of several symbols in the order of their arrival; a symbol without recording has none.

    Raises:
        ArtifactError: a segment is missing or was altered.
    """
    streams = [_if_recorded(root, venue, symbol, start_ns, end_ns) for symbol in symbols]
    yield from heapq.merge(*streams, key=lambda event: event.known_ns)


def _if_recorded(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int) -> Iterator[FeatureEvent]:
    with suppress(NotFoundError):
        yield from recorded_events(root, venue, symbol, start_ns, end_ns)


def _records(rows: pd.DataFrame) -> Iterable[Record]:
    """Put rows of levels together to the records that they came from."""
    starts = np.flatnonzero(event_starts(rows))
    ends = np.append(starts[1:], len(rows))
    sides, prices, sizes = (rows[name].tolist() for name in ("side", "price", "size"))
    heads = rows.iloc[starts]
    texts = (heads[name].tolist() for name in ("kind", "note"))
    numbers = heads[["ts_event_ns", "ts_recv_ns", "first_id", "last_id", "previous_id"]].to_numpy(np.int64).tolist()
    for start, end, kind, note, ids in zip(starts.tolist(), ends.tolist(), *texts, numbers, strict=True):
        levels = tuple((sides[row], str(prices[row]), str(sizes[row])) for row in range(start, end) if sides[row] != 0)
        ts_event_ns, ts_recv_ns, first_id, last_id, previous_id = ids
        yield Record(kind, ts_event_ns, ts_recv_ns, first_id, last_id, previous_id, note, levels)


def _set_level(ladder: Ladder[tuple[float, float]], price: float, size: float) -> None:
    if size == 0.0:
        ladder.remove(price)
    else:
        ladder.put(price, (price, size))
