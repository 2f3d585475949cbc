"""Kraken v2: the `book` and `trade` channels of the spot market.

Formats: docs.kraken.com/api/docs/websocket-v2/book and /trade. Prices and sizes are JSON numbers whose digits, trailing
zeros included, enter the checksum. Books have no sequence numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ratchet.exchanges.feeds.reading import Envelope, iso_to_ns, level, optional_int
from ratchet.market.events import BookDelta, BookSnapshot, Level, MarketEvent, TradeEvent

_SIDES = {"buy": 1, "sell": -1}
_EVENTS: dict[str, type[BookSnapshot] | type[BookDelta]] = {"snapshot": BookSnapshot, "update": BookDelta}


def read(document: Any, envelope: Envelope) -> list[MarketEvent]:
    """Return the events of a message; unknown kinds and instruments give none."""
    channel = document.get("channel") if isinstance(document, dict) else None
    if channel not in {"book", "trade"}:
        return []
    rows = [row for row in document["data"] if row["symbol"] in envelope.symbols]
    if channel == "trade":
        return [_trade(row, envelope) for row in rows]
    event = _EVENTS[document["type"]]
    return [_book(event, row, envelope) for row in rows]


def _book(event: type[BookSnapshot] | type[BookDelta], row: Any, envelope: Envelope) -> MarketEvent:
    return event(
        envelope.venue,
        envelope.symbols[row["symbol"]],
        iso_to_ns(row["timestamp"]) if "timestamp" in row else envelope.ts_recv_ns,
        envelope.ts_recv_ns,
        _levels(row.get("bids", ())),
        _levels(row.get("asks", ())),
        checksum=optional_int(row.get("checksum")),
    )


def _levels(rows: Iterable[Any]) -> tuple[Level, ...]:
    return tuple(level(row["price"], row["qty"]) for row in rows)


def _trade(row: Any, envelope: Envelope) -> TradeEvent:
    price, size = level(row["price"], row["qty"])
    return TradeEvent(
        envelope.venue,
        envelope.symbols[row["symbol"]],
        iso_to_ns(row["timestamp"]),
        envelope.ts_recv_ns,
        price,
        size,
        _SIDES[row["side"]],
        str(row["trade_id"]),
    )
