"""Kraken spot: REST (https://docs.kraken.com/api/docs/rest-api) and WebSocket v2."""

# ruff: noqa: D102 - `Dialect` says what each method does

from __future__ import annotations

import zlib
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import pandas as pd

from ratchet.clock import NS_PER_S
from ratchet.exchanges.simulated.server.books import BookChange, BookTrade, BookView, Level
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

_INTERVALS = {minutes * 60: str(minutes) for minutes in (1, 5, 15, 30, 60, 240, 1_440, 10_080, 21_600)}
_LATEST_BARS = 720
_LARGEST_SECONDS = 10**11  # a larger `since` of trades is in ns
_CHECKED_LEVELS = 10
_ALIASES = {"BTC": "XBT", "DOGE": "XDG"}
_ASSET_IDS = {
    "BTC": "XXBT",
    "ETH": "XETH",
    "XRP": "XXRP",
    "LTC": "XLTC",
    "DOGE": "XXDG",
    "USD": "ZUSD",
    "EUR": "ZEUR",
    "GBP": "ZGBP",
    "JPY": "ZJPY",
}


class KrakenDialect(Dialect):
    """The latest 720 bars whatever is asked, the oldest first, the running one last, times in seconds.

    `since` is exclusive. Every answer has status 200; errors are a list. Assets have names of their own, such as XBT.
    """

    name = "kraken"
    unit_ns = NS_PER_S
    is_newest_first = False
    has_checksum = True

    def market_ids(self, listing: Listing) -> tuple[str, ...]:
        official, short = _pair_id(listing), _alias(listing.base) + _alias(listing.quote)
        return (official, short, f"{_alias(listing.base)}/{_alias(listing.quote)}", listing.symbol)

    def interval(self, timeframe: Timeframe) -> str:
        return timeframe_text(timeframe, _INTERVALS)

    def read(self, path: str, options: Options) -> Ask | None:
        market_id = options.get("pair", "")
        match path:
            case "/0/public/Time":
                return Ask(Endpoint.TIME, path)
            case "/0/public/Assets" | "/0/public/AssetPairs":
                return Ask(Endpoint.MARKETS, path)
            case "/0/public/OHLC":
                return Ask(
                    Endpoint.CANDLES, path, options, market_id, options.get("interval", "1"),
                    start_ns=(number(options, "since", -1) + 1) * NS_PER_S, limit=_LATEST_BARS, keeps_last=True,
                )  # fmt: skip
            case "/0/public/Trades":
                return Ask(
                    Endpoint.TRADES, path, options, market_id, start_ns=_trades_since_ns(options),
                    limit=bounded(options, "count", 1_000, 1_000), keeps_last="since" not in options,
                )  # fmt: skip
            case "/0/public/Depth":
                return Ask(Endpoint.BOOK, path, options, market_id, limit=bounded(options, "count", 100, 500))
        return None

    def time(self, ask: Ask, now_ns: int) -> str:
        seconds = now_ns // NS_PER_S
        return _answer({"unixtime": seconds, "rfc1123": formatdate(seconds, usegmt=True)})

    def markets(self, ask: Ask, listings: Sequence[Listing], now_ns: int) -> str:
        if ask.path.endswith("AssetPairs"):
            return _answer({_pair_id(listing): _described(listing) for listing in listings})
        names = {name for listing in listings for name in (listing.base, listing.quote)}
        return _answer(
            {
                _ASSET_IDS.get(name, name): {
                    "aclass": "currency",
                    "altname": _alias(name),
                    "decimals": 10,
                    "display_decimals": 8,
                    "status": "enabled",
                }
                for name in sorted(names)
            }
        )

    def candles(self, ask: Ask, listing: Listing, page: CandlePage, bar_ns: int, now_ns: int) -> str:
        opened, high, low, close, volume = (
            number_texts(page.column(name)) for name in ("open", "high", "low", "close", "volume")
        )
        pieces = [piece for text in (opened, high, low, close, close, volume) for piece in ('"', text, '",')]
        rows = rows_text("[", number_texts(page.stamps(self.unit_ns)), ",", *pieces, "1]")
        closed = page.ts_ns[page.is_closed]
        last = int(closed[-1]) // NS_PER_S if len(closed) else 0
        return f'{{"error":[],"result":{{"{_pair_id(listing)}":{rows},"last":{last}}}}}'

    def trades(self, ask: Ask, listing: Listing, trades: pd.DataFrame, now_ns: int) -> str:
        rows = trade_rows(trades)
        listed = [
            [price, size, ts_ns / NS_PER_S, "b" if is_buy else "s", "m", "", _number_of(trade_id)]
            for ts_ns, price, size, is_buy, trade_id in rows
        ]
        last = rows[-1][0] if rows else ask.start_ns
        return _answer({_pair_id(listing): listed, "last": str(last)})

    def book(self, ask: Ask, listing: Listing, book: BookView, now_ns: int) -> str:
        seconds = now_ns // NS_PER_S
        sides = {
            side: [[price, size, seconds] for price, size in book.texts(levels)]
            for side, levels in (("asks", book.asks), ("bids", book.bids))
        }
        return _answer({_pair_id(listing): sides})

    def unknown_symbol(self) -> Reply:
        return _refusal("EQuery:Unknown asset pair")

    def bad_request(self, reason: str) -> Reply:
        return _refusal("EGeneral:Invalid arguments")

    def too_many(self) -> Reply:
        return _refusal("EAPI:Rate limit exceeded")

    def busy(self) -> Reply:
        return _refusal("EService:Busy")

    def hear(self, text: str) -> Heard:
        message = message_of(text)
        method, parameters = message.get("method"), message.get("params", {})
        if method == "ping":
            return Heard((dumps({"method": "pong", "req_id": message.get("req_id")}),))
        channel, depth = str(parameters.get("channel")), int(str(parameters.get("depth", 10)))
        endpoint = {"book": Endpoint.BOOK, "trade": Endpoint.TRADES}.get(channel)
        symbols = [str(symbol) for symbol in parameters.get("symbol", [])]
        topics = tuple(Topic(endpoint, symbol, channel, depth) for symbol in symbols) if endpoint else ()
        replies = tuple(
            dumps({"method": method, "result": {"channel": channel, "symbol": symbol}, "success": True})
            for symbol in symbols
        )
        return Heard(replies, begun=topics) if method == "subscribe" else Heard(replies, ended=topics)

    def snapshot(self, topic: Topic, listing: Listing, book: BookView, stamp: Stamp) -> str | None:
        return _message(listing, "snapshot", (book.bids, book.asks), book, stamp)

    def update(self, topic: Topic, listing: Listing, change: BookChange, stamp: Stamp) -> str:
        return _message(listing, "update", (change.bids, change.asks), change.after, stamp)

    def trade(self, topic: Topic, listing: Listing, trade: BookTrade, stamp: Stamp) -> str:
        side = "buy" if trade.is_buy else "sell"
        return (
            f'{{"channel":"trade","type":"update","data":[{{"symbol":"{listing.symbol}","side":"{side}",'
            f'"price":{trade.price},"qty":{trade.size},"ord_type":"market","trade_id":{trade.trade_id},'
            f'"timestamp":"{iso_micros(stamp.now_ns)}"}}]}}'
        )


