"""What one collection did, as people read it and as machines keep it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from ratchet.data.history.gaps import Gap, GapKind


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SeriesReport(_Frozen):
    """What came of one symbol."""

    symbol: str
    n_bars: int
    """Bars that are stored now, in everything that was ever asked for."""
    n_new: int
    n_revised: int
    """Bars whose values the venue has corrected."""
    n_refused: int
    """Rows that cannot be true; they are in quarantine."""
    n_repaired: int
    """Bars that filled a hole between others that were stored before."""
    start_ns: int
    end_ns: int
    """Bounds of what was ever asked for; `end_ns` is the close of the last bar."""
    gaps: tuple[Gap, ...]
    """What is missing between them, as the ledger has it."""
    digest: str
    """SHA-256 of the bars as they are known now."""
    quarantine: tuple[str, ...] = ()
    """Files with the refused rows."""

    @property
    def n_wanted(self) -> int:
        """Bars that are stored or missing."""
        return self.n_bars + sum(self.n_missing.values())

    @property
    def n_missing(self) -> dict[GapKind, int]:
        """Missing bars by what they are."""
        missing: dict[GapKind, int] = {}
        for gap in self.gaps:
            missing[gap.kind] = missing.get(gap.kind, 0) + gap.n_bars
        return missing


class CollectionReport(_Frozen):
    """What came of a collection; the same data give the same `digest`."""

    venue: str
    timeframe: str
    as_of_ns: int
    """The venue's time at which it was asked."""
    known_at_ns: int
    """This machine's time at the end, as of which everything that was collected is known."""
    series: tuple[SeriesReport, ...]
    n_gaps_closed: int
    """Lines of the ledger that are closed now."""
    digest: str
    skew_ms: float
    """The venue's clock minus this machine's."""

    @property
    def n_new(self) -> int:
        """Bars that were not there before."""
        return sum(item.n_new for item in self.series)

    @property
    def failures(self) -> tuple[Gap, ...]:
        """What could not be got and will be asked for again."""
        return tuple(gap for item in self.series for gap in item.gaps if gap.kind is GapKind.FETCH_FAILURE)
