"""Which free partitions a worker tries to take, and when."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from ratchet.features.streaming.redis.ledger import PartitionLedger


class Claims:
    """Takes its own partitions as soon as they are free, and the others once they were free for a while.

    It looks every third of a lease, so that a dead owner's partition is taken soon after its lease has run out.
    """

    def __init__(
        self,
        ledgers: Mapping[int, PartitionLedger],
        owner: str,
        *,
        own: Collection[int],
        takeover_after_ms: int | None,
        every_ms: int,
    ) -> None:
        self._ledgers, self._owner, self.own = ledgers, owner, frozenset(own)
        self._takeover_after_s = None if takeover_after_ms is None else takeover_after_ms / 1e3
        self._every_s = every_ms / 1e3
        self._next_look_s = 0.0
        self._free_since_s: dict[int, float] = {}

    def look_at_once(self) -> None:
        """Do not wait for the next look; for after a loss."""
        self._next_look_s = 0.0

    def take(self, owned: Collection[int]) -> list[int]:
        """Return the partitions taken now, none where it is not yet time to look."""
        now_s = time.monotonic()
        if now_s < self._next_look_s:
            return []
        self._next_look_s = now_s + self._every_s
        missing = [number for number in self._ledgers if number not in owned]
        return [
            number for number in missing if self._may_take(number, now_s) and self._ledgers[number].acquire(self._owner)
        ]

    def _may_take(self, number: int, now_s: float) -> bool:
        if number in self.own:
            return True
        if self._takeover_after_s is None or not self._ledgers[number].is_free():
            self._free_since_s.pop(number, None)
            return False
        return now_s - self._free_since_s.setdefault(number, now_s) >= self._takeover_after_s
