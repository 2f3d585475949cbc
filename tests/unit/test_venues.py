"""The venue adapters against the exchange server, which speaks like five venues and misbehaves on request."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from ratchet.clock import NS_PER_S, FixedClock
from ratchet.errors import InputError, NotFoundError, UnavailableError
from ratchet.exchanges.factory import is_exchange_source, open_exchange
from ratchet.exchanges.pacing import HostPaces
from ratchet.exchanges.simulated import SimulatedExchange
from ratchet.exchanges.simulated.server import ExchangeServer, FaultKind, FaultPlan, FrameExchange, RateLimit
from ratchet.exchanges.venues import VENUES, VenueExchange
from ratchet.exchanges.venues.table import open_dialect
from ratchet.market import Timeframe
from ratchet.market.venue import BOOK_COLUMNS, Exchange, VenueTraits

HOUR = Timeframe.parse("1h")
SYMBOL = "BTC/USDT"
MARKET = SimulatedExchange.from_url("simulated://?seed=7&bars=1500&symbols=2&timeframe=1h&start=2024-01-01")
START_NS = MARKET.market.config.start_ns
NOW_NS = MARKET.market.config.end_ns + HOUR.ns // 2
"""Half an hour into the bar after the last simulated one."""

REFUSALS = (
    *(FaultKind.TOO_MANY_REQUESTS, FaultKind.BANNED, FaultKind.SERVER_ERROR, FaultKind.BAD_GATEWAY),
    *(FaultKind.UNAVAILABLE, FaultKind.NO_ANSWER, FaultKind.RESET, FaultKind.GARBAGE, FaultKind.TRUNCATED),
    FaultKind.REDIRECT,
)
SPOILED_PAGES = (
    *(FaultKind.DUPLICATED_ROW, FaultKind.OUT_OF_ORDER, FaultKind.BEFORE_SINCE, FaultKind.WRONG_TIME_UNIT),
    FaultKind.EMPTY_PAGE,
)
IN_THE_VENUES_WORDS = (FaultKind.TOO_MANY_REQUESTS_BARE, FaultKind.BUSY, *SPOILED_PAGES)

Sleeper = Callable[[float], Awaitable[None]]


def _sleeper(clock: FixedClock) -> Sleeper:
    """Return a sleep that takes no time and moves the clock."""

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * NS_PER_S))
        await asyncio.sleep(0)

    return sleep


@asynccontextmanager
async def _served(
    venue: str,
    upstream: Exchange = MARKET,
    *,
    faults: FaultPlan | None = None,
    clock: FixedClock | None = None,
    rate_limit: RateLimit | None = None,
) -> AsyncIterator[tuple[VenueExchange, ExchangeServer]]:
    """Open an adapter onto a server of `upstream`; both see one clock, and nobody really waits."""
    time = clock or FixedClock(NOW_NS)
    async with ExchangeServer(
        upstream, venue=venue, timeframe=HOUR, clock=time, faults=faults, rate_limit=rate_limit
    ) as server:
        exchange = VenueExchange(
            venue, url=server.url, clock=time, sleep=_sleeper(time), timeout_s=0.5, paces=HostPaces()
        )
        async with exchange:
            yield exchange, server


async def _collect(exchange: Exchange, since_ns: int, *, symbol: str = SYMBOL, limit: int = 1_000) -> pd.DataFrame:
    """Ask for candles until a page is empty, as collection does."""
    pages = [await exchange.fetch_candles(symbol, HOUR, since_ns, limit)]
    while len(pages[-1]):
        pages.append(await exchange.fetch_candles(symbol, HOUR, int(pages[-1]["ts_event_ns"].iloc[-1]) + 1, limit))
    return pd.concat(pages[:-1] or pages, ignore_index=True)


@functools.cache
def _truth(venue: str) -> pd.DataFrame:
    candles = asyncio.run(_collect(MARKET, START_NS))
    assert len(candles) == 1_500
    return candles.tail(720 if venue == "kraken" else 1_500).reset_index(drop=True)


@pytest.mark.parametrize("venue", VENUES)
def test_pages_put_together_are_the_venues_candles(venue: str) -> None:
    """Ascending, descending, windowed and latest-only paging all give every closed bar once, oldest first."""

    async def run() -> pd.DataFrame:
        async with _served(venue) as (exchange, _):
            return await _collect(exchange, START_NS)

    found, truth = asyncio.run(run()), _truth(venue)
    if venue == "kraken":  # the running bar may be one of its latest 720
        truth = truth.tail(len(found)).reset_index(drop=True)
        assert len(found) >= 719
    pd.testing.assert_frame_equal(found, truth, check_exact=True)


@pytest.mark.parametrize("venue", VENUES)
def test_a_start_long_before_the_first_bar_finds_it(venue: str) -> None:
    """Empty answers before the first bar do not pass for the end; few requests are spent on them."""
    since_ns = START_NS - 30_000 * HOUR.ns

    async def run() -> tuple[pd.DataFrame, int]:
        async with _served(venue) as (exchange, server):
            page = await exchange.fetch_candles(SYMBOL, HOUR, since_ns, 100)
            return page, server.n_requests

    page, n_requests = asyncio.run(run())
    truth = _truth(venue)
    if venue == "kraken":
        truth = truth[truth["ts_event_ns"] >= page["ts_event_ns"].iloc[0]].reset_index(drop=True)
        assert len(truth) >= 719
    assert len(page) > 50
    pd.testing.assert_frame_equal(page, truth.head(len(page)), check_exact=True)
    assert n_requests < (120 if venue == "coinbase" else 25)


@pytest.mark.parametrize("venue", VENUES)
def test_a_hole_longer_than_a_page_is_crossed(venue: str) -> None:
    """Bars after a halt of 1,200 hours follow those before it, and the hole stays open."""
    times = START_NS + np.r_[0:50, 1_250:1_500] * HOUR.ns
    candles = pd.DataFrame(
        {"symbol": SYMBOL, "ts_event_ns": times} | dict.fromkeys(("open", "high", "low", "close"), 5.0)
    )
    upstream = FrameExchange(candles.assign(volume=1.0), HOUR)

    async def run() -> pd.DataFrame:
        async with _served(venue, upstream) as (exchange, _):
            return await _collect(exchange, START_NS, limit=40)

    found = asyncio.run(run())["ts_event_ns"].to_numpy()
    np.testing.assert_array_equal(found, times)


@pytest.mark.parametrize("venue", VENUES)
def test_only_closed_bars_appear(venue: str) -> None:
    """The running bar is not there a minute before its end, and is there at its end."""
    clock = FixedClock(START_NS + 1_401 * HOUR.ns - 60 * NS_PER_S)
    last_ns = START_NS + 1_400 * HOUR.ns

    async def run() -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
        async with _served(venue, clock=clock) as (exchange, _):
            before = await exchange.fetch_candles(SYMBOL, HOUR, last_ns - HOUR.ns, 10)
            running = await exchange.fetch_candles(SYMBOL, HOUR, last_ns, 10)
            clock.advance(60 * NS_PER_S)
            return before, running, await exchange.fetch_candles(SYMBOL, HOUR, last_ns, 10)

    before, running, after = asyncio.run(run())
    assert before["ts_event_ns"].tolist() == [last_ns - HOUR.ns]
    assert running.empty
    assert after["ts_event_ns"].tolist() == [last_ns]
    assert list(running.dtypes) == list(after.dtypes)


@pytest.mark.parametrize("skew_s", [5.0, 86_400.0])
@pytest.mark.parametrize("is_venue_ahead", [True, False])
def test_a_bar_is_closed_only_by_both_clocks(
    skew_s: float, is_venue_ahead: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A venue's clock ahead closes no bar early, one behind holds bars back; one warning says so."""
    kind = FaultKind.CLOCK_AHEAD if is_venue_ahead else FaultKind.CLOCK_BEHIND
    faults = FaultPlan({kind: 1.0}, seed=1, clock_skew_s=skew_s)
    clock = FixedClock(START_NS + 1_400 * HOUR.ns)
    closed = {(5.0, True): 1_400, (86_400.0, True): 1_400, (5.0, False): 1_399, (86_400.0, False): 1_376}

    async def run() -> tuple[pd.DataFrame, int]:
        async with _served("binance", faults=faults, clock=clock) as (exchange, _):
            page = await _collect(exchange, START_NS + 1_000 * HOUR.ns)
            return page, await exchange.server_time_ns() - clock.now_ns()

    with caplog.at_level(logging.WARNING):
        page, ahead_ns = asyncio.run(run())
    assert page["ts_event_ns"].iloc[-1] == START_NS + (closed[skew_s, is_venue_ahead] - 1) * HOUR.ns
    assert ahead_ns / NS_PER_S == pytest.approx(skew_s if is_venue_ahead else -skew_s, abs=0.1)
    assert [record.getMessage().split(" by ")[0] for record in caplog.records] == [
        "the clocks of binance-at-127-0-0-1 and of this machine differ"
    ]


