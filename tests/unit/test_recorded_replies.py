"""Recorded replies of five venues, answered byte for byte by a local server and read through the adapter."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from aiohttp import web

from ratchet.clock import NS_PER_S, FixedClock
from ratchet.exchanges.pacing import HostPaces
from ratchet.exchanges.venues import VenueExchange
from ratchet.market import CANDLE_COLUMNS, Timeframe
from ratchet.market.venue import BOOK_COLUMNS, TRADE_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
BINANCE = "binance/spot/http_json"
NS_PER_MS = 1_000_000
LATER_NS = 1_800_000_000 * NS_PER_S
"""After everything that was recorded, so that all its bars are closed."""

PATHS = {
    ("binance", "spot"): "/api/v3/exchangeInfo",
    ("binance", "swap"): "/fapi/v1/exchangeInfo",
    ("bybit", "spot"): "/v5/market/instruments-info",
    ("bybit", "swap"): "/v5/market/instruments-info",
    ("coinbase", "spot"): "/api/v3/brokerage/market/products",
    ("kraken", "spot"): "/0/public/AssetPairs",
    ("kraken", "swap"): "/derivatives/api/v3/instruments",
    ("okx", "spot"): "/api/v5/public/instruments",
    ("okx", "swap"): "/api/v5/public/instruments",
}
"""Where a venue lists its markets."""

LISTS = {
    ("binance", "spot"): f"{BINANCE}/exchange_info_response.json",
    ("binance", "swap"): "binance_py/http_futures_market_exchange_info.json",
    ("bybit", "spot"): "bybit/http_get_instruments_spot.json",
    ("bybit", "swap"): "bybit/http_get_instruments_linear_symbol_type.json",
    ("coinbase", "spot"): "coinbase/http_products.json",
    ("kraken", "spot"): "kraken/http_asset_pairs.json",
    ("kraken", "swap"): "kraken/http_futures_instruments.json",
    ("okx", "spot"): "okx/http_get_instruments_spot.json",
    ("okx", "swap"): "okx/http_get_instruments_swap.json",
}
"""The recorded list that the other requests of a case start from."""

Body = bytes | Callable[[web.Request], bytes]
Row = tuple[int, Decimal, Decimal, Decimal, Decimal, Decimal]
"""Time in ns, open, high, low, close, volume."""


@pytest.fixture
def replies() -> Path:
    """The folder of recorded replies."""
    folder = Path(os.environ.get("RATCHET_REAL_DATA", ROOT.parent / "shared" / "data")) / "responses" / "nautilus"
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}; set RATCHET_REAL_DATA to the folder of recordings")
    return folder


def _derivatives_time(_: web.Request) -> bytes:
    return json.dumps({"result": "success", "serverTime": "2027-01-15T08:00:00.000Z"}).encode()


TIMES: Mapping[str, Body] = {
    "/api/v3/time": lambda _: json.dumps({"serverTime": LATER_NS // NS_PER_MS}).encode(),
    "/fapi/v1/time": lambda _: json.dumps({"serverTime": LATER_NS // NS_PER_MS}).encode(),
    "/v5/market/time": lambda _: json.dumps({"retCode": 0, "time": LATER_NS // NS_PER_MS}).encode(),
    "/api/v5/public/time": lambda _: json.dumps({"code": "0", "data": [{"ts": str(LATER_NS // NS_PER_MS)}]}).encode(),
    "/0/public/Time": lambda _: json.dumps({"error": [], "result": {"unixtime": LATER_NS // NS_PER_S}}).encode(),
    "/derivatives/api/v3/feeschedules": _derivatives_time,
    "/api/v3/brokerage/time": lambda _: json.dumps({"epochMillis": str(LATER_NS // NS_PER_MS)}).encode(),
}


@asynccontextmanager
async def _recorded(venue: str, market: str, routes: Mapping[str, Body]) -> AsyncIterator[VenueExchange]:
    """Open an adapter onto a server that knows these paths alone; waiting takes no time."""

    async def answer(request: web.Request) -> web.Response:
        if request.query.get("product_type") == "FUTURE":
            return web.json_response({"products": []})
        body = {**TIMES, **routes}.get(request.path)
        if body is None:
            return web.Response(status=404, text=f"nothing is recorded for {request.path}")
        return web.Response(body=body if isinstance(body, bytes) else body(request), content_type="application/json")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    clock = FixedClock(LATER_NS)

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * NS_PER_S))

    async with VenueExchange(venue, market=market, url=url, clock=clock, sleep=sleep, paces=HostPaces()) as exchange:
        yield exchange
    await runner.cleanup()


def _ask(venue: str, market: str, routes: Mapping[str, Body], ask: Callable[[VenueExchange], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with _recorded(venue, market, routes) as exchange:
            return await ask(exchange)

    return asyncio.run(run())


def _routes(replies: Path, venue: str, market: str, path: str, name: str) -> dict[str, Body]:
    listed = (replies / LISTS[venue, market]).read_bytes()
    return {PATHS[venue, market]: listed, path: (replies / name).read_bytes()}


def _arrays(path: Path, *, unit_ns: int = NS_PER_MS, volume: int = 5) -> list[Row]:
    """Read candles that are arrays, wherever in the file they are."""
    content = json.loads(path.read_text(), parse_float=Decimal)
    while isinstance(content, dict):
        content = next(content[key] for key in ("result", "list", "data", "XBTUSDT") if key in content)
    rows = [row for row in content if len(row) != 9 or row[8] == "1"]  # OKX says which bars are finished
    return [_row(int(row[0]) * unit_ns, *row[1:5], row[volume]) for row in rows]


def _objects(path: Path, *, time: str, unit_ns: int) -> list[Row]:
    """Read candles that are objects."""
    candles = json.loads(path.read_text(), parse_float=Decimal)["candles"]
    names = ("open", "high", "low", "close", "volume")
    return [_row(int(candle[time]) * unit_ns, *(candle[name] for name in names)) for candle in candles]


def _row(ts_ns: int, *values: Any) -> Row:
    opened, high, low, close, volume = (Decimal(str(value)) for value in values)
    return ts_ns, opened, high, low, close, volume


def _candles_of(path: Path) -> list[Row]:
    if path.parts[-2] == "coinbase":
        return _objects(path, time="start", unit_ns=NS_PER_S)
    if "futures_candles" in path.name:
        return _objects(path, time="time", unit_ns=NS_PER_MS)
    if path.parts[-2] == "kraken":
        return _arrays(path, unit_ns=NS_PER_S, volume=6)
    return _arrays(path)


async def _all_candles(exchange: VenueExchange, symbol: str, timeframe: Timeframe, since_ns: int) -> pd.DataFrame:
    """Ask for pages until one is empty."""
    pages = [await exchange.fetch_candles(symbol, timeframe, since_ns, 1_000)]
    while len(pages[-1]):
        next_ns = int(pages[-1]["ts_event_ns"].iloc[-1]) + 1
        pages.append(await exchange.fetch_candles(symbol, timeframe, next_ns, 1_000))
    return pd.concat(pages[:-1] or pages, ignore_index=True)


PRODUCT = "/api/v3/brokerage/market/products/BTC-USD"
CHART = "/api/charts/v1/trade/PF_ETHUSD/1h"


@pytest.mark.parametrize(
    ("venue", "market", "path", "name", "symbol", "timeframe", "n_rows"),
    [
        ("binance", "spot", "/api/v3/klines", f"{BINANCE}/klines_response.json", "ETH/BTC", "1w", 1),
        ("binance", "spot", "/api/v3/klines", "binance_py/http_spot_market_klines.json", "ETH/BTC", "1m", 10),
        ("binance", "swap", "/fapi/v1/klines", "binance_py/http_futures_market_klines.json", "BTC/USDT:USDT", "1w", 1),
        (
            *("binance", "swap", "/fapi/v1/klines", "binance_py/http_futures_market_continuous_klines.json"),
            *("BTC/USDT:USDT", "1m", 1),
        ),
        (
            *("binance", "swap", "/fapi/v1/klines", "binance_py/http_futures_market_mark_price_klines.json"),
            *("BTC/USDT:USDT", "1m", 1),
        ),
        ("bybit", "swap", "/v5/market/kline", "bybit/http_get_klines_linear.json", "TSLA/USDT:USDT", "1m", 1),
        ("okx", "spot", "/api/v5/market/history-candles", "okx/http_get_candlesticks.json", "BTC/USD", "1m", 0),
        ("okx", "spot", "/api/v5/market/history-candles", "okx/http_get_candlesticks_full.json", "BTC/USD", "1m", 2),
        ("coinbase", "spot", f"{PRODUCT}/candles", "coinbase/http_candles.json", "BTC/USD", "1h", 2),
        ("kraken", "spot", "/0/public/OHLC", "kraken/http_ohlc.json", "BTC/USDT", "1m", 721),
        ("kraken", "swap", CHART, "kraken/http_futures_candles_trade.json", "ETH/USD:USD", "1h", 3),
        ("kraken", "swap", CHART, "kraken/http_futures_candles_spot.json", "ETH/USD:USD", "1h", 3),
        ("kraken", "swap", CHART, "kraken/http_futures_candles_mark.json", "ETH/USD:USD", "1h", 3),
    ],
)
def test_candles_are_those_of_the_file(
    replies: Path, venue: str, market: str, path: str, name: str, symbol: str, timeframe: str, n_rows: int
) -> None:
    """Each value of the frame is the file's decimal text read as a float; times are exact; the oldest row is first."""
    expected = sorted(_candles_of(replies / name))
    routes = _routes(replies, venue, market, path, name)
    since_ns = expected[0][0] if expected else 1_625_097_600 * NS_PER_S
    frame = _ask(venue, market, routes, lambda it: _all_candles(it, symbol, Timeframe.parse(timeframe), since_ns))
    assert list(frame) == list(CANDLE_COLUMNS)
    assert len(frame) == len(expected) == n_rows
    assert frame["ts_event_ns"].tolist() == [row[0] for row in expected]
    np.testing.assert_array_equal(
        frame[list(CANDLE_COLUMNS[2:])].to_numpy(), np.array([row[1:] for row in expected], dtype=float).reshape(-1, 5)
    )


