"""Venues' rows as the library's frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.exchanges.venues.dialect import NS_PER_MS, Book, CandleTable, Trade
from ratchet.market.candles import CANDLE_COLUMNS
from ratchet.market.venue import BOOK_COLUMNS, BOOK_LEVELS, TRADE_COLUMNS

_EARLIEST_MS = 1e11  # 1973
_LATEST_MS = 1e14  # 5138


def check_times_ms(times_ms: Sequence[float] | NDArray[np.float64]) -> None:
    """Find times in another unit than milliseconds: read as such, they would lie before 1973 or after 5138.

    Raises:
        ValueError: there are such times, or rows without a time.
    """
    times = np.asarray(times_ms, dtype=np.float64)
    n_wrong = int((~((times >= _EARLIEST_MS) & (times < _LATEST_MS))).sum())
    if n_wrong:
        raise ValueError(f"{n_wrong} of {len(times)} times are not in ms")


def candle_frame(symbol: str, table: CandleTable, *, limit: int) -> pd.DataFrame:
    """Return the first `limit` candles, the oldest first.

    Exact repetitions are dropped. Rows of one time that differ stay, also beyond `limit`, and so do rows off the grid
    and impossible ones: judging them is the caller's work.
    """
    rows = table[np.argsort(table[:, 0], kind="stable")]
    if (np.diff(rows[:, 0]) == 0).any():
        rows = pd.DataFrame(rows).drop_duplicates().to_numpy()
    rows = rows[: _page_end(rows[:, 0], limit)]
    symbols = np.full(len(rows), symbol, dtype=object)
    values = {name: rows[:, 1 + position].copy() for position, name in enumerate(CANDLE_COLUMNS[2:])}
    return pd.DataFrame({"symbol": symbols, "ts_event_ns": rows[:, 0].astype(np.int64) * NS_PER_MS} | values)


def trade_frame(symbol: str, trades: list[Trade], *, since_ns: int, limit: int) -> pd.DataFrame:
    """Return the first `limit` trades since a time, the oldest first; a repeated trade counts once."""
    wanted = {trade.trade_id: trade for trade in trades if trade.ts_event_ns >= since_ns}
    page = sorted(wanted.values(), key=lambda trade: trade.ts_event_ns)
    frame = pd.DataFrame(page, columns=list(Trade._fields)).assign(symbol=symbol)
    frame = frame.astype({"ts_event_ns": "int64", "price": "float64", "size": "float64", "side": "int8"})
    end = _page_end(frame["ts_event_ns"].to_numpy(), limit)
    return frame.loc[: end - 1, list(TRADE_COLUMNS)]


def book_frame(symbol: str, book: Book, ts_event_ns: int, *, since_ns: int) -> pd.DataFrame:
    """Return a snapshot as one row, empty where it is older than `since_ns`; levels that are absent are NaN."""
    row: dict[str, object] = {"symbol": symbol, "ts_event_ns": ts_event_ns}
    for side, table in (("bid", book.bids), ("ask", book.asks)):
        for column, value in enumerate(("price", "size")):
            known = table[:BOOK_LEVELS, column].tolist()
            padded = known + [np.nan] * (BOOK_LEVELS - len(known))
            row |= {f"{side}_{value}_{level}": number for level, number in enumerate(padded)}
    frame = pd.DataFrame([row], columns=list(BOOK_COLUMNS))
    types = {"ts_event_ns": "int64"} | dict.fromkeys(BOOK_COLUMNS[2:], "float64")
    return frame.astype(types).loc[: 0 if ts_event_ns >= since_ns else -1]


def _page_end(times: NDArray[np.float64] | NDArray[np.int64], limit: int) -> int:
    """Return how many sorted rows make a page: `limit`, and more where the last time has more rows."""
    if len(times) <= limit:
        return len(times)
    return int(np.searchsorted(times, times[limit - 1], side="right"))


def without_cut_ties(trades: list[Trade], *, at_end: bool) -> list[Trade]:
    """Return a full answer less the trades of its outermost time, of which the venue may have more."""
    times = [trade.ts_event_ns for trade in trades]
    outermost = max(times) if at_end else min(times)
    return [trade for trade in trades if trade.ts_event_ns != outermost] or trades
