"""Pacing of requests: what a host allows per window, its pauses, and a circuit that opens where it keeps failing.

A venue counts the requests of an IP address, not of an object. So all adapters of a process share one `HostPace` per
host, kept by `HostPaces`.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from ratchet.clock import NS_PER_S, Clock
from ratchet.errors import UnavailableError

Sleep = Callable[[float], Awaitable[None]]
"""Waits for a number of seconds, as `asyncio.sleep` does."""

_LONGEST_WAIT_S = 300.0
"""A host that asks for a longer pause is reported as unavailable; nobody waits for it inside a call."""

_LONGEST_PAUSE_S = 3 * 86_400.0
"""No venue bans for longer (Binance: 2 minutes to 3 days); what claims more is cut to it."""

_STEP_BACK_NS = NS_PER_S
_FAILURES_TO_OPEN = 5
_COOL_DOWN_NS = 30 * NS_PER_S


@dataclass(frozen=True, slots=True)
class HostLimit:
    """Most weight that a host takes in any window of `window_s` seconds.

    A tenth of it may go out at once; the rest is spread evenly, so that no window, wherever it starts, holds more.
    """

    weight: float
    window_s: float

    @property
    def burst(self) -> float:
        """Weight that may go out at once after a rest, at least 1."""
        return max(self.weight / 10, 1.0)

    @property
    def ns_per_weight(self) -> float:
        """Time between two requests of weight 1 once the burst is used up."""
        return self.window_s * NS_PER_S / max(self.weight - self.burst, 1.0)


class HostPace:
    """A token bucket with a queue in order of arrival, the host's pauses and its circuit.

    Nothing is awaited under the lock and no loop is remembered, so threads with their own event loops may share it.
    Times are arguments; a clock that is set back moves the bucket with it, so nobody waits for the old time.
    """

    def __init__(self, host: str, limit: HostLimit) -> None:
        self.host = host
        self._limit = limit
        self._lock = threading.Lock()
        self._last_ns = 0
        self._full_ns = 0.0  # when the bucket is full again: each unit of weight puts it off
        self._paused_until_ns = 0
        self._n_pauses = 0
        self._n_failures = 0
        self._closed_until_ns = 0

    async def turn(self, weight: float, *, clock: Clock, sleep: Sleep) -> None:
        """Wait until a request of `weight` may go out; callers are served in the order in which they came.

        A pause that begins meanwhile sends everyone who waits back to the queue.

        Raises:
            UnavailableError: the host asked for a pause of more than five minutes.
        """
        while True:
            wait_s, n_pauses = self._book(weight, clock.now_ns())
            if wait_s > 0:
                await sleep(wait_s)
            if n_pauses == self._n_pauses:
                return

    def pause(self, for_s: float, *, now_ns: int) -> None:
        """Keep everyone from the host for a time; a pause never shortens another one."""
        with self._lock:
            self._follow_clock(now_ns)
            until_ns = now_ns + round(min(max(for_s, 0.0), _LONGEST_PAUSE_S) * NS_PER_S)
            if until_ns > self._paused_until_ns:
                self._paused_until_ns = until_ns
                self._n_pauses += 1
                self._full_ns = until_ns + self._limit.burst * self._limit.ns_per_weight

    def learn_used(self, used: float, *, now_ns: int) -> None:
        """Take in what the host says was used in the present minute, by whatever process at this address.

        Above nine tenths of the limit everyone waits for the next minute.
        """
        if used > 0.9 * self._limit.weight:
            minute_ns = 60 * NS_PER_S
            self.pause((minute_ns - now_ns % minute_ns) / NS_PER_S, now_ns=now_ns)

    def admit(self, *, now_ns: int) -> None:
        """Let a call begin.

        Raises:
            UnavailableError: the circuit is open.
        """
        with self._lock:
            self._follow_clock(now_ns)
            left_s = (self._closed_until_ns - now_ns) / NS_PER_S
        if left_s > 0:
            raise UnavailableError(
                f"{self.host}: {self._n_failures} calls in a row failed; nothing is sent for another {left_s:.0f} s"
            )

    def succeeded(self) -> None:
        """Note that the host answered."""
        self._n_failures = 0

    def failed(self, *, now_ns: int) -> None:
        """Note that a call failed for good; after five in a row, nothing is sent for half a minute."""
        with self._lock:
            self._n_failures += 1
            if self._n_failures >= _FAILURES_TO_OPEN:
                self._closed_until_ns = now_ns + _COOL_DOWN_NS

    def _book(self, weight: float, now_ns: int) -> tuple[float, int]:
        """Return how long to wait, and how many pauses there had been when the place was booked."""
        with self._lock:
            self._follow_clock(now_ns)
            pause_s = (self._paused_until_ns - now_ns) / NS_PER_S
            if pause_s > _LONGEST_WAIT_S:
                raise UnavailableError(f"{self.host} refuses all requests for another {pause_s:.0f} s; ask again later")
            cost_ns = weight * self._limit.ns_per_weight
            burst_ns = max(weight, self._limit.burst) * self._limit.ns_per_weight
            slot_ns = max(float(now_ns), self._full_ns + cost_ns - burst_ns)
            self._full_ns = max(self._full_ns, slot_ns) + cost_ns
            return (slot_ns - now_ns) / NS_PER_S, self._n_pauses

    def _follow_clock(self, now_ns: int) -> None:
        step_ns = self._last_ns - now_ns
        if step_ns > _STEP_BACK_NS:
            self._full_ns -= step_ns
            self._paused_until_ns -= step_ns
            self._closed_until_ns -= step_ns
        self._last_ns = now_ns if step_ns > _STEP_BACK_NS else max(self._last_ns, now_ns)


class HostPaces:
    """The paces of one process, one per host and limit."""

    def __init__(self) -> None:
        self._paces: dict[tuple[str, HostLimit], HostPace] = {}

    def of(self, host: str, limit: HostLimit) -> HostPace:
        """Return the pace that everyone who asks for this host and limit shares."""
        return self._paces.setdefault((host, limit), HostPace(host, limit))


PROCESS_PACES = HostPaces()
"""Shared by all adapters of the process unless they are given their own."""
