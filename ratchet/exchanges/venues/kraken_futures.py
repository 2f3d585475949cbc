"""Kraken Derivatives, linear perpetuals.

Sources: docs.kraken.com/api/docs/futures-api, "Market Candles", "Get Orderbook", "Get History", "Get Instruments".
There is no call for the time alone, but most answers carry it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratchet.exchanges.pacing import HostLimit
from ratchet.exchanges.venues.dialect import (
    NS_PER_MS,
    Book,
    CandleRange,
    CandleTable,
    Listing,
    Paging,
    Trade,
    candle_table,
    iso_to_ns,
    levels,
)
from ratchet.market.venue import VenueTraits

_PAGE_ROWS = 2_000
_COLUMNS = ("time", "open", "high", "low", "close", "volume")
_SIDES = {"buy": 1, "sell": -1}


class KrakenFutures:
    """The dialect of futures.kraken.com."""

    ccxt_id = "krakenfutures"
    options: Mapping[str, Any] = {}
    traits = VenueTraits(emits_empty_bars=False, has_trade_history=False, page_rows=_PAGE_ROWS)
    limit = HostLimit(100, 10.0)
    paging = Paging.REFUSED
    trade_rows = 100

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Every request counts the same."""
        return 1.0

    async def time_ms(self, client: Any) -> int:
        """Read the time off `feeschedules`, the smallest answer that has one."""
        return iso_to_ns((await client.publicGetFeeschedules())["serverTime"]) // NS_PER_MS

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Ask the chart of trade prices; both ends of its range are included and in seconds."""
        request = {
            "price_type": "trade",
            "symbol": listing.venue_id,
            "interval": span.interval,
            "from": -(-span.start_ms // 1_000),
            "to": (span.end_ms - 1) // 1_000,
        }
        return candle_table((await client.chartsGetPriceTypeSymbolInterval(request))["candles"], _COLUMNS)

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Ask `history`: the latest 100."""
        answer = await client.publicGetHistory({"symbol": listing.venue_id})
        return [
            Trade(iso_to_ns(row["time"]), float(row["price"]), float(row["size"]), _SIDES[row["side"]], str(row["uid"]))
            for row in answer["history"]
        ]

    async def book(self, client: Any, listing: Listing) -> Book:
        """Ask `orderbook`."""
        answer = await client.publicGetOrderbook({"symbol": listing.venue_id})
        book = answer["orderBook"]
        return Book(levels(book["bids"]), levels(book["asks"]), iso_to_ns(answer["serverTime"]))