@pytest.mark.parametrize(
    ("venue", "kind"),
    [
        *(("binance", kind) for kind in REFUSALS),
        *((venue, kind) for venue in VENUES for kind in IN_THE_VENUES_WORDS),
    ],
)
def test_passing_faults_leave_no_trace(venue: str, kind: FaultKind) -> None:
    """Half of all answers spoiled, two or three in a row: the candles are those of the market all the same."""
    rate = 0.3 if kind is FaultKind.NO_ANSWER else 0.5
    n_in_a_row = 2 if kind is FaultKind.EMPTY_PAGE else 3
    faults = FaultPlan({kind: rate}, seed=3, max_consecutive=n_in_a_row, no_answer_s=5.0)
    clock = FixedClock(NOW_NS)

    async def run() -> tuple[pd.DataFrame, int]:
        async with _served(venue, faults=faults, clock=clock) as (exchange, server):
            return await _collect(exchange, START_NS + 900 * HOUR.ns, limit=200), server.n_faults

    candles, n_faults = asyncio.run(run())
    truth = _truth(venue)
    truth = truth[truth["ts_event_ns"] >= START_NS + 900 * HOUR.ns].reset_index(drop=True)
    pd.testing.assert_frame_equal(candles, truth, check_exact=True)
    assert n_faults > 0


