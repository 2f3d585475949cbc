"""A collector without any of the care: it appends the pages of Binance's dialect as they come."""

from __future__ import annotations

from typing import Any

import aiohttp
import pandas as pd

from ratchet.clock import NS_PER_S, FixedClock
from tests.battery.days import Day
from tests.battery.driving import PATIENCE_S, Collected, Outcome, served

_NS_PER_MS = 1_000_000
_FIELDS = ["ts_event_ns", "open", "high", "low", "close", "volume"]


async def collect_naively(day: Day) -> Collected:
    """Ask for the closed bars of a day at Binance, page after page until one is empty or cannot be had.

    Collected live, it appends what is new at each step. It never asks twice, checks nothing and knows of no gap.
    """
    plan, clock = day.plan(), FixedClock(day.start_ns)
    rows: dict[str, list[list[Any]]] = {symbol: [] for symbol in day.symbols}
    steps = range(4, day.n_bars + 4, 4) if day.is_live else [day.n_bars]
    async with served(day, plan, clock) as (server, _), aiohttp.ClientSession() as session:
        for n_bars in steps:
            until_ns = min(day.start_ns + n_bars * day.timeframe.ns, day.end_ns)
            clock.advance(until_ns + NS_PER_S - clock.now_ns())
            offset_ns = plan.clock_offset_ns  # it takes the venue's time for the time
            for symbol in day.symbols:
                known = rows[symbol]
                last_ms = known[-1][0] if known else day.start_ns // _NS_PER_MS - 1
                end_ms = (until_ns + offset_ns) // _NS_PER_MS
                rows[symbol] += await _pages(session, server.url, symbol, day.timeframe.text, last_ms + 1, end_ms)
    frames = {symbol: _frame(known) for symbol, known in rows.items()}
    return Collected(Outcome(frames, []), None, pd.DataFrame(), server.n_requests, dict(plan.counts))


async def _pages(
    session: aiohttp.ClientSession, url: str, symbol: str, interval: str, start_ms: int, end_ms: int
) -> list[list[Any]]:
    found: list[list[Any]] = []
    while start_ms < end_ms:
        query = {
            "symbol": symbol.replace("/", ""),
            "interval": interval,
            "limit": "1000",
            "startTime": str(start_ms),
            "endTime": str(end_ms - 1),
        }
        try:
            timeout = aiohttp.ClientTimeout(total=PATIENCE_S * 10)
            async with session.get(
                f"{url}/api/v3/klines",
                params=query,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                page = await response.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            break
        if not isinstance(page, list) or not page:
            break
        found += page
        start_ms = page[-1][0] + 1
    return found


def _frame(rows: list[list[Any]]) -> pd.DataFrame:
    values = [[int(row[0]) * _NS_PER_MS, *(float(text or "nan") for text in row[1:6])] for row in rows]
    return pd.DataFrame(values, columns=_FIELDS).astype({"ts_event_ns": "int64"})
