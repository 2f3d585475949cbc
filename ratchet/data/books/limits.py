"""When a recorder writes, closes and gives up waiting."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RecordingLimits:
    """Times and counts of a recorder; times in seconds that pass, not of a clock that can be set.

    `sync_every_s`, `sync_records`: events are made safe at the latest after this time or this many. `segment_rows`,
    `segment_age_s`: when a segment is closed. `stall_s`: silence after which a stream is taken for dead.
    `alive_every_s`: how often is written that a book's connection speaks. `resync_every_s`: how often a lost book is
    asked for. `tick_s`: how often all this is looked at (asyncio time).
    `trust_after` and `max_levels`: see `BookBuilder`.
    """

    sync_every_s: float = 1.0
    sync_records: int = 5_000
    segment_rows: int = 250_000
    segment_age_s: float = 900.0
    stall_s: float = 30.0
    alive_every_s: float = 5.0
    resync_every_s: float = 5.0
    tick_s: float = 0.1
    trust_after: int | None = None
    max_levels: int = 5_000
