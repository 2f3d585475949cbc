"""Names of the keys below one prefix, and the order of stream ids."""

from __future__ import annotations

from dataclasses import dataclass

FIRST_ID = b"0-0"
"""Before every entry of a stream."""


@dataclass(frozen=True, slots=True)
class StreamKeys:
    """Where things are; `group` is the name of a feature view, `partition` counts from 0."""

    prefix: str

    @property
    def config(self) -> str:
        """Hash: the number of partitions, each group's schema hash, how many entries were trimmed."""
        return f"{self.prefix}:config"

    @property
    def groups(self) -> str:
        """Set of the groups that have not been forgotten; no entry goes before all of them are past it."""
        return f"{self.prefix}:groups"

    def events(self, partition: int) -> str:
        """Stream of packed events."""
        return f"{self.prefix}:events:{partition}"

    def lease(self, group: str, partition: int) -> str:
        """String with a time to live: `OWNER#EPOCH` of who may write."""
        return f"{self.prefix}:{group}:lease:{partition}"

    def mark(self, group: str, partition: int) -> str:
        """Hash: how far the group is, without the state itself."""
        return f"{self.prefix}:{group}:mark:{partition}"

    def state(self, group: str, partition: int) -> str:
        """Hash: the engine's state by part."""
        return f"{self.prefix}:{group}:state:{partition}"

    def rows(self, group: str, partition: int) -> str:
        """Stream of packed rows; an entry has the id of the event that caused it."""
        return f"{self.prefix}:{group}:rows:{partition}"

    def poison(self, group: str) -> str:
        """Stream of messages set aside."""
        return f"{self.prefix}:{group}:poison"


def id_order(entry_id: bytes) -> tuple[int, int]:
    """Return a stream id as something that compares as Redis compares ids."""
    ms, _, sequence = entry_id.partition(b"-")
    return int(ms), int(sequence)
