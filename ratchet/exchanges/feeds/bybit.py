"""Bybit v5: `orderbook.<depth>.<symbol>` and `publicTrade.<symbol>`.

Formats: bybit-exchange.github.io/docs/v5/websocket/public/orderbook and /trade. `u` grows by one with each delta; after
a restart of the service a snapshot comes whose `u` is 1. `cts` is the matching engine's time.
"""

from __future__ import annotations

from typing import Any

from ratchet.exchanges.feeds.reading import Envelope, level, levels, ms_to_ns
from ratchet.market.events import BookDelta, BookSnapshot, MarketEvent, TradeEvent

_SIDES = {"Buy": 1, "Sell": -1}
_EVENTS: dict[str, type[BookSnapshot] | type[BookDelta]] = {"snapshot": BookSnapshot, "delta": BookDelta}


def read(document: Any, envelope: Envelope) -> list[MarketEvent]:
    """Return the events of a message; unknown kinds and instruments give none."""
    topic = document.get("topic", "") if isinstance(document, dict) else ""
    channel = topic.partition(".")[0]
    if channel == "orderbook":
        return _book(document, envelope)
    if channel in {"publicTrade", "trade"}:
        return [_trade(row, envelope) for row in document["data"] if row["s"] in envelope.symbols]
    return []


def _book(document: Any, envelope: Envelope) -> list[MarketEvent]:
    data = document["data"]
    symbol = envelope.symbols.get(data["s"])
    if symbol is None:
        return []
    event = _EVENTS[document["type"]]
    update = int(data["u"])
    return [
        event(
            envelope.venue,
            symbol,
            ms_to_ns(document.get("cts", document["ts"])),
            envelope.ts_recv_ns,
            levels(data["b"]),
            levels(data["a"]),
            first_id=update,
            last_id=update,
        )
    ]


def _trade(row: Any, envelope: Envelope) -> TradeEvent:
    price, size = level(row["p"], row["v"])
    return TradeEvent(
        envelope.venue,
        envelope.symbols[row["s"]],
        ms_to_ns(row["T"]),
        envelope.ts_recv_ns,
        price,
        size,
        _SIDES[row["S"]],
        str(row["i"]),
    )