def test_a_full_page_of_kraken_has_bars_without_trades(replies: Path) -> None:
    """The capture has every minute of twelve hours, and minutes without trades carry volume 0."""
    rows = _candles_of(replies / "kraken/http_ohlc.json")
    assert {later[0] - earlier[0] for earlier, later in itertools.pairwise(rows)} == {60 * NS_PER_S}
    assert sum(row[5] == 0 for row in rows) > 0


def _binance_trades(content: Any) -> list[tuple[Any, ...]]:
    return [
        (row["T"] * NS_PER_MS, float(Decimal(row["p"])), float(Decimal(row["q"])), -1 if row["m"] else 1, str(row["a"]))
        for row in content
    ]


def _bybit_trades(content: Any) -> list[tuple[Any, ...]]:
    (row,) = content["result"]["list"]
    assert row["side"] == "Buy"
    return [(int(row["time"]) * NS_PER_MS, float(row["price"]), float(row["size"]), 1, row["execId"])]


def _okx_trades(content: Any) -> list[tuple[Any, ...]]:
    sides = {"buy": 1, "sell": -1}
    return [
        (int(row["ts"]) * NS_PER_MS, float(row["px"]), float(row["sz"]), sides[row["side"]], row["tradeId"])
        for row in content["data"]
    ]


