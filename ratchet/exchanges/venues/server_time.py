"""The venue's time, measured now and then and carried on by the clock in between."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ratchet.clock import NS_PER_S, Clock

_log = logging.getLogger(__name__)

_KEEP_NS = 120 * NS_PER_S
_NOTABLE_NS = NS_PER_S
_NS_PER_MS = 1_000_000


class VenueTime:
    """Says what time it is at a venue.

    An answer is taken for the time of its arrival, so the venue's time is never set ahead by a slow reply or by the
    waiting before it. It is measured anew after two minutes, and when the clock went back.

    Args:
        venue: name for messages.
        ask_ms: asks the venue for its time, ms.
        clock: this machine's time.
        resolution_ns: step of the venue's time; a smaller difference says nothing.
    """

    def __init__(
        self, venue: str, ask_ms: Callable[[], Awaitable[int]], *, clock: Clock, resolution_ns: int = 0
    ) -> None:
        self._venue = venue
        self._ask_ms = ask_ms
        self._clock = clock
        self._notable_ns = _NOTABLE_NS + resolution_ns
        self._offset_ns = 0
        self._measured_ns: int | None = None
        self._is_warned = False
        self._lock = asyncio.Lock()

    async def now_ns(self) -> int:
        """Return the venue's time."""
        offset_ns = await self._offset()
        return self._clock.now_ns() + offset_ns

    async def closed_before_ns(self) -> int:
        """Return the time before which a bar must have ended to count as closed.

        It is the venue's, but never later than the clock's: where the two differ nobody knows which is wrong, and a bar
        that comes late does less harm than an unfinished one that passes for closed.
        """
        offset_ns = await self._offset()
        return self._clock.now_ns() + min(offset_ns, 0)

    async def _offset(self) -> int:
        async with self._lock:  # tasks that need the time together ask for it once
            now_ns = self._clock.now_ns()
            if self._measured_ns is None or not 0 <= now_ns - self._measured_ns < _KEEP_NS:
                self._offset_ns = await self._ask_ms() * _NS_PER_MS - self._clock.now_ns()
                self._measured_ns = self._clock.now_ns()
                self._warn()
            return self._offset_ns

    def _warn(self) -> None:
        if abs(self._offset_ns) > self._notable_ns and not self._is_warned:
            self._is_warned = True
            _log.warning(
                "the clocks of %s and of this machine differ by %.1f s; set this machine's clock (NTP)",
                self._venue,
                self._offset_ns / NS_PER_S,
            )
