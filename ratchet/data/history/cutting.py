"""From the history to an immutable dataset: the bars as they were known, holes left open unless asked otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ratchet.clock import iso_utc
from ratchet.data.books import recorded_books, recorded_trades
from ratchet.data.history.candles import CandleHistory
from ratchet.data.history.gaps import Gap, GapKind
from ratchet.data.history.segments import VALUE_COLUMNS
from ratchet.data.history.series import SeriesKey, Span
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import save_dataset
from ratchet.errors import InputError


def cut_dataset(
    root: Path,
    history: CandleHistory,
    keys: Sequence[SeriesKey],
    *,
    as_of_ns: int,
    span: Span | None = None,
    fill_no_trades: bool = False,
    recordings: Path | None = None,
) -> DatasetRef:
    """Store the bars of some series as they were known at `as_of_ns`; equal bars give an equal dataset.

    Look-ahead safe: no value is in it that was known later. With `fill_no_trades`, bars in which nobody traded, as the
    ledger had it at that time, are made up of the close right before them, with volume 0 and `is_filled` set; no other
    gap is ever filled.

    Args:
        root: the home folder; datasets live in `root/datasets`.
        history: where the bars are.
        keys: series of one venue and timeframe.
        as_of_ns: the time of the knowledge.
        span: the bars wanted; None for all.
        fill_no_trades: whether to close gaps of that kind.
        recordings: folder of recorded books and trades; those of the same time are added, books at each bar's close.

    Raises:
        InputError: the series are of several venues or timeframes, or none has a bar.
    """
    places = {(key.venue, key.timeframe) for key in keys}
    if len(places) != 1:
        raise InputError(f"a dataset holds series of one venue and timeframe, not of {len(places)}")
    ((venue, timeframe),) = places
    candles = history.candles(keys, as_of_ns=as_of_ns, span=span)
    if candles.empty:
        names = ", ".join(key.symbol for key in keys)
        raise InputError(f"the history has no {timeframe} bar of {names} known at {iso_utc(as_of_ns)}; collect first")
    candles = candles.assign(is_filled=False)
    if fill_no_trades:
        lines = history.catalog.list_gaps(venue=venue, timeframe=timeframe, with_closed=True)
        candles = fill_quiet_bars(candles, _fillable(lines, keys[0], as_of_ns, span))
    books, trades = (None, None) if recordings is None else _recorded(recordings, keys, candles, as_of_ns)
    return save_dataset(
        root,
        candles,
        source=venue,
        timeframe=keys[0].bar,
        books=books,
        trades=trades,
        made_by=f"collect {venue} {timeframe}" + (", bars without trades filled" if fill_no_trades else ""),
        made_at_ns=as_of_ns,
    )


def fill_quiet_bars(candles: pd.DataFrame, gaps: Sequence[Gap]) -> pd.DataFrame:
    """Return the candles with the bars of `gaps` made up of the close before them, volume 0 and `is_filled` True.

    `candles` has `CANDLE_COLUMNS`, `known_ns` and `is_filled`. A made-up bar is known at its close. A gap stays open
    where the bar right before it is not there.
    """
    rows = dict(list(candles.groupby("symbol", sort=False)))
    made = [_made_up(rows[gap.symbol], gap) for gap in gaps if gap.symbol in rows]
    parts = [candles, *(part for part in made if part is not None)]
    if len(parts) == 1:
        return candles
    return pd.concat(parts, ignore_index=True).sort_values(["symbol", "ts_event_ns"], ignore_index=True)


def _fillable(lines: Sequence[Gap], key: SeriesKey, as_of_ns: int, span: Span | None) -> list[Gap]:
    """Return the gaps without trades as the ledger had them then, cut to bars that had closed and are wanted."""
    wanted = key.whole_bars(span.start_ns if span else 0, min(as_of_ns, span.end_ns) if span else as_of_ns)
    return [
        gap.model_copy(
            update={"start_ns": max(gap.start_ns, wanted.start_ns), "end_ns": min(gap.end_ns, wanted.end_ns)}
        )
        for gap in lines
        if gap.kind is GapKind.NO_TRADES
        and gap.found_ns <= as_of_ns
        and (gap.closed_ns is None or gap.closed_ns > as_of_ns)
        and gap.span.overlaps(wanted)
    ]


def _recorded(
    recordings: Path, keys: Sequence[SeriesKey], candles: pd.DataFrame, as_of_ns: int
) -> tuple[pd.DataFrame | None, pd.DataFrame | None]:
    venue, bar_ns, symbols = keys[0].venue, keys[0].bar.ns, [key.symbol for key in keys]
    start_ns = int(candles["ts_event_ns"].min())
    end_ns = min(int(candles["ts_event_ns"].max()) + bar_ns, as_of_ns)
    books = recorded_books(recordings, venue, symbols, start_ns, end_ns, interval_ns=bar_ns)
    return books, recorded_trades(recordings, venue, symbols, start_ns, end_ns)


def _made_up(rows: pd.DataFrame, gap: Gap) -> pd.DataFrame | None:
    bar_ns = (gap.end_ns - gap.start_ns) // gap.n_bars
    before = rows.loc[rows["ts_event_ns"] == gap.start_ns - bar_ns, "close"]
    if before.empty:
        return None
    close = float(before.iloc[0])
    opens = np.arange(gap.start_ns, gap.end_ns, bar_ns, dtype=np.int64)
    made = pd.DataFrame({"symbol": gap.symbol, "ts_event_ns": opens, **dict.fromkeys(VALUE_COLUMNS, close)})
    return made.assign(volume=0.0, known_ns=opens + bar_ns, is_filled=True)
