"""Coinbase Advanced Trade, spot and perpetuals.

Sources: docs.cdp.coinbase.com, Advanced Trade API, "Get Public Product Candles", "Get Public Market Trades", "Get
Public Product Book", "Rate Limits" (10 public requests a second per address). A range of more than 350 bars is refused;
bars without trades are left out. The side of a public trade is the maker's.
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
    iso_to_ns,
    levels,
)
from ratchet.market.venue import BOOK_LEVELS, VenueTraits

_PAGE_ROWS = 300
_COLUMNS = ("start", "open", "high", "low", "close", "volume")
_TAKER_SIDES = {"BUY": -1, "SELL": 1}


class Coinbase:
    """The dialect of api.coinbase.com."""

    ccxt_id = "coinbase"
    options: Mapping[str, Any] = {}
    traits = VenueTraits(emits_empty_bars=False, has_trade_history=False, page_rows=_PAGE_ROWS)
    limit = HostLimit(10, 1.0)
    paging = Paging.REFUSED
    trade_rows = 1_000

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Every request counts the same."""
        return 1.0

    async def time_ms(self, client: Any) -> int:
        """Ask `time`."""
        return int((await client.v3PublicGetBrokerageTime())["epochMillis"])

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Ask `candles`; both ends of its range are included and in seconds."""
        request = {
            "product_id": listing.venue_id,
            "granularity": span.interval,
            "start": str(-(-span.start_ms // 1_000)),
            "end": str((span.end_ms - 1) // 1_000),
        }
        answer = await client.v3PublicGetBrokerageMarketProductsProductIdCandles(request)
        table = candle_table(answer["candles"], _COLUMNS)
        table[:, 0] *= 1_000
        return table

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Ask `ticker`: the latest 1,000 trades."""
        request = {"product_id": listing.venue_id, "limit": self.trade_rows}
        answer = await client.v3PublicGetBrokerageMarketProductsProductIdTicker(request)
        return [
            Trade(
                iso_to_ns(row["time"]),
                float(row["price"]),
                float(row["size"]),
                _TAKER_SIDES[row["side"]],
                str(row["trade_id"]),
            )
            for row in answer["trades"]
        ]

    async def book(self, client: Any, listing: Listing) -> Book:
        """Ask `product_book`."""
        request = {"product_id": listing.venue_id, "limit": BOOK_LEVELS}
        book = (await client.v3PublicGetBrokerageMarketProductBook(request))["pricebook"]
        columns = ("price", "size")
        return Book(levels(book["bids"], columns), levels(book["asks"], columns), iso_to_ns(book["time"]))
