"""OKX v5: the `books` channel (400 levels, snapshot and updates) and `trades`.

Formats: okx.com/docs-v5, "WS / Order book channel" and "WS / Trades channel". Each update names the one before it
(`prevSeqId`); a snapshot has -1 there.
"""

from __future__ import annotations

from typing import Any

from ratchet.exchanges.feeds.reading import Envelope, level, levels, ms_to_ns, optional_int
from ratchet.market.events import BookDelta, BookSnapshot, MarketEvent, TradeEvent

_BOOKS = {"books", "books-l2-tbt", "books50-l2-tbt"}
_TRADES = {"trades", "trades-all"}
_SIDES = {"buy": 1, "sell": -1}
_EVENTS: dict[str, type[BookSnapshot] | type[BookDelta]] = {"snapshot": BookSnapshot, "update": BookDelta}


def read(document: Any, envelope: Envelope) -> list[MarketEvent]:
    """Return the events of a message; unknown kinds and instruments give none."""
    if not isinstance(document, dict) or "data" not in document:
        return []
    channel = document["arg"]["channel"]
    symbol = envelope.symbols.get(document["arg"].get("instId", ""))
    if symbol is None:
        return []
    if channel in _BOOKS:
        event = _EVENTS[document["action"]]
        return [_book(event, row, symbol, envelope) for row in document["data"]]
    if channel in _TRADES:
        return [_trade(row, symbol, envelope) for row in document["data"]]
    return []


def _book(event: type[BookSnapshot] | type[BookDelta], row: Any, symbol: str, envelope: Envelope) -> MarketEvent:
    last_id = optional_int(row.get("seqId"))
    previous_id = optional_int(row.get("prevSeqId"))
    return event(
        envelope.venue,
        symbol,
        ms_to_ns(row["ts"]),
        envelope.ts_recv_ns,
        levels(row["bids"]),
        levels(row["asks"]),
        first_id=last_id,
        last_id=last_id,
        previous_id=None if previous_id == -1 else previous_id,
        checksum=optional_int(row.get("checksum")),
    )


def _trade(row: Any, symbol: str, envelope: Envelope) -> TradeEvent:
    price, size = level(row["px"], row["sz"])
    return TradeEvent(
        envelope.venue,
        symbol,
        ms_to_ns(row["ts"]),
        envelope.ts_recv_ns,
        price,
        size,
        _SIDES[row["side"]],
        str(row["tradeId"]),
    )
