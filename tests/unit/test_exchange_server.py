"""The simulated exchange over HTTP and WebSocket: ccxt's own clients read what the market behind it holds."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import NS_PER_S, FixedClock
from ratchet.errors import InputError, NotFoundError, UnavailableError
from ratchet.exchanges.simulated import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.server import ExchangeServer, FrameExchange, RateLimit
from ratchet.market import Timeframe, as_candle_frame
from ratchet.market.venue import Exchange, Instrument

aiohttp = pytest.importorskip("aiohttp", reason="the server needs ratchet[collect]")
pro = pytest.importorskip("ccxt.pro", reason="the clients need ratchet[collect]")

T = TypeVar("T")
VENUES = ("binance", "bybit", "okx", "kraken", "coinbase")
PAGE_ROWS = {"binance": 1_000, "bybit": 1_000, "okx": 300, "kraken": 720, "coinbase": 300}
HOUR = Timeframe.parse("1h")
CONFIG = SimulatedMarketConfig(n_bars=1_300, n_symbols=3)
MARKET = SimulatedMarket(CONFIG)
N_CLOSED = 1_200
NOW_NS = CONFIG.start_ns + N_CLOSED * HOUR.ns + HOUR.ns // 4
"""A quarter into bar 1200, which the upstream knows already and the venue does not show as closed."""

START_MS = CONFIG.start_ns // 1_000_000
HOUR_MS = HOUR.ns // 1_000_000


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(coroutine, 30))


def repointed(urls: Any, url: str) -> Any:
    """Replace `https://<host>` by the server's URL and `wss://<host>` by its WebSocket form, in every string."""
    if isinstance(urls, dict):
        return {name: repointed(value, url) for name, value in urls.items()}
    if not isinstance(urls, str):
        return urls
    return re.sub(r"^wss://[^/]+", url.replace("http", "ws", 1), re.sub(r"^https://[^/]+", url, urls))


def server_of(venue: str, upstream: Exchange | None = None, **options: Any) -> ExchangeServer:
    clock = options.pop("clock", FixedClock(NOW_NS))
    return ExchangeServer(upstream or SimulatedExchange(MARKET), venue=venue, timeframe=HOUR, clock=clock, **options)


@asynccontextmanager
async def client_of(server: ExchangeServer, venue: str) -> AsyncIterator[Any]:
    client = getattr(pro, venue)({"enableRateLimit": False})
    client.urls["api"] = repointed(client.urls["api"], server.url)
    try:
        yield client
    finally:
        await client.close()


async def get(server: ExchangeServer, path: str) -> tuple[int, Mapping[str, str], Any]:
    async with aiohttp.ClientSession() as session, session.get(server.url + path) as response:
        return response.status, response.headers, json.loads(await response.text())


def ask(venue: str, path: str, upstream: Exchange | None = None, **options: Any) -> tuple[int, Mapping[str, str], Any]:
    async def once() -> tuple[int, Mapping[str, str], Any]:
        async with server_of(venue, upstream, **options) as server:
            return await get(server, path)

    return run(once())


def frame_of(rows: Mapping[int, float], symbol: str = "BTC/USDT", price: float = 100.0) -> pd.DataFrame:
    """Candles at the given hours since the market's start, with the given volumes."""
    hours = np.array(list(rows))
    prices = price + hours * price / 1_000
    return as_candle_frame(
        pd.DataFrame(
            {
                "symbol": symbol,
                "ts_event_ns": CONFIG.start_ns + hours * HOUR.ns,
                "open": prices,
                "high": prices * 1.01,
                "low": prices * 0.99,
                "close": prices * 1.005,
                "volume": list(rows.values()),
            }
        )
    )


@pytest.mark.parametrize("venue", VENUES)
def test_a_ccxt_client_reads_the_markets_and_the_time(venue: str) -> None:
    async def read() -> tuple[list[str], int, int]:
        async with server_of(venue) as server, client_of(server, venue) as client:
            markets = await client.load_markets()
            return (
                [name for name, market in markets.items() if market["active"]],
                await client.fetch_time(),
                (server.n_requests),
            )

    symbols, time_ms, n_requests = run(read())
    assert set(symbols) == set(CONFIG.symbols)
    assert time_ms == NOW_NS // 1_000_000
    assert n_requests >= 2


