"""Coinbase Advanced Trade: `l2_data` (subscribed as `level2`) and `market_trades`.

Formats: docs.cdp.coinbase.com, "Advanced Trade WebSocket Channels". `sequence_num` counts all messages of one
connection, whatever their channel, so messages without market data are reported as marks.
"""

from __future__ import annotations

from typing import Any

from ratchet.exchanges.feeds.reading import Envelope, iso_to_ns, level
from ratchet.market.events import BookDelta, BookSnapshot, Level, MarketEvent, SequenceMark, TradeEvent

_SIDES = {"BUY": -1, "SELL": 1}  # the venue names the maker's side
_EVENTS: dict[str, type[BookSnapshot] | type[BookDelta]] = {"snapshot": BookSnapshot, "update": BookDelta}


def read(document: Any, envelope: Envelope) -> list[MarketEvent]:
    """Return the events of a message, or its mark; messages without a number and unknown ones give none."""
    if not isinstance(document, dict) or "sequence_num" not in document:
        return []
    number = int(document["sequence_num"])
    events: list[MarketEvent] = []
    if document.get("channel") == "l2_data":
        ts_event_ns = iso_to_ns(document["timestamp"])
        events = [
            _book(part, number, ts_event_ns, envelope)
            for part in document["events"]
            if part["product_id"] in envelope.symbols
        ]
    elif document.get("channel") == "market_trades":
        rows = [row for part in document["events"] for row in part["trades"]]
        events = [_trade(row, number, envelope) for row in rows if row["product_id"] in envelope.symbols]
    return events or [SequenceMark(envelope.venue, envelope.ts_recv_ns, number)]


def _book(part: Any, number: int, ts_event_ns: int, envelope: Envelope) -> MarketEvent:
    sides: dict[str, list[Level]] = {"bid": [], "offer": []}
    for row in part["updates"]:
        sides[row["side"]].append(level(row["price_level"], row["new_quantity"]))
    return _EVENTS[part["type"]](
        envelope.venue,
        envelope.symbols[part["product_id"]],
        ts_event_ns,
        envelope.ts_recv_ns,
        tuple(sides["bid"]),
        tuple(sides["offer"]),
        first_id=number,
        last_id=number,
    )


def _trade(row: Any, number: int, envelope: Envelope) -> TradeEvent:
    price, size = level(row["price"], row["size"])
    return TradeEvent(
        envelope.venue,
        envelope.symbols[row["product_id"]],
        iso_to_ns(row["time"]),
        envelope.ts_recv_ns,
        price,
        size,
        _SIDES[row["side"]],
        str(row["trade_id"]),
        last_id=number,
    )
