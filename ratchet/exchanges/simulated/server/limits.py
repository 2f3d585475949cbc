"""How much a venue lets one client ask."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ratchet.clock import NS_PER_S
from ratchet.errors import InputError

_PATIENCE = 10  # refusals in one window before a client that goes on is shut out


@dataclass(frozen=True)
class RateLimit:
    """Weight per window, as the venue announces it; windows start at multiples of `window_s` since 1970.

    Raises:
        InputError: a value is not positive.
    """

    weight: int
    window_s: float

    def __post_init__(self) -> None:
        if self.weight < 1 or self.window_s <= 0:
            raise InputError(f"rate limit: weight={self.weight} and window_s={self.window_s} must be positive")


class WeightMeter:
    """Counts the weight of the requests in the present window; without a limit it only counts, by the minute."""

    def __init__(self, limit: RateLimit | None) -> None:
        self._limit = limit
        self._window_ns = round((limit.window_s if limit else 60.0) * NS_PER_S)
        self._window = -1
        self._refusals = 0
        self.used = 0

    def admit(self, weight: int, now_ns: int) -> bool:
        """Count a request and say whether it is within the limit."""
        window = now_ns // self._window_ns
        if window != self._window:
            self._window, self.used, self._refusals = window, 0, 0
        self.used += weight
        is_within = self._limit is None or self.used <= self._limit.weight
        self._refusals += not is_within
        return is_within

    @property
    def is_banned(self) -> bool:
        """Whether the client went on for so long after its first refusal that it is shut out."""
        return self._refusals > _PATIENCE

    def retry_after_s(self, now_ns: int) -> int:
        """Return whole seconds until the next window, at least one."""
        return max(1, math.ceil((self._window_ns - now_ns % self._window_ns) / NS_PER_S))
