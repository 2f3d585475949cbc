"""A venue's HTTP and WebSocket face on any exchange behind the port."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from ratchet.clock import NS_PER_S, Clock
from ratchet.errors import ConfigurationError, InputError, UnavailableError
from ratchet.exchanges.simulated.server.books import OrderBookWalk, price_decimals
from ratchet.exchanges.simulated.server.candle_page import CandlePage
from ratchet.exchanges.simulated.server.dialects import DIALECTS
from ratchet.exchanges.simulated.server.dialects.dialect import Ask, Endpoint, Listing, Reply
from ratchet.exchanges.simulated.server.faults import FaultKind, FaultScope
from ratchet.exchanges.simulated.server.history import RowsAsked, VenueHistory
from ratchet.exchanges.simulated.server.http_faults import leave_unanswered, reset_midway, spoiled_reply
from ratchet.exchanges.simulated.server.limits import RateLimit, WeightMeter
from ratchet.exchanges.simulated.server.plan import Fault, FaultPlan
from ratchet.exchanges.simulated.server.streams import StreamHub
from ratchet.market import Timeframe
from ratchet.market.venue import Exchange

if TYPE_CHECKING:
    from aiohttp import web

_SHUTDOWN_S = 0.2
_OF_SYMBOL = {Endpoint.CANDLES, Endpoint.TRADES, Endpoint.BOOK}
_REQUEST_KINDS = frozenset(kind for kind in FaultKind if kind.scope is FaultScope.REQUEST)
_CUT_SHORT = {FaultKind.TRUNCATED, FaultKind.RESET}  # of the faults of requests, those that show some of the answer
_KINDS = {
    Endpoint.CANDLES: _REQUEST_KINDS | {kind for kind in FaultKind if kind.scope is FaultScope.PAGE},
    Endpoint.TRADES: _REQUEST_KINDS | {FaultKind.EMPTY_PAGE},
    Endpoint.BOOK: _REQUEST_KINDS | {FaultKind.CROSSED_BOOK},
}


class ExchangeServer:
    """Serves spot symbols of `upstream` at `url` the way `venue` does: binance, bybit, coinbase, kraken or okx.

    Paths, parameters, page limits, errors and streams are the venue's; `url` stands for each of its hosts, over http
    and, with the scheme exchanged, over ws. Candles are those of one `timeframe`; `clock` says what time it is at the
    venue, and so what has happened yet. Order books and the trades of streams are generated about the last price.
    `faults` are injected as planned; `rate_limit` makes the venue refuse who asks too much.

    `n_requests` HTTP requests were answered; `n_faults` faults injected (see `FaultPlan.counts`).

    Raises:
        InputError: no such venue.
    """

    def __init__(
        self,
        upstream: Exchange,
        *,
        venue: str,
        timeframe: Timeframe,
        clock: Clock,
        faults: FaultPlan | None = None,
        rate_limit: RateLimit | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        if venue not in DIALECTS:
            raise InputError(f"no dialect of {venue!r}; there are {', '.join(sorted(DIALECTS))}")
        self.url = ""
        self.n_requests = 0
        self._upstream = upstream
        self._dialect = DIALECTS[venue]
        self._timeframe = timeframe
        self._clock = clock
        self._plan = faults or FaultPlan({}, seed=0)
        self._meter = WeightMeter(rate_limit)
        self._host, self._port = host, port
        self._history = VenueHistory(upstream, timeframe, clock, self._plan)
        self._listings: dict[str, Listing] = {}
        self._by_id: dict[str, Listing] = {}
        self._books: dict[str, OrderBookWalk] = {}
        self._hub = StreamHub(self._dialect, self._plan, self._find, self._book_of, self._venue_time_ns)
        self._runner: web.AppRunner | None = None

    @property
    def n_faults(self) -> int:
        """How many faults were injected."""
        return self._plan.counts.total()

    async def __aenter__(self) -> ExchangeServer:
        await self.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.stop()

    async def start(self) -> str:
        """Listen, and return the URL that stands for the venue's hosts.

        Raises:
            ConfigurationError: aiohttp is not installed.
            InputError: the upstream has symbols that are not spot.
            UnavailableError: the port cannot be had.
        """
        http = _aiohttp_web()
        await self._list()
        application = http.Application()
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = http.AppRunner(
            application, access_log=None, shutdown_timeout=_SHUTDOWN_S, handler_cancellation=True
        )
        await self._runner.setup()
        try:
            await http.TCPSite(self._runner, self._host, self._port).start()
        except OSError as error:
            await self.stop()
            raise UnavailableError(f"{self._host}:{self._port} cannot be listened on: {error.strerror}") from error
        port = self._runner.addresses[0][1]
        self.url = f"http://{self._host}:{port}/{self._dialect.name}"
        return self.url

    async def stop(self) -> None:
        """Close all connections and listen no more."""
        await self._hub.close()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _list(self) -> None:
        for symbol in await self._upstream.list_symbols():
            base, _, quote = symbol.partition("/")
            if ":" in quote:
                raise InputError(f"{symbol} is not spot; only spot symbols can be served")
            instrument = await self._upstream.describe(symbol)
            first = await self._upstream.fetch_candles(symbol, self._timeframe, 0, 1)
            decimals = price_decimals(float(first["close"].iloc[0])) if len(first) else 2
            listing = Listing(symbol, base, quote, decimals, instrument.listed_ns, instrument.is_active)
            self._listings[symbol] = listing
            self._by_id.update(dict.fromkeys(self._dialect.market_ids(listing), listing))

    def _find(self, market_id: str) -> Listing | None:
        listing = self._by_id.get(market_id)
        return listing if listing and self._is_listed(listing) else None

    def _is_listed(self, listing: Listing) -> bool:
        now_ns = self._clock.now_ns()
        return not self._plan.has_vanished(listing.symbol, now_ns) and (listing.listed_ns or 0) <= now_ns

    async def _book_of(self, listing: Listing) -> OrderBookWalk:
        if listing.symbol not in self._books:
            price = await self._history.last_price(listing.symbol)
            seed = f"{self._dialect.name}/{listing.symbol}"
            self._books.setdefault(listing.symbol, OrderBookWalk(price, listing.decimals, seed))
        return self._books[listing.symbol]

    def _venue_time_ns(self) -> int:
        """What the venue believes the time to be."""
        return self._clock.now_ns() + self._plan.clock_offset_ns

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        http = _aiohttp_web()
        prefix, path = f"/{self._dialect.name}", request.path
        if not f"{path}/".startswith(f"{prefix}/"):
            raise http.HTTPNotFound
        if request.headers.get("Upgrade", "").lower() == "websocket":
            websocket: web.WebSocketResponse = http.WebSocketResponse()
            await websocket.prepare(request)
            await self._hub.serve(websocket)
            return websocket
        self.n_requests += 1
        reply, fault = await self._reply(path.removeprefix(prefix), dict(request.query))
        headers = {
            "Content-Type": "application/json",
            "Date": formatdate(self._venue_time_ns() // NS_PER_S, usegmt=True),
            **self._dialect.headers(self._meter.used),
            **reply.headers,
        }
        if fault is FaultKind.NO_ANSWER:
            await leave_unanswered(request, self._plan.no_answer_s)
        elif fault is FaultKind.RESET:
            cut: web.StreamResponse = http.StreamResponse(status=reply.status, headers=headers)
            await reset_midway(request, cut, reply.body.encode())
            return cut
        response: web.Response = http.Response(body=reply.body.encode(), status=reply.status, headers=headers)
        return response

    async def _reply(self, path: str, options: dict[str, str]) -> tuple[Reply, FaultKind | None]:
        """The answer, and the fault that still has to befall its connection."""
        try:
            ask = self._dialect.read(path, options)
        except ValueError as error:
            return self._dialect.bad_request(str(error)), None
        if ask is None:
            return Reply('{"msg":"Not Found"}', 404), None
        refusal = self._refusal(ask)
        if refusal is not None:
            return refusal, None
        listing = self._find(ask.market_id)
        lane = f"{ask.endpoint}:{listing.symbol if listing else path}"
        fault = self._plan.draw(lane, _KINDS.get(ask.endpoint, _REQUEST_KINDS))
        if fault is None or fault.kind.scope is not FaultScope.REQUEST:
            return Reply(await self._content(ask, listing, fault)), None
        self._plan.counts[fault.kind] += 1
        reply = Reply(await self._content(ask, listing, None) if fault.kind in _CUT_SHORT else "")
        return spoiled_reply(reply, fault.kind, self._dialect, path), fault.kind

    def _refusal(self, ask: Ask) -> Reply | None:
        """The reply to a request that cannot be answered."""
        now_ns = self._clock.now_ns()
        if not self._meter.admit(self._dialect.weight(ask), now_ns):
            refusal = self._dialect.too_many()
            if refusal.status != 429:
                return refusal
            status = 418 if self._meter.is_banned and self._dialect.shuts_out else 429
            return Reply(refusal.body, status, {"Retry-After": str(self._meter.retry_after_s(now_ns))})
        if ask.endpoint in _OF_SYMBOL and self._find(ask.market_id) is None:
            if ask.market_id in self._by_id:
                self._plan.counts[FaultKind.VANISHED_SYMBOL] += 1
            return self._dialect.unknown_symbol()
        if ask.endpoint is Endpoint.CANDLES and ask.interval != self._dialect.interval(self._timeframe):
            return self._dialect.bad_request(f"there are only {self._timeframe.text} candles")
        return None

    async def _content(self, ask: Ask, listing: Listing | None, fault: Fault | None) -> str:
        now_ns = self._venue_time_ns()
        if ask.endpoint is Endpoint.TIME:
            return self._dialect.time(ask, now_ns)
        if listing is None:
            listed = [listing for listing in self._listings.values() if self._is_listed(listing)]
            return self._dialect.markets(ask, listed, now_ns)
        match ask.endpoint:
            case Endpoint.CANDLES:
                page = await self._candles(ask, listing, fault)
                return self._dialect.candles(ask, listing, page, self._timeframe.ns, now_ns)
            case Endpoint.TRADES:
                trades = await self._history.trades(self._rows_asked(ask, listing))
                if fault is not None and len(trades):
                    self._plan.counts[fault.kind] += 1
                    trades = trades.iloc[:0]
                return self._dialect.trades(ask, listing, trades, now_ns)
        view = (await self._book_of(listing)).view(ask.limit)
        if fault is not None:
            self._plan.counts[fault.kind] += 1
            view = view.crossed()
        return self._dialect.book(ask, listing, view, now_ns)

    async def _candles(self, ask: Ask, listing: Listing, fault: Fault | None) -> CandlePage:
        page = await self._history.candles(self._rows_asked(ask, listing), fault)
        if self._dialect.leaves_out_quiet_bars:
            page = page.take(page.column("volume") != 0)
        if self._dialect.is_newest_first:
            page = page.take(slice(None, None, -1))
        if fault is not None and fault.kind is FaultKind.SHORT_PAGE and len(page) > 1:
            self._plan.counts[fault.kind] += 1
            page = page.take(slice(0, len(page) // 2))
        return page

    def _rows_asked(self, ask: Ask, listing: Listing) -> RowsAsked:
        start_ns = ask.start_ns
        if ask.latest_bars is not None:
            start_ns = max(start_ns, self._clock.now_ns() - ask.latest_bars * self._timeframe.ns)
        return RowsAsked(listing.symbol, ask.limit, start_ns, ask.end_ns, ask.keeps_last, ask.has_running_bar)


def _aiohttp_web() -> Any:
    try:
        from aiohttp import web  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise ConfigurationError("the exchange server needs aiohttp; install ratchet[collect]") from error
    return web
