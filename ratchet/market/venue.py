"""The port through which market data comes in, whatever the venue."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import pandas as pd

from ratchet.market.symbols import Timeframe

BOOK_LEVELS = 10
"""Price levels kept on each side of an order book."""

BOOK_COLUMNS = (
    "symbol",
    "ts_event_ns",
    *(
        f"{side}_{value}_{level}"
        for side in ("bid", "ask")
        for value in ("price", "size")
        for level in range(BOOK_LEVELS)
    ),
)
"""Columns of an order-book frame, in order: one row per snapshot.

`ts_event_ns` int64, when the venue took the snapshot. Level 0 is the best price; bids fall and asks rise with the
level. Prices float64 in quote currency, sizes float64 in base units.
"""

TRADE_COLUMNS = ("symbol", "ts_event_ns", "price", "size", "side", "trade_id")
"""Columns of a trade frame, in order: one row per trade.

`size` float64 in base units; `side` int8, +1 where the taker bought and -1 where he sold; `trade_id` str, unique per
symbol.
"""


@dataclass(frozen=True, slots=True)
class Instrument:
    """A symbol as a venue lists it.

    `listed_ns` and `delisted_ns` are None where the venue does not say; `is_active` is False while trading is halted.
    """

    symbol: str
    listed_ns: int | None = None
    delisted_ns: int | None = None
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class VenueTraits:
    """What is known about a venue's data, and so what a hole in them means.

    `emits_empty_bars`: a bar without trades is still answered, with volume 0; so a missing bar is no quiet market.
    `has_trade_history`: `fetch_trades` reaches back to any time, so that an empty answer is evidence of no trades.
    `max_history_bars`: how many of the latest bars can be fetched at all; None where there is no such limit.
    `page_rows`: candles in a full page.
    """

    emits_empty_bars: bool
    has_trade_history: bool
    max_history_bars: int | None = None
    page_rows: int = 1_000


class Exchange(Protocol):
    """What a venue offers to collection. Adapters live in `ratchet.exchanges`.

    Every `fetch_*` call answers one page of one symbol, and implementers owe the caller this:

    - **Order.** Rows with `ts_event_ns >= since_ns`, the oldest first, none left out between first and last.
    - **Size.** At most `limit` rows; a venue with a smaller page answers fewer. A short page does not mean the end;
      an empty page does: nothing at or after `since_ns` is known yet.
    - **Closed candles only.** A candle appears once its bar has closed and never changes afterwards. Gaps stay open.
    - **Ties.** Rows of one time are never split over two pages; a page grows beyond `limit` where that takes it. So
      the next page starts one nanosecond after the last row.
    - **Frames.** `CANDLE_COLUMNS`, `BOOK_COLUMNS` or `TRADE_COLUMNS`, in order; an empty page has the columns too.
      The frame is the caller's to change.
    - **Errors.** `InputError` for a symbol, timeframe or limit that the venue does not have, `UnavailableError` when it
      could not be reached or refused for the moment. No exception of a client library passes. Waiting for rate limits
      is the adapter's work.
    - **Concurrency.** Calls may run at the same time in one event loop.
    """

    @property
    def name(self) -> str:
        """What the venue is called in messages and in dataset manifests."""
        ...

    @property
    def traits(self) -> VenueTraits:
        """What is known about the venue's data."""
        ...

    async def list_symbols(self) -> list[str]:
        """Return the symbols that can be fetched, in their canonical form."""
        ...

    async def describe(self, symbol: str) -> Instrument:
        """Return what the venue says about a symbol; `NotFoundError` where it does not list it (any more)."""
        ...

    async def server_time_ns(self) -> int:
        """Return the venue's own time, ns UTC: which candles are closed is decided on it, not on this machine's."""
        ...

    async def close(self) -> None:
        """Let go of connections; the adapter cannot be used afterwards."""
        ...

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of closed candles whose bars open at or after `since_ns`."""
        ...

    async def fetch_order_books(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of order-book snapshots; empty where the venue keeps no history of them."""
        ...

    async def fetch_trades(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of trades."""
        ...
