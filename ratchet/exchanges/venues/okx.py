"""OKX v5, spot and linear perpetual swaps.

Sources: www.okx.com/docs-v5, "Get candlesticks", "Get candlesticks history", "Get trades", "Get order book". Candles
come newest first; `before` and `after` are both exclusive and name the earlier and the later end. Limits are per
endpoint (10 to 100 requests in 2 s); one bucket with weights keeps all of them.
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
from ratchet.market.venue import BOOK_LEVELS, VenueTraits

_PAGE_ROWS = 300
_RECENT_BARS = 1_440  # older bars are in the history only
_IS_CLOSED = 8
_WEIGHTS = {"/history-candles": 2.0, "/instruments": 2.0, "/time": 4.0}
_SIDES = {"buy": 1, "sell": -1}


class Okx:
    """The dialect of www.okx.com."""

    ccxt_id = "okx"
    traits = VenueTraits(emits_empty_bars=True, has_trade_history=False, page_rows=_PAGE_ROWS)
    limit = HostLimit(40, 2.0)
    paging = Paging.NEWEST_FIRST
    trade_rows = 500

    def __init__(self, *, is_swap: bool) -> None:
        kind = "swap" if is_swap else "spot"
        self._volume = 6 if is_swap else 5  # contracts come before base units
        self.options: Mapping[str, Any] = {"defaultType": kind, "fetchMarkets": {"types": [kind]}}

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Return how many fortieths of two seconds a request takes."""
        return weight_by_path(_WEIGHTS, path)

    async def time_ms(self, client: Any) -> int:
        """Ask `public/time`."""
        return int((await client.publicGetPublicTime())["data"][0]["ts"])

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Ask `market/candles` for recent bars, else `market/history-candles`; unfinished bars are left out."""
        request = {
            "instId": listing.venue_id,
            # Bars of six hours and more follow Hong Kong's days unless UTC is asked for.
            "bar": f"{span.interval}utc" if span.step_ms >= 6 * 3_600_000 else span.interval,
            "before": span.start_ms - 1,
            "after": span.end_ms,
            "limit": span.rows(_PAGE_ROWS),
        }
        is_recent = span.start_ms > span.now_ms - (_RECENT_BARS - 1) * span.step_ms
        ask = client.publicGetMarketCandles if is_recent else client.publicGetMarketHistoryCandles
        rows = [row for row in (await ask(request))["data"] if row[_IS_CLOSED] == "1"]
        return candle_table(rows, (0, 1, 2, 3, 4, self._volume))

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Ask `market/trades`: the latest 500; sizes of swaps are contracts."""
        answer = await client.publicGetMarketTrades({"instId": listing.venue_id, "limit": self.trade_rows})
        return [
            Trade(
                int(row["ts"]) * NS_PER_MS,
                float(row["px"]),
                float(row["sz"]) * listing.contract_size,
                _SIDES[row["side"]],
                str(row["tradeId"]),
            )
            for row in answer["data"]
        ]

    async def book(self, client: Any, listing: Listing) -> Book:
        """Ask `market/books`; sizes of swaps are contracts."""
        book = (await client.publicGetMarketBooks({"instId": listing.venue_id, "sz": BOOK_LEVELS}))["data"][0]
        unit = listing.contract_size
        return Book(levels(book["bids"], unit=unit), levels(book["asks"], unit=unit), int(book["ts"]) * NS_PER_MS)
