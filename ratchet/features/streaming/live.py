"""A venue as it trades, as feature events: its books and trades through the recorder, its bars by asking for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from ratchet.clock import Clock
from ratchet.data.books import record
from ratchet.data.books.records import Record
from ratchet.errors import UnavailableError
from ratchet.features.streaming.events import EventKind, FeatureEvent
from ratchet.features.streaming.recorded import RecordedEvents
from ratchet.market.events import MarketStream
from ratchet.market.symbols import Timeframe
from ratchet.market.venue import Exchange

_PAGE = 1_000
_ASK_EVERY_S = 1.0
_TICK_S = 0.1

Publish = Callable[[FeatureEvent], None]


class BarFeed:
    """Asks a venue for bars and hands them on once they have closed, each symbol's in order.

    Args:
        exchange: the venue.
        symbols: whose bars.
        timeframe: of the bars.
        publish: is given each bar.
        clock: says when a bar arrived here.
    """

    def __init__(
        self, exchange: Exchange, symbols: Sequence[str], timeframe: Timeframe, publish: Publish, clock: Clock
    ) -> None:
        self._exchange, self._timeframe, self._publish, self._clock = exchange, timeframe, publish, clock
        self._next_ns = dict.fromkeys(symbols, 0)
        self.n_failures = 0

    async def catch_up(self, n_bars: int) -> None:
        """Hand on the last `n_bars` closed bars of each symbol, all symbols in the order of time.

        They count as known at their close.

        Raises:
            UnavailableError: the venue does not answer.
        """
        now_ns = await self._exchange.server_time_ns()
        since_ns = (now_ns // self._timeframe.ns - n_bars) * self._timeframe.ns
        pages = [await self._history(symbol, since_ns) for symbol in self._next_ns]
        bars = pd.concat(pages, ignore_index=True).sort_values(["ts_event_ns", "symbol"], kind="stable")
        self._hand_on(bars, known_ns=None)

    async def ask(self) -> None:
        """Ask for the bars that have closed since the last time; a venue that does not answer is asked again later."""
        for symbol in self._next_ns:
            try:
                page = await self._closed(symbol)
            except UnavailableError:
                self.n_failures += 1
                return
            if page is not None:
                self._hand_on(page, known_ns=self._clock.now_ns())

    async def _closed(self, symbol: str) -> pd.DataFrame | None:
        next_ns = self._next_ns[symbol]
        if next_ns + self._timeframe.ns > await self._exchange.server_time_ns():
            return None
        return await self._exchange.fetch_candles(symbol, self._timeframe, next_ns, _PAGE)

    async def run(self) -> None:
        """Ask once a second until cancelled."""
        while True:
            await self.ask()
            await asyncio.sleep(_ASK_EVERY_S)

    async def _history(self, symbol: str, since_ns: int) -> pd.DataFrame:
        pages = []
        while True:
            page = await self._exchange.fetch_candles(symbol, self._timeframe, since_ns, _PAGE)
            pages.append(page)
            if page.empty:
                return pd.concat(pages, ignore_index=True)
            since_ns = int(page["ts_event_ns"].iloc[-1]) + 1

    def _hand_on(self, bars: pd.DataFrame, known_ns: int | None) -> None:
        columns = ("open", "high", "low", "close", "volume")
        values = bars[list(columns)].to_numpy(dtype="float64")
        for row, (symbol, opened_ns) in enumerate(zip(bars["symbol"], bars["ts_event_ns"].tolist(), strict=True)):
            close_ns = opened_ns + self._timeframe.ns
            arrived_ns = close_ns if known_ns is None else known_ns
            self._publish(
                FeatureEvent(EventKind.BAR, self._exchange.name, symbol, close_ns, arrived_ns, 0, values[row])
            )
            self._next_ns[symbol] = close_ns  # not before: what could not be handed on is asked for again


async def stream_features(
    stream: MarketStream | None,
    exchange: Exchange,
    root: Path,
    symbols: Sequence[str],
    timeframe: Timeframe,
    *,
    publish: Publish,
    tick: Callable[[], None] = lambda: None,
    n_history: int,
    clock: Clock,
    monotonic_ns: Callable[[], int],
    until_ns: int | None = None,
) -> None:
    """Hand on what a venue does until `until_ns`, the end of the stream, or cancellation.

    First come `n_history` bars of the past, so that features of bars have a value at once. Books and trades are
    recorded below `root` at the same time, so that what was served can be computed again later; without a `stream`
    there are only bars. `tick` is called ten times a second, also while nothing happens.

    Raises:
        UnavailableError: the venue does not answer at the start, or the folder cannot be written.
        BusyError: another recorder writes the venue's folder, or who takes the events is full.
        InputError: a symbol cannot be used.
    """
    bars = BarFeed(exchange, symbols, timeframe, publish, clock)
    await bars.catch_up(n_history)
    main = (
        _wait(clock, until_ns)
        if stream is None
        else _recorded(stream, root, symbols, publish, clock, monotonic_ns, until_ns)
    )
    tasks = [asyncio.ensure_future(work) for work in (main, bars.run(), _repeat(tick))]
    try:
        # Whichever ends first ends the stream; where a part has failed, with its error.
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _recorded(
    stream: MarketStream,
    root: Path,
    symbols: Sequence[str],
    publish: Publish,
    clock: Clock,
    monotonic_ns: Callable[[], int],
    until_ns: int | None,
) -> None:
    converters = {symbol: RecordedEvents(stream.venue, symbol) for symbol in symbols}

    def hand_on(symbol: str, entry: Record) -> None:
        event = converters[symbol].take(entry)
        if event is not None:
            publish(event)

    await record(stream, root, symbols, clock=clock, until_ns=until_ns, monotonic_ns=monotonic_ns, on_record=hand_on)


async def _repeat(tick: Callable[[], None]) -> None:
    while True:
        tick()
        await asyncio.sleep(_TICK_S)


async def _wait(clock: Clock, until_ns: int | None) -> None:
    while until_ns is None or clock.now_ns() < until_ns:
        await asyncio.sleep(_TICK_S)
