"""What a venue can show of the market behind it at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ratchet.clock import Clock
from ratchet.exchanges.simulated.server.bar_faults import partial, spoiled, with_wrong_close
from ratchet.exchanges.simulated.server.candle_page import CandlePage
from ratchet.exchanges.simulated.server.faults import FaultKind, FaultScope
from ratchet.exchanges.simulated.server.plan import Fault, FaultPlan
from ratchet.market import Timeframe
from ratchet.market.venue import Exchange

_EXTRA_BARS = 3
"""Bars that a page with `BEFORE_SINCE` has too many."""

_WIDENINGS = 12
"""How often a search backwards for enough rows doubles its reach."""

_UPSTREAM_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class RowsAsked:
    """Which rows of a symbol a client asks for.

    Open (or trade) times from `start_ns` to `end_ns`, both included; of them the first `limit`, or the last ones where
    `keeps_last`. `has_running_bar` tells whether the endpoint shows the bar that has not closed yet.
    """

    symbol: str
    limit: int
    start_ns: int = 0
    end_ns: int | None = None
    keeps_last: bool = False
    has_running_bar: bool = True


class VenueHistory:
    """Candles and trades of `upstream` as they are known at `clock`'s time, less what `plan` hides.

    A bar is closed once the clock has passed its end. The one after the last closed bar is running as long as the clock
    is within it: with a part of its range where the upstream knows it already, else flat at the last close.
    """

    def __init__(self, upstream: Exchange, timeframe: Timeframe, clock: Clock, plan: FaultPlan) -> None:
        self._upstream = upstream
        self._timeframe = timeframe
        self._clock = clock
        self._plan = plan
        self._hides_rows = any(rate and kind.scope is FaultScope.ROW for kind, rate in plan.rates.items())
        self._edges: dict[str, int] = {}

    async def candles(self, asked: RowsAsked, fault: Fault | None = None) -> CandlePage:
        """Return the rows asked for, the oldest first, with the fault where they give it a hold."""
        kind = fault.kind if fault else None
        if kind is FaultKind.BEFORE_SINCE:
            return await self._early_candles(asked)
        page = self._revised(asked.symbol, await self._page(asked))
        if fault is None:
            return page
        if kind is FaultKind.UNCLOSED_AS_CLOSED:
            wrong = await self._unclosed(asked.symbol, page)
        else:
            wrong = spoiled(page, fault, self._timeframe.ns)
        if wrong is None:
            return page
        self._plan.counts[fault.kind] += 1
        return wrong

    async def last_price(self, symbol: str) -> float:
        """Return the close of the last closed bar; 1.0 where there is none."""
        edge_ns = await self._edge_ns(symbol)
        if edge_ns is None:
            return 1.0
        bar = await self._upstream.fetch_candles(symbol, self._timeframe, edge_ns, 1)
        return float(bar["close"].iloc[0])

    async def trades(self, asked: RowsAsked) -> pd.DataFrame:
        """Return the trades asked for (`TRADE_COLUMNS`), the oldest first."""
        now_ns = self._clock.now_ns()
        end_ns = now_ns if asked.end_ns is None else min(asked.end_ns, now_ns)
        if not asked.keeps_last:
            return await self._trades_between(asked.symbol, asked.start_ns, end_ns, asked.limit)
        edge_ns = await self._edge_ns(asked.symbol) or 0
        anchor_ns = min(end_ns, edge_ns + 2 * self._timeframe.ns)
        reach_ns = self._timeframe.ns
        for _ in range(_WIDENINGS):
            start_ns = max(asked.start_ns, anchor_ns - reach_ns)
            found = await self._trades_between(asked.symbol, start_ns, end_ns, None)
            if len(found) >= asked.limit or start_ns == asked.start_ns:
                break
            reach_ns *= 2
        return found.tail(asked.limit).reset_index(drop=True)

    async def _trades_between(self, symbol: str, start_ns: int, end_ns: int, limit: int | None) -> pd.DataFrame:
        async def fetch(since_ns: int) -> pd.DataFrame:
            return await self._upstream.fetch_trades(symbol, since_ns, limit or _UPSTREAM_ROWS)

        pages = [await fetch(start_ns)]
        while len(pages[-1]) and int(pages[-1]["ts_event_ns"].iloc[-1]) < end_ns:
            if limit is not None and sum(map(len, pages)) >= limit:
                break
            pages.append(await fetch(int(pages[-1]["ts_event_ns"].iloc[-1]) + 1))
        found = pd.concat(pages, ignore_index=True) if len(pages) > 1 else pages[0]
        found = found[found["ts_event_ns"] <= end_ns]
        return found if limit is None else found.head(limit)

    async def _page(self, asked: RowsAsked) -> CandlePage:
        last_ns = self._clock.now_ns() if asked.end_ns is None else asked.end_ns
        if not asked.keeps_last:
            page = await self._closed_from(asked.symbol, asked.start_ns, last_ns, asked.limit)
        else:
            page = await self._closed_before(asked, last_ns)
        reaches_it = asked.has_running_bar and last_ns > self._clock.now_ns() - self._timeframe.ns
        if reaches_it and (asked.keeps_last or len(page) < asked.limit):
            running = await self._running(asked.symbol)
            if len(running) and asked.start_ns <= running.ts_ns[0] <= last_ns:
                page = page.joined(running)
        return page.take(slice(-asked.limit, None)) if asked.keeps_last else page

    async def _closed_from(self, symbol: str, start_ns: int, last_ns: int, limit: int) -> CandlePage:
        """The first `limit` closed bars from `start_ns` on, as far as `last_ns`."""
        now_ns = self._clock.now_ns()
        newest_ns = min(last_ns, now_ns - self._timeframe.ns)
        page, since_ns = CandlePage.empty(), max(0, start_ns)
        while len(page) < limit and since_ns <= newest_ns:
            fetched = CandlePage.from_frame(
                await self._upstream.fetch_candles(symbol, self._timeframe, since_ns, limit - len(page))
            )
            if not len(fetched):
                break
            since_ns = int(fetched.ts_ns[-1]) + 1
            page = _joined(page, self._shown(symbol, fetched, newest_ns, now_ns))
        return page

    def _shown(self, symbol: str, page: CandlePage, newest_ns: int, now_ns: int) -> CandlePage:
        """The rows up to `newest_ns` that the plan does not hide."""
        if int(page.ts_ns[-1]) > newest_ns:
            page = page.take(page.ts_ns <= newest_ns)
        if not self._hides_rows or not len(page):
            return page
        closed_for_ns = now_ns - page.ts_ns - self._timeframe.ns
        visible = self._plan.visible(symbol, page.ts_ns, page.column("volume"), closed_for_ns)
        return page if visible.all() else page.take(visible)

    async def _closed_before(self, asked: RowsAsked, last_ns: int) -> CandlePage:
        """The last `asked.limit` closed bars that open up to `last_ns`."""
        edge_ns = await self._edge_ns(asked.symbol)
        if edge_ns is None:
            return CandlePage.empty()
        page, until_ns, reach = CandlePage.empty(), min(last_ns, edge_ns), asked.limit
        for _ in range(_WIDENINGS):
            start_ns = max(asked.start_ns, until_ns - reach * self._timeframe.ns + 1, 0)
            page = _joined(await self._closed_from(asked.symbol, start_ns, until_ns, reach), page)
            if len(page) >= asked.limit or start_ns in {asked.start_ns, 0}:
                break
            until_ns, reach = start_ns - 1, 2 * reach
        return page.take(slice(-asked.limit, None))

    async def _running(self, symbol: str) -> CandlePage:
        """The running bar, or no row where the market ended before the present bar."""
        edge_ns, now_ns, bar_ns = await self._edge_ns(symbol), self._clock.now_ns(), self._timeframe.ns
        if edge_ns is None or now_ns >= edge_ns + 2 * bar_ns:
            return CandlePage.empty()
        known = CandlePage.from_frame(await self._upstream.fetch_candles(symbol, self._timeframe, edge_ns, 2))
        share = (now_ns - edge_ns - bar_ns) / bar_ns
        if len(known) > 1 and known.ts_ns[1] == edge_ns + bar_ns:
            values = partial(known.values[1], share)
        else:
            close = known.column("close")[0]
            values = np.array([close, close, close, close, 0.0])
        return CandlePage(np.array([edge_ns + bar_ns]), values[None, :], np.zeros(1, dtype=np.bool_))

    async def _edge_ns(self, symbol: str) -> int | None:
        """Open time of the last closed bar, found by bisection once and then followed."""

        async def first_after(since_ns: int) -> int | None:
            frame = await self._upstream.fetch_candles(symbol, self._timeframe, since_ns, 1)
            open_ns = int(frame["ts_event_ns"].iloc[0]) if len(frame) else None
            return open_ns if open_ns is not None and open_ns + self._timeframe.ns <= now_ns else None

        now_ns = self._clock.now_ns()
        edge_ns = self._edges.get(symbol)
        if edge_ns is None or edge_ns + self._timeframe.ns > now_ns:
            edge_ns = await first_after(0)
        if edge_ns is None:
            return None
        if edge_ns + 2 * self._timeframe.ns <= now_ns:
            edge_ns = await _last_found(first_after, edge_ns, now_ns)
        self._edges[symbol] = edge_ns
        return edge_ns

    def _revised(self, symbol: str, page: CandlePage) -> CandlePage:
        if not self._plan.rates.get(FaultKind.REVISED_ROW):
            return page
        wrong = page.is_closed.copy()
        wrong[wrong] = self._plan.first_shown(symbol, page.ts_ns[wrong])
        if not wrong.any():
            return page
        self._plan.counts[FaultKind.REVISED_ROW] += 1
        return with_wrong_close(page, wrong)

    async def _early_candles(self, asked: RowsAsked) -> CandlePage:
        """The page with some bars too many in front; as it should be where it has no start."""
        page = self._revised(asked.symbol, await self._page(asked))
        first_ns = max(0, asked.start_ns - _EXTRA_BARS * self._timeframe.ns)
        extra = await self._closed_from(asked.symbol, first_ns, asked.start_ns - 1, _EXTRA_BARS)
        if not len(extra) or not len(page):
            return page
        self._plan.counts[FaultKind.BEFORE_SINCE] += 1
        return extra.joined(page)

    async def _unclosed(self, symbol: str, page: CandlePage) -> CandlePage | None:
        """The page with the market's last closed bar as it was when half of it had passed."""
        at = np.flatnonzero(page.ts_ns == await self._edge_ns(symbol))
        if not len(at):
            return None
        values = page.values.copy()
        values[at[0]] = partial(values[at[0]], 0.5)
        return replace(page, values=values, is_closed=np.ones(len(page), dtype=np.bool_))


def _joined(page: CandlePage, more: CandlePage) -> CandlePage:
    return page.joined(more) if len(page) else more


async def _last_found(first_after: Callable[[int], Awaitable[int | None]], known_ns: int, end_ns: int) -> int:
    """Return the last time that `first_after` finds, given one that it does; none is found after `end_ns`."""
    following_ns = await first_after(known_ns + 1)
    while following_ns is not None:
        known_ns = following_ns
        middle_ns = (known_ns + end_ns) // 2
        following_ns = await first_after(max(middle_ns, known_ns + 1))
        if following_ns is None:
            end_ns = middle_ns
            following_ns = await first_after(known_ns + 1)
    return known_ns
