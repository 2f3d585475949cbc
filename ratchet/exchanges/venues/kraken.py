"""Kraken, spot.

Sources: docs.kraken.com/api, "Get OHLC Data", "Get Recent Trades", "Get Order Book", "Spot REST Rate Limits" (about one
public request a second). Only the latest 720 bars can be had, whatever time is asked for; trades reach back to the
first one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.exchanges.pacing import HostLimit
from ratchet.exchanges.venues.dialect import (
    Book,
    CandleRange,
    CandleTable,
    Listing,
    Paging,
    Trade,
    candle_table,
    levels,
    seconds_to_ns,
)
from ratchet.market.venue import BOOK_LEVELS, VenueTraits

_PAGE_ROWS = 720
_SIDES = {"b": 1, "s": -1}


class Kraken:
    """The dialect of api.kraken.com."""

    ccxt_id = "kraken"
    options: Mapping[str, Any] = {}
    traits = VenueTraits(
        emits_empty_bars=True, has_trade_history=True, max_history_bars=_PAGE_ROWS, page_rows=_PAGE_ROWS
    )
    limit = HostLimit(15, 15.0)
    paging = Paging.OLDEST_FIRST
    trade_rows = 1_000

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Every request counts the same."""
        return 1.0

    async def time_ms(self, client: Any) -> int:
        """Ask `Time`, which has whole seconds."""
        return int((await client.publicGetTime())["result"]["unixtime"]) * 1_000

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Ask `OHLC`; `since` is exclusive and in seconds."""
        request = {"pair": listing.venue_id, "interval": span.interval, "since": -(-span.start_ms // 1_000) - 1}
        table = candle_table(_only_list(await client.publicGetOHLC(request)), (0, 1, 2, 3, 4, 6))
        table[:, 0] *= 1_000
        return table

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Ask `Trades`; `since` is exclusive and in ns."""
        request = {"pair": listing.venue_id, "since": since_ns - 1, "count": self.trade_rows}
        return [
            Trade(seconds_to_ns(row[2]), float(row[0]), float(row[1]), _SIDES[row[3]], str(row[6]))
            for row in _only_list(await client.publicGetTrades(request))
        ]

    async def book(self, client: Any, listing: Listing) -> Book:
        """Ask `Depth`; its times are those of the levels, not of the snapshot."""
        answer = await client.publicGetDepth({"pair": listing.venue_id, "count": BOOK_LEVELS})
        (book,) = answer["result"].values()
        return Book(levels(book["bids"]), levels(book["asks"]), None)


def _only_list(answer: Any) -> list[Any]:
    """Return the rows: they are named after the pair, which may be asked for by another of its names."""
    (rows,) = (value for value in answer["result"].values() if isinstance(value, list))
    return list(rows)
