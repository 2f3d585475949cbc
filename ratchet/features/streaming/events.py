"""What flows into the feature engine and out of it, and how it looks on a bus."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.market.venue import BOOK_LEVELS

DERIVATIVE_FIELDS = (
    "funding_rate",
    "open_interest",
    "mark_price",
    "index_price",
    "long_liquidations",
    "short_liquidations",
)
"""Values of a derivatives event, in order; NaN where a message does not say. Liquidations are in quote currency."""


class EventKind(IntEnum):
    """What happened. At the same time, lower kinds come first: a bar closes before what follows it."""

    BAR = 0
    """A closed candle; its time is the CLOSE, from which it is known."""
    BOOK = 1
    """The best levels of a trusted book after an update."""
    TRADE = 2
    DERIVATIVE = 3
    """Funding, open interest, mark and index price, liquidations, as far as the message has them."""
    BOOK_LOST = 4
    """The book cannot be trusted until the next `BOOK`: an update is missing, or the connection was lost."""
    TRADES_LOST = 5
    """Trades are missing from here to the next `TRADE`."""
    BOOK_ALIVE = 6
    """The book has not changed and is still trusted."""


N_VALUES = {
    EventKind.BAR: 5,
    EventKind.BOOK: 4 * BOOK_LEVELS,
    EventKind.TRADE: 3,
    EventKind.DERIVATIVE: len(DERIVATIVE_FIELDS),
    EventKind.BOOK_LOST: 0,
    EventKind.TRADES_LOST: 0,
    EventKind.BOOK_ALIVE: 0,
}
"""How many values an event has.

`BAR`: open, high, low, close, volume. `BOOK`: bid prices, bid sizes, ask prices, ask sizes, the best level first, as in
`BOOK_COLUMNS`; NaN where the book is shallower. `TRADE`: price, size, side (+1 where the taker bought, else -1).
"""


@dataclass(frozen=True, slots=True, eq=False)
class FeatureEvent:
    """One thing that happened to one symbol.

    `ts_event_ns` is the venue's time (for a bar its close), `known_ns` when it arrived here, both ns UTC. `sequence` is
    the venue's number (update, trade), rising with time within (venue, symbol, kind), by which duplicates are found; 0
    where the venue has none. `values` is float64 (`N_VALUES[kind]`,).
    """

    kind: EventKind
    venue: str
    symbol: str
    ts_event_ns: int
    known_ns: int
    sequence: int
    values: NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class FeatureRow:
    """All features of one symbol as of `ts_event_ns`.

    `known_ns` is when the last event that it rests on had arrived. `kind` and `sequence` are those of the event that
    caused the row: with symbol and time they identify it. `values` is float32 (feature,), NaN where a feature is
    missing.
    """

    symbol: str
    ts_event_ns: int
    known_ns: int
    kind: EventKind
    sequence: int
    values: NDArray[np.float32]


_EVENT = struct.Struct("<BBBBqqq")
_ROW = struct.Struct("<BBBxqqqI")
_LENGTH = struct.Struct("<I")
_VERSION = 1


def encode_event(event: FeatureEvent) -> bytes:
    """Pack an event; `decode_event` is the inverse, bit for bit."""
    venue, symbol = event.venue.encode(), event.symbol.encode()
    header = _EVENT.pack(
        _VERSION, event.kind, len(venue), len(symbol), event.ts_event_ns, event.known_ns, event.sequence
    )
    return header + venue + symbol + event.values.astype("<f8", copy=False).tobytes()


def decode_event(packed: bytes) -> FeatureEvent:
    """Unpack an event.

    Raises:
        InputError: the bytes are no event; such a message is set aside, it never gets better.
    """
    try:
        version, kind, n_venue, n_symbol, ts_event_ns, known_ns, sequence = _EVENT.unpack_from(packed)
        start = _EVENT.size + n_venue + n_symbol
        venue = packed[_EVENT.size : _EVENT.size + n_venue].decode()
        symbol = packed[_EVENT.size + n_venue : start].decode()
        values = np.frombuffer(packed, dtype="<f8", offset=start)
        event_kind = EventKind(kind)
    except (struct.error, ValueError) as error:
        raise InputError(f"{len(packed)} bytes are no feature event: {error}") from error
    if version != _VERSION or len(values) != N_VALUES[event_kind] or n_symbol == 0:
        raise InputError(f"a feature event of version {version}, {event_kind.name}, with {len(values)} values")
    return FeatureEvent(event_kind, venue, symbol, ts_event_ns, known_ns, sequence, values)


def encode_row(row: FeatureRow) -> bytes:
    """Pack a row; `decode_row` is the inverse, bit for bit."""
    symbol = row.symbol.encode()
    header = _ROW.pack(_VERSION, row.kind, len(symbol), row.ts_event_ns, row.known_ns, row.sequence, len(row.values))
    return header + symbol + row.values.astype("<f4", copy=False).tobytes()


def decode_row(packed: bytes) -> FeatureRow:
    """Unpack a row.

    Raises:
        InputError: the bytes are no row.
    """
    try:
        version, kind, n_symbol, ts_event_ns, known_ns, sequence, n_values = _ROW.unpack_from(packed)
        start = _ROW.size + n_symbol
        symbol = packed[_ROW.size : start].decode()
        values = np.frombuffer(packed, dtype="<f4", offset=start)
        event_kind = EventKind(kind)
    except (struct.error, ValueError) as error:
        raise InputError(f"{len(packed)} bytes are no feature row: {error}") from error
    if version != _VERSION or len(values) != n_values:
        raise InputError(f"a feature row of version {version} with {len(values)} of {n_values} values")
    return FeatureRow(symbol, ts_event_ns, known_ns, event_kind, sequence, values)


def encode_rows(rows: Sequence[FeatureRow]) -> bytes:
    """Pack rows one after the other, each with its length before it; `decode_rows` is the inverse."""
    packed = [encode_row(row) for row in rows]
    return b"".join(_LENGTH.pack(len(one)) + one for one in packed)


def decode_rows(packed: bytes) -> list[FeatureRow]:
    """Unpack rows.

    Raises:
        InputError: the bytes are no rows.
    """
    rows, offset = [], 0
    while offset < len(packed):
        try:
            (size,) = _LENGTH.unpack_from(packed, offset)
        except struct.error as error:
            raise InputError(f"{len(packed)} bytes are no feature rows: {error}") from error
        offset += _LENGTH.size
        rows.append(decode_row(packed[offset : offset + size]))
        offset += size
    return rows


def partition_of(symbol: str, n_partitions: int) -> int:
    """Return which of `n_partitions` a symbol belongs to, the same in every process and release."""
    return zlib.crc32(symbol.encode()) % n_partitions


def digest_rows(rows: Iterable[FeatureRow]) -> str:
    """Return the SHA-256 of a feature table, whatever order its symbols come in; rows of a symbol keep theirs.

    NaNs count as equal. Two hosts that computed the same features have the same digest.
    """
    by_symbol: dict[str, hashlib._Hash] = {}
    for row in rows:
        values = np.where(np.isnan(row.values), np.float32(np.nan), row.values)
        state = by_symbol.setdefault(row.symbol, hashlib.sha256())
        state.update(struct.pack("<Bqq", row.kind, row.ts_event_ns, row.sequence) + values.astype("<f4").tobytes())
    whole = hashlib.sha256()
    for symbol in sorted(by_symbol):
        whole.update(symbol.encode() + by_symbol[symbol].digest())
    return whole.hexdigest()