def test_defects_are_passed_on_for_the_caller_to_judge() -> None:
    """Conflicting duplicates, bars off the grid, impossible and missing numbers arrive as they were answered."""

    async def one(kind: FaultKind) -> pd.DataFrame:
        faults = FaultPlan({kind: 1.0}, seed=5, max_consecutive=1_000)
        async with _served("bybit", faults=faults) as (exchange, _):
            return await exchange.fetch_candles(SYMBOL, HOUR, START_NS, 100)

    conflicting, off_grid, crossed, negative, null = (
        asyncio.run(one(kind))
        for kind in (
            *(FaultKind.CONFLICTING_ROW, FaultKind.OFF_GRID, FaultKind.HIGH_BELOW_LOW, FaultKind.NEGATIVE_PRICE),
            FaultKind.NULL_PRICE,
        )
    )
    assert conflicting.duplicated("ts_event_ns").sum() == 1
    assert conflicting.duplicated().sum() == 0
    assert (off_grid["ts_event_ns"] % HOUR.ns != 0).sum() == 1
    assert (crossed["high"] < crossed["low"]).sum() == 1
    assert (negative["low"] < 0).sum() == 1
    assert null["close"].isna().sum() == 1


@pytest.mark.parametrize("venue", VENUES)
def test_a_time_in_the_wrong_unit_is_never_guessed(venue: str) -> None:
    """Seconds in the place of milliseconds, answer after answer, end in an error and not in a row of 1970."""
    faults = FaultPlan({FaultKind.WRONG_TIME_UNIT: 1.0}, seed=1, max_consecutive=1_000)

    async def run() -> None:
        async with _served(venue, faults=faults) as (exchange, _):
            await exchange.fetch_candles(SYMBOL, HOUR, START_NS + 1_000 * HOUR.ns, 100)

    expected = f"^{venue}-at-127-0-0-1 answers candles of BTC/USDT in a form .* not in ms"
    with pytest.raises(UnavailableError, match=expected):
        asyncio.run(run())