def checksum(book: BookView) -> int:
    """Return Kraken's checksum of a book: CRC32 of the digits of 10 asks and 10 bids, without point and zeros before.

    Source: https://docs.kraken.com/api/docs/guides/spot-ws-book-v2
    """
    levels = (*book.asks[:_CHECKED_LEVELS], *book.bids[:_CHECKED_LEVELS])
    digits = (text.replace(".", "").lstrip("0") for level in book.texts(levels) for text in level)
    return zlib.crc32("".join(digits).encode())


def _trades_since_ns(options: Options) -> int:
    whole, _, _ = options.get("since", "0").partition(".")
    since = int(whole)
    return since * NS_PER_S if since < _LARGEST_SECONDS else since + 1


def _alias(name: str) -> str:
    return _ALIASES.get(name, name)


def _pair_id(listing: Listing) -> str:
    base_id, quote_id = _ASSET_IDS.get(listing.base, listing.base), _ASSET_IDS.get(listing.quote, listing.quote)
    if base_id.startswith("X") and quote_id.startswith("Z"):
        return base_id + quote_id
    return _alias(listing.base) + _alias(listing.quote)


def _number_of(trade_id: str) -> int:
    return int(trade_id) if trade_id.isdecimal() else zlib.crc32(trade_id.encode())


def _answer(result: Any) -> str:
    return dumps({"error": [], "result": result})


def _refusal(reason: str) -> Reply:
    return Reply(dumps({"error": [reason]}))


def _described(listing: Listing) -> dict[str, Any]:
    base, quote = _alias(listing.base), _alias(listing.quote)
    return {
        "altname": base + quote,
        "wsname": f"{base}/{quote}",
        "aclass_base": "currency",
        "base": _ASSET_IDS.get(listing.base, listing.base),
        "aclass_quote": "currency",
        "quote": _ASSET_IDS.get(listing.quote, listing.quote),
        "lot": "unit",
        "cost_decimals": 5,
        "pair_decimals": listing.decimals,
        "lot_decimals": 8,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, 0.4]],
        "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD",
        "margin_call": 80,
        "margin_stop": 40,
        "ordermin": "0.00005",
        "costmin": "0.5",
        "tick_size": listing.tick,
        "status": "online" if listing.is_active else "cancel_only",
    }


def _message(
    listing: Listing, kind: str, changed: tuple[tuple[Level, ...], tuple[Level, ...]], book: BookView, stamp: Stamp
) -> str:
    """Prices and sizes are numbers with all their decimals, because the checksum is made of their digits."""
    bids, asks = (
        ",".join(f'{{"price":{price},"qty":{size}}}' for price, size in book.texts(levels)) for levels in changed
    )
    checked = (checksum(book) + stamp.checksum_error) % 2**32
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{listing.symbol}","bids":[{bids}],"asks":[{asks}],'
        f'"checksum":{checked},"timestamp":"{iso_micros(stamp.now_ns)}"}}]}}'
    )
