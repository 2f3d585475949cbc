"""What `ratchet data show` draws: one series, a stretch of it, and its gaps."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

import pandas as pd

from ratchet.clock import SystemClock, iso_utc
from ratchet.data.history import CandleHistory, CollectionRequest, SeriesKey, Span
from ratchet.data.history.coverage import gap_frame
from ratchet.errors import InputError, NotFoundError
from ratchet.market import parse_symbol
from ratchet.settings import Settings

_USUAL_BARS = 200


@dataclass(frozen=True)
class SeriesView:
    """Candles and gaps (columns `symbol`, `start_ns`, `end_ns`, `kind`) of one stretch of a series."""

    title: str
    candles: pd.DataFrame
    gaps: pd.DataFrame


def look_at(
    settings: Settings, symbol: str, *, venue: str | None, timeframe: str, start: str | None, end: str | None
) -> SeriesView:
    """Return a stretch of a stored series as it is known now.

    Raises:
        NotFoundError: no such series is stored, or it has no bar in the stretch.
        InputError: several venues have it, or a time cannot be read.
    """
    times = CollectionRequest.create(source="", symbols=None, timeframe=timeframe, start=start, end=end)
    clock = SystemClock()
    with closing(CandleHistory(settings.history_root, clock, read_only=True)) as history:
        key = _find(history, parse_symbol(symbol), venue, times.timeframe)
        span = _span(history, key, times.start_ns, times.end_ns)
        candles = history.candles([key], as_of_ns=clock.now_ns(), span=span)
        gaps = history.missing(key)
    if candles.empty:
        raise NotFoundError(f"{key.symbol}: no bar between {iso_utc(span.start_ns)} and {iso_utc(span.end_ns)}")
    inside = gap_frame([gap for gap in gaps if gap.span.overlaps(span)])
    bounds = ["start_ns", "end_ns"]
    inside[bounds] = inside[bounds].clip(span.start_ns, span.end_ns)
    title = f"{key.symbol} {key.timeframe}, {key.venue}: {iso_utc(span.start_ns)} to {iso_utc(span.end_ns)}"
    return SeriesView(title, candles, inside)


def _find(history: CandleHistory, symbol: str, venue: str | None, timeframe: str) -> SeriesKey:
    found = [
        key
        for key in history.catalog.list_series()
        if (key.symbol, key.timeframe) == (symbol, timeframe) and venue in {None, key.venue}
    ]
    if not found:
        raise NotFoundError(f"no {timeframe} candles of {symbol} are stored; see `ratchet data coverage`")
    if len(found) > 1:
        raise InputError(f"{symbol} is stored of {', '.join(key.venue for key in found)}; say which with --venue")
    return found[0]


def _span(history: CandleHistory, key: SeriesKey, start_ns: int | None, end_ns: int | None) -> Span:
    times = history.times(key)
    last_ns = int(times[-1]) + key.bar.ns if len(times) else 0
    until_ns = last_ns if end_ns is None else end_ns
    return Span(until_ns - _USUAL_BARS * key.bar.ns if start_ns is None else start_ns, until_ns)
