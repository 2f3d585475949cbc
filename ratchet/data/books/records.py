"""What a recording consists of: one record per event, one row per level."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from ratchet.market.events import BestQuote, BookDelta, BookSnapshot, Level, TradeEvent

NO_ID = -1
_encoder = json.JSONEncoder(separators=(",", ":"))
EVENT_COLUMNS = (
    *("symbol", "kind", "ts_event_ns", "ts_recv_ns", "side", "price", "size"),
    *("first_id", "last_id", "previous_id", "note"),
)
"""Columns of an event frame, in order: one row per level, the rows of one event follow each other.

`kind`: `snapshot` and `delta` (side +1 bid, -1 ask; size 0 removes the level), `quote` (the same, two rows), `trade`
(side +1 where the taker bought; `note` is the trade's id), `alive` (the connection that brings the book brought some
message at `ts_recv_ns`; written every few seconds), `gap` (the book is unknown from the `snapshot`, `delta` or, if
`note` begins with `lost`, `alive` row before it to the next snapshot) and `trade_gap` (trades before this row may be
missing). An event without levels has one row with side 0 and NaN.
`ts_event_ns` and `ts_recv_ns` int64, the venue's time and this machine's; ids int64, -1 where the venue gives none.
A gap's `ts_event_ns` and `first_id` are those of the last event that was trusted, its `ts_recv_ns` is when the gap was
noticed, `last_id` is what did not follow, `note` says why.
"""


@dataclass(frozen=True, slots=True)
class Record:
    """An event as it is kept; `levels` are side, price and size in the venue's digits."""

    kind: str
    ts_event_ns: int
    ts_recv_ns: int
    first_id: int = NO_ID
    last_id: int = NO_ID
    previous_id: int = NO_ID
    note: str = ""
    levels: tuple[tuple[int, str, str], ...] = ()


def record_of(event: BookSnapshot | BookDelta | TradeEvent | BestQuote) -> Record:
    """Return the record of an event."""
    if isinstance(event, TradeEvent):
        level = (event.side, event.price, event.size)
        number = _id(event.last_id)
        return Record("trade", event.ts_event_ns, event.ts_recv_ns, number, number, NO_ID, event.trade_id, (level,))
    if isinstance(event, BestQuote):
        number = _id(event.last_id)
        levels = _sides((event.bid,), (event.ask,))
        return Record("quote", event.ts_event_ns, event.ts_recv_ns, number, number, NO_ID, "", levels)
    return Record(
        "snapshot" if isinstance(event, BookSnapshot) else "delta",
        event.ts_event_ns,
        event.ts_recv_ns,
        _id(event.first_id),
        _id(event.last_id),
        _id(event.previous_id),
        "",
        _sides(event.bids, event.asks),
    )


def encode_record(record: Record) -> bytes:
    """Return a record as bytes for the journal."""
    fields = (record.kind, record.ts_event_ns, record.ts_recv_ns, record.first_id, record.last_id, record.previous_id)
    return _encoder.encode((*fields, record.note, record.levels)).encode()


def decode_record(data: bytes) -> Record:
    """Return the record that `encode_record` wrote."""
    kind, ts_event_ns, ts_recv_ns, first_id, last_id, previous_id, note, rows = json.loads(data)
    levels = tuple((side, price, size) for side, price, size in rows)
    return Record(kind, ts_event_ns, ts_recv_ns, first_id, last_id, previous_id, note, levels)


def to_table(symbol: str, records: Sequence[Record]) -> pa.Table:
    """Return records as an Arrow table with `EVENT_COLUMNS`."""
    counts = np.array([max(1, len(record.levels)) for record in records], dtype=np.int64)
    empty = ((0, "nan", "nan"),)
    levels = [level for record in records for level in record.levels or empty]

    def repeated(name: str) -> Any:
        return np.repeat(np.array([getattr(record, name) for record in records], dtype=np.int64), counts)

    def named(name: str) -> Any:
        texts = pa.array([getattr(record, name) for record in records], pa.string())
        return texts.take(pa.array(np.repeat(np.arange(len(records)), counts)))

    columns = {
        "symbol": pa.array([symbol] * len(levels), pa.string()),
        "kind": named("kind"),
        "side": np.array([level[0] for level in levels], dtype=np.int8),
        "price": np.array([float(level[1]) for level in levels]),
        "size": np.array([float(level[2]) for level in levels]),
        "note": named("note"),
        **{name: repeated(name) for name in ("ts_event_ns", "ts_recv_ns", "first_id", "last_id", "previous_id")},
    }
    return pa.table({name: columns[name] for name in EVENT_COLUMNS})


def _id(value: int | None) -> int:
    return NO_ID if value is None else value


def _sides(bids: Sequence[Level], asks: Sequence[Level]) -> tuple[tuple[int, str, str], ...]:
    return (*((1, price, size) for price, size in bids), *((-1, price, size) for price, size in asks))
