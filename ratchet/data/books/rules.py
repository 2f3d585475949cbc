"""How each venue numbers and checks its books."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ratchet.errors import InputError


class Sequencing(StrEnum):
    """What makes a delta the next one."""

    RANGE = "range"
    """`first_id <= last + 1 <= last_id`: Binance spot."""
    PREVIOUS = "previous"
    """`previous_id == last`: Binance derivatives and OKX."""
    INCREMENT = "increment"
    """`last_id == last + 1`: Bybit."""
    CONNECTION = "connection"
    """Numbers count a connection's messages, see `ConnectionSequence`; a book only sees them grow: Coinbase."""
    UNNUMBERED = "unnumbered"
    """Only the checksum tells: Kraken."""


class ChecksumKind(StrEnum):
    """Whose CRC32 a book can be compared with."""

    KRAKEN = "kraken"
    OKX = "okx"


@dataclass(frozen=True, slots=True)
class BookRule:
    """The rule of one venue.

    `by_request`: snapshots are asked for by REST while deltas wait. `depth`: levels that the venue keeps correct on
    each side; what falls out of them has to be forgotten, because its removal is not sent. None: all levels are.
    """

    sequencing: Sequencing
    by_request: bool = False
    checksum: ChecksumKind | None = None
    depth: int | None = None


_RULES = {
    "binance": BookRule(Sequencing.RANGE, by_request=True),
    "binance-swap": BookRule(Sequencing.PREVIOUS, by_request=True),
    "bybit": BookRule(Sequencing.INCREMENT),
    "coinbase": BookRule(Sequencing.CONNECTION),
    "kraken": BookRule(Sequencing.UNNUMBERED, checksum=ChecksumKind.KRAKEN, depth=10),
    "okx": BookRule(Sequencing.PREVIOUS, checksum=ChecksumKind.OKX),
}


def book_rule(venue: str) -> BookRule:
    """Return the rule of a venue; markets of one venue share it unless they have their own.

    >>> book_rule("okx-swap").sequencing
    <Sequencing.PREVIOUS: 'previous'>

    Raises:
        InputError: the venue is not known.
    """
    venue = venue.partition("-at-")[0]
    rule = _RULES.get(venue) or _RULES.get(venue.partition("-")[0])
    if rule is None:
        raise InputError(f"{venue}: no rule for its order books; known are {', '.join(_RULES)}")
    return rule