def _coinbase_trades(content: Any) -> list[tuple[Any, ...]]:
    """The newest recorded trades are at the best ask and named SELL: the side is the maker's, and the taker bought."""
    takers = {"SELL": 1, "BUY": -1}
    assert content["trades"][0]["price"] == content["best_ask"]
    return [
        (
            pd.Timestamp(row["time"]).value,
            float(row["price"]),
            float(row["size"]),
            takers[row["side"]],
            row["trade_id"],
        )
        for row in content["trades"]
    ]


def _kraken_trades(content: Any) -> list[tuple[Any, ...]]:
    """The capture is a full answer, so the trades of its last time may not be all there are: they come later."""
    trades = [
        (int(Decimal(row[2]) * NS_PER_S), float(row[0]), float(row[1]), 1 if row[3] == "b" else -1, str(row[6]))
        for row in content["result"]["XBTUSDT"]
    ]
    return [trade for trade in trades if trade[0] != trades[-1][0]] if len(trades) == 1_000 else trades


@pytest.mark.parametrize(
    ("venue", "market", "path", "name", "symbol", "read"),
    [
        (
            *("binance", "spot", "/api/v3/aggTrades", "binance_py/http_spot_market_agg_trades.json"),
            *("ETH/BTC", _binance_trades),
        ),
        (
            *("binance", "swap", "/fapi/v1/aggTrades", "binance_py/http_futures_market_agg_trades.json"),
            *("BTC/USDT:USDT", _binance_trades),
        ),
        (
            "bybit",
            "swap",
            "/v5/market/recent-trade",
            "bybit/http_get_trades_recent.json",
            "TSLA/USDT:USDT",
            _bybit_trades,
        ),
        ("okx", "spot", "/api/v5/market/trades", "okx/http_get_trades.json", "BTC/USD", _okx_trades),
        ("coinbase", "spot", f"{PRODUCT}/ticker", "coinbase/http_ticker.json", "BTC/USD", _coinbase_trades),
        ("kraken", "spot", "/0/public/Trades", "kraken/http_trades.json", "BTC/USDT", _kraken_trades),
    ],
)
def test_trades_are_those_of_the_file(
    replies: Path,
    venue: str,
    market: str,
    path: str,
    name: str,
    symbol: str,
    read: Callable[[Any], list[tuple[Any, ...]]],
) -> None:
    """Times are exact to the last recorded digit; sides are the taker's; the oldest trade is first."""
    content = json.loads((replies / name).read_text(), parse_float=str)
    expected = sorted(read(content))
    routes = _routes(replies, venue, market, path, name)
    frame = _ask(venue, market, routes, lambda it: it.fetch_trades(symbol, 0, 5_000))
    assert list(frame) == list(TRADE_COLUMNS)
    assert len(frame) > 0
    assert sorted(frame[list(TRADE_COLUMNS[1:])].itertuples(index=False, name=None)) == expected
    assert frame["ts_event_ns"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("venue", "market", "path", "name", "symbol", "keys", "ts_event_ns"),
    [
        ("binance", "spot", "/api/v3/depth", f"{BINANCE}/depth_response.json", "ETH/BTC", ("bids", "asks"), LATER_NS),
        (
            *("binance", "spot", "/api/v3/depth", "binance_py/http_spot_market_depth.json"),
            *("ETH/BTC", ("bids", "asks"), LATER_NS),
        ),
        (
            *("binance", "swap", "/fapi/v1/depth", "binance_py/http_futures_market_depth.json"),
            *("BTC/USDT:USDT", ("bids", "asks"), 1_589_436_922_959 * NS_PER_MS),
        ),
        (
            *("bybit", "swap", "/v5/market/orderbook", "bybit/http_get_orderbook.json"),
            *("TSLA/USDT:USDT", ("b", "a"), 1_709_891_679_000 * NS_PER_MS),
        ),
        (
            *("okx", "spot", "/api/v5/market/books", "okx/http_get_order_book.json"),
            *("BTC/USD", ("bids", "asks"), 1_704_067_200_000 * NS_PER_MS),
        ),
        (
            *("coinbase", "spot", "/api/v3/brokerage/market/product_book", "coinbase/http_product_book.json"),
            *("BTC/USD", ("bids", "asks"), pd.Timestamp("2026-04-07T00:28:59.662782Z").value),
        ),
        ("kraken", "spot", "/0/public/Depth", "kraken/http_order_book.json", "BTC/USDT", ("bids", "asks"), LATER_NS),
        (
            *("kraken", "swap", "/derivatives/api/v3/orderbook", "kraken/http_futures_orderbook.json"),
            *("ETH/USD:USD", ("bids", "asks"), pd.Timestamp("2025-07-11T12:00:00Z").value),
        ),
    ],
)
def test_order_books_are_those_of_the_file(
    replies: Path,
    venue: str,
    market: str,
    path: str,
    name: str,
    symbol: str,
    keys: tuple[str, str],
    ts_event_ns: int,
) -> None:
    """One row of ten levels a side, the best first; levels that the file lacks are NaN."""
    sides = _book_sides(json.loads((replies / name).read_text(), parse_float=str), keys)
    routes = _routes(replies, venue, market, path, name)
    frame = _ask(venue, market, routes, lambda it: it.fetch_order_books(symbol, 0, 1))
    assert list(frame) == list(BOOK_COLUMNS)
    is_venues_own = ts_event_ns != LATER_NS  # otherwise it is the time of arrival, a second or two later
    assert 0 <= frame["ts_event_ns"].iloc[0] - ts_event_ns <= (0 if is_venues_own else 5 * NS_PER_S)
    for side, levels in zip(("bid", "ask"), sides, strict=True):
        for column, value in enumerate(("price", "size")):
            found = frame.loc[0, [f"{side}_{value}_{level}" for level in range(10)]].to_numpy(dtype=float)
            expected = [float(Decimal(str(level[column]))) for level in levels[:10]]
            np.testing.assert_array_equal(found, expected + [np.nan] * (10 - len(expected)))


