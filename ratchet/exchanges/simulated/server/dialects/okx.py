"""OKX v5, spot (https://www.okx.com/docs-v5/en/)."""

# ruff: noqa: D102 - `Dialect` says what each method does

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import zip_longest
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
    timeframe_text,
    trade_rows,
)
from ratchet.market import Timeframe

_BARS = {
    60: "1m",
    180: "3m",
    300: "5m",
    900: "15m",
    1_800: "30m",
    3_600: "1H",
    7_200: "2H",
    14_400: "4H",
    21_600: "6H",
    43_200: "12H",
    86_400: "1D",
    604_800: "1W",
}
_MOST_TRADES = {"/api/v5/market/trades": 500, "/api/v5/market/history-trades": 100}
_RECENT = "/api/v5/market/candles"
_LATEST_BARS = 1_440
_CHECKED_LEVELS = 25


class OkxDialect(Dialect):
    """Pages of at most 300 rows, the newest first, times in ms as strings, with a flag for closed bars.

    `after` asks for rows before a time and `before` for rows after it, both exclusive: the newest ones that qualify.
    `/market/candles` shows the running bar and 1440 bars before it, `/market/history-candles` all closed ones.
    """

    name = "okx"
    unit_ns = NS_PER_MS
    is_newest_first = True
    has_checksum = True

    def market_ids(self, listing: Listing) -> tuple[str, ...]:
        return (f"{listing.base}-{listing.quote}",)

    def interval(self, timeframe: Timeframe) -> str:
        return timeframe_text(timeframe, _BARS)

    def read(self, path: str, options: Options) -> Ask | None:
        market_id = options.get("instId", "")
        match path:
            case "/api/v5/public/time":
                return Ask(Endpoint.TIME, path)
            case "/api/v5/public/instruments":
                return Ask(Endpoint.MARKETS, path, options)
            case "/api/v5/market/candles" | "/api/v5/market/history-candles":
                bar = options.get("bar", "1m").removesuffix("utc")
                window = _window(options, bounded(options, "limit", 100, 300))
                is_recent = path == _RECENT
                return Ask(
                    Endpoint.CANDLES, path, options, market_id, bar, **window,
                    has_running_bar=is_recent, latest_bars=_LATEST_BARS if is_recent else None,
                )  # fmt: skip
            case "/api/v5/market/trades" | "/api/v5/market/history-trades":
                is_by_time = path.endswith("history-trades") and options.get("type") == "2"
                window = _window(options if is_by_time else {}, bounded(options, "limit", 100, _MOST_TRADES[path]))
                return Ask(Endpoint.TRADES, path, options, market_id, **window)
            case "/api/v5/market/books" | "/api/v5/market/books-full":
                limit = bounded(options, "sz", 1, 400)
                return Ask(Endpoint.BOOK, path, options, market_id, limit=limit)
        return None

    def time(self, ask: Ask, now_ns: int) -> str:
        return _answer([{"ts": str(now_ns // NS_PER_MS)}])

    def markets(self, ask: Ask, listings: Sequence[Listing], now_ns: int) -> str:
        is_spot = ask.options.get("instType") == "SPOT"
        return _answer([_described(listing) for listing in listings] if is_spot else [])

    def candles(self, ask: Ask, listing: Listing, page: CandlePage, bar_ns: int, now_ns: int) -> str:
        texts = [number_texts(page.column(name)) for name in ("open", "high", "low", "close", "volume")]
        turnover = number_texts((page.column("volume") * page.column("close")).round(2))
        flags = number_texts(page.is_closed.astype(np.int64))
        pieces = [piece for text in (*texts, turnover, turnover, flags) for piece in ('","', text)]
        rows = rows_text('["', number_texts(page.stamps(self.unit_ns)), *pieces, '"]')
        return f'{{"code":"0","msg":"","data":{rows}}}'

    def trades(self, ask: Ask, listing: Listing, trades: pd.DataFrame, now_ns: int) -> str:
        return _answer(
            [
                {
                    "instId": ask.market_id,
                    "side": "buy" if is_buy else "sell",
                    "sz": size,
                    "px": price,
                    "tradeId": trade_id,
                    "ts": str(ts_ns // NS_PER_MS),
                }
                for ts_ns, price, size, is_buy, trade_id in reversed(trade_rows(trades))
            ]
        )

    def book(self, ask: Ask, listing: Listing, book: BookView, now_ns: int) -> str:
        return _answer([{**_levels(book, book), "ts": str(now_ns // NS_PER_MS), "seqId": book.update_id}])

    def unknown_symbol(self) -> Reply:
        return _refusal("51001", "Instrument ID, Instrument ID code, or Spread ID doesn't exist.")

    def bad_request(self, reason: str) -> Reply:
        return Reply(_refusal("51000", f"Parameter error: {reason}").body, 400)

    def too_many(self) -> Reply:
        return Reply(_refusal("50011", "Too Many Requests").body, 429)

    def busy(self) -> Reply:
        return _refusal("50013", "Systems are busy. Please try again later.")

    def hear(self, text: str) -> Heard:
        if text == "ping":
            return Heard(("pong",))
        message = message_of(text)
        operation = message.get("op")
        arguments = [argument for argument in message.get("args", []) if isinstance(argument, dict)]
        topics = tuple(topic for argument in arguments if (topic := _topic(argument)))
        replies = tuple(dumps({"event": operation, "arg": argument, "connId": "a4d3ae55"}) for argument in arguments)
        return Heard(replies, begun=topics) if operation == "subscribe" else Heard(replies, ended=topics)

    def snapshot(self, topic: Topic, listing: Listing, book: BookView, stamp: Stamp) -> str | None:
        return _message(topic, "snapshot", book, book, -1, stamp)

    def update(self, topic: Topic, listing: Listing, change: BookChange, stamp: Stamp) -> str:
        return _message(topic, "update", change, change.after, change.before.update_id, stamp)

    def trade(self, topic: Topic, listing: Listing, trade: BookTrade, stamp: Stamp) -> str:
        row = {
            "instId": topic.market_id,
            "tradeId": str(trade.trade_id),
            "px": trade.price,
            "sz": trade.size,
            "side": "buy" if trade.is_buy else "sell",
            "ts": str(stamp.now_ms),
            "count": "1",
        }
        return dumps({"arg": {"channel": topic.text, "instId": topic.market_id}, "data": [row]})


def checksum(book: BookView) -> int:
    """Return OKX's checksum of a book: CRC32, signed, of `price:size` of bid and ask in turn, 25 levels a side."""
    sides = (book.texts(book.bids[:_CHECKED_LEVELS]), book.texts(book.asks[:_CHECKED_LEVELS]))
    parts = [f"{price}:{size}" for pair in zip_longest(*sides) for level in pair if level for price, size in [level]]
    unsigned = zlib.crc32(":".join(parts).encode())
    return unsigned - 2**32 if unsigned >= 2**31 else unsigned


def _window(options: Options, limit: int) -> dict[str, Any]:
    start_ns = (number(options, "before", -1) + 1) * NS_PER_MS
    end_ns = number(options, "after", 0) * NS_PER_MS - 1 if "after" in options else None
    return {"start_ns": start_ns, "end_ns": end_ns, "limit": limit, "keeps_last": True}


def _answer(data: Any) -> str:
    return dumps({"code": "0", "msg": "", "data": data})


def _refusal(code: str, reason: str) -> Reply:
    return Reply(dumps({"code": code, "msg": reason, "data": []}))


def _described(listing: Listing) -> dict[str, Any]:
    return {
        **dict.fromkeys(("alias", "ctMult", "ctType", "ctVal", "ctValCcy", "expTime", "lever", "optType"), ""),
        **dict.fromkeys(("settleCcy", "stk", "uly", "instFamily"), ""),
        "baseCcy": listing.base,
        "quoteCcy": listing.quote,
        "category": "1",
        "instId": f"{listing.base}-{listing.quote}",
        "instType": "SPOT",
        "listTime": str((listing.listed_ns or 0) // NS_PER_MS),
        "lotSz": "0.00000001",
        "minSz": "0.00001",
        "maxMktSz": "1000000",
        "state": "live" if listing.is_active else "suspend",
        "tickSz": listing.tick,
    }


def _levels(levels: BookView | BookChange, book: BookView) -> dict[str, Any]:
    return {
        side: [[price, size, "0", "1"] for price, size in book.texts(changed)]
        for side, changed in (("asks", levels.asks), ("bids", levels.bids))
    }


def _message(
    topic: Topic, action: str, levels: BookView | BookChange, book: BookView, previous_id: int, stamp: Stamp
) -> str:
    entry = {
        **_levels(levels, book),
        "ts": str(stamp.now_ms),
        "checksum": checksum(book) + stamp.checksum_error,
        "prevSeqId": previous_id,
        "seqId": book.update_id,
    }
    return dumps({"arg": {"channel": topic.text, "instId": topic.market_id}, "action": action, "data": [entry]})


def _topic(argument: dict[str, Any]) -> Topic | None:
    channel, market_id = str(argument.get("channel")), str(argument.get("instId"))
    endpoint = {"books": Endpoint.BOOK, "trades": Endpoint.TRADES}.get(channel)
    return Topic(endpoint, market_id, channel, 400) if endpoint else None
