"""Market data from a venue or from files, in the one form that everything downstream reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

import pandas as pd

from ratchet.clock import iso_utc
from ratchet.errors import InputError, UnavailableError
from ratchet.market import CANDLE_COLUMNS, Timeframe, as_candle_frame, parse_symbol
from ratchet.market.venue import BOOK_COLUMNS, TRADE_COLUMNS, Exchange

PAGE_ROWS = 1_000
"""Rows asked for in one call; a venue may answer fewer."""

_Fetch = Callable[[str, int, int], Awaitable[pd.DataFrame]]  # (symbol, since_ns, limit) -> page
_Pages = Mapping[str, list[pd.DataFrame]]  # symbol -> its pages, none of them empty


@dataclass(frozen=True)
class Collected:
    """What was collected: candles of closed bars only, and where they came from.

    `books` and `trades` cover the latest bars; None where they were not asked for or the source has none. Every frame
    is sorted by symbol and time.
    """

    candles: pd.DataFrame
    books: pd.DataFrame | None
    trades: pd.DataFrame | None
    source: str


async def collect_from_exchange(
    exchange: Exchange,
    symbols: Sequence[str] | None,
    timeframe: Timeframe,
    start_ns: int,
    end_ns: int,
    *,
    recent_bars: int = 500,
) -> Collected:
    """Page through a venue, all symbols at the same time.

    Takes the candles of bars that open at or after `start_ns` and close by `end_ns`, and the books and trades of the
    last `recent_bars` bars among them, 0 for none. `symbols` None stands for all that the venue lists.

    Raises:
        InputError: an unknown symbol, a period without room for a bar, or a symbol without a closed candle in it.
        UnavailableError: the venue could not be reached, or does not keep the order of its pages.
    """
    _require(recent_bars >= 0, f"recent_bars={recent_bars} must not be negative")
    period = f"between {iso_utc(start_ns)} and {iso_utc(end_ns)}"
    _require(end_ns - start_ns >= timeframe.ns, f"no {timeframe.text} bar fits {period}")
    wanted = _choose(symbols, await exchange.list_symbols(), exchange.name)

    async def fetch_candles(symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        return await exchange.fetch_candles(symbol, timeframe, since_ns, limit)

    pages = await _fetch_symbols(fetch_candles, wanted, start_ns, end_ns - timeframe.ns + 1)
    empty = [symbol for symbol in wanted if not pages[symbol]]
    _require(not empty, f"{exchange.name} has no closed {timeframe.text} candle of {', '.join(empty)} {period}")
    candles = as_candle_frame(_join(pages, CANDLE_COLUMNS))
    until_ns = int(candles["ts_event_ns"].max()) + timeframe.ns
    fetch_recent = partial(
        _fetch_symbols, symbols=wanted, start_ns=max(start_ns, until_ns - recent_bars * timeframe.ns), until_ns=until_ns
    )
    books, trades = await asyncio.gather(fetch_recent(exchange.fetch_order_books), fetch_recent(exchange.fetch_trades))
    return Collected(
        candles=candles,
        books=_join(books, BOOK_COLUMNS) if any(books.values()) else None,
        trades=_join(trades, TRADE_COLUMNS) if any(trades.values()) else None,
        source=exchange.name,
    )


def collect_from_files(
    path: Path,
    *,
    symbols: Sequence[str] | None,
    timeframe: Timeframe,
    n_bars: int | None = None,
    end_ns: int | None = None,
) -> Collected:
    """Read candles from a file or a folder; files hold neither books nor trades.

    Only bars that close by `end_ns` are taken, None for all, and of those the last `n_bars` of each symbol.

    Raises:
        InputError: the files cannot be used, or hold no closed bar of a symbol.
    """
    from ratchet.data.files import read_candle_files  # noqa: PLC0415 - venues need no file readers

    _require(n_bars is None or n_bars >= 1, f"n_bars={n_bars} must be at least 1")
    every = read_candle_files(path, timeframe=timeframe, symbols=symbols)
    closed = every if end_ns is None else every[every["ts_event_ns"] <= end_ns - timeframe.ns]
    empty = sorted(set(every["symbol"]) - set(closed["symbol"]))
    _require(not empty, f"{path} has no {timeframe.text} bar of {', '.join(empty)} closed by {iso_utc(end_ns or 0)}")
    candles = as_candle_frame(closed)
    if n_bars is not None:
        candles = candles.groupby("symbol").tail(n_bars).reset_index(drop=True)
    return Collected(candles=candles, books=None, trades=None, source=f"files:{path}")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def _choose(symbols: Sequence[str] | None, listed: Sequence[str], venue: str) -> list[str]:
    if symbols is None:
        return list(listed)
    wanted = list(dict.fromkeys(parse_symbol(symbol) for symbol in symbols))
    _require(bool(wanted), "no symbol was asked for")
    unknown = [symbol for symbol in wanted if symbol not in listed]
    _require(not unknown, f"{venue} does not list {', '.join(unknown)}; it has {', '.join(listed)}")
    return wanted


async def _fetch_symbols(fetch: _Fetch, symbols: Sequence[str], start_ns: int, until_ns: int) -> _Pages:
    """Fetch [start_ns, until_ns) of all symbols at once; the first failure stops the others."""
    tasks = [asyncio.ensure_future(_fetch_range(fetch, symbol, start_ns, until_ns)) for symbol in symbols]
    try:
        return dict(zip(symbols, await asyncio.gather(*tasks), strict=True))
    finally:
        for task in tasks:
            task.cancel()


async def _fetch_range(fetch: _Fetch, symbol: str, start_ns: int, until_ns: int) -> list[pd.DataFrame]:
    """Return the non-empty pages of [start_ns, until_ns), cut at its end."""
    pages: list[pd.DataFrame] = []
    since_ns = start_ns
    while since_ns < until_ns:
        page = await fetch(symbol, since_ns, PAGE_ROWS)
        if page.empty:
            break
        times = page["ts_event_ns"]
        if not times.is_monotonic_increasing or times.iloc[0] < since_ns:
            raise UnavailableError(f"the page of {symbol} from {iso_utc(since_ns)} on is out of order; it was not used")
        pages.append(page[times < until_ns])
        since_ns = int(times.iloc[-1]) + 1
    return [page for page in pages if not page.empty]


def _join(pages: _Pages, columns: Sequence[str]) -> pd.DataFrame:
    frame = pd.concat(chain.from_iterable(pages.values()), ignore_index=True)[list(columns)]
    return frame.sort_values(["symbol", "ts_event_ns"], kind="stable", ignore_index=True)
