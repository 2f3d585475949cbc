"""Binance: diff depth, trades and best quotes of spot, USD-M and COIN-M markets.

Formats: developers.binance.com, "WebSocket Streams" (spot) and "Websocket Market Streams" (derivatives). Messages come
bare or combined (`{"stream": ..., "data": ...}`). A REST depth reply (`lastUpdateId`) is read as a snapshot; it is
taken for the only known symbol where it names none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ratchet.exchanges.feeds.reading import Envelope, level, levels, ms_to_ns, optional_int
from ratchet.market.events import BestQuote, BookDelta, BookSnapshot, MarketEvent, TradeEvent


def read(document: Any, envelope: Envelope) -> list[MarketEvent]:
    """Return the events of a message; unknown kinds and instruments give none."""
    if not isinstance(document, dict):
        return []
    data = document.get("data", document) if "stream" in document else document
    if "lastUpdateId" in data:
        return _one(read_snapshot(data, envelope))
    symbol = envelope.symbols.get(data.get("s", ""))
    if symbol is None:
        return []
    kind = data.get("e")
    if kind is None and "u" in data and "B" in data:  # best quotes of the spot market name no kind
        kind = "bookTicker"
    reader = _READERS.get(kind)
    return [] if reader is None else _one(reader(data, symbol, envelope))


def read_snapshot(data: Any, envelope: Envelope, symbol: str | None = None) -> BookSnapshot | None:
    """Return the book of a REST depth reply; None where it cannot be told whose it is."""
    if symbol is None:
        known = envelope.symbols
        symbol = known.get(data["symbol"]) if "symbol" in data else next(iter(known.values()), None)
        if "symbol" not in data and len(known) != 1:
            return None
    if symbol is None:
        return None
    last_id = int(data["lastUpdateId"])
    return BookSnapshot(
        envelope.venue,
        symbol,
        ms_to_ns(data["T"]) if "T" in data else envelope.ts_recv_ns,
        envelope.ts_recv_ns,
        levels(data["bids"]),
        levels(data["asks"]),
        first_id=last_id,
        last_id=last_id,
    )


def _one(event: MarketEvent | None) -> list[MarketEvent]:
    return [] if event is None else [event]


def _delta(data: Any, symbol: str, envelope: Envelope) -> BookDelta:
    return BookDelta(
        envelope.venue,
        symbol,
        ms_to_ns(data.get("T", data["E"])),
        envelope.ts_recv_ns,
        levels(data["b"]),
        levels(data["a"]),
        first_id=int(data["U"]),
        last_id=int(data["u"]),
        previous_id=optional_int(data.get("pu")),
    )


def _trade(data: Any, symbol: str, envelope: Envelope) -> TradeEvent | None:
    """Return a trade; None for what the futures trade stream reports besides trades in the book (X: NA, price 0)."""
    if data.get("X", "MARKET") != "MARKET":
        return None
    price, size = level(data["p"], data["q"])
    side = -1 if data["m"] else 1
    return TradeEvent(
        envelope.venue, symbol, ms_to_ns(data["T"]), envelope.ts_recv_ns, price, size, side, str(data["t"])
    )


def _quote(data: Any, symbol: str, envelope: Envelope) -> BestQuote:
    return BestQuote(
        envelope.venue,
        symbol,
        ms_to_ns(data["T"]) if "T" in data else envelope.ts_recv_ns,
        envelope.ts_recv_ns,
        level(data["b"], data["B"]),
        level(data["a"], data["A"]),
        last_id=int(data["u"]),
    )


_READERS: dict[str | None, Callable[[Any, str, Envelope], MarketEvent | None]] = {
    "bookTicker": _quote,
    "depthUpdate": _delta,
    "trade": _trade,
}