def _book_sides(content: Any, keys: tuple[str, str]) -> list[list[Any]]:
    while keys[0] not in content:
        content = next(
            content[key] for key in ("orderBook", "result", "data", "pricebook", "XBTUSDT", 0) if _has(content, key)
        )
    return [[list(level.values()) if isinstance(level, dict) else level for level in content[key]] for key in keys]


def _has(content: Any, key: str | int) -> bool:
    return isinstance(content, list) if key == 0 else isinstance(content, dict) and key in content


@pytest.mark.parametrize(
    ("venue", "market", "name", "symbols"),
    [
        ("binance", "spot", LISTS["binance", "spot"], ["ETH/BTC"]),
        ("binance", "spot", "binance_py/http_spot_market_exchange_info.json", ["BTC/USDT", "ETH/USDT"]),
        ("binance", "swap", LISTS["binance", "swap"], ["BTC/USDT:USDT", "ETH/USDT:USDT"]),
        ("bybit", "spot", LISTS["bybit", "spot"], ["BTC/USDT", "ETH/USDT"]),
        ("bybit", "spot", "bybit/http_get_instruments_spot_xstocks.json", ["AAPL/USDT"]),
        ("bybit", "swap", LISTS["bybit", "swap"], ["TSLA/USDT:USDT"]),
        ("coinbase", "spot", LISTS["coinbase", "spot"], ["BTC/USD", "BTC/USDC"]),
        ("kraken", "spot", LISTS["kraken", "spot"], ["BTC/USDT"]),
        ("kraken", "spot", "kraken/http_asset_pairs_tokenized.json", ["AAPLX/USD"]),
        ("kraken", "swap", LISTS["kraken", "swap"], ["AAPLX/USD:USD", "ETH/USD:USD", "PEPE/USD:USD"]),
        ("kraken", "swap", "kraken/http_futures_instrument_no_fee_schedule.json", ["ETH/USD:USD"]),
        ("okx", "spot", LISTS["okx", "spot"], ["BTC/USD", "ETH/USD", "SOL/USD", "USDT/USD", "XRP/USD"]),
        ("okx", "swap", LISTS["okx", "swap"], ["BTC/USDT:USDT", "ETH/USDT:USDT"]),
    ],
)
def test_listed_symbols_are_those_of_the_file(
    replies: Path, venue: str, market: str, name: str, symbols: list[str]
) -> None:
    """Markets of the kind asked for, under their canonical names."""
    routes = {PATHS[venue, market]: (replies / name).read_bytes()}
    assert _ask(venue, market, routes, lambda it: it.list_symbols()) == symbols


