"""Order books and trades as a venue streams them, before anything is built from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Level: TypeAlias = tuple[str, str]
"""Price and size of one level in the venue's own digits, on which its checksums are computed; size 0 removes it."""


@dataclass(frozen=True, slots=True)
class RawMessage:
    """A message as it arrived.

    `ts_recv_ns` is this machine's time. `connection` names the connection it came over; a reconnection is a new number,
    so that nobody takes two halves of a broken stream for one.
    """

    ts_recv_ns: int
    text: str
    connection: int = 0


@dataclass(frozen=True, slots=True)
class BookSnapshot:
    """A whole book, or its best levels. Sides are sorted best first where the venue sorts them.

    Times are ns UTC: `ts_event_ns` on the venue's clock (the matching engine's where it is given; the time of receipt
    where the venue gives none), `ts_recv_ns` on this machine's. Ids are the venue's update numbers, None where it has
    none. `checksum` is the venue's over the book after this event.
    """

    venue: str
    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    first_id: int | None = None
    last_id: int | None = None
    previous_id: int | None = None
    checksum: int | None = None


@dataclass(frozen=True, slots=True)
class BookDelta:
    """New sizes of some levels, as numbered `first_id` to `last_id`; the rest is as in `BookSnapshot`.

    `previous_id` is the `last_id` of the delta before, where the venue says it.
    """

    venue: str
    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    first_id: int | None = None
    last_id: int | None = None
    previous_id: int | None = None
    checksum: int | None = None


@dataclass(frozen=True, slots=True)
class TradeEvent:
    """One trade; `side` is +1 where the taker bought and -1 where he sold.

    `last_id` is the number of the message on venues that number messages and not books.
    """

    venue: str
    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    price: str
    size: str
    side: int
    trade_id: str
    last_id: int | None = None


@dataclass(frozen=True, slots=True)
class BestQuote:
    """Best bid and ask as of the venue's update `last_id`."""

    venue: str
    symbol: str
    ts_event_ns: int
    ts_recv_ns: int
    bid: Level
    ask: Level
    last_id: int | None = None


@dataclass(frozen=True, slots=True)
class SequenceMark:
    """A message without market data that takes a number of its connection's sequence all the same."""

    venue: str
    ts_recv_ns: int
    last_id: int


BookEvent: TypeAlias = BookSnapshot | BookDelta
MarketEvent: TypeAlias = BookSnapshot | BookDelta | TradeEvent | BestQuote | SequenceMark


class MarketStream(Protocol):
    """Live (or replayed) messages of one venue.

    `UnavailableError` is the only error that `snapshot` and `resync` raise; `parse` raises `InputError` for a message
    that cannot be read.
    """

    @property
    def venue(self) -> str:
        """What the venue is called in messages and on disk, for example `binance` or `binance-swap`."""
        ...

    def messages(self) -> AsyncIterator[RawMessage]:
        """Yield messages as they arrive, until the stream is closed; reconnections are the stream's work."""
        ...

    def parse(self, message: RawMessage) -> list[MarketEvent]:
        """Read a message; control messages give an empty list."""
        ...

    async def snapshot(self, symbol: str) -> BookSnapshot | None:
        """Ask for a book; None where the venue sends one on its own at each subscription."""
        ...

    async def resync(self, symbol: str) -> None:
        """Subscribe to a symbol's book again, or connect anew, so that the venue sends a snapshot."""
        ...

    async def close(self) -> None:
        """Let go of connections; `messages` ends."""
        ...
