"""Coinbase Advanced Trade (https://docs.cdp.coinbase.com/api-reference/advanced-trade-api)."""

# ruff: noqa: D102 - `Dialect` says what each method does

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ratchet.clock import NS_PER_S, iso_utc
from ratchet.exchanges.simulated.server.books import BookChange, BookTrade, BookView
from ratchet.exchanges.simulated.server.candle_page import CandlePage, number_texts, rows_text
from ratchet.exchanges.simulated.server.dialects.dialect import (
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
    iso_micros,
    message_of,
    number,
    timeframe_text,
    trade_rows,
)
from ratchet.market import Timeframe

_PRODUCTS = "/api/v3/brokerage/market/products"
_GRANULARITIES = {
    60: "ONE_MINUTE",
    300: "FIVE_MINUTE",
    900: "FIFTEEN_MINUTE",
    1_800: "THIRTY_MINUTE",
    3_600: "ONE_HOUR",
    7_200: "TWO_HOUR",
    21_600: "SIX_HOUR",
    86_400: "ONE_DAY",
}
_SECONDS = {name: seconds for seconds, name in _GRANULARITIES.items()}
_MOST_BARS = 350
_LISTS = ("/v2/currencies", "/v2/currencies/crypto", "/v2/exchange-rates", _PRODUCTS)
_CHANNELS = {"level2": Endpoint.BOOK, "market_trades": Endpoint.TRADES}


