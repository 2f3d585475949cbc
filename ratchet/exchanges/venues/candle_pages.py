"""The first candles since a time, found through what each venue answers to a range.

An empty answer proves nothing but that this range is empty: a market may have been halted, or not listed yet. So the
search goes on, up to the venue's present, in the way that its paging allows.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ratchet.clock import iso_utc
from ratchet.errors import InputError
from ratchet.exchanges.venues.dialect import NS_PER_MS, CandleTable, Paging

ASKINGS = 3
"""How often the same question must be answered with nothing before that is believed: venues have hiccups."""

_MOST_EMPTY_PAGES = 1_000

Ask = Callable[[int, int], Awaitable[CandleTable]]
"""Returns candles that open in [start_ms, end_ms): all of them where the range fits a page."""


async def first_candles(
    ask: Ask, paging: Paging, *, start_ms: int, end_ms: int, page_ms: int, full_page_ms: int
) -> CandleTable:
    """Return the first candles in [start_ms, end_ms), empty where there are none.

    Args:
        ask: answers one range.
        paging: what `ask` gives of a range longer than a page.
        start_ms: the earliest time at which a bar may open.
        end_ms: the time before which it must open.
        page_ms: length of the range wanted.
        full_page_ms: longest range of which `ask` gives all.

    Raises:
        InputError: the venue refuses long ranges, and a thousand pages were empty.
    """
    for _ in range(ASKINGS):
        page = await ask(start_ms, min(start_ms + page_ms, end_ms))
        if len(page):
            return page
    match paging:
        case Paging.OLDEST_FIRST:
            return await ask(start_ms, end_ms)
        case Paging.NEWEST_FIRST:
            return await _close_in(ask, start_ms, end_ms, full_page_ms)
        case Paging.REFUSED:
            return await _walk(ask, start_ms, end_ms, full_page_ms)


async def _close_in(ask: Ask, low_ms: int, end_ms: int, page_ms: int) -> CandleTable:
    """Halve the range that may hold earlier candles; a venue answers the newest ones of each part."""
    found = await ask(low_ms, end_ms)
    while len(found):
        high_ms = int(found[:, 0].min())
        if high_ms - low_ms <= page_ms:
            earlier = await ask(low_ms, high_ms) if high_ms > low_ms else found[:0]
            return earlier if len(earlier) else found
        middle_ms = (low_ms + high_ms) // 2
        earlier = await ask(low_ms, middle_ms)
        if len(earlier):
            found = earlier
        else:
            low_ms = middle_ms
    return found


async def _walk(ask: Ask, start_ms: int, end_ms: int, page_ms: int) -> CandleTable:
    """Ask page after page."""
    for low_ms in range(start_ms, start_ms + _MOST_EMPTY_PAGES * page_ms, page_ms):
        page = await ask(low_ms, min(low_ms + page_ms, end_ms))
        if len(page) or low_ms + page_ms >= end_ms:
            return page
    since = iso_utc(start_ms * NS_PER_MS)
    raise InputError(f"the {_MOST_EMPTY_PAGES} pages from {since} on hold no candles; ask from a later time")
