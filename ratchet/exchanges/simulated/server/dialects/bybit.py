"""Bybit v5, spot (https://bybit-exchange.github.io/docs/v5/intro)."""

# ruff: noqa: D102 - `Dialect` says what each method does

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ratchet.clock import NS_PER_S
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
    timeframe_text,
    trade_rows,
)
from ratchet.market import Timeframe

_INTERVALS = {
    **{minutes * 60: str(minutes) for minutes in (1, 3, 5, 15, 30, 60, 120, 240, 360, 720)},
    86_400: "D",
    604_800: "W",
}


class BybitDialect(Dialect):
    """Pages of at most 1000 rows, the newest first, times in ms as strings; errors come with status 200.

    With `start` and `end`, the newest rows between them; with `start` alone, the first ones after it.
    """

    name = "bybit"
    unit_ns = NS_PER_MS
    is_newest_first = True

    def market_ids(self, listing: Listing) -> tuple[str, ...]:
        return (listing.base + listing.quote,)

    def interval(self, timeframe: Timeframe) -> str:
        return timeframe_text(timeframe, _INTERVALS)

    def read(self, path: str, options: Options) -> Ask | None:
        market_id = options.get("symbol", "")
        match path:
            case "/v5/market/time":
                return Ask(Endpoint.TIME, path)
            case "/v5/market/instruments-info":
                return Ask(Endpoint.MARKETS, path, options)
            case "/v5/market/kline":
                interval = options.get("interval", "")
                return Ask(Endpoint.CANDLES, path, options, market_id, interval, **_window(options))
            case "/v5/market/recent-trade":
                limit = bounded(options, "limit", 60, 60)
                return Ask(Endpoint.TRADES, path, options, market_id, limit=limit, keeps_last=True)
            case "/v5/market/orderbook":
                limit = bounded(options, "limit", 1, 200)
                return Ask(Endpoint.BOOK, path, options, market_id, limit=limit)
        return None

    def time(self, ask: Ask, now_ns: int) -> str:
        return _answer({"timeSecond": str(now_ns // NS_PER_S), "timeNano": str(now_ns)}, now_ns)

    def markets(self, ask: Ask, listings: Sequence[Listing], now_ns: int) -> str:
        category = ask.options.get("category", "spot")
        listed = [_described(listing) for listing in listings] if category == "spot" else []
        return _answer({"category": category, "list": listed, "nextPageCursor": ""}, now_ns)

    def candles(self, ask: Ask, listing: Listing, page: CandlePage, bar_ns: int, now_ns: int) -> str:
        texts = [number_texts(page.column(name)) for name in ("open", "high", "low", "close", "volume")]
        turnover = number_texts((page.column("volume") * page.column("close")).round(2))
        pieces = [piece for text in (*texts, turnover) for piece in ('","', text)]
        rows = rows_text('["', number_texts(page.stamps(self.unit_ns)), *pieces, '"]')
        head = _answer({"category": "spot", "symbol": ask.market_id, "list": []}, now_ns)
        return head.replace('"list":[]', f'"list":{rows}', 1)

    def trades(self, ask: Ask, listing: Listing, trades: pd.DataFrame, now_ns: int) -> str:
        rows = [
            {
                "execId": trade_id,
                "symbol": ask.market_id,
                "price": price,
                "size": size,
                "side": "Buy" if is_buy else "Sell",
                "time": str(ts_ns // NS_PER_MS),
                "isBlockTrade": False,
            }
            for ts_ns, price, size, is_buy, trade_id in reversed(trade_rows(trades))
        ]
        return _answer({"category": "spot", "list": rows}, now_ns)

    def book(self, ask: Ask, listing: Listing, book: BookView, now_ns: int) -> str:
        return _answer({**_levels(ask.market_id, book, book), "ts": now_ns // NS_PER_MS}, now_ns)

    def unknown_symbol(self) -> Reply:
        return _refusal(10001, "params error: Symbol Invalid")

    def bad_request(self, reason: str) -> Reply:
        return _refusal(10001, f"params error: {reason}")

    def too_many(self) -> Reply:
        return Reply(_refusal(10006, "Too many visits. Exceeded the API Rate Limit.").body, 403)

    def busy(self) -> Reply:
        return _refusal(10016, "Server error: the service is busy, try again later.")

    def hear(self, text: str) -> Heard:
        message = message_of(text)
        operation, number_text = message.get("op"), str(message.get("req_id", ""))
        if operation == "ping":
            return Heard((dumps({"success": True, "ret_msg": "pong", "req_id": number_text, "op": "ping"}),))
        topics = tuple(topic for name in message.get("args", []) if (topic := _topic(str(name))))
        replies = (dumps({"success": True, "ret_msg": "", "req_id": number_text, "op": operation}),)
        return Heard(replies, begun=topics) if operation == "subscribe" else Heard(replies, ended=topics)

    def snapshot(self, topic: Topic, listing: Listing, book: BookView, stamp: Stamp) -> str | None:
        return _message(topic, "snapshot", _levels(topic.market_id, book, book), stamp)

    def update(self, topic: Topic, listing: Listing, change: BookChange, stamp: Stamp) -> str:
        return _message(topic, "delta", _levels(topic.market_id, change, change.after), stamp)

    def trade(self, topic: Topic, listing: Listing, trade: BookTrade, stamp: Stamp) -> str:
        row = {
            "T": stamp.now_ms,
            "s": topic.market_id,
            "S": "Buy" if trade.is_buy else "Sell",
            "v": trade.size,
            "p": trade.price,
            "L": "PlusTick",
            "i": str(trade.trade_id),
            "BT": False,
        }
        return _message(topic, "snapshot", [row], stamp)


def _window(options: Options) -> dict[str, Any]:
    has_start, has_end = "start" in options, "end" in options
    return {
        "start_ns": number(options, "start", 0) * NS_PER_MS,
        "end_ns": (number(options, "end", 0) + 1) * NS_PER_MS - 1 if has_end else None,
        "limit": bounded(options, "limit", 200, 1_000),
        "keeps_last": has_end or not has_start,
    }


def _answer(result: Any, now_ns: int) -> str:
    return dumps({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ns // NS_PER_MS})


def _refusal(code: int, reason: str) -> Reply:
    return Reply(dumps({"retCode": code, "retMsg": reason, "result": {}, "retExtInfo": {}, "time": 0}))


def _described(listing: Listing) -> dict[str, Any]:
    return {
        "symbol": listing.base + listing.quote,
        "baseCoin": listing.base,
        "quoteCoin": listing.quote,
        "innovation": "0",
        "status": "Trading" if listing.is_active else "Closed",
        "marginTrading": "none",
        "lotSizeFilter": {
            "basePrecision": "0.000001",
            "quotePrecision": "0.0000001",
            "minOrderQty": "0.00001",
            "maxOrderQty": "1000",
            "minOrderAmt": "1",
            "maxOrderAmt": "8000000",
        },
        "priceFilter": {"tickSize": listing.tick},
    }


def _levels(market_id: str, levels: BookView | BookChange, book: BookView) -> dict[str, Any]:
    return {
        "s": market_id,
        "b": book.texts(levels.bids),
        "a": book.texts(levels.asks),
        "u": book.n_steps,  # grows by one with each message of a topic
        "seq": book.update_id,
    }


def _message(topic: Topic, kind: str, data: Any, stamp: Stamp) -> str:
    return dumps({"topic": topic.text, "type": kind, "ts": stamp.now_ms, "data": data, "cts": stamp.now_ms})


def _topic(name: str) -> Topic | None:
    match name.split("."):
        case ["orderbook", depth, market_id] if depth.isdecimal():
            return Topic(Endpoint.BOOK, market_id, name, int(depth))
        case ["publicTrade", market_id]:
            return Topic(Endpoint.TRADES, market_id, name)
    return None
