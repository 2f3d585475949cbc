"""Collecting new data: fetch what is missing, note what cannot be had, and say the same twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ratchet.clock import Clock, iso_utc
from ratchet.data.atomic import sha256_bytes
from ratchet.data.history.candles import CandleHistory
from ratchet.data.history.fetching import CollectionPolicy, SeriesFetch, open_holes
from ratchet.data.history.gaps import Gap
from ratchet.data.history.judging import judge_holes, settled_gaps, spans_of
from ratchet.data.history.reports import CollectionReport, SeriesReport
from ratchet.data.history.segments import VALUE_COLUMNS
from ratchet.data.history.series import SeriesKey, Span, venue_name
from ratchet.errors import InputError
from ratchet.market.symbols import Timeframe, parse_symbol
from ratchet.market.venue import Exchange

_FEW_SYMBOLS = 20
"""A venue that lists no more is collected whole where nothing else is said."""


async def collect_new_data(
    exchange: Exchange,
    history: CandleHistory,
    symbols: Sequence[str] | None,
    timeframe: Timeframe,
    start_ns: int | None,
    end_ns: int | None,
    *,
    clock: Clock,
    quarantine_folder: Path,
    policy: CollectionPolicy | None = None,
    ask_again: bool = False,
    patience_s: float = 0.0,
    on_page: Callable[[str, int], None] = lambda _symbol, _n_bars: None,
) -> CollectionReport:
    """Fetch the closed bars that are missing between `start_ns` and `end_ns`, and in holes of what was asked before.

    Run again it fetches the last few bars only, and as long as the venue has nothing new the digest is the same. What
    is stored stays stored, whatever fails: a stretch that could not be fetched is a line of the gap ledger and is
    tried again next time, and a killed process resumes where its last stored page ends.

    Args:
        exchange: where from.
        history: where to.
        symbols: which; None stands for every series of this venue and timeframe that was collected before, or for all
            of a venue that lists a few.
        timeframe: length of the bars.
        start_ns: earliest open; None stands for what was asked for before, or `policy.first_bars` for a new series.
        end_ns: latest close; None, or a later time, for now: by the venue's clock and by this machine's.
        clock: says when bars are stored and gaps found.
        quarantine_folder: where rows go that cannot be true.
        policy: how patient to be.
        ask_again: ask also for gaps that are settled.
        patience_s: how long to wait for another collection to end.
        on_page: is told the symbol and the number of bars of each page, for a progress bar.

    Raises:
        InputError: an unknown symbol or timeframe, or a period without room for a bar; other series are collected.
        BusyError: another process collects into the same history.
        UnavailableError: the venue does not even tell its time.
    """
    with history.writing(patience_s=patience_s):
        venue_ns = await exchange.server_time_ns()
        venue_ahead_ns = venue_ns - clock.now_ns()  # measured after any waiting for the answer
        # A venue whose clock runs ahead has no bars of its future; they are not missing.
        now_ns = min(venue_ns, clock.now_ns())
        until_ns = now_ns if end_ns is None else min(end_ns, now_ns)
        policy = policy or CollectionPolicy()
        fetches = [
            SeriesFetch(
                key=key,
                wanted=_wanted(history, key, start_ns, until_ns, policy.first_bars),
                exchange=exchange,
                history=history,
                clock=clock,
                policy=policy,
                quarantine_folder=quarantine_folder,
                on_page=on_page,
                begins_at_listing=start_ns is None and history.catalog.wanted(key) is None,
            )
            for key in await _keys(exchange, history, symbols, timeframe)
        ]
        await _all(fetches, lambda fetch: _fetch_series(fetch, ask_again=ask_again))
        refused = [fetch for fetch in fetches if fetch.problem]
        fetches = [fetch for fetch in fetches if not fetch.problem]
        closed = [gap for fetch in fetches for gap in await _update_ledger(fetch, fetches, ask_again=ask_again)]
        series = tuple(map(_series_report, fetches))
        report = CollectionReport(
            venue=venue_name(exchange.name),
            timeframe=timeframe.text,
            as_of_ns=venue_ns,
            known_at_ns=clock.now_ns(),
            series=series,
            n_gaps_closed=len(closed),
            digest=sha256_bytes("".join(item.symbol + item.digest for item in series).encode()),
            skew_ms=venue_ahead_ns / 1e6,
        )
        history.catalog.add_collection(report.venue, report.model_dump_json(), ended_ns=clock.now_ns())
    if refused and refused[0].problem:
        raise refused[0].problem
    return report


async def _keys(
    exchange: Exchange, history: CandleHistory, symbols: Sequence[str] | None, timeframe: Timeframe
) -> list[SeriesKey]:
    venue = venue_name(exchange.name)
    if symbols is None:
        stored = history.catalog.list_series()
        symbols = [key.symbol for key in stored if (key.venue, key.timeframe) == (venue, timeframe.text)]
    if not symbols:
        symbols = await exchange.list_symbols()
        if len(symbols) > _FEW_SYMBOLS:
            raise InputError(f"{exchange.name} lists {len(symbols)} symbols; say which to collect")
    return [SeriesKey(venue, symbol, timeframe.text) for symbol in sorted({parse_symbol(item) for item in symbols})]


def _wanted(history: CandleHistory, key: SeriesKey, start_ns: int | None, until_ns: int, first_bars: int) -> Span:
    """Return what is wanted of a series from now on: what was, and what is asked for now."""
    before = history.catalog.wanted(key)
    usual_ns = before.start_ns if before else until_ns - first_bars * key.bar.ns
    first_ns = usual_ns if start_ns is None else start_ns
    asked = key.whole_bars(first_ns, until_ns)
    if asked.start_ns < asked.end_ns:
        return Span(min(before.start_ns, asked.start_ns), max(before.end_ns, asked.end_ns)) if before else asked
    if before and first_ns < until_ns:  # no bar has closed since
        return before
    period = f"between {iso_utc(first_ns)} and {iso_utc(until_ns)}"
    raise InputError(f"no {key.timeframe} bar of {key.symbol} opens and closes {period}")


async def _all(fetches: Sequence[SeriesFetch], work: Callable[[SeriesFetch], Awaitable[None]]) -> None:
    """Do the work for all series, so many at a time; the first error stops the others."""
    gate = asyncio.Semaphore(fetches[0].policy.concurrency)

    async def one(fetch: SeriesFetch) -> None:
        async with gate:
            await work(fetch)

    tasks = [asyncio.ensure_future(one(fetch)) for fetch in fetches]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _fetch_series(fetch: SeriesFetch, *, ask_again: bool) -> None:
    await fetch.prepare()
    if fetch.problem:
        return
    fetch.history.catalog.want(fetch.key, fetch.wanted)
    settled = [] if ask_again else spans_of(settled_gaps(fetch))
    await fetch.fetch([*open_holes(fetch, settled), *fetch.rechecks])
    for _ in range(fetch.policy.confirmations):
        unanswered = [*open_holes(fetch, settled), *fetch.unconfirmed()]
        if not unanswered or fetch.failures or fetch.problem:
            break
        await fetch.fetch(unanswered)
    if fetch.problem and not len(fetch.times_ns):
        fetch.history.catalog.forget(fetch.key)


async def _update_ledger(fetch: SeriesFetch, fetches: Sequence[SeriesFetch], *, ask_again: bool) -> list[Gap]:
    now_ns = fetch.clock.now_ns()
    others = [other for other in fetches if other is not fetch]
    settled = [] if ask_again else settled_gaps(fetch)
    gaps = await judge_holes(fetch, others, settled, now_ns=now_ns)
    closed = fetch.history.catalog.set_gaps(fetch.key, gaps, now_ns=now_ns)
    fetch.history.compact(fetch.key)
    return closed


def _series_report(fetch: SeriesFetch) -> SeriesReport:
    key = fetch.key
    return SeriesReport(
        symbol=key.symbol,
        n_bars=len(fetch.times_ns),
        n_new=fetch.n_new,
        n_revised=fetch.n_revised,
        n_refused=fetch.n_refused,
        n_repaired=fetch.n_repaired,
        start_ns=fetch.wanted.start_ns,
        end_ns=fetch.wanted.end_ns,
        gaps=tuple(
            fetch.history.catalog.list_gaps(venue=key.venue, symbol=key.symbol, timeframe=key.timeframe),
        ),
        digest=content_digest(fetch.history.candles([key], as_of_ns=fetch.clock.now_ns())),
        quarantine=tuple(map(str, fetch.quarantine)),
    )


def content_digest(candles: pd.DataFrame) -> str:
    """Return the SHA-256 of times, values and `known_ns` of one series, whatever files they lie in."""
    columns = ["ts_event_ns", *VALUE_COLUMNS, "known_ns"]
    blocks = [np.ascontiguousarray(candles[name].to_numpy()).tobytes() for name in columns]
    return sha256_bytes("".join(sha256_bytes(block) for block in blocks).encode())