@pytest.mark.parametrize("venue", VENUES)
def test_a_ccxt_client_reads_every_closed_candle_across_pages(venue: str) -> None:
    """Bit for bit; Kraken only the latest 720 bars, the running one among them."""

    async def read() -> dict[int, list[float]]:
        rows: dict[int, list[float]] = {}
        async with server_of(venue) as server, client_of(server, venue) as client:
            since = START_MS
            while True:
                page = await client.fetch_ohlcv("ETH/USDT", "1h", since=since, limit=PAGE_ROWS[venue])
                new = [row for row in page if row[0] not in rows]
                if not new:
                    return rows
                rows.update((row[0], row[1:]) for row in new)
                since = max(rows) + HOUR_MS

    rows = run(read())
    closed = {ts: values for ts, values in rows.items() if ts + HOUR_MS <= NOW_NS // 1_000_000}
    first = N_CLOSED - 719 if venue == "kraken" else 0
    expected = MARKET.candle_range("ETH/USDT", first, N_CLOSED - first)
    assert list(closed) == (expected["ts_event_ns"] // 1_000_000).tolist()
    assert np.array_equal(np.array(list(closed.values())), expected.iloc[:, 2:].to_numpy())


@pytest.mark.parametrize("venue", VENUES)
def test_the_running_bar_is_a_part_of_the_final_one(venue: str) -> None:
    async def read() -> list[float]:
        async with server_of(venue) as server, client_of(server, venue) as client:
            since = START_MS + (N_CLOSED - 2) * HOUR_MS
            params = {"type": "Candles"} if venue == "okx" else {}
            page = await client.fetch_ohlcv("BTC/USDT", "1h", since=since, limit=10, params=params)
            assert len(page) == 3
            return list(page[-1])

    _, opened, high, low, close, volume = run(read())
    final = MARKET.candle_range("BTC/USDT", N_CLOSED, 1).iloc[0]
    assert opened == final["open"]
    assert final["low"] <= low <= min(opened, close) <= max(opened, close) <= high <= final["high"]
    assert close != final["close"]
    assert volume == pytest.approx(final["volume"] / 4)


@pytest.mark.parametrize("venue", VENUES)
def test_a_ccxt_client_reads_the_latest_trades(venue: str) -> None:
    async def read() -> list[tuple[float, float, str]]:
        async with server_of(venue) as server, client_of(server, venue) as client:
            trades = await client.fetch_trades("BTC/USDT", limit=20)
            return [(trade["price"], trade["amount"], trade["side"]) for trade in trades]

    async def upstream() -> pd.DataFrame:
        since_ns = NOW_NS - 3 * HOUR.ns
        frame = await SimulatedExchange(MARKET, now_ns=NOW_NS).fetch_trades("BTC/USDT", since_ns, 1_000)
        return frame.tail(20)

    expected = run(upstream())
    takers = {"coinbase": ("sell", "buy")}.get(venue, ("buy", "sell"))  # ccxt hands on Coinbase's side, the maker's
    sides = np.where(expected["side"] > 0, *takers)
    assert run(read()) == list(zip(expected["price"], expected["size"], sides, strict=True))


@pytest.mark.parametrize("venue", VENUES)
def test_a_ccxt_client_reads_an_order_book_about_the_last_price(venue: str) -> None:
    async def read() -> Any:
        async with server_of(venue) as server, client_of(server, venue) as client:
            return await client.fetch_order_book("BTC/USDT", limit=10)

    book = run(read())
    bids, asks = [level[0] for level in book["bids"]], [level[0] for level in book["asks"]]
    assert len(bids) == len(asks) == 10
    assert bids == sorted(bids, reverse=True)
    assert asks == sorted(asks)
    assert bids[0] < asks[0]
    close = MARKET.candle_range("BTC/USDT", N_CLOSED - 1, 1)["close"].iloc[0]
    assert (bids[0] + asks[0]) / 2 == pytest.approx(close, rel=1e-3)


@pytest.mark.parametrize("venue", VENUES)
def test_a_ccxt_client_follows_books_and_trades(venue: str) -> None:
    """ccxt checks Binance's and OKX's sequence numbers itself and fails where they do not fit."""

    async def follow() -> tuple[list[Any], list[Any]]:
        async with server_of(venue) as server, client_of(server, venue) as client:
            books = []
            for _ in range(8):
                book = await client.watch_order_book("ETH/USDT")
                books.append(([*map(tuple, book["bids"])], [*map(tuple, book["asks"])]))
            trades = [trade for _ in range(3) for trade in await client.watch_trades("ETH/USDT")]
            return books, trades

    books, trades = run(follow())
    assert all(bids[0][0] < asks[0][0] for bids, asks in books)
    assert all(len(bids) == len(asks) == (10 if venue == "kraken" else 25) for bids, asks in books)
    assert len(set(map(str, books))) > 1
    assert all(trade["price"] > 0 and trade["amount"] > 0 and trade["side"] in {"buy", "sell"} for trade in trades)
    ids = [int(trade["id"]) for trade in trades]
    assert ids == sorted(set(ids))


async def messages(server: ExchangeServer, path: str, subscription: Any, count: int) -> list[str]:
    url = server.url.replace("http", "ws", 1) + path
    async with aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        await socket.send_str(json.dumps(subscription))
        return [await socket.receive_str() for _ in range(count)]


def applied(levels: dict[Decimal, str], changes: list[tuple[str, str]]) -> None:
    for price, size in changes:
        if Decimal(size) == 0:
            levels.pop(Decimal(price), None)
        else:
            levels[Decimal(price)] = f"{price}:{size}"


def test_krakens_checksum_is_that_of_the_book_a_client_keeps() -> None:
    """Applying the digits as they were sent gives CRC32 of 10 asks and 10 bids without points and leading zeros."""

    async def follow() -> list[str]:
        async with server_of("kraken") as server:
            subscription = {"method": "subscribe", "params": {"channel": "book", "symbol": ["ETH/USDT"], "depth": 10}}
            return await messages(server, "/v2", subscription, 30)

    sides: dict[str, dict[Decimal, str]] = {"asks": {}, "bids": {}}
    acknowledged, *texts = run(follow())
    assert json.loads(acknowledged)["success"]
    for text in texts:
        data = json.loads(text, parse_float=str)["data"][0]
        for side, levels in sides.items():
            applied(levels, [(level["price"], level["qty"]) for level in data[side]])
            assert len(levels) == 10
        ordered = [
            *(sides["asks"][price] for price in sorted(sides["asks"])),
            *(sides["bids"][price] for price in sorted(sides["bids"], reverse=True)),
        ]
        digits = (part.replace(".", "").lstrip("0") for level in ordered for part in level.split(":"))
        assert zlib.crc32("".join(digits).encode()) == data["checksum"]


def test_okx_checksums_and_sequence_fit_the_book_a_client_keeps() -> None:
    async def follow() -> list[str]:
        async with server_of("okx") as server:
            subscription = {"op": "subscribe", "args": [{"channel": "books", "instId": "ETH-USDT"}]}
            return await messages(server, "/ws/v5/public", subscription, 30)

    asks: dict[Decimal, str] = {}
    bids: dict[Decimal, str] = {}
    previous = -1
    for text in run(follow())[1:]:
        data = json.loads(text)["data"][0]
        assert data["prevSeqId"] == previous
        previous = data["seqId"]
        applied(asks, [(level[0], level[1]) for level in data["asks"]])
        applied(bids, [(level[0], level[1]) for level in data["bids"]])
        best = zip(sorted(bids, reverse=True), sorted(asks), strict=True)
        payload = ":".join(f"{bids[bid]}:{asks[ask]}" for bid, ask in best)
        assert zlib.crc32(payload.encode()) == data["checksum"] % 2**32


def test_who_subscribes_again_gets_a_new_snapshot_and_each_update_once() -> None:
    async def follow() -> list[Any]:
        async with (
            server_of("okx") as server,
            aiohttp.ClientSession() as session,
            session.ws_connect(server.url.replace("http", "ws", 1) + "/ws/v5/public") as socket,
        ):
            for _ in range(2):
                await socket.send_json({"op": "subscribe", "args": [{"channel": "books", "instId": "ETH-USDT"}]})
            seen = [await socket.receive_json() for _ in range(20)]
            await socket.send_json({"op": "unsubscribe", "args": [{"channel": "books", "instId": "ETH-USDT"}]})
            while (await socket.receive_json()).get("event") != "unsubscribe":
                pass
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(socket.receive_json(), 0.2)
            return [message["data"][0] for message in seen if "data" in message]

    books = run(follow())
    snapshots = [row for row, book in enumerate(books) if book["prevSeqId"] == -1]
    assert len(snapshots) == 2
    latest = books[snapshots[1] :]
    assert len(latest) > 5
    assert all(book["prevSeqId"] == previous["seqId"] for previous, book in pairwise(latest))


def test_binances_stream_goes_on_where_its_snapshot_ends() -> None:
    """Each event starts at the id after the last one; the snapshot's id lies within what was streamed."""

    async def follow() -> tuple[list[Any], int, Any]:
        async with (
            server_of("binance") as server,
            aiohttp.ClientSession() as session,
            session.ws_connect(server.url.replace("http", "ws", 1) + "/ws/0") as socket,
        ):
            await socket.send_json({"method": "SUBSCRIBE", "params": ["ethusdt@depth@100ms"], "id": 7})
            assert await socket.receive_json() == {"result": None, "id": 7}
            before = [await socket.receive_json() for _ in range(3)]
            _, _, snapshot = await get(server, "/api/v3/depth?symbol=ETHUSDT&limit=1000")
            after = [await socket.receive_json() for _ in range(5)]
            return before + after, snapshot["lastUpdateId"], snapshot

    events, last_id, snapshot = run(follow())
    assert all(event["U"] == previous["u"] + 1 for previous, event in pairwise(events))
    assert events[0]["U"] <= last_id <= events[-1]["u"]
    book = {side: {Decimal(price): size for price, size in snapshot[side]} for side in ("bids", "asks")}
    assert max(book["bids"]) < min(book["asks"])


def test_coinbase_counts_the_messages_of_a_connection() -> None:
    async def follow() -> list[str]:
        async with server_of("coinbase") as server:
            subscription = {"type": "subscribe", "channel": "level2", "product_ids": ["ETH-USDT"]}
            return await messages(server, "", subscription, 5)

    assert [json.loads(text)["sequence_num"] for text in run(follow())] == list(range(5))


@pytest.mark.parametrize(
    ("venue", "path", "status", "body"),
    [
        ("binance", "/api/v3/klines?symbol=NOPE&interval=1h", 400, {"code": -1121, "msg": "Invalid symbol."}),
        ("bybit", "/v5/market/kline?category=spot&symbol=NOPE&interval=60", 200, {"retCode": 10001}),
        ("okx", "/api/v5/market/candles?instId=NO-PE&bar=1H", 200, {"code": "51001", "data": []}),
        ("kraken", "/0/public/OHLC?pair=NOPE&interval=60", 200, {"error": ["EQuery:Unknown asset pair"]}),
        ("coinbase", "/api/v3/brokerage/market/products/NO-PE/candles?granularity=ONE_HOUR", 404, {}),
    ],
)
def test_an_unknown_symbol_is_refused_as_the_venue_does(venue: str, path: str, status: int, body: Any) -> None:
    answered = ask(venue, path)
    assert answered[0] == status
    assert answered[2].items() >= body.items()


@pytest.mark.parametrize(
    ("venue", "path"),
    [
        ("binance", "/api/v3/klines?symbol=BTCUSDT&interval=5m"),
        ("binance", "/api/v3/klines?symbol=BTCUSDT&interval=1h&startTime=yesterday"),
        ("okx", "/api/v5/market/candles?instId=BTC-USDT&bar=5m"),
        (
            "coinbase",
            f"/api/v3/brokerage/market/products/BTC-USDT/candles?granularity=ONE_HOUR&start=0&end={360 * 3_600}",
        ),
    ],
)
def test_parameters_that_cannot_be_used_are_refused(venue: str, path: str) -> None:
    assert ask(venue, path)[0] == 400


def test_a_path_that_there_is_not_is_not_found() -> None:
    assert ask("binance", "/api/v3/nothing")[0] == 404


def test_binance_pages_hold_a_thousand_rows_within_start_and_end() -> None:
    path = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=5000"
    assert len(ask("binance", path)[2]) == 1_000
    page = ask("binance", f"{path}&startTime={START_MS + 1}&endTime={START_MS + 5 * HOUR_MS}")[2]
    assert [row[0] for row in page] == [START_MS + hour * HOUR_MS for hour in range(1, 6)]
    assert page[0][6] == page[0][0] + HOUR_MS - 1
    assert [type(field) for field in page[0][:7]] == [int, str, str, str, str, str, int]


def test_bybit_answers_the_newest_rows_between_start_and_end_first() -> None:
    path = "/v5/market/kline?category=spot&symbol=BTCUSDT&interval=60&limit=3"
    window = f"&start={START_MS}&end={START_MS + 9 * HOUR_MS}"
    rows = ask("bybit", path + window)[2]["result"]["list"]
    assert [int(row[0]) for row in rows] == [START_MS + hour * HOUR_MS for hour in (9, 8, 7)]
    rows = ask("bybit", f"{path}&start={START_MS}")[2]["result"]["list"]
    assert [int(row[0]) for row in rows] == [START_MS + hour * HOUR_MS for hour in (2, 1, 0)]


def test_okx_excludes_before_and_after_and_marks_the_running_bar() -> None:
    path = "/api/v5/market/history-candles?instId=BTC-USDT&bar=1H&limit=1000"
    window = f"&before={START_MS}&after={START_MS + 4 * HOUR_MS}"
    rows = ask("okx", path + window)[2]["data"]
    assert [int(row[0]) for row in rows] == [START_MS + hour * HOUR_MS for hour in (3, 2, 1)]
    assert len(ask("okx", path)[2]["data"]) == 300
    recent = ask("okx", "/api/v5/market/candles?instId=BTC-USDT&bar=1H&limit=3")[2]["data"]
    assert [row[8] for row in recent] == ["0", "1", "1"]
    assert int(recent[0][0]) == START_MS + N_CLOSED * HOUR_MS


def test_kraken_answers_the_latest_720_bars_whatever_is_asked() -> None:
    path = "/0/public/OHLC?pair=XBTUSDT&interval=60"
    result = ask("kraken", f"{path}&since={START_MS // 1_000}")[2]["result"]
    times = [row[0] for row in result["XBTUSDT"]]
    assert len(times) == 720
    assert times[-1] == (START_MS + N_CLOSED * HOUR_MS) // 1_000
    assert result["last"] == times[-2]
    later = ask("kraken", f"{path}&since={times[-4]}")[2]["result"]["XBTUSDT"]
    assert [row[0] for row in later] == times[-3:]


def test_coinbase_leaves_out_bars_without_trades() -> None:
    upstream = FrameExchange(frame_of({0: 1.0, 1: 0.0, 2: 3.0}), HOUR)
    path = "/api/v3/brokerage/market/products/BTC-USDT/candles?granularity=ONE_HOUR"
    window = f"&start={START_MS // 1_000}&end={START_MS // 1_000 + 7_200}"
    candles = ask("coinbase", path + window, upstream)[2]["candles"]
    assert [int(row["start"]) for row in candles] == [START_MS // 1_000 + 7_200, START_MS // 1_000]


def test_a_page_reaches_over_gaps_to_its_full_size() -> None:
    upstream = FrameExchange(frame_of(dict.fromkeys([0, 1, 5, 6, 7, 20], 1.0)), HOUR)
    clock = FixedClock(CONFIG.start_ns + 30 * HOUR.ns)
    path = "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=4"
    forwards = ask("binance", f"{path}&startTime={START_MS}", upstream, clock=clock)[2]
    assert [(row[0] - START_MS) // HOUR_MS for row in forwards] == [0, 1, 5, 6]
    backwards = ask("binance", path, upstream, clock=clock)[2]
    assert [(row[0] - START_MS) // HOUR_MS for row in backwards] == [5, 6, 7, 20]


def test_small_and_large_numbers_are_written_without_an_exponent() -> None:
    upstream = FrameExchange(frame_of({0: 9.9e17}, "SHIB/USDT", price=9.12e-8), HOUR)
    path = f"/api/v3/klines?symbol=SHIBUSDT&interval=1h&startTime={START_MS}"
    row = ask("binance", path, upstream)[2][0]
    assert row[1] == "0.0000000912"
    assert row[5] == "990000000000000000"


def test_a_symbol_is_listed_from_its_listing_on() -> None:
    candles = pd.concat([frame_of({0: 1.0}), frame_of({0: 1.0}, "NEW/USDT")])
    upstream = FrameExchange(candles, HOUR, instruments=[Instrument("NEW/USDT", listed_ns=NOW_NS + 1)])
    listed = ask("binance", "/api/v3/exchangeInfo", upstream)[2]["symbols"]
    assert [market["symbol"] for market in listed] == ["BTCUSDT"]


def test_who_asks_too_much_is_refused_then_shut_out_then_forgiven() -> None:
    """Binance: 429 with Retry-After, 418 for those who go on, and a new window starts afresh."""

    async def press() -> list[tuple[int, str | None, str]]:
        clock = FixedClock(NOW_NS)
        async with server_of("binance", rate_limit=RateLimit(5, 60.0), clock=clock) as server:
            seen = []
            for number in range(20):
                if number == 19:
                    clock.advance(60 * NS_PER_S)
                status, headers, _ = await get(server, "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=1")
                seen.append((status, headers.get("Retry-After"), headers["X-MBX-USED-WEIGHT-1M"]))
            return seen

    seen = run(press())
    assert [status for status, _, _ in seen] == [200] * 2 + [429] * 10 + [418] * 7 + [200]
    assert [wait for _, wait, _ in seen[2:4]] == ["60", "60"]
    assert [weight for _, _, weight in (seen[0], seen[2], seen[-1])] == ["2", "6", "2"]


def test_the_date_is_the_venues() -> None:
    assert ask("okx", "/api/v5/public/time")[1]["Date"] == "Tue, 20 Feb 2024 00:15:00 GMT"


def test_what_cannot_be_served_is_said_at_once() -> None:
    with pytest.raises(InputError, match="no dialect of 'nasdaq'"):
        server_of("nasdaq")
    swap = FrameExchange(frame_of({0: 1.0}, "BTC/USDT:USDT"), HOUR)
    with pytest.raises(InputError, match="not spot"):
        run(server_of("binance", swap).start())

    async def twice() -> None:
        async with server_of("binance") as server:
            port = int(server.url.split(":")[2].split("/")[0])
            await server_of("okx", port=port).start()

    with pytest.raises(UnavailableError, match="cannot be listened on"):
        run(twice())


def test_a_frame_answers_pages_as_the_port_promises() -> None:
    times = CONFIG.start_ns + np.array([0, 1, 1, 2])
    trades = pd.DataFrame(
        {
            "symbol": "BTC/USDT",
            "ts_event_ns": times,
            "price": 1.0,
            "size": 1.0,
            "side": 1,
            "trade_id": ["1", "2", "3", "4"],
        }
    )
    frame = frame_of(dict.fromkeys([0, 1, 3], 1.0))
    exchange = FrameExchange(frame, HOUR, trades=trades, now_ns=CONFIG.start_ns + 4 * HOUR.ns - 1)

    async def read() -> None:
        page = await exchange.fetch_candles("BTC/USDT", HOUR, CONFIG.start_ns + 1, 5)
        pd.testing.assert_frame_equal(page, frame.iloc[1:2].reset_index(drop=True))
        assert len(await exchange.fetch_trades("BTC/USDT", 0, 2)) == 3
        assert (await exchange.fetch_trades("BTC/USDT", CONFIG.start_ns + 2, 2))["trade_id"].tolist() == ["4"]
        assert (await exchange.fetch_order_books("BTC/USDT", 0, 5)).empty
        assert await exchange.list_symbols() == ["BTC/USDT"]
        assert (await exchange.describe("BTC/USDT")).listed_ns == CONFIG.start_ns
        assert exchange.traits.has_trade_history
        with pytest.raises(NotFoundError):
            await exchange.describe("ETH/USDT")
        with pytest.raises(InputError):
            await exchange.fetch_candles("BTC/USDT", Timeframe.parse("5m"), 0, 5)

    run(read())
    with pytest.raises(InputError, match="hold a bar twice"):
        FrameExchange(pd.concat([frame, frame]), HOUR)