@pytest.mark.parametrize("venue", VENUES)
def test_unknown_names_are_refused(venue: str) -> None:
    """A symbol, a timeframe or a limit that there is not, and text that is no symbol, are the caller's mistakes."""

    async def run(symbol: str, timeframe: str, limit: int) -> None:
        async with _served(venue) as (exchange, _):
            await exchange.fetch_candles(symbol, Timeframe.parse(timeframe), START_NS, limit)

    for symbol, timeframe, limit, expected in (
        ("NO/SUCH", "1h", 10, f"{venue}-at-127-0-0-1 has no spot market NO/SUCH"),
        ("BTC/USDT:USDT", "1h", 10, f"{venue}-at-127-0-0-1 has no spot market BTC/USDT:USDT"),
        ("nonsense", "1h", 10, "is not a symbol"),
        (SYMBOL, "7m", 10, f"{venue}-at-127-0-0-1 has no 7m candles; it has .*1m, "),
        (SYMBOL, "1h", 0, "limit=0 must be at least 1"),
    ):
        with pytest.raises(InputError, match=expected):
            asyncio.run(run(symbol, timeframe, limit))


@pytest.mark.parametrize("venue", VENUES)
def test_a_symbol_that_vanishes_is_no_longer_listed(venue: str) -> None:
    """The venue's own refusal becomes InputError; describe, which looks at the list anew, says NotFoundError."""
    clock = FixedClock(NOW_NS)
    faults = FaultPlan({FaultKind.VANISHED_SYMBOL: 1.0}, seed=1, vanish_at_ns=NOW_NS + 600 * NS_PER_S)

    async def run() -> None:
        async with _served(venue, faults=faults, clock=clock) as (exchange, _):
            assert (await exchange.describe(SYMBOL)).is_active
            assert SYMBOL in await exchange.list_symbols()
            assert len(await exchange.fetch_candles(SYMBOL, HOUR, NOW_NS - 20 * HOUR.ns, 100))
            clock.advance(600 * NS_PER_S)
            for fetch in (exchange.fetch_trades, exchange.fetch_order_books):
                with pytest.raises(InputError, match=venue):
                    await fetch(SYMBOL, NOW_NS, 10)
            with pytest.raises(InputError, match=venue):
                await exchange.fetch_candles(SYMBOL, HOUR, NOW_NS - 20 * HOUR.ns, 100)
            with pytest.raises(NotFoundError, match=f"{venue}-at-127-0-0-1 does not list {SYMBOL}"):
                await exchange.describe(SYMBOL)

    asyncio.run(run())


