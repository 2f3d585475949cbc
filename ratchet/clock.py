"""Time as an argument: the library asks a `Clock` and never the machine."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

NS_PER_S = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What code that needs the time is given."""

    def now_ns(self) -> int:
        """Return nanoseconds since 1970-01-01 UTC."""
        ...


class SystemClock:
    """The machine's clock; constructed at the edges (CLI, tasks, server) and passed down."""

    def now_ns(self) -> int:
        """Return the machine's time in nanoseconds, UTC."""
        return time.time_ns()


class FixedClock:
    """A clock that stands still until it is moved.

    >>> clock = FixedClock(5)
    >>> clock.advance(2)
    >>> clock.now_ns()
    7
    """

    def __init__(self, start_ns: int) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Return the time that was set."""
        return self._now_ns

    def advance(self, by_ns: int) -> None:
        """Move the clock forward by `by_ns` nanoseconds."""
        self._now_ns += by_ns


def parse_utc(text: str) -> int:
    """Read an ISO 8601 date or time as nanoseconds UTC, to the microsecond; without an offset it is UTC.

    >>> parse_utc("2024-01-01")
    1704067200000000000

    Raises:
        ValueError: the text is no such time.
    """
    moment = datetime.fromisoformat(text.strip())
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - _EPOCH) // timedelta(microseconds=1) * 1_000


def iso_utc(ts_ns: int) -> str:
    """Format nanoseconds UTC as ISO 8601 with seconds.

    >>> iso_utc(1_704_067_200_000_000_000)
    '2024-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(ts_ns // NS_PER_S, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
