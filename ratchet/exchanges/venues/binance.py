"""Binance, spot and USD-M perpetuals.

Sources: developers.binance.com, "Market Data endpoints" and "LIMITS" of the spot API and of USDS-margined futures.
Candles come oldest first from `startTime`, minutes without trades included.
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
    weight_by_path,
)
from ratchet.market.venue import VenueTraits

_PAGE_ROWS = 1_000
_BOOK_ROWS = 10
_SPOT_WEIGHTS = {"/klines": 2.0, "/aggTrades": 4.0, "/depth": 5.0, "/exchangeInfo": 20.0, "/time": 1.0}
_SWAP_WEIGHTS = {"/aggTrades": 20.0, "/depth": 2.0, "/exchangeInfo": 1.0, "/time": 1.0}


class Binance:
    """The dialect of api.binance.com, or of fapi.binance.com for perpetuals."""

    ccxt_id = "binance"
    traits = VenueTraits(emits_empty_bars=True, has_trade_history=True, page_rows=_PAGE_ROWS)
    paging = Paging.OLDEST_FIRST
    trade_rows = 1_000

    def __init__(self, *, is_swap: bool) -> None:
        self._is_swap = is_swap
        self._prefix = "fapiPublicGet" if is_swap else "publicGet"
        self.limit = HostLimit(2_400, 60.0) if is_swap else HostLimit(6_000, 60.0)
        self.options: Mapping[str, Any] = {
            "defaultType": "swap" if is_swap else "spot",
            "defaultSubType": "linear",
            "fetchMarkets": {"types": ["linear" if is_swap else "spot"]},
        }

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Return the documented weight; that of the perpetuals' candles grows with `limit`."""
        if self._is_swap and path.endswith("/klines"):
            rows = int(query.get("limit", "500"))
            return next((weight for most, weight in ((99, 1.0), (499, 2.0), (1_000, 5.0)) if rows <= most), 10.0)
        return weight_by_path(_SWAP_WEIGHTS if self._is_swap else _SPOT_WEIGHTS, path)

    async def time_ms(self, client: Any) -> int:
        """Ask `time`."""
        return int((await self._get(client, "Time", {}))["serverTime"])

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Ask `klines`."""
        request = {
            "symbol": listing.venue_id,
            "interval": span.interval,
            "startTime": span.start_ms,
            "endTime": span.end_ms - 1,
            "limit": span.rows(_PAGE_ROWS),
        }
        return candle_table(await self._get(client, "Klines", request), range(6))

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Ask `aggTrades`: fills of one order at one price and time are one trade here."""
        request = {"symbol": listing.venue_id, "limit": self.trade_rows}
        page = await self._get(client, "AggTrades", request | {"startTime": -(-since_ns // NS_PER_MS)})
        rows = list(page)
        while len(page) == self.trade_rows and rows[0]["T"] == rows[-1]["T"]:  # a large order fills within one ms
            page = await self._get(client, "AggTrades", request | {"fromId": rows[-1]["a"] + 1})
            rows += page
        return [
            Trade(row["T"] * NS_PER_MS, float(row["p"]), float(row["q"]), -1 if row["m"] else 1, str(row["a"]))
            for row in rows
        ]

    async def book(self, client: Any, listing: Listing) -> Book:
        """Ask `depth`; only the perpetuals' books carry a time."""
        book = await self._get(client, "Depth", {"symbol": listing.venue_id, "limit": _BOOK_ROWS})
        ts_ns = int(book["T"]) * NS_PER_MS if "T" in book else None
        return Book(levels(book["bids"]), levels(book["asks"]), ts_ns)

    async def _get(self, client: Any, name: str, request: Mapping[str, Any]) -> Any:
        return await getattr(client, self._prefix + name)(request)