def test_listing_times_are_those_of_the_file(replies: Path) -> None:
    """Binance's perpetuals and OKX say since when; Binance's spot markets do not."""

    def listed(venue: str, market: str, symbol: str) -> int | None:
        routes = {PATHS[venue, market]: (replies / LISTS[venue, market]).read_bytes()}
        listed_ns: int | None = _ask(venue, market, routes, lambda it: it.describe(symbol)).listed_ns
        return listed_ns

    assert listed("binance", "swap", "BTC/USDT:USDT") == 1_569_398_400_000 * NS_PER_MS
    assert listed("okx", "spot", "BTC/USD") == 1_733_454_000_000 * NS_PER_MS
    assert listed("binance", "spot", "ETH/BTC") is None


@pytest.mark.parametrize(
    ("venue", "path", "name", "expected_ns"),
    [
        ("binance", "/api/v3/time", f"{BINANCE}/server_time_response.json", 1_499_827_319_559 * NS_PER_MS),
        ("binance", "/api/v3/time", "binance_py/http_spot_market_time.json", 1_633_835_466_289 * NS_PER_MS),
        ("kraken", "/0/public/Time", "kraken/http_server_time.json", 1_762_820_224 * NS_PER_S),
    ],
)
def test_server_times_are_those_of_the_file(replies: Path, venue: str, path: str, name: str, expected_ns: int) -> None:
    """The venue's time is what the file says."""
    routes = {path: (replies / name).read_bytes()}
    assert _ask(venue, "spot", routes, lambda it: it.server_time_ns()) == expected_ns
