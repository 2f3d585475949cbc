"""The book at given times, from the rows of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.data.books.builder import Fault
from ratchet.data.books.ladder import Ladder
from ratchet.market.venue import BOOK_LEVELS

BOOK_KINDS = ("snapshot", "delta", "alive", "gap")
"""Rows that say something of the book. Trades and quotes may come over connections of their own."""


def walk_books(
    parts: Iterable[pd.DataFrame], times: NDArray[np.int64], depth: int | None, valid_for_ns: int
) -> Iterator[tuple[int, list[float]]]:
    """Yield each of `times` at which the book is known with its levels, in the order of `BOOK_COLUMNS`.

    `parts` are rows of `BOOK_KINDS` in the order of recording, one frame per segment; only one is held, and none is
    asked for once all times are settled. A row counts from the latest receive time up to it, also where the clock was
    set back. A book is known until `valid_for_ns` after the last row. Where a gap follows, it is known until that row
    if the connection was lost or the recorder ended, and else, as an update is missing, until it last changed.
    """
    book, ahead, position, latest_ns = _KnownBook(depth), times.tolist(), 0, 0
    held: list[tuple[int, list[float]]] = []  # since the last change: only the next one says whether they hold
    for rows in parts:
        known_at = _known_at(rows, latest_ns)
        starts = event_starts(rows).tolist()
        columns = (rows[name].tolist() for name in ("kind", "note", "side", "price", "size"))
        for is_start, at_ns, kind, note, side, price, size in zip(starts, known_at, *columns, strict=True):
            if is_start:
                while position < len(ahead) and ahead[position] < at_ns:
                    if book.is_known and ahead[position] <= book.proved_ns + valid_for_ns:
                        held.append((ahead[position], book.columns()))
                    position += 1
                if kind != "alive":
                    until_ns = book.trusted_until(note) if kind == "gap" else at_ns
                    yield from (sample for sample in held if sample[0] <= until_ns)
                    held.clear()
                    if position == len(ahead):
                        return
                book.begin(kind, at_ns)
            book.put(side, price, size)
        latest_ns = max([latest_ns, *known_at[-1:]])
    yield from held
    for time_ns in ahead[position:]:
        if book.is_known and time_ns <= book.proved_ns + valid_for_ns:
            yield time_ns, book.columns()


def event_starts(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """Return which rows are the first of their event."""
    same = np.ones(len(rows), dtype=bool)
    for name in ("kind", "ts_recv_ns", "ts_event_ns", "last_id"):
        values = rows[name].to_numpy()
        same[1:] &= values[1:] == values[:-1]
    same[:1] = False
    return ~same


class _KnownBook:
    def __init__(self, depth: int | None) -> None:
        self._depth = depth
        self._bids: Ladder[tuple[float, float]] = Ladder(is_bid=True)
        self._asks: Ladder[tuple[float, float]] = Ladder(is_bid=False)
        self.is_known = False
        self.proved_ns = 0  # the last row that says the book holds
        self._changed_ns = 0  # the last of them that is no mere sign of life

    def begin(self, kind: str, at_ns: int) -> None:
        """Take the beginning of an event."""
        if kind in {"snapshot", "gap"}:
            self._cut(0)
        else:
            self._cut(self._depth)
        self.is_known = kind == "snapshot" or (self.is_known and kind != "gap")
        self.proved_ns = at_ns
        if kind != "alive":
            self._changed_ns = at_ns

    def put(self, side: int, price: float, size: float) -> None:
        """Set a level; size 0 removes it. Side 0 is a row without one."""
        if side == 0:
            return
        ladder = self._bids if side > 0 else self._asks
        if size == 0.0:
            ladder.remove(price)
        else:
            ladder.put(price, (price, size))

    def trusted_until(self, reason: str) -> int:
        """Return how long the book was known before a gap of that reason."""
        return self.proved_ns if reason.startswith(Fault.LOST) else self._changed_ns

    def columns(self) -> list[float]:
        """Return prices and sizes in the order of `BOOK_COLUMNS`."""
        self._cut(self._depth)
        values: list[float] = []
        for ladder in (self._bids, self._asks):
            levels = ladder.top(BOOK_LEVELS)
            levels += [(np.nan, np.nan)] * (BOOK_LEVELS - len(levels))
            values += [level[0] for level in levels]
            values += [level[1] for level in levels]
        return values

    def _cut(self, depth: int | None) -> None:
        if depth is not None:
            self._bids.truncate(depth)
            self._asks.truncate(depth)


def _known_at(rows: pd.DataFrame, latest_ns: int) -> list[int]:
    if rows.empty:
        return []
    known_at: list[int] = np.maximum(np.maximum.accumulate(rows["ts_recv_ns"].to_numpy(np.int64)), latest_ns).tolist()
    return known_at
