"""What a recording counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

_MAX_SAMPLES = 50_000


@dataclass(frozen=True, slots=True)
class RecordedGap:
    """A book that was lost: where, when it was noticed (receive time), after and before which update, and why."""

    symbol: str
    noticed_ns: int
    after_id: int | None
    before_id: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class ClockSkew:
    """Receive time minus the venue's time of deltas and trades, ns: negative where this machine's clock is behind."""

    min_ns: int
    median_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class RecordingReport:
    """What happened during a recording or a replay."""

    n_messages: int
    n_events: dict[str, int]
    """Records written, by kind."""
    n_gaps: int
    gaps: tuple[RecordedGap, ...]
    """The first 1,000 of them."""
    n_resyncs: int
    """Times that a lost book was trusted again."""
    n_crossed: int
    n_checksum_failures: int
    n_stalls: int
    n_poison: int
    """Messages that could not be read; they are in the venue's `poison` file."""
    n_repeated_trades: int
    """Trades that came again, after a reconnection for example; written once."""
    n_refused_requests: int
    """Requests for a snapshot or a subscription that the venue did not answer."""
    n_trimmed_bytes: int
    """Torn bytes that an earlier, killed recorder left."""
    n_segments: int
    n_quotes: int
    n_quotes_matched: int
    n_quotes_agreed: int
    """Best quotes that came, that could be compared with the rebuilt book, and that equal it; see `QuoteAgreement`."""
    skew: ClockSkew | None


class Tally:
    """Counts while a recording runs."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.records: Counter[str] = Counter()
        self.gaps: list[RecordedGap] = []
        self._skews: list[int] = []
        self._every = 1
        self._n_skews = 0
        self._extremes: tuple[int, int] | None = None

    def gap(self, gap: RecordedGap) -> None:
        """Count a gap."""
        self.counts["gaps"] += 1
        if len(self.gaps) < 1_000:
            self.gaps.append(gap)

    def skew(self, skew_ns: int) -> None:
        """Take a difference of clocks; the median rests on at most 50,000 of them, evenly spread."""
        low, high = self._extremes or (skew_ns, skew_ns)
        self._extremes = (min(low, skew_ns), max(high, skew_ns))
        if self._n_skews % self._every == 0:
            self._skews.append(skew_ns)
            if len(self._skews) >= _MAX_SAMPLES:
                self._skews = self._skews[::2]
                self._every *= 2
        self._n_skews += 1

    def clock_skew(self) -> ClockSkew | None:
        """Return smallest, median and largest difference; None before the first."""
        if self._extremes is None:
            return None
        return ClockSkew(self._extremes[0], int(np.median(self._skews)), self._extremes[1])
