"""A real venue behind the port `Exchange`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Self, TypeVar

import numpy as np
import pandas as pd

from ratchet.clock import NS_PER_S, Clock
from ratchet.errors import InputError, NotFoundError, UnavailableError
from ratchet.exchanges.pacing import PROCESS_PACES, HostPaces, Sleep
from ratchet.exchanges.source import VenueSource
from ratchet.exchanges.venues.candle_pages import ASKINGS, first_candles
from ratchet.exchanges.venues.client import body_examiner, load_markets, open_client
from ratchet.exchanges.venues.dialect import NS_PER_MS, CandleRange, CandleTable, Listing, Trade
from ratchet.exchanges.venues.frames import (
    book_frame,
    candle_frame,
    check_times_ms,
    trade_frame,
    without_cut_ties,
)
from ratchet.exchanges.venues.server_time import VenueTime
from ratchet.exchanges.venues.table import open_dialect
from ratchet.exchanges.venues.transport import VenueTransport
from ratchet.market.symbols import Timeframe, parse_symbol
from ratchet.market.venue import Exchange, Instrument, VenueTraits

_READINGS = 4
_STALE_NS = 60 * NS_PER_S
_FRESH_NS = 10 * NS_PER_S
_Answer = TypeVar("_Answer")


class VenueExchange(Exchange):
    """Market data of a real venue, over its public HTTP interface; no account and no key are needed.

    Requests of all adapters of a process share the host's allowance. A request that fails for the moment is repeated
    up to seven times, an answer that cannot be read is asked for up to four times; then `UnavailableError` says which.
    Where the venue says it has no such symbol, `InputError` is raised.

    Use it as an async context manager or call `close`; it belongs to the event loop that it is first used in.

    Args:
        venue: `binance`, `bybit`, `coinbase`, `kraken` or `okx`.
        market: `spot`, or `swap` for perpetuals that settle in their quote currency.
        url: takes the place of every `https://<host>` in the venue's addresses.
        timeout_s: how long one reply may take.
        clock: the time; also what the venue's time is measured against.
        sleep: how waiting is done.
        paces: the allowances of hosts; those of the process unless given.

    Raises:
        InputError: no such venue or kind of market.
        ConfigurationError: ccxt is not installed.
    """

    def __init__(
        self,
        venue: str,
        *,
        clock: Clock,
        sleep: Sleep = asyncio.sleep,
        market: str = "spot",
        url: str | None = None,
        timeout_s: float = 10.0,
        paces: HostPaces = PROCESS_PACES,
    ) -> None:
        self._dialect = open_dialect(venue, market)
        self._market_type = market
        self._name = VenueSource(venue, market, url).name
        self._clock = clock
        self._client = open_client(self._dialect.ccxt_id, options=self._dialect.options, url=url)
        self._transport = VenueTransport(
            self._name,
            limit=self._dialect.limit,
            weigh=self._dialect.weigh,
            examine=body_examiner(self._client, self._name),
            paces=paces,
            clock=clock,
            sleep=sleep,
            random=Random(clock.now_ns()),  # noqa: S311 - spreads retries of many processes, keeps no secret
            timeout_s=timeout_s,
        )
        self._client.fetch = self._transport.fetch
        resolution_ns = NS_PER_S if self._dialect.ccxt_id == "kraken" else 0
        self._time = VenueTime(self._name, self._ask_time_ms, clock=clock, resolution_ns=resolution_ns)
        self._listings: dict[str, tuple[Listing, Instrument]] = {}
        self._listed_at_ns: int | None = None
        self._listing_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def name(self) -> str:
        """The venue, with the kind of market unless that is spot: `binance`, `binance-swap`."""
        return self._name

    @property
    def traits(self) -> VenueTraits:
        """What is known about the venue's data."""
        return self._dialect.traits

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def list_symbols(self) -> list[str]:
        """Return all symbols of the kind of market, sorted, halted ones too."""
        await self._load_listings(_STALE_NS)
        return sorted(self._listings)

    async def describe(self, symbol: str) -> Instrument:
        """Return what the venue's list of markets, read at most ten seconds ago, says about a symbol.

        Raises:
            NotFoundError: the symbol is not in the list.
        """
        canonical = parse_symbol(symbol)
        await self._load_listings(_FRESH_NS)
        if canonical not in self._listings:
            raise NotFoundError(f"{self._name} does not list {canonical}")
        return self._listings[canonical][1]

    async def server_time_ns(self) -> int:
        """Return the venue's time, measured at most two minutes ago and carried on by the clock."""
        return await self._time.now_ns()

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of closed candles (see `Exchange`): closed by the venue's time, and by this machine's.

        Rows are passed on as they came: those off the grid, impossible ones, and several of one time that differ.
        """
        rows = min(_checked(limit), self.traits.page_rows)
        interval = self._interval(timeframe)
        listing = await self._listing(symbol)
        step_ms = timeframe.ns // NS_PER_MS
        now_ms = await self._time.closed_before_ns() // NS_PER_MS
        start_ms, end_ms = max(0, -(-since_ns // NS_PER_MS)), now_ms - step_ms + 1
        table = np.empty((0, 6))
        if start_ms < end_ms:
            table = await first_candles(
                lambda low_ms, high_ms: self._ask_candles(
                    listing, CandleRange(interval, step_ms, low_ms, high_ms, now_ms)
                ),
                self._dialect.paging,
                start_ms=start_ms,
                end_ms=end_ms,
                page_ms=rows * step_ms,
                full_page_ms=self.traits.page_rows * step_ms,
            )
        return candle_frame(listing.symbol, table, limit=rows)

    async def fetch_order_books(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return the present order book, empty where it is older than `since_ns`: venues keep no history of books.

        Its time is the venue's; where a venue gives none, it is the venue's time at the arrival of the answer.
        """
        listing = await self._listing(symbol)
        _checked(limit)
        await self._time.now_ns()  # measured beforehand, so that nothing is waited for once the book is here
        book = await self._read(
            f"the order book of {listing.symbol}", lambda: self._dialect.book(self._client, listing)
        )
        ts_event_ns = await self._time.now_ns() if book.ts_event_ns is None else book.ts_event_ns
        return book_frame(listing.symbol, book, ts_event_ns, since_ns=since_ns)

    async def fetch_trades(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of trades (see `Exchange`); only the latest ones where the venue has no history of them."""
        listing = await self._listing(symbol)
        wanted = _checked(limit)
        start_ns = max(1, since_ns)
        trades = await self._trade_page(listing, start_ns)
        return trade_frame(listing.symbol, trades, since_ns=start_ns, limit=wanted)

    async def _trade_page(self, listing: Listing, since_ns: int) -> list[Trade]:
        for _ in range(ASKINGS if self.traits.has_trade_history else 1):  # there, nothing is evidence of no trades
            trades = await self._read(
                f"trades of {listing.symbol}", lambda: self._dialect.trades(self._client, listing, since_ns)
            )
            if trades:
                break
        is_full = len(trades) >= self._dialect.trade_rows
        return without_cut_ties(trades, at_end=self.traits.has_trade_history) if is_full else trades

    async def _ask_candles(self, listing: Listing, span: CandleRange) -> CandleTable:
        async def ask() -> CandleTable:
            table = await self._dialect.candles(self._client, listing, span)
            check_times_ms(table[:, 0])
            return table[(table[:, 0] >= span.start_ms) & (table[:, 0] < span.end_ms)]

        return await self._read(f"candles of {listing.symbol}", ask)

    async def _ask_time_ms(self) -> int:
        async def ask() -> int:
            time_ms = await self._dialect.time_ms(self._client)
            check_times_ms([time_ms])
            return time_ms

        return await self._read("its time", ask)

    async def _read(self, what: str, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask until the answer has the form that it must have."""
        for attempt in range(_READINGS):
            if attempt:
                await self._transport.wait(attempt - 1)
            try:
                return await ask()
            except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
                cause = error
        detail = " ".join(f"{type(cause).__name__}: {cause}".split())[:160]
        raise UnavailableError(f"{self._name} answers {what} in a form that cannot be read ({detail})") from cause

    def _interval(self, timeframe: Timeframe) -> Any:
        lengths = {self._client.parse_timeframe(text): text for text in self._client.timeframes if text[-1] != "M"}
        if timeframe.seconds not in lengths:
            raise InputError(f"{self._name} has no {timeframe.text} candles; it has {', '.join(lengths.values())}")
        return self._client.timeframes[lengths[timeframe.seconds]]

    async def _listing(self, symbol: str) -> Listing:
        canonical = parse_symbol(symbol)
        if canonical not in self._listings:
            await self._load_listings(_STALE_NS)
        if canonical not in self._listings:
            raise InputError(f"{self._name} has no {self._market_type} market {canonical}")
        return self._listings[canonical][0]

    async def _load_listings(self, max_age_ns: int) -> None:
        async with self._listing_lock:
            now_ns = self._clock.now_ns()
            if self._listed_at_ns is not None and 0 <= now_ns - self._listed_at_ns < max_age_ns:
                return
            markets = await load_markets(self._client)
            self._listings = {
                market["symbol"]: (_listing_of(market), _instrument_of(market))
                for market in markets.values()
                if _is_of_type(market, self._market_type)
            }
            self._listed_at_ns = self._clock.now_ns()


def _checked(limit: int) -> int:
    if limit < 1:
        raise InputError(f"limit={limit} must be at least 1")
    return limit


def _is_of_type(market: dict[str, Any], market_type: str) -> bool:
    """Tell whether a market is of the kind, and has a name that the library can write."""
    is_wanted = market.get("spot") if market_type == "spot" else market.get("swap") and market.get("linear")
    try:
        return bool(is_wanted) and parse_symbol(market["symbol"]) == market["symbol"]
    except InputError:
        return False


def _listing_of(market: dict[str, Any]) -> Listing:
    return Listing(market["symbol"], str(market["id"]), float(market.get("contractSize") or 1.0))


def _instrument_of(market: dict[str, Any]) -> Instrument:
    listed_ms = market.get("created")
    return Instrument(
        market["symbol"],
        listed_ns=int(listed_ms) * NS_PER_MS if listed_ms else None,
        is_active=market.get("active") is not False,
    )
