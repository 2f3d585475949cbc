"""Live streams of five venues over ccxt.pro.

ccxt connects, subscribes, answers pings and connects again; the messages themselves are taken before ccxt reads them,
so digits, order and gaps are the venue's. What carries market data is not handed on to ccxt: its own books would only
cost time and memory, and an error in them would end its receive loop.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import count
from typing import Any

from ratchet.clock import Clock
from ratchet.errors import ConfigurationError, InputError, UnavailableError
from ratchet.exchanges.feeds.binance import read_snapshot
from ratchet.exchanges.feeds.parsers import feed_parser, is_market_data
from ratchet.exchanges.feeds.reading import Envelope, unreadable
from ratchet.exchanges.source import VenueSource, parse_venue_source
from ratchet.market.events import BookSnapshot, MarketEvent, MarketStream, RawMessage
from ratchet.market.symbols import parse_symbol

_MAX_WAITING = 200_000
_MAX_PAUSE_S = 30.0
_SNAPSHOT_LEVELS = 1_000
_MARKET_TYPES = {
    ("binance", "spot"): ["spot"],
    ("binance", "swap"): ["linear", "inverse"],
    ("bybit", "spot"): ["spot"],
    ("bybit", "swap"): ["linear", "inverse"],
    ("okx", "spot"): ["spot"],
    ("okx", "swap"): ["swap"],
}
_DEPTH_REQUESTS = {"spot": "publicGetDepth", "linear": "fapiPublicGetDepth", "inverse": "dapiPublicGetDepth"}


def open_stream(source: str, symbols: Sequence[str], *, clock: Clock) -> MarketStream:
    """Return the stream of books and trades of `symbols`; it connects when `messages` is first iterated.

    Args:
        source: `binance://`, `bybit://`, `coinbase://`, `kraken://` or `okx://`, with the options `market` (`spot`,
            `swap`), `url` (an address that stands in for all hosts of the venue) and `timeout_s`.
        symbols: canonical; all of one market.
        clock: stamps `ts_recv_ns`.

    Raises:
        InputError: the source or a symbol cannot be read, or there is none.
        ConfigurationError: ccxt is not installed.
    """
    names = [parse_symbol(symbol) for symbol in dict.fromkeys(symbols)]
    if not names:
        raise InputError(f"{source!r}: no symbols to stream; name at least one")
    return VenueStream(parse_venue_source(source), names, clock)


class VenueStream:
    """A `MarketStream` over ccxt.pro. At most 200,000 messages wait; beyond that they are dropped as one lost stretch.

    Raises:
        ConfigurationError: ccxt is not installed.
    """

    def __init__(self, source: VenueSource, symbols: Sequence[str], clock: Clock) -> None:
        self.venue = source.name
        self._source, self._symbols, self._clock = source, list(symbols), clock
        self._ccxt = _import_ccxt()
        self._exchange = _make_exchange(self._ccxt, source)
        self._parse: Callable[[RawMessage], list[MarketEvent]] | None = None
        self._connections = count(1)
        self._waiting: deque[RawMessage] = deque()
        self._arrived = asyncio.Event()
        self._is_closed = False
        self._n_lost_stretches = 0
        self._tasks: list[asyncio.Task[None]] = []
        self._tap()

    async def messages(self) -> AsyncIterator[RawMessage]:
        """Yield messages as they arrive; every new connection has a new number.

        Raises:
            InputError: the venue does not list a symbol.
            UnavailableError: the venue's instruments could not be loaded, or ccxt gave a subscription up.
        """
        await self._subscribe()
        while not self._is_closed:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                yield self._waiting.popleft()
            for task in self._tasks:
                if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                    raise UnavailableError(f"{self.venue}: a subscription has failed ({_short(error)})") from error

    def parse(self, message: RawMessage) -> list[MarketEvent]:
        """Read a message of this stream."""
        if self._parse is None:
            raise InputError(f"{self.venue}: the stream has not been opened; iterate messages first")
        return self._parse(message)

    async def snapshot(self, symbol: str) -> BookSnapshot | None:
        """Ask Binance for its 1,000 best levels; None for the other venues, which send snapshots themselves."""
        if self._source.venue != "binance":
            return None
        market = self._exchange.market(symbol)
        kind = "spot" if market["spot"] else "linear" if market["linear"] else "inverse"
        request = getattr(self._exchange, _DEPTH_REQUESTS[kind])
        try:
            reply = await request({"symbol": market["id"], "limit": _SNAPSHOT_LEVELS})
            return read_snapshot(reply, Envelope(self.venue, {}, self._clock.now_ns()), symbol)
        except self._ccxt.BaseError as error:
            raise UnavailableError(f"{self.venue}: no order book of {symbol} ({_short(error)}); try later") from error
        except (KeyError, ValueError, TypeError) as error:
            raise UnavailableError(str(unreadable(self.venue, str(reply), error))) from error

    async def resync(self, symbol: str) -> None:
        """Break the connections; each subscription is renewed at once, and the venue sends snapshots again."""
        for client in list((self._exchange.clients or {}).values()):
            client.on_error(self._ccxt.NetworkError(f"connecting anew for the book of {symbol}"))

    async def close(self) -> None:
        """Close connections; `messages` ends after what has arrived."""
        self._is_closed = True
        self._arrived.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._exchange.close()

    async def _subscribe(self) -> None:
        exchange = self._exchange
        try:
            await exchange.load_markets()
            ids = {exchange.market(symbol)["id"]: symbol for symbol in self._symbols}
        except self._ccxt.BadSymbol as error:
            raise InputError(f"{self.venue}: {_short(error)}; list its symbols first") from error
        except self._ccxt.BaseError as error:
            raise UnavailableError(f"{self.venue}: its instruments cannot be loaded ({_short(error)})") from error
        if self._source.venue == "kraken":
            ids = {symbol: symbol for symbol in self._symbols}  # version 2 speaks in symbols
        self._parse = feed_parser(self.venue, ids)
        for symbol in self._symbols:
            for watch in (exchange.watch_order_book, exchange.watch_trades):
                task = asyncio.create_task(self._keep(watch, symbol))
                task.add_done_callback(lambda _: self._arrived.set())
                self._tasks.append(task)

    async def _keep(self, watch: Callable[[str], Awaitable[Any]], symbol: str) -> None:
        """Stay subscribed: each error ends a connection, and watching again makes a new one."""
        pause_s = 0.05
        while not self._is_closed:
            started = asyncio.get_running_loop().time()
            try:
                await watch(symbol)
            except self._ccxt.BaseError:
                if asyncio.get_running_loop().time() - started > _MAX_PAUSE_S:
                    pause_s = 0.05
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _tap(self) -> None:
        """Have every client that ccxt makes show its messages here first."""
        make = self._exchange.client

        def client(url: str) -> Any:
            made = make(url)
            if "handle_text_or_binary_message" not in vars(made):
                made.handle_text_or_binary_message = self._receiver(made)
            return made

        self._exchange.client = client

    def _receiver(self, client: Any) -> Callable[[str | bytes], None]:
        connection, hand_on = next(self._connections), client.handle_text_or_binary_message

        def receive(data: str | bytes) -> None:
            text = data if isinstance(data, str) else data.decode(errors="replace")
            self._put(text, connection)
            if not is_market_data(self._source.venue, text):
                hand_on(data)

        return receive

    def _put(self, text: str, connection: int) -> None:
        if len(self._waiting) >= _MAX_WAITING:
            self._waiting.clear()
            self._n_lost_stretches += 1
        number = connection + 1_000_000 * self._n_lost_stretches
        self._waiting.append(RawMessage(self._clock.now_ns(), text, number))
        self._arrived.set()


def _make_exchange(ccxt: Any, source: VenueSource) -> Any:
    options: dict[str, Any] = {"defaultType": source.market}
    types = _MARKET_TYPES.get((source.venue, source.market))
    if types is not None:
        options["fetchMarkets"] = {"types": types}
    settings = {"enableRateLimit": False, "timeout": int(source.timeout_s * 1_000), "options": options}
    exchange = getattr(ccxt, source.venue)(settings)
    exchange.has["fetchCurrencies"] = False  # needs an account on some venues and is not needed here
    if source.url is not None:
        exchange.urls["api"] = _redirected(exchange.urls["api"], source.url.rstrip("/"))
    return exchange


def _redirected(urls: Any, url: str) -> Any:
    """Replace the hosts in ccxt's addresses."""
    if isinstance(urls, dict):
        return {name: _redirected(value, url) for name, value in urls.items()}
    socket = re.sub(r"^http", "ws", url)
    return re.sub(r"^https://[^/]+", url, re.sub(r"^wss://[^/]+", socket, urls)) if isinstance(urls, str) else urls


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]


def _import_ccxt() -> Any:
    try:
        import ccxt.pro  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError("streams need ccxt; install it with: pip install 'ratchet[collect]'") from error
    return ccxt.pro
