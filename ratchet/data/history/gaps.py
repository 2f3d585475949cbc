"""Holes in a series: what each one is, and on what evidence."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from ratchet.clock import iso_utc
from ratchet.data.history.series import Span
from ratchet.market.symbols import Timeframe
from ratchet.market.venue import VenueTraits


class GapKind(StrEnum):
    """Why bars are missing."""

    FETCH_FAILURE = "fetch_failure"
    """They could not be got, or there is reason to believe that they exist; asked for again at each collection."""
    EXCHANGE_OUTAGE = "exchange_outage"
    """The venue has nothing of that time for any symbol."""
    NO_TRADES = "no_trades"
    """Nobody traded the symbol; the only kind that may be filled."""
    NOT_LISTED = "not_listed"
    """Before the symbol's first or after its last bar."""


class Gap(BaseModel):
    """One line of the gap ledger: a maximal stretch without bars, as it is known now."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    venue: str
    symbol: str
    timeframe: str
    start_ns: int
    end_ns: int
    """Exclusive."""
    kind: GapKind
    evidence: str
    """What speaks for the kind, in words and numbers."""
    attempts: int
    """In how many collections the venue was asked for these bars."""
    was_answered: bool = False
    """Whether the venue ever answered that it has none, so that bars which come later came late."""
    found_ns: int
    tried_ns: int
    """When the venue was last asked."""
    closed_ns: int | None = None
    """When the bars came after all, or when the gap was cut by others that did; None while it is open."""

    @property
    def span(self) -> Span:
        """The stretch of time."""
        return Span(self.start_ns, self.end_ns)

    @property
    def n_bars(self) -> int:
        """How many bars are missing."""
        return (self.end_ns - self.start_ns) // Timeframe.parse(self.timeframe).ns

    def is_settled(self, settle_after_ns: int, min_attempts: int) -> bool:
        """Tell whether it need not be asked for again: well attested, asked often enough, and for long enough."""
        return (
            self.kind is not GapKind.FETCH_FAILURE
            and self.attempts >= min_attempts
            and self.tried_ns - self.found_ns >= settle_after_ns
        )


@dataclass(frozen=True, slots=True)
class HoleEvidence:
    """What is known about one hole when it is judged.

    `error` is the last failure to fetch it; `is_refused` whether bars came that cannot be true. `first_bar_ns` and
    `last_bar_ns` bound what the series has, None without any bar. `n_others` symbols of the venue were asked for the
    same time, `n_others_with_bars` of them have bars in it. `n_trades` counts trades in the hole, None where the venue
    cannot tell.
    """

    attempts: int
    traits: VenueTraits
    error: str | None = None
    is_refused: bool = False
    first_bar_ns: int | None = None
    last_bar_ns: int | None = None
    listed_ns: int | None = None
    is_delisted: bool = False
    n_others: int = 0
    n_others_with_bars: int = 0
    n_trades: int | None = None


def classify(hole: Span, evidence: HoleEvidence) -> tuple[GapKind, str]:
    """Return what a hole is and the sentence that says why; in doubt it is a failure to fetch, which is asked again."""
    for judge in (_outside_listing, _failed, _quiet_or_dark):
        verdict = judge(hole, evidence)
        if verdict:
            return verdict
    return GapKind.FETCH_FAILURE, f"{_asked(evidence)}, and nothing says why"


def _outside_listing(hole: Span, evidence: HoleEvidence) -> tuple[GapKind, str] | None:
    if evidence.listed_ns is not None and hole.end_ns <= evidence.listed_ns:
        return GapKind.NOT_LISTED, f"the venue lists it since {iso_utc(evidence.listed_ns)}"
    is_after = evidence.last_bar_ns is None or hole.start_ns > evidence.last_bar_ns
    if evidence.is_delisted and is_after:
        return GapKind.NOT_LISTED, "the venue no longer lists it"
    is_before = evidence.first_bar_ns is not None and hole.end_ns <= evidence.first_bar_ns
    is_silent = evidence.listed_ns is None and not evidence.traits.max_history_bars
    if not is_before or not is_silent or evidence.error or evidence.is_refused or evidence.n_trades:
        return None  # a venue that says since when it lists a symbol says that it listed it then
    return GapKind.NOT_LISTED, f"{_asked(evidence)}; the first bar opens {iso_utc(evidence.first_bar_ns or 0)}"


def _failed(hole: Span, evidence: HoleEvidence) -> tuple[GapKind, str] | None:
    if evidence.error:
        return GapKind.FETCH_FAILURE, evidence.error
    if evidence.is_refused:
        return GapKind.FETCH_FAILURE, "the venue's bars cannot be true; they are in quarantine with the reasons"
    if evidence.n_trades:
        return GapKind.FETCH_FAILURE, f"{_asked(evidence)}, yet the venue has trades in it"
    is_before = evidence.first_bar_ns is not None and hole.end_ns <= evidence.first_bar_ns
    if is_before and evidence.traits.max_history_bars:
        reach = evidence.traits.max_history_bars
        return GapKind.FETCH_FAILURE, f"the venue answers its latest {reach} bars only; collect more often"
    return None


def _quiet_or_dark(hole: Span, evidence: HoleEvidence) -> tuple[GapKind, str] | None:
    others = f"{evidence.n_others_with_bars} of {evidence.n_others} other symbols have bars then"
    trades = "no trades in it" if evidence.n_trades == 0 else "its trades cannot be asked for"
    said = f"{_asked(evidence)}; {others}; {trades}"
    if evidence.n_others and not evidence.n_others_with_bars:
        return GapKind.EXCHANGE_OUTAGE, said
    if not evidence.n_others and evidence.traits.emits_empty_bars:
        return (GapKind.EXCHANGE_OUTAGE, f"{said}; a quiet bar would be there") if evidence.n_trades == 0 else None
    if evidence.n_trades == 0 or not evidence.traits.emits_empty_bars:
        return GapKind.NO_TRADES, said
    return None


def _asked(evidence: HoleEvidence) -> str:
    runs = "1 collection" if evidence.attempts == 1 else f"{evidence.attempts} collections"
    return f"asked in {runs}, no bars came"
