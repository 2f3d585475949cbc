"""Binance spot (https://developers.binance.com/docs/binance-spot-api-docs)."""

# ruff: noqa: D102 - `Dialect` says what each method does

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ratchet.exchanges.simulated.server.books import BookChange, BookTrade, BookView
from ratchet.exchanges.simulated.server.candle_page import CandlePage, number_texts, rows_text
from ratchet.exchanges.simulated.server.dialects.dialect import (
    NS_PER_MS,
    Ask,
    Dialect,
    Endpoint,
    Heard,
    Listing,
    Options,
    Reply,
    Stamp,
    Topic,
    bounded,
    dumps,
    message_of,
    number,
    trade_rows,
)
from ratchet.market import Timeframe
from ratchet.market.candles import PRICE_COLUMNS

_MOST_ROWS = 1_000
_MOST_LEVELS = 5_000
_WEIGHTS = {Endpoint.TIME: 1, Endpoint.MARKETS: 20, Endpoint.CANDLES: 2, Endpoint.TRADES: 4}
_CONTRACTS = ("/fapi/v1/exchangeInfo", "/dapi/v1/exchangeInfo")


class BinanceDialect(Dialect):
    """Pages of at most 1000 rows, the oldest first, times in ms; the running bar comes last.

    Depth streams carry no snapshot: it comes over HTTP, and `U` and `u` say where it fits.
    """

    name = "binance"
    unit_ns = NS_PER_MS
    is_newest_first = False
    shuts_out = True

    def market_ids(self, listing: Listing) -> tuple[str, ...]:
        return (listing.base + listing.quote,)

    def interval(self, timeframe: Timeframe) -> str:
        return timeframe.text

    def read(self, path: str, options: Options) -> Ask | None:
        market_id = options.get("symbol", "")
        match path:
            case "/api/v3/time":
                return Ask(Endpoint.TIME, path)
            case "/api/v3/exchangeInfo" | "/fapi/v1/exchangeInfo" | "/dapi/v1/exchangeInfo":
                return Ask(Endpoint.MARKETS, path)
            case "/api/v3/klines":
                limit = bounded(options, "limit", 500, _MOST_ROWS)
                return Ask(
                    Endpoint.CANDLES, path, options, market_id, options.get("interval", ""), **_window(options, limit)
                )
            case "/api/v3/aggTrades" | "/api/v3/trades" | "/api/v3/historicalTrades":
                limit = bounded(options, "limit", 500, _MOST_ROWS)
                return Ask(Endpoint.TRADES, path, options, market_id, **_window(options, limit))
            case "/api/v3/depth":
                limit = bounded(options, "limit", 100, _MOST_LEVELS)
                return Ask(Endpoint.BOOK, path, options, market_id, limit=limit)
        return None

    def weight(self, ask: Ask) -> int:
        if ask.endpoint is Endpoint.BOOK:
            return 5 if ask.limit <= 100 else 25 if ask.limit <= 500 else 50 if ask.limit <= 1_000 else 250
        return _WEIGHTS[ask.endpoint]

    def headers(self, used_weight: int) -> Mapping[str, str]:
        return {"X-MBX-USED-WEIGHT": str(used_weight), "X-MBX-USED-WEIGHT-1M": str(used_weight)}

    def time(self, ask: Ask, now_ns: int) -> str:
        return dumps({"serverTime": now_ns // NS_PER_MS})

    def markets(self, ask: Ask, listings: Sequence[Listing], now_ns: int) -> str:
        listed = [] if ask.path in _CONTRACTS else [_described(listing) for listing in listings]
        return dumps(
            {
                "timezone": "UTC",
                "serverTime": now_ns // NS_PER_MS,
                "rateLimits": [
                    {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6_000}
                ],
                "exchangeFilters": [],
                "symbols": listed,
            }
        )

    def candles(self, ask: Ask, listing: Listing, page: CandlePage, bar_ns: int, now_ns: int) -> str:
        opens = page.stamps(self.unit_ns)
        volume = page.column("volume")
        quote_volume = np.round(volume * page.column("close"), 2)
        opened, high, low, close = (number_texts(page.column(name)) for name in PRICE_COLUMNS)
        return rows_text(
            "[",
            number_texts(opens),
            *(',"', opened, '","', high, '","', low, '","', close, '","', number_texts(volume), '",'),
            number_texts(opens + (bar_ns // self.unit_ns - 1)),
            *(',"', number_texts(quote_volume), '",'),
            number_texts((volume > 0).astype(np.int64)),
            ',"0","0","0"]',  # how much the takers bought is not known
        )

    def trades(self, ask: Ask, listing: Listing, trades: pd.DataFrame, now_ns: int) -> str:
        is_aggregated = ask.path.endswith("aggTrades")
        return dumps([_trade(row, is_aggregated) for row in trade_rows(trades)])

    def book(self, ask: Ask, listing: Listing, book: BookView, now_ns: int) -> str:
        return dumps({"lastUpdateId": book.update_id, "bids": book.texts(book.bids), "asks": book.texts(book.asks)})

    def unknown_symbol(self) -> Reply:
        return Reply(dumps({"code": -1121, "msg": "Invalid symbol."}), 400)

    def bad_request(self, reason: str) -> Reply:
        return Reply(dumps({"code": -1100, "msg": f"Illegal characters found in a parameter: {reason}."}), 400)

    def too_many(self) -> Reply:
        return Reply(dumps({"code": -1003, "msg": "Too many requests; current limit of IP is exceeded."}), 429)

    def busy(self) -> Reply:
        return Reply(dumps({"code": -1003, "msg": "Too many requests queued."}))

    def hear(self, text: str) -> Heard:
        message = message_of(text)
        topics = tuple(topic for name in message.get("params", []) if (topic := _topic(str(name))))
        acknowledged = (dumps({"result": None, "id": message.get("id")}),)
        if message.get("method") == "SUBSCRIBE":
            return Heard(acknowledged, begun=topics)
        return Heard(acknowledged, ended=topics)

    def update(self, topic: Topic, listing: Listing, change: BookChange, stamp: Stamp) -> str:
        return dumps(
            {
                "e": "depthUpdate",
                "E": stamp.now_ms,
                "s": topic.market_id,
                "U": change.first_id,
                "u": change.after.update_id,
                "b": change.after.texts(change.bids),
                "a": change.after.texts(change.asks),
            }
        )

    def trade(self, topic: Topic, listing: Listing, trade: BookTrade, stamp: Stamp) -> str:
        event = topic.text.partition("@")[2]
        id_key = "a" if event == "aggTrade" else "t"
        return dumps(
            {
                "e": event,
                "E": stamp.now_ms,
                "s": topic.market_id,
                id_key: trade.trade_id,
                "p": trade.price,
                "q": trade.size,
                "T": stamp.now_ms,
                "m": not trade.is_buy,
                "M": True,
            }
        )


def _window(options: Options, limit: int) -> dict[str, Any]:
    """The last rows, unless a start is given."""
    end_ns = (number(options, "endTime", 0) + 1) * NS_PER_MS - 1 if "endTime" in options else None
    return {
        "start_ns": number(options, "startTime", 0) * NS_PER_MS,
        "end_ns": end_ns,
        "limit": limit,
        "keeps_last": "startTime" not in options,
    }


def _described(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.base + listing.quote,
        "status": "TRADING" if listing.is_active else "BREAK",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": listing.quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": listing.tick, "maxPrice": "1000000", "tickSize": listing.tick},
            {"filterType": "LOT_SIZE", "minQty": "0.00001", "maxQty": "9000", "stepSize": "0.00001"},
            {"filterType": "NOTIONAL", "minNotional": "5", "applyMinToMarket": True, "maxNotional": "9000000"},
        ],
        "permissions": ["SPOT"],
    }


def _trade(row: tuple[int, str, str, bool, str], is_aggregated: bool) -> dict[str, Any]:
    ts_ns, price, size, is_buy, text_id = row
    trade_id = int(text_id) if text_id.isdecimal() else zlib.crc32(text_id.encode())
    if is_aggregated:
        return {
            "a": trade_id,
            "p": price,
            "q": size,
            "f": trade_id,
            "l": trade_id,
            "T": ts_ns // NS_PER_MS,
            "m": not is_buy,
            "M": True,
        }
    return {
        "id": trade_id,
        "price": price,
        "qty": size,
        "time": ts_ns // NS_PER_MS,
        "isBuyerMaker": not is_buy,
        "isBestMatch": True,
    }


def _topic(name: str) -> Topic | None:
    market_id, _, channel = name.partition("@")
    endpoint = {"depth": Endpoint.BOOK, "trade": Endpoint.TRADES, "aggTrade": Endpoint.TRADES}.get(
        channel.partition("@")[0]
    )
    return Topic(endpoint, market_id.upper(), name) if endpoint else None
