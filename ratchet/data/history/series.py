"""One series of candles, and the grid its bars lie on."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import NS_PER_S
from ratchet.errors import InputError
from ratchet.market.symbols import Timeframe, symbol_slug

_VENUE = re.compile(r"^[a-z0-9][a-z0-9-]{0,39}$")
_WEEK_S = 7 * 86_400
_MONDAY_NS = 4 * 86_400 * NS_PER_S  # 1970-01-05, the first Monday


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, `start_ns` included and `end_ns` excluded; both are opens of bars."""

    start_ns: int
    end_ns: int

    def overlaps(self, other: Span) -> bool:
        """Tell whether the two have a bar in common."""
        return self.start_ns < other.end_ns and other.start_ns < self.end_ns


@dataclass(frozen=True, slots=True, order=True)
class SeriesKey:
    """What identifies a series: where, what, and how long its bars are.

    Bars open at whole multiples of the timeframe since 1970, weeks on Mondays.

    >>> SeriesKey("binance", "BTC/USDT", "1h").folder
    'binance/1h/BTC-USDT'

    Raises:
        InputError: the venue's name cannot be a folder.
    """

    venue: str
    symbol: str
    timeframe: str

    def __post_init__(self) -> None:
        if not _VENUE.match(self.venue):
            raise InputError(f"venue {self.venue!r} may hold a-z, 0-9 and '-' only")

    @property
    def bar(self) -> Timeframe:
        """Length of one bar."""
        return Timeframe.parse(self.timeframe)

    @property
    def folder(self) -> str:
        """Relative path of the series on disk."""
        return f"{self.venue}/{self.timeframe}/{symbol_slug(self.symbol)}"

    @property
    def phase_ns(self) -> int:
        """Open of the first bar at or after 1970."""
        return _MONDAY_NS if self.bar.seconds % _WEEK_S == 0 else 0

    def first_open_ns(self, at_or_after_ns: int) -> int:
        """Return the first open of a bar that is not before a time."""
        return -((self.phase_ns - at_or_after_ns) // self.bar.ns) * self.bar.ns + self.phase_ns

    def whole_bars(self, start_ns: int, end_ns: int) -> Span:
        """Return the bars that open at or after `start_ns` and close by `end_ns`; empty where none does."""
        first = self.first_open_ns(start_ns)
        last_close = self.first_open_ns(end_ns - self.bar.ns + 1)
        return Span(first, max(first, last_close))

    def holes(self, times_ns: NDArray[np.int64], within: Span) -> list[Span]:
        """Return the stretches of `within` that have no bar, in order; `times_ns` ascends."""
        inside = times_ns[(times_ns >= within.start_ns) & (times_ns < within.end_ns)]
        before = np.concatenate([[within.start_ns - self.bar.ns], inside])
        after = np.concatenate([inside, [within.end_ns]])
        is_hole = after - before > self.bar.ns
        starts = before[is_hole] + self.bar.ns
        return [Span(int(start), int(end)) for start, end in zip(starts, after[is_hole], strict=True)]

    def n_bars(self, span: Span) -> int:
        """Return how many bars a stretch has room for."""
        return (span.end_ns - span.start_ns) // self.bar.ns


def venue_name(exchange_name: str) -> str:
    """Return the name of a venue's folder: its own name where that is one, else its first word and a short digest.

    >>> venue_name("binance-swap")
    'binance-swap'
    >>> venue_name("simulated://?seed=7")
    'simulated-db9172f5'
    """
    if _VENUE.match(exchange_name):
        return exchange_name
    word = re.sub(r"[^a-z0-9]+", "-", exchange_name.lower().partition(":")[0]).strip("-")[:24] or "venue"
    return f"{word}-{hashlib.sha256(exchange_name.encode()).hexdigest()[:8]}"


def joined(spans: list[Span], *, reach_ns: int = 0) -> list[Span]:
    """Return the spans in order, those that touch or lie within `reach_ns` of each other made one.

    >>> joined([Span(0, 2), Span(2, 3), Span(9, 10)])
    [Span(start_ns=0, end_ns=3), Span(start_ns=9, end_ns=10)]
    """
    merged: list[Span] = []
    for span in sorted(spans, key=lambda item: item.start_ns):
        if merged and span.start_ns - merged[-1].end_ns <= reach_ns:
            merged[-1] = Span(merged[-1].start_ns, max(merged[-1].end_ns, span.end_ns))
        else:
            merged.append(span)
    return merged


def without(span: Span, taken: list[Span]) -> list[Span]:
    """Return what is left of a span when others are cut out.

    >>> without(Span(0, 10), [Span(2, 3), Span(8, 20)])
    [Span(start_ns=0, end_ns=2), Span(start_ns=3, end_ns=8)]
    """
    left: list[Span] = []
    at = span.start_ns
    for hole in joined([item for item in taken if item.overlaps(span)]):
        if hole.start_ns > at:
            left.append(Span(at, hole.start_ns))
        at = max(at, hole.end_ns)
    if at < span.end_ns:
        left.append(Span(at, span.end_ns))
    return left