class CoinbaseDialect(Dialect):
    """At most 350 bars between `start` and `end` in seconds, the newest first; bars without trades are left out.

    A request for a longer time is refused. Streams count their messages (`sequence_num`), one count per connection.
    """

    name = "coinbase"
    unit_ns = NS_PER_S
    is_newest_first = True
    leaves_out_quiet_bars = True

    def market_ids(self, listing: Listing) -> tuple[str, ...]:
        return (f"{listing.base}-{listing.quote}",)

    def interval(self, timeframe: Timeframe) -> str:
        return timeframe_text(timeframe, _GRANULARITIES)

    def read(self, path: str, options: Options) -> Ask | None:
        if path in {"/v2/time", "/api/v3/brokerage/time"}:
            return Ask(Endpoint.TIME, path)
        if path in _LISTS:
            return Ask(Endpoint.MARKETS, path, options)
        if path == "/api/v3/brokerage/market/product_book":
            limit = bounded(options, "limit", 100, 500)
            return Ask(Endpoint.BOOK, path, options, options.get("product_id", ""), limit=limit)
        market_id, _, leaf = path.removeprefix(f"{_PRODUCTS}/").partition("/")
        if leaf == "candles":
            granularity = options.get("granularity", "")
            return Ask(Endpoint.CANDLES, path, options, market_id, granularity, **_bar_window(options, granularity))
        if leaf == "ticker":
            limit = bounded(options, "limit", 100, 1_000)
            return Ask(Endpoint.TRADES, path, options, market_id, **_window(options), limit=limit, keeps_last=True)
        return None

    def time(self, ask: Ask, now_ns: int) -> str:
        if ask.path.startswith("/v2"):
            return dumps({"data": {"iso": iso_utc(now_ns), "epoch": now_ns // NS_PER_S}})
        seconds, millis = str(now_ns // NS_PER_S), str(now_ns // 1_000_000)
        return dumps({"iso": iso_utc(now_ns), "epochSeconds": seconds, "epochMillis": millis})

    def markets(self, ask: Ask, listings: Sequence[Listing], now_ns: int) -> str:
        match ask.path:
            case "/v2/currencies":
                return dumps({"data": [{"id": "USD", "name": "US Dollar", "min_size": "0.01"}]})
            case "/v2/currencies/crypto":
                names = sorted({name for listing in listings for name in (listing.base, listing.quote)} - {"USD"})
                return dumps({"data": [_asset(name) for name in names]})
            case "/v2/exchange-rates":
                return dumps({"data": {"currency": "USD", "rates": {"USD": "1"}}})
        is_spot = ask.options.get("product_type", "SPOT") == "SPOT"
        products = [_described(listing) for listing in listings] if is_spot else []
        return dumps({"products": products, "num_products": len(products)})

    def candles(self, ask: Ask, listing: Listing, page: CandlePage, bar_ns: int, now_ns: int) -> str:
        pieces: list[Any] = []
        for name in ("low", "high", "open", "close", "volume"):
            pieces += [f'","{name}":"', number_texts(page.column(name))]
        rows = rows_text('{"start":"', number_texts(page.stamps(self.unit_ns)), *pieces, '"}')
        return f'{{"candles":{rows}}}'

    def trades(self, ask: Ask, listing: Listing, trades: pd.DataFrame, now_ns: int) -> str:
        rows = [
            {
                "trade_id": trade_id,
                "product_id": ask.market_id,
                "price": price,
                "size": size,
                "time": iso_micros(ts_ns),
                "side": _maker_side(is_buy),
                "bid": "",
                "ask": "",
            }
            for ts_ns, price, size, is_buy, trade_id in reversed(trade_rows(trades))
        ]
        return dumps({"trades": rows, "best_bid": "", "best_ask": ""})

    def book(self, ask: Ask, listing: Listing, book: BookView, now_ns: int) -> str:
        sides = {
            side: [{"price": price, "size": size} for price, size in book.texts(levels)]
            for side, levels in (("bids", book.bids), ("asks", book.asks))
        }
        return dumps({"pricebook": {"product_id": ask.market_id, **sides, "time": iso_micros(now_ns)}})

    def unknown_symbol(self) -> Reply:
        return _refusal("NOT_FOUND", "valid product_id is required", 404)

    def bad_request(self, reason: str) -> Reply:
        return _refusal("INVALID_ARGUMENT", reason, 400)

    def too_many(self) -> Reply:
        return _refusal("RESOURCE_EXHAUSTED", "too many requests", 429)

    def busy(self) -> Reply:
        return _refusal("UNAVAILABLE", "service is busy", 200)

    def hear(self, text: str) -> Heard:
        message = message_of(text)
        channel = str(message.get("channel"))
        endpoint = _CHANNELS.get(channel)
        names = [str(name) for name in message.get("product_ids", [])]
        topics = tuple(Topic(endpoint, name, channel) for name in names) if endpoint else ()
        return Heard(begun=topics) if message.get("type") == "subscribe" else Heard(ended=topics)

    def snapshot(self, topic: Topic, listing: Listing, book: BookView, stamp: Stamp) -> str | None:
        return _book_message(topic, "snapshot", book, book, stamp)

    def update(self, topic: Topic, listing: Listing, change: BookChange, stamp: Stamp) -> str:
        return _book_message(topic, "update", change, change.after, stamp)

    def trade(self, topic: Topic, listing: Listing, trade: BookTrade, stamp: Stamp) -> str:
        row = {
            "trade_id": str(trade.trade_id),
            "product_id": topic.market_id,
            "price": trade.price,
            "size": trade.size,
            "side": _maker_side(trade.is_buy),
            "time": iso_micros(stamp.now_ns),
        }
        return _message("market_trades", {"type": "update", "trades": [row]}, stamp)


def _window(options: Options) -> dict[str, Any]:
    end_ns = (number(options, "end", 0) + 1) * NS_PER_S - 1 if "end" in options else None
    return {"start_ns": number(options, "start", 0) * NS_PER_S, "end_ns": end_ns}


def _bar_window(options: Options, granularity: str) -> dict[str, Any]:
    bars = (number(options, "end", 0) - number(options, "start", 0)) // _SECONDS.get(granularity, 1)
    if bars > _MOST_BARS:
        raise ValueError(f"number of candles requested should be less than {_MOST_BARS}")
    return {**_window(options), "limit": bounded(options, "limit", _MOST_BARS, _MOST_BARS), "keeps_last": True}


def _refusal(code: str, reason: str, status: int) -> Reply:
    return Reply(dumps({"error": code, "error_details": reason, "message": reason}), status)


def _asset(name: str) -> dict[str, str]:
    return {"asset_id": f"00000000-{name}", "code": name, "name": name.title(), "exponent": "8", "type": "crypto"}


def _described(listing: Listing) -> dict[str, Any]:
    return {
        "product_id": f"{listing.base}-{listing.quote}",
        "base_increment": "0.00000001",
        "quote_increment": listing.tick,
        "price_increment": listing.tick,
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_min_size": "0.00000001",
        "base_max_size": "3400",
        "base_name": listing.base,
        "quote_name": listing.quote,
        "is_disabled": False,
        "status": "online",
        "trading_disabled": not listing.is_active,
        "product_type": "SPOT",
        "alias": "",
        "alias_to": [],
        "quote_currency_id": listing.quote,
        "base_currency_id": listing.base,
        "product_venue": "CBE",
    }


def _maker_side(is_buy: bool) -> str:
    """Return the side that the venue names: that of the order which was there first."""
    return "SELL" if is_buy else "BUY"


def _book_message(topic: Topic, kind: str, levels: BookView | BookChange, book: BookView, stamp: Stamp) -> str:
    time = iso_micros(stamp.now_ns)
    updates = [
        {"side": side, "event_time": time, "price_level": price, "new_quantity": size}
        for side, changed in (("bid", levels.bids), ("offer", levels.asks))
        for price, size in book.texts(changed)
    ]
    return _message("l2_data", {"type": kind, "product_id": topic.market_id, "updates": updates}, stamp)


def _message(channel: str, event: dict[str, Any], stamp: Stamp) -> str:
    head = {"channel": channel, "client_id": "", "timestamp": iso_micros(stamp.now_ns), "sequence_num": stamp.number}
    return dumps({**head, "events": [event]})
