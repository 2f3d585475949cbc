"""From a venue's name to the function that reads its messages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ratchet.errors import InputError
from ratchet.exchanges.feeds import binance, bybit, coinbase, kraken, okx
from ratchet.exchanges.feeds.reading import Envelope, read_json, unreadable
from ratchet.market.events import MarketEvent, RawMessage

_READERS: dict[str, Callable[[Any, Envelope], list[MarketEvent]]] = {
    "binance": binance.read,
    "bybit": bybit.read,
    "coinbase": coinbase.read,
    "kraken": kraken.read,
    "okx": okx.read,
}
_PLAIN_TEXT = {"ping", "pong"}
_HEAD = 400
_MARKET_DATA = {
    "binance": re.compile(r'"e"\s*:\s*"(depthUpdate|trade|bookTicker)"'),
    "bybit": re.compile(r'"topic"\s*:\s*"(orderbook|publicTrade)\.'),
    "coinbase": re.compile(r'"channel"\s*:\s*"(l2_data|market_trades)"'),
    "kraken": re.compile(r'"channel"\s*:\s*"(book|trade)"\s*,\s*"(type|data)"'),
    "okx": re.compile(r'"channel"\s*:\s*"(books|trades).*"data"\s*:', re.DOTALL),
}


def feed_parser(venue: str, symbols: Mapping[str, str]) -> Callable[[RawMessage], list[MarketEvent]]:
    """Return the parser of a venue's messages: a pure function that can be called from any thread.

    Control messages, channels and instruments that were not asked for give an empty list. The parser raises
    `InputError`, with the venue and a cut of the text, for what does not fit the venue's format.

    Args:
        venue: `binance`, `bybit`, `coinbase`, `kraken` or `okx`; a market can follow, as in `binance-swap`.
        symbols: the venue's id of an instrument -> symbol, for example `{"BTCUSDT": "BTC/USDT"}`.

    Raises:
        InputError: the venue is not known.
    """
    read = _READERS.get(venue.partition("-")[0])
    if read is None:
        raise InputError(f"{venue}: no such venue; its messages can be read of {', '.join(_READERS)}")

    def parse(message: RawMessage) -> list[MarketEvent]:
        if message.text in _PLAIN_TEXT:
            return []
        try:
            return read(read_json(message.text), Envelope(venue, symbols, message.ts_recv_ns))
        except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError) as error:
            raise unreadable(venue, message.text, error) from error

    return parse


def is_market_data(venue: str, text: str) -> bool:
    """Tell by its beginning whether a message carries a book or trades; a cheap guess that needs no parsing.

    >>> is_market_data("kraken", '{"channel":"heartbeat"}')
    False
    """
    return _MARKET_DATA[venue].search(text[:_HEAD]) is not None
