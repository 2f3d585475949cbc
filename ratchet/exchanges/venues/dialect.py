"""What differs between venues, as one object each, and the rows that all of them answer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import NS_PER_S
from ratchet.exchanges.pacing import HostLimit
from ratchet.market.venue import VenueTraits

NS_PER_MS = 1_000_000

CandleTable = NDArray[np.float64]
"""Candles as a venue answers them, in its order: (row, 6) of open time in ms, open, high, low, close, base volume."""


class Paging(StrEnum):
    """What a venue answers to a time range that holds more candles than a page."""

    OLDEST_FIRST = "oldest-first"
    NEWEST_FIRST = "newest-first"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Listing:
    """A market by the venue's own name; `contract_size` is the base units in one unit of its sizes."""

    symbol: str
    venue_id: str
    contract_size: float


@dataclass(frozen=True, slots=True)
class CandleRange:
    """Bars asked for: opening in [start_ms, end_ms); `interval` is the venue's name of their length."""

    interval: Any
    step_ms: int
    start_ms: int
    end_ms: int
    now_ms: int

    def rows(self, most: int) -> int:
        """Return how many bars there may be, at most what a venue answers."""
        return min(most, -((self.start_ms - self.end_ms) // self.step_ms))


class Trade(NamedTuple):
    """One trade: ns UTC, quote currency, base units, +1 where the taker bought and -1 where he sold."""

    ts_event_ns: int
    price: float
    size: float
    side: int
    trade_id: str


@dataclass(frozen=True, slots=True)
class Book:
    """A snapshot: (level, 2) of price and size, best level first; `ts_event_ns` None where the venue gives none."""

    bids: NDArray[np.float64]
    asks: NDArray[np.float64]
    ts_event_ns: int | None


class Dialect(Protocol):
    """How to ask one venue through a ccxt client, and how to read its answers.

    Methods may let KeyError, IndexError, TypeError, ValueError and ArithmeticError pass: the answer is malformed then.
    """

    @property
    def ccxt_id(self) -> str:
        """The class of ccxt."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of ccxt, so that it loads only the markets wanted."""
        ...

    @property
    def traits(self) -> VenueTraits:
        """What is known about the venue's data."""
        ...

    @property
    def limit(self) -> HostLimit:
        """What a host takes."""
        ...

    @property
    def paging(self) -> Paging:
        """How long ranges are answered."""
        ...

    @property
    def trade_rows(self) -> int:
        """Trades in a full answer."""
        ...

    def weigh(self, path: str, query: Mapping[str, str]) -> float:
        """Return the weight of a request."""
        ...

    async def time_ms(self, client: Any) -> int:
        """Return the venue's time."""
        ...

    async def candles(self, client: Any, listing: Listing, span: CandleRange) -> CandleTable:
        """Return candles of a range, in any order; rows outside it do no harm."""
        ...

    async def trades(self, client: Any, listing: Listing, since_ns: int) -> list[Trade]:
        """Return trades, in any order: the first ones since a time where there is a history, else the latest."""
        ...

    async def book(self, client: Any, listing: Listing) -> Book:
        """Return the present order book."""
        ...


def weight_by_path(weights: Mapping[str, float], path: str) -> float:
    """Return the weight whose key ends the path, 1 where none does."""
    return next((weight for end, weight in weights.items() if path.endswith(end)), 1.0)


def candle_table(rows: Sequence[Any], columns: Sequence[Any]) -> CandleTable:
    """Take six columns of rows that are arrays or objects; null becomes NaN."""
    table = np.empty((len(rows), 6))
    for position, column in enumerate(columns):
        table[:, position] = numbers([row[column] for row in rows])
    return table


def numbers(values: Sequence[Any]) -> list[float]:
    """Read numbers, which venues write as text; null and empty text become NaN."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError):
        return [math.nan if value is None or value == "" else float(value) for value in values]


def levels(rows: Sequence[Any], columns: tuple[Any, Any] = (0, 1), *, unit: float = 1.0) -> NDArray[np.float64]:
    """Read price and size of each level; sizes are multiplied by `unit`."""
    prices = numbers([row[columns[0]] for row in rows])
    sizes = np.asarray(numbers([row[columns[1]] for row in rows])) * unit
    return np.column_stack([np.asarray(prices), sizes]) if rows else np.empty((0, 2))


def seconds_to_ns(text: Any) -> int:
    """Read seconds with any number of decimals, exactly.

    >>> seconds_to_ns("1762795433.9717445")
    1762795433971744500
    """
    whole, _, fraction = str(text).partition(".")
    return int(whole) * NS_PER_S + int(fraction[:9].ljust(9, "0"))


def iso_to_ns(text: str) -> int:
    """Read an ISO time in UTC, exactly.

    >>> iso_to_ns("2026-04-07T00:28:58.544778Z")
    1775521738544778000
    """
    return int(np.datetime64(text.removesuffix("Z"), "ns").astype(np.int64))