@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_trades_with_a_history_are_all_there(venue: str) -> None:
    """Pages since a time give each trade once, with the times that the venue can write; ties stay together."""
    since_ns = START_NS + 1_300 * HOUR.ns
    unit_ns = 1_000_000 if venue == "binance" else 250  # the step of a float of seconds

    async def all_trades(exchange: Exchange) -> pd.DataFrame:
        pages = [await exchange.fetch_trades(SYMBOL, since_ns, 700)]
        while len(pages[-1]):
            pages.append(await exchange.fetch_trades(SYMBOL, int(pages[-1]["ts_event_ns"].iloc[-1]) + 1, 700))
        return pd.concat(pages[:-1], ignore_index=True)

    async def run() -> tuple[pd.DataFrame, pd.DataFrame]:
        async with _served(venue) as (exchange, _):
            return await all_trades(exchange), await all_trades(MARKET)

    found, truth = asyncio.run(run())
    assert len(found) == len(truth) > 1_000
    assert (found["ts_event_ns"] - truth["ts_event_ns"]).abs().max() <= unit_ns
    for column in ("price", "size", "side"):
        np.testing.assert_array_equal(found[column], truth[column])
    assert found["trade_id"].is_unique


@pytest.mark.parametrize("venue", ["bybit", "coinbase", "okx"])
def test_trades_without_a_history_are_the_latest(venue: str) -> None:
    """What the venue still has since a time, oldest first; nothing before it."""

    async def run(since_ns: int) -> pd.DataFrame:
        async with _served(venue) as (exchange, _):
            return await exchange.fetch_trades(SYMBOL, since_ns, 20)

    whole = asyncio.run(run(START_NS))
    assert len(whole) >= 20
    assert whole["ts_event_ns"].is_monotonic_increasing
    middle_ns = int(whole["ts_event_ns"].iloc[10])
    later = asyncio.run(run(middle_ns))
    assert later["ts_event_ns"].iloc[0] == middle_ns
    empty = asyncio.run(run(NOW_NS + HOUR.ns))
    assert (list(empty), list(empty.dtypes)) == (list(whole), list(whole.dtypes))
    assert empty.empty


@pytest.mark.parametrize("venue", VENUES)
def test_the_order_book_is_the_present_one(venue: str) -> None:
    """Ten levels a side in order, at the venue's time; nothing where something later is asked for."""

    async def run() -> tuple[pd.DataFrame, pd.DataFrame]:
        async with _served(venue) as (exchange, _):
            book = await exchange.fetch_order_books(SYMBOL, START_NS, 5)
            return book, await exchange.fetch_order_books(SYMBOL, NOW_NS + HOUR.ns, 5)

    book, later = asyncio.run(run())
    assert (len(book), list(book), later.empty) == (1, list(BOOK_COLUMNS), True)
    assert list(book.dtypes) == list(later.dtypes)
    assert abs(book["ts_event_ns"].iloc[0] - NOW_NS) < 20 * NS_PER_S
    bids, asks = (book[[f"{side}_price_{level}" for level in range(10)]].to_numpy()[0] for side in ("bid", "ask"))
    assert bids[0] < asks[0]
    assert (np.diff(bids) < 0).all()
    assert (np.diff(asks) > 0).all()


