"""What the venues' formats share: digits that are kept, times, and one error for what cannot be read."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ratchet.errors import InputError
from ratchet.market.events import Level

NS_PER_MS = 1_000_000
_CUT = 160


@dataclass(frozen=True, slots=True)
class Envelope:
    """What a message does not say about itself: venue, names of instruments (venue's id -> symbol), time of receipt."""

    venue: str
    symbols: Mapping[str, str]
    ts_recv_ns: int


def read_json(text: str) -> Any:
    """Parse JSON; numbers with a point stay text, so that the venue's digits survive. NaN and Infinity are refused."""
    return _decoder.decode(text)


def unreadable(venue: str, text: str, error: Exception) -> InputError:
    """Return the error for a message that does not fit the venue's format; it shows a cut of the text."""
    return InputError(f"{venue}: a message cannot be read ({type(error).__name__}: {error}): {text[:_CUT]!r}")


def levels(rows: Iterable[Sequence[Any]]) -> tuple[Level, ...]:
    """Take price and size from rows that begin with them."""
    return tuple([level(row[0], row[1]) for row in rows])


def level(price: Any, size: Any) -> Level:
    """Check a price and a size and keep their digits.

    >>> level("61800.20", 3)
    ('61800.20', '3')
    """
    price, size = str(price), str(size)
    if not (0.0 < float(price) < math.inf and 0.0 <= float(size) < math.inf):
        raise ValueError(f"no price and size: {price!r}, {size!r}")
    return price, size


def ms_to_ns(value: Any) -> int:
    """Return nanoseconds of a time in milliseconds (a number or its text)."""
    return int(value) * NS_PER_MS


def iso_to_ns(text: str) -> int:
    """Return nanoseconds of an ISO 8601 time in UTC with up to nine decimals.

    >>> iso_to_ns("1970-01-01T00:00:01.000000002Z")
    1000000002
    """
    whole, _, decimals = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000 + int(decimals.ljust(9, "0")[:9])


def optional_int(value: Any) -> int | None:
    """Return a whole number, or None for a missing one."""
    return None if value is None or value == "" else int(value)


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no number of a market")


_decoder = json.JSONDecoder(parse_float=str, parse_constant=_refuse)
