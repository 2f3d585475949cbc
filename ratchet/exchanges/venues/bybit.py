"""Bybit v5, spot and linear perpetuals.

Sources: bybit-exchange.github.io/docs/v5, "Get Kline", "Get Recent Public Trades", "Get Orderbook" and "Rate Limit
Rules" (600 requests in 5 s per address). Candles come newest first: of a range longer than a page, its end.
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
    levels,
)
from ratchet.market.venue import BOOK_LEVELS, VenueTraits

_PAGE_ROWS = 1_000
_SIDES = {"Buy": 1, "Sell": -1}


class Bybit:
    """The dialect of api.bybit.com."""

    ccxt_id = "bybit"
    traits = VenueTraits(emits_empty_bars=True, has_trade_history=False, page_rows=_PAGE_ROWS)
    limit = HostLimit(600, 5.0)
    paging = Paging.NEWEST_FIRST

    def __init__(self, *, is_swap: bool) -> None:
        self._category = "linear" if is_swap else "spot"
        self.trade_rows = 1_000 if is_swap else 60
        self.options: Mapping[str, Any] = {
            "defaultType": "swap" if is_swap else "spot",
            "fetchMarkets": {"types": [self._category]},
        }

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Every request counts the same."""
        return 1.0

    async def time_ms(self, client: Any) -> int:
        """Ask `market/time`."""
        return int((await client.publicGetV5MarketTime())["time"])

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Ask `market/kline`; both ends of its range are included."""
        request = self._about(listing) | {
            "interval": span.interval,
            "start": span.start_ms,
            "end": span.end_ms - 1,
            "limit": span.rows(_PAGE_ROWS),
        }
        return candle_table((await client.publicGetV5MarketKline(request))["result"]["list"], range(6))

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Ask `market/recent-trade`: the latest 60 of a spot market, the latest 1,000 of a perpetual."""
        request = self._about(listing) | {"limit": self.trade_rows}
        return [
            Trade(
                int(row["time"]) * NS_PER_MS,
                float(row["price"]),
                float(row["size"]),
                _SIDES[row["side"]],
                str(row["execId"]),
            )
            for row in (await client.publicGetV5MarketRecentTrade(request))["result"]["list"]
        ]

    async def book(self, client: Any, listing: Listing) -> Book:
        """Ask `market/orderbook`."""
        request = self._about(listing) | {"limit": BOOK_LEVELS}
        book = (await client.publicGetV5MarketOrderbook(request))["result"]
        return Book(levels(book["b"]), levels(book["a"]), int(book["ts"]) * NS_PER_MS)

    def _about(self, listing: Listing) -> dict[str, Any]:
        return {"category": self._category, "symbol": listing.venue_id}