@asynccontextmanager
async def _answering(handle: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    """Serve one handler for every path."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def _venue_at(url: str, clock: FixedClock, venue: str = "binance") -> VenueExchange:
    return VenueExchange(venue, url=url, clock=clock, sleep=_sleeper(clock), timeout_s=5.0, paces=HostPaces())


def test_redirects_are_not_followed() -> None:
    """The address that a venue redirects to is never asked; the error names it."""
    asked: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data"})

    async def run() -> None:
        async with _answering(handle) as url, _venue_at(url, FixedClock(NOW_NS)) as exchange:
            await exchange.server_time_ns()

    with pytest.raises(UnavailableError, match=r"to 169\.254\.169\.254 \(status 302\), which is not followed"):
        asyncio.run(run())
    assert asked == ["/api/v3/time"] * 7


def test_the_whole_host_waits_for_retry_after() -> None:
    """After a 429 with 17 s, no request of any of ten tasks goes out for 17 s."""
    clock = FixedClock(NOW_NS)
    times: list[int] = []

    async def handle(_: web.Request) -> web.StreamResponse:
        times.append(clock.now_ns())
        if len(times) == 1:
            return web.Response(status=429, headers={"Retry-After": "17"}, text="{}")
        return web.json_response({"serverTime": clock.now_ns() // 1_000_000})

    async def run() -> None:
        async with _answering(handle) as url, _venue_at(url, clock) as exchange:
            with pytest.raises(InputError):
                await exchange.fetch_candles("not a symbol", HOUR, 0, 1)
            await exchange.server_time_ns()
            await asyncio.gather(*(exchange.server_time_ns() for _ in range(10)))

    asyncio.run(run())
    assert (times[1] - times[0]) / NS_PER_S >= 17.0


def test_a_ban_of_hours_is_not_waited_for() -> None:
    """418 with two hours: one request, an error that says so, and no more requests to the host."""
    clock = FixedClock(NOW_NS)
    n_asked = 0

    async def handle(_: web.Request) -> web.StreamResponse:
        nonlocal n_asked
        n_asked += 1
        return web.Response(status=418, headers={"Retry-After": "7200"}, text='{"code":-1003,"msg":"banned"}')

    async def run() -> None:
        async with _answering(handle) as url, _venue_at(url, clock) as exchange:
            for _ in range(2):
                with pytest.raises(UnavailableError, match="refuses all requests for another 7200 s"):
                    await exchange.server_time_ns()

    asyncio.run(run())
    assert n_asked == 1
    assert clock.now_ns() == NOW_NS


def test_a_dead_host_is_reported_and_then_left_alone() -> None:
    """Nobody listens: seven attempts a call; after five calls the circuit answers without asking."""
    clock = FixedClock(NOW_NS)

    async def run() -> list[str]:
        async with _answering(_nothing) as url:
            pass
        messages = []
        async with _venue_at(url, clock) as exchange:
            for _ in range(6):
                with pytest.raises(UnavailableError) as caught:
                    await exchange.server_time_ns()
                messages.append(str(caught.value))
        return messages

    messages = asyncio.run(run())
    assert all(
        "binance-at-127-0-0-1 gave no answer to /api/v3/time: 7 attempts, the last one" in text for text in messages[:5]
    )
    assert "5 calls in a row failed; nothing is sent for another" in messages[5]
    assert not [text for text in messages if "\n" in text]


@pytest.mark.parametrize(
    ("rate_limit", "n_refused"), [(RateLimit(15, 15.0), range(1)), (RateLimit(4, 10.0), range(8, 80))]
)
def test_allowances_are_kept_and_refusals_survived(rate_limit: RateLimit, n_refused: range) -> None:
    """At Kraken's real limit none of forty requests is refused; at a quarter of it all get through after refusals."""

    async def run() -> int:
        async with _served("kraken", rate_limit=rate_limit) as (exchange, server):
            for _ in range(40):
                assert len(await exchange.fetch_order_books(SYMBOL, 0, 1)) == 1
            return server.n_requests

    n_markets, n_times, n_books = 1, 1, 40
    assert asyncio.run(run()) - n_markets - n_books - n_times in n_refused


@pytest.mark.parametrize(
    ("status", "text", "expected"),
    [
        (403, "<html>Forbidden</html>", "it refuses this address (status 403): <html>Forbidden</html>"),
        (451, "{}", "it refuses this address (status 451)"),
        (200, "x" * (33 * 1024 * 1024), "the body is larger than 33554432 bytes"),
    ],
)
def test_what_repeating_cannot_help_is_asked_once(status: int, text: str, expected: str) -> None:
    """A ban by address, and a body without end, are reported after one request."""
    n_asked = 0

    async def handle(_: web.Request) -> web.StreamResponse:
        nonlocal n_asked
        n_asked += 1
        return web.Response(status=status, text=text)

    async def run() -> None:
        async with _answering(handle) as url, _venue_at(url, FixedClock(NOW_NS)) as exchange:
            await exchange.server_time_ns()

    with pytest.raises(UnavailableError) as caught:
        asyncio.run(run())
    assert expected in str(caught.value)
    assert n_asked == 1


@pytest.mark.parametrize(
    ("venue", "market", "path", "query", "expected"),
    [
        ("binance", "spot", "/api/v3/klines", {"limit": "1000"}, 2.0),
        ("binance", "spot", "/api/v3/exchangeInfo", {}, 20.0),
        ("binance", "spot", "/api/v3/depth", {"limit": "10"}, 5.0),
        ("binance", "swap", "/fapi/v1/klines", {"limit": "99"}, 1.0),
        ("binance", "swap", "/fapi/v1/klines", {"limit": "499"}, 2.0),
        ("binance", "swap", "/fapi/v1/klines", {"limit": "1000"}, 5.0),
        ("binance", "swap", "/fapi/v1/klines", {"limit": "1500"}, 10.0),
        ("binance", "swap", "/fapi/v1/aggTrades", {}, 20.0),
        ("bybit", "spot", "/v5/market/kline", {}, 1.0),
        ("okx", "spot", "/api/v5/market/history-candles", {}, 2.0),
        ("okx", "spot", "/api/v5/market/candles", {}, 1.0),
    ],
)
def test_requests_weigh_what_the_venue_counts(
    venue: str, market: str, path: str, query: dict[str, str], expected: float
) -> None:
    """The documented weights, below the burst of the host's bucket."""
    dialect = open_dialect(venue, market)
    assert dialect.weigh(path, query) == expected <= dialect.limit.burst


async def _nothing(_: web.Request) -> web.StreamResponse:
    return web.Response()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("binance://", "binance"),
        ("binance://?market=swap", "binance-swap"),
        ("kraken://?url=http://127.0.0.1:9123/kraken&timeout_s=3", "kraken-at-127-0-0-1"),
        ("coinbase://?market=spot", "coinbase"),
        ("simulated://?seed=7&bars=300&symbols=1", None),
    ],
)
def test_sources_open_what_they_name(source: str, name: str | None) -> None:
    """The name says venue and kind of market, and which other host stands in for the venue."""

    async def run() -> str:
        exchange = open_exchange(source, clock=FixedClock(NOW_NS))
        await exchange.close()
        return exchange.name

    assert is_exchange_source(source)
    found = asyncio.run(run())
    assert found.startswith("simulated://") if name is None else found == name


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("ftx://", "the sources are binance://, bybit://, coinbase://, kraken://, okx://, simulated://"),
        ("data/candles", "is no exchange"),
        ("binance", "is no exchange"),
        ("binance://host", "write options as"),
        ("binance://?key=1", "unknown key 'key'; the keys are market, timeout_s, url"),
        ("binance://?market=margin", "market='margin' is not known; write spot or swap"),
        ("binance://?market=spot&market=swap", "'market' is given twice"),
        ("okx://?url=ftp://x", "is no address such as"),
        ("okx://?timeout_s=-1", "is no number of seconds above 0"),
        ("okx://?timeout_s=nan", "is no number of seconds above 0"),
    ],
)
def test_sources_that_cannot_be_opened_say_why(source: str, expected: str) -> None:
    """Unknown schemes, keys and values are refused in one line that names the known ones."""
    with pytest.raises(InputError) as caught:
        open_exchange(source, clock=FixedClock(NOW_NS))
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_traits_are_those_of_the_venues() -> None:
    """What collection needs to know about holes."""
    found: dict[str, VenueTraits] = {}
    for venue in VENUES:
        found[venue] = VenueExchange(venue, clock=FixedClock(NOW_NS)).traits
    assert found == {
        "binance": VenueTraits(True, True, None, 1_000),
        "bybit": VenueTraits(True, False, None, 1_000),
        "coinbase": VenueTraits(False, False, None, 300),
        "kraken": VenueTraits(True, True, 720, 720),
        "okx": VenueTraits(True, False, None, 300),
    }
