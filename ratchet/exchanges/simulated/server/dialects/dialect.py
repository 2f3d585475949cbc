"""What every venue's dialect can say, whatever its words."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, ClassVar

import pandas as pd

from ratchet.clock import NS_PER_S
from ratchet.exchanges.simulated.server.books import BookChange, BookTrade, BookView
from ratchet.exchanges.simulated.server.candle_page import CandlePage
from ratchet.market import Timeframe

NS_PER_MS = 1_000_000
Options = Mapping[str, str]
"""Parameters of a request's query."""


class Endpoint(StrEnum):
    """What a request is about."""

    TIME = "time"
    MARKETS = "markets"
    CANDLES = "candles"
    TRADES = "trades"
    BOOK = "book"


@dataclass(frozen=True, slots=True)
class Listing:
    """A symbol on the venue's list."""

    symbol: str
    base: str
    quote: str
    decimals: int
    listed_ns: int | None
    is_active: bool

    @property
    def tick(self) -> str:
        """Smallest step of a price."""
        return f"{10.0**-self.decimals:.{self.decimals}f}"


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as the venue understands it; `start_ns` and `end_ns` are both included (see `RowsAsked`).

    `latest_bars` is how many bars before the present one the endpoint reaches back, where there is such a limit.
    """

    endpoint: Endpoint
    path: str
    options: Options = field(default_factory=dict)
    market_id: str = ""
    interval: str = ""
    start_ns: int = 0
    end_ns: int | None = None
    limit: int = 100
    keeps_last: bool = False
    has_running_bar: bool = True
    latest_bars: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer over HTTP."""

    body: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Topic:
    """Something to hear about on a stream; `text` is what the venue calls it."""

    endpoint: Endpoint
    market_id: str
    text: str
    depth: int = 25


@dataclass(frozen=True, slots=True)
class Heard:
    """What a message of a client asks for, and what it is answered at once."""

    replies: tuple[str, ...] = ()
    begun: tuple[Topic, ...] = ()
    ended: tuple[Topic, ...] = ()


@dataclass(frozen=True, slots=True)
class Stamp:
    """When a message is sent, which one of its connection it is, and by how much its checksum is wrong."""

    now_ns: int
    number: int
    checksum_error: int = 0

    @property
    def now_ms(self) -> int:
        """Time in ms."""
        return self.now_ns // NS_PER_MS


class Dialect(ABC):
    """The requests that a venue understands and the words in which it answers; holds no state."""

    name: ClassVar[str]
    unit_ns: ClassVar[int]
    """Unit of the times of candles."""

    is_newest_first: ClassVar[bool]
    leaves_out_quiet_bars: ClassVar[bool] = False
    """Whether a bar without trades is missing; such bars are not among `FaultPlan.hidden`."""

    has_checksum: ClassVar[bool] = False
    """Whether book messages carry a checksum."""

    shuts_out: ClassVar[bool] = False
    """Whether who goes on after 429 gets 418."""

    @abstractmethod
    def market_ids(self, listing: Listing) -> tuple[str, ...]:
        """Return the names under which a symbol can be asked for, the official one first."""

    @abstractmethod
    def interval(self, timeframe: Timeframe) -> str:
        """Return what the venue calls a bar length."""

    @abstractmethod
    def read(self, path: str, options: Options) -> Ask | None:
        """Understand a request; None for a path that there is not, ValueError where a number is none."""

    def weight(self, ask: Ask) -> int:
        """Return what a request counts against the rate limit."""
        return 1

    def headers(self, used_weight: int) -> Mapping[str, str]:
        """Return headers that every answer has."""
        return {}

    @abstractmethod
    def time(self, ask: Ask, now_ns: int) -> str:
        """Write the server's time."""

    @abstractmethod
    def markets(self, ask: Ask, listings: Sequence[Listing], now_ns: int) -> str:
        """Write what is listed, or another list that is needed to understand it."""

    @abstractmethod
    def candles(self, ask: Ask, listing: Listing, page: CandlePage, bar_ns: int, now_ns: int) -> str:
        """Write candles, which are in the venue's order already."""

    @abstractmethod
    def trades(self, ask: Ask, listing: Listing, trades: pd.DataFrame, now_ns: int) -> str:
        """Write trades (`TRADE_COLUMNS`, the oldest first)."""

    @abstractmethod
    def book(self, ask: Ask, listing: Listing, book: BookView, now_ns: int) -> str:
        """Write a snapshot of a book."""

    @abstractmethod
    def unknown_symbol(self) -> Reply:
        """Refuse a symbol that is not listed."""

    @abstractmethod
    def bad_request(self, reason: str) -> Reply:
        """Refuse parameters that cannot be used."""

    @abstractmethod
    def too_many(self) -> Reply:
        """Refuse a client that asks too much, without saying how long to wait."""

    @abstractmethod
    def busy(self) -> Reply:
        """Excuse the venue in its own error format, with status 200."""

    @abstractmethod
    def hear(self, text: str) -> Heard:
        """Understand a message of a stream; ValueError where it is none."""

    def snapshot(self, topic: Topic, listing: Listing, book: BookView, stamp: Stamp) -> str | None:
        """Write the book with which a stream begins; None where the venue sends none."""
        return None

    @abstractmethod
    def update(self, topic: Topic, listing: Listing, change: BookChange, stamp: Stamp) -> str:
        """Write a change of a book."""

    @abstractmethod
    def trade(self, topic: Topic, listing: Listing, trade: BookTrade, stamp: Stamp) -> str:
        """Write a trade."""


def dumps(value: Any) -> str:
    """Write JSON without spaces."""
    return json.dumps(value, separators=(",", ":"))


def message_of(text: str) -> dict[str, Any]:
    """Read a JSON object; ValueError where it is none."""
    message = json.loads(text)
    if not isinstance(message, dict):
        raise ValueError("not a JSON object")
    return message


def number(options: Options, key: str, default: int) -> int:
    """Read a whole number; ValueError where it is none."""
    return int(options[key]) if key in options else default


def bounded(options: Options, key: str, default: int, most: int) -> int:
    """Read a number of rows, at least 1 and at most `most`."""
    return max(1, min(number(options, key, default), most))


def iso_micros(ts_ns: int) -> str:
    """Return ISO 8601 with microseconds."""
    whole = datetime.fromtimestamp(ts_ns // NS_PER_S, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{whole}.{ts_ns % NS_PER_S // 1_000:06d}Z"


def plain(value: float) -> str:
    """Return a number as the shortest decimal text that reads back equal, without an exponent."""
    text = repr(float(value)).removesuffix(".0")
    return text if "e" not in text else f"{value:.20f}".rstrip("0").rstrip(".")


def trade_rows(trades: pd.DataFrame) -> list[tuple[int, str, str, bool, str]]:
    """Return (time in ns, price, size, whether the taker bought, id) of each trade."""
    columns = (trades[name].tolist() for name in ("ts_event_ns", "price", "size", "side", "trade_id"))
    return [
        (int(ts_ns), plain(price), plain(size), side > 0, str(trade_id))
        for ts_ns, price, size, side, trade_id in zip(*columns, strict=True)
    ]


def timeframe_text(timeframe: Timeframe, names: Mapping[int, str]) -> str:
    """Return the venue's name of a bar length; a name that no client sends where it has none."""
    return names.get(timeframe.seconds, f"no {timeframe.text}")
