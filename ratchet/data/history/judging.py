"""From holes to lines of the gap ledger: cut where the evidence changes, and judge each piece."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from ratchet.data.history.fetching import SeriesFetch, open_holes
from ratchet.data.history.gaps import Gap, HoleEvidence, classify
from ratchet.data.history.series import SeriesKey, Span

_MAX_TRADE_LOOKUPS = 50
"""Per series and collection; further pieces are judged without asking for their trades."""


async def judge_holes(
    fetch: SeriesFetch, others: Sequence[SeriesFetch], settled: list[Gap], *, now_ns: int
) -> list[Gap]:
    """Return the ledger's lines for everything that is missing of a series.

    `settled` gaps stay as they are where nothing of them has come. `others` are the series of the same venue that were
    collected with it: whether they have bars of the same time tells an outage from a quiet market.
    """
    kept = [gap for gap in settled if _is_still_missing(fetch, gap)]
    earlier = fetch.history.catalog.list_gaps(
        venue=fetch.key.venue, symbol=fetch.key.symbol, timeframe=fetch.key.timeframe
    )
    found = []
    n_lookups = 0
    for hole in open_holes(fetch, [gap.span for gap in kept]):
        for piece in _pieces(fetch, others, hole):
            n_lookups += 1
            may_look = n_lookups <= _MAX_TRADE_LOOKUPS and not fetch.failure_of(piece)
            n_trades = await fetch.trades_in(piece) if may_look else None
            found.append(_judge(fetch, others, piece, earlier, n_trades, now_ns))
    return sorted([*kept, *_merged(found)], key=lambda gap: gap.start_ns)


def _is_still_missing(fetch: SeriesFetch, gap: Gap) -> bool:
    first, last = np.searchsorted(fetch.times_ns, [gap.start_ns, gap.end_ns])
    return bool(first == last)


def _pieces(fetch: SeriesFetch, others: Sequence[SeriesFetch], hole: Span) -> list[Span]:
    """Cut a hole where a failure begins or ends, a listing begins, bars were refused, or other symbols stop trading."""
    edges = [bound for failed, _ in fetch.failures for bound in (failed.start_ns, failed.end_ns)]
    edges += [bound for refused in _refused(fetch) for bound in (refused.start_ns, refused.end_ns)]
    if fetch.instrument and fetch.instrument.listed_ns is not None:
        edges.append(fetch.instrument.listed_ns)
    cuts = {hole.start_ns, hole.end_ns, *map(fetch.key.first_open_ns, edges)}
    inside = sorted(cut for cut in cuts if hole.start_ns <= cut <= hole.end_ns)
    rough = [Span(start, end) for start, end in pairwise(inside)]
    return [piece for span in rough for piece in _by_darkness(fetch.key, others, span)]


def _refused(fetch: SeriesFetch) -> list[Span]:
    """Return the bars that refused rows belong to, whatever the rows' own times."""
    bar_ns = fetch.key.bar.ns
    opens = {fetch.key.first_open_ns(refused_ns - bar_ns + 1) for refused_ns in fetch.refused_ns}
    return [Span(open_ns, open_ns + bar_ns) for open_ns in sorted(opens)]


def _by_darkness(key: SeriesKey, others: Sequence[SeriesFetch], span: Span) -> list[Span]:
    """Cut a span where the other symbols, all of them together, begin or cease to have bars."""
    witnesses = _witnesses(others, span)
    if not witnesses:
        return [span]
    opens = np.arange(span.start_ns, span.end_ns, key.bar.ns)
    is_lit = np.zeros(len(opens), dtype=bool)
    for other in witnesses:
        is_lit |= np.isin(opens, _within(other.times_ns, span), assume_unique=True)
    starts = opens[np.flatnonzero(np.diff(is_lit, prepend=~is_lit[:1]))]
    ends = [*starts[1:], span.end_ns]
    return [Span(int(start), int(end)) for start, end in zip(starts, ends, strict=True)]


def _witnesses(others: Sequence[SeriesFetch], span: Span) -> list[SeriesFetch]:
    """Return the series that were traded before and were asked for the same time without a failure."""
    return [
        other
        for other in others
        if len(other.times_ns)
        and other.times_ns[0] <= span.start_ns
        and other.wanted.end_ns >= span.end_ns
        and not other.is_delisted
        and other.failure_of(span) is None
    ]


def _within(times_ns: NDArray[np.int64], span: Span) -> NDArray[np.int64]:
    first, last = np.searchsorted(times_ns, [span.start_ns, span.end_ns])
    return times_ns[first:last]


def _judge(
    fetch: SeriesFetch,
    others: Sequence[SeriesFetch],
    piece: Span,
    earlier: Sequence[Gap],
    n_trades: int | None,
    now_ns: int,
) -> Gap:
    before = [gap for gap in earlier if gap.span.overlaps(piece)]
    witnesses = _witnesses(others, piece)
    n_asked = sum(asked.start_ns <= piece.start_ns and piece.end_ns <= asked.end_ns for asked in fetch.asked)
    n_failed = sum(failed.overlaps(piece) for failed, _ in fetch.failures)
    attempts = max((gap.attempts for gap in before), default=0) + bool(n_asked or n_failed)
    evidence = HoleEvidence(
        attempts=attempts,
        traits=fetch.exchange.traits,
        error=fetch.failure_of(piece),
        is_refused=any(refused.overlaps(piece) for refused in _refused(fetch)),
        first_bar_ns=int(fetch.times_ns[0]) if len(fetch.times_ns) else None,
        last_bar_ns=int(fetch.times_ns[-1]) if len(fetch.times_ns) else None,
        listed_ns=fetch.instrument.listed_ns if fetch.instrument else None,
        is_delisted=fetch.is_delisted,
        n_others=len(witnesses),
        n_others_with_bars=sum(len(_within(other.times_ns, piece)) > 0 for other in witnesses),
        n_trades=n_trades,
    )
    kind, words = classify(piece, evidence)
    return Gap(
        venue=fetch.key.venue,
        symbol=fetch.key.symbol,
        timeframe=fetch.key.timeframe,
        start_ns=piece.start_ns,
        end_ns=piece.end_ns,
        kind=kind,
        evidence=words,
        attempts=attempts,
        was_answered=n_asked > 0 or any(gap.was_answered for gap in before),
        found_ns=min((gap.found_ns for gap in before), default=now_ns),
        tried_ns=now_ns if n_asked or n_failed else max((gap.tried_ns for gap in before), default=now_ns),
    )


def _merged(found: Sequence[Gap]) -> list[Gap]:
    """Make neighbours that say the same one line."""
    merged: list[Gap] = []
    for gap in found:
        last = merged[-1] if merged else None
        says_same = last and (last.kind, last.evidence, last.end_ns) == (gap.kind, gap.evidence, gap.start_ns)
        if last and says_same:
            merged[-1] = last.model_copy(update={"end_ns": gap.end_ns, "found_ns": min(last.found_ns, gap.found_ns)})
        else:
            merged.append(gap)
    return merged


def settled_gaps(fetch: SeriesFetch) -> list[Gap]:
    """Return the open gaps that need not be asked for again."""
    key, policy = fetch.key, fetch.policy
    listed = fetch.history.catalog.list_gaps(venue=key.venue, symbol=key.symbol, timeframe=key.timeframe)
    return [gap for gap in listed if gap.is_settled(policy.settle_after_ns, policy.settle_attempts)]


def spans_of(gaps: Sequence[Gap]) -> list[Span]:
    """Return the stretches of time of some gaps."""
    return [gap.span for gap in gaps]
