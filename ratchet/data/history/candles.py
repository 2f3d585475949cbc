"""The bitemporal history of candles: what happened when, and since when it was known.

    <root>/catalog.sqlite                      series, files, gaps, collections: the commit point
    <root>/<venue>/<timeframe>/<symbol>/*.parquet   immutable segments

Nothing is overwritten: a corrected bar is a further row with a later `known_ns`, and a read names the time as of which
it wants to know. A file counts from the transaction that lists it, so a process killed at any moment leaves the state
before or after, and at most files that the next writer removes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import Clock
from ratchet.data.history.catalog import HistoryCatalog
from ratchet.data.history.gaps import Gap, GapKind
from ratchet.data.history.segments import (
    SEGMENT_COLUMNS,
    VALUE_COLUMNS,
    Segment,
    read_segment,
    read_times,
    segment_files,
    set_aside,
    set_strangers_aside,
    write_segment,
)
from ratchet.data.history.series import SeriesKey, Span, without
from ratchet.data.lock import hold
from ratchet.errors import ArtifactError, BusyError
from ratchet.market.candles import CANDLE_COLUMNS

_T = TypeVar("_T")

Basis = Literal["venue", "store"]
"""Whose knowledge a read means: what a participant at the venue could know, or what this store had."""

_MAX_SEGMENTS = 24
"""A series of more files than this is rewritten as one."""


class CandleHistory:
    """Candles of any number of series, each bar with the time since when its value is known.

    `known_ns` of a bar that comes in its turn, or with the first download of a series, is its close: whoever watched
    the venue knew it then. A bar that comes after later ones (a repaired hole, a correction) is known since it was
    fetched. `ingested_ns` is always when the row was stored; reads with `basis="store"` go by it.

    Args:
        root: folder of the history; made by the first writer.
        clock: says when rows are stored.
        read_only: open without creating or changing anything.
    """

    def __init__(self, root: Path, clock: Clock, *, read_only: bool = False) -> None:
        self._root = root
        self._clock = clock
        self.catalog = HistoryCatalog(root / "catalog.sqlite", read_only=read_only)

    def close(self) -> None:
        """Close the catalog."""
        self.catalog.close()

    @contextmanager
    def writing(self, *, patience_s: float = 0.0) -> Iterator[None]:
        """Be the only writer; first sets files aside that a writer left behind when it died.

        Raises:
            BusyError: another process is collecting into the same history.
            ArtifactError: there are segments, but the catalog that knows them is gone.
        """
        with hold(self._root / ".lock", patience_s=patience_s) as is_mine:
            if not is_mine:
                raise BusyError(f"{self._root}: another collection is running; wait for it to end")
            if segment_files(self._root) and not self.catalog.list_series():
                raise ArtifactError(
                    f"{self._root} holds segments, but catalog.sqlite knows none; restore it from a backup, or move "
                    "the folder away to begin anew"
                )
            set_strangers_aside(self._root, self.catalog.segment_paths())
            yield

    def forget(self, key: SeriesKey) -> None:
        """Strike a series out and set its files aside; it can be collected anew, for example when a file is damaged."""
        with self.writing():
            for segment in self.catalog.list_segments(key):
                set_aside(self._root, segment.path)
            self.catalog.forget(key)

    def times(self, key: SeriesKey) -> NDArray[np.int64]:
        """Return the opens of all bars that are stored, ascending, each once."""
        found = self._read(key, None, lambda segment: read_times(self._root, segment))
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int64)

    def versions(self, key: SeriesKey, span: Span | None = None) -> pd.DataFrame:
        """Return every row that was ever stored, in `SEGMENT_COLUMNS`, by bar and then in the order of storing."""
        parts = self._read(key, span, lambda segment: read_segment(self._root, segment))
        if not parts:
            return pd.DataFrame({name: pd.Series(dtype=_dtype(name)) for name in SEGMENT_COLUMNS})
        rows = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        if span is not None:
            rows = rows[(rows["ts_event_ns"] >= span.start_ns) & (rows["ts_event_ns"] < span.end_ns)]
        if not rows["ts_event_ns"].is_monotonic_increasing:
            rows = rows.sort_values("ts_event_ns", kind="stable")
        return rows.reset_index(drop=True)

    def missing(self, key: SeriesKey) -> list[Gap]:
        """Return what is missing of what was ever asked for: the ledger's open lines, and what no collection got to.

        The latter is there after a collection that was interrupted, and until the next one.
        """
        lines = self.catalog.list_gaps(venue=key.venue, symbol=key.symbol, timeframe=key.timeframe)
        wanted = self.catalog.wanted(key)
        holes = key.holes(self.times(key), wanted) if wanted else []
        rest = [piece for hole in holes for piece in without(hole, [line.span for line in lines])]
        return sorted([*lines, *(_not_asked(key, piece) for piece in rest)], key=lambda gap: gap.start_ns)

    def candles(
        self, keys: Sequence[SeriesKey], *, as_of_ns: int, span: Span | None = None, basis: Basis = "venue"
    ) -> pd.DataFrame:
        """Return the bars as they were known at `as_of_ns`: `CANDLE_COLUMNS` and `known_ns`, by symbol and time.

        Look-ahead safe: a bar that closed, came or was corrected later is not there, or with its earlier values.
        """
        frames = [self._as_known(key, as_of_ns, span, basis) for key in sorted(keys)]
        columns = [*CANDLE_COLUMNS, "known_ns"]
        full = [frame for frame in frames if not frame.empty]
        return pd.concat(full, ignore_index=True)[columns] if full else pd.DataFrame(columns=columns)

    def add(self, key: SeriesKey, rows: pd.DataFrame) -> None:
        """Store rows with `ts_event_ns`, the values and `known_ns`; they are durable when the call returns.

        The caller holds `writing()`. Rows are taken as they are: judging them is `admission`'s work.
        """
        stamped = rows.assign(ingested_ns=np.int64(self._clock.now_ns())).loc[:, list(SEGMENT_COLUMNS)]
        self.catalog.add_segment(key, write_segment(self._root, key.folder, stamped))

    def compact(self, key: SeriesKey, *, max_segments: int = _MAX_SEGMENTS) -> bool:
        """Rewrite a series of many files as one, every version kept; return whether that was needed."""
        before = self.catalog.list_segments(key)
        if len(before) <= max_segments:
            return False
        after = write_segment(self._root, key.folder, self.versions(key))
        self.catalog.add_segment(key, after, replaces=before)
        self._remove([segment for segment in before if segment.path != after.path])
        return True

    def _read(self, key: SeriesKey, span: Span | None, read: Callable[[Segment], _T]) -> list[_T]:
        """Read a series' files; once more where they were rewritten as one meanwhile."""
        listed = self._listed(key, span)
        try:
            return [read(segment) for segment in listed]
        except ArtifactError:
            again = self._listed(key, span)
            if again == listed:
                raise
            return [read(segment) for segment in again]

    def _listed(self, key: SeriesKey, span: Span | None) -> list[Segment]:
        return [
            segment
            for segment in self.catalog.list_segments(key)
            if span is None or (segment.start_ns < span.end_ns and span.start_ns <= segment.end_ns)
        ]

    def _as_known(self, key: SeriesKey, as_of_ns: int, span: Span | None, basis: Basis) -> pd.DataFrame:
        rows = self.versions(key, span)
        since = rows["known_ns"] if basis == "venue" else np.maximum(rows["known_ns"], rows["ingested_ns"])
        known = rows[since <= as_of_ns]
        latest = known[~known["ts_event_ns"].duplicated(keep="last")]
        return latest.assign(symbol=key.symbol)

    def _remove(self, segments: Sequence[Segment]) -> None:
        for segment in segments:
            (self._root / segment.path).unlink(missing_ok=True)


def _not_asked(key: SeriesKey, piece: Span) -> Gap:
    return Gap(
        venue=key.venue,
        symbol=key.symbol,
        timeframe=key.timeframe,
        start_ns=piece.start_ns,
        end_ns=piece.end_ns,
        kind=GapKind.FETCH_FAILURE,
        evidence="the collection that wanted these bars did not come to its end; collect again",
        attempts=0,
        found_ns=piece.end_ns,
        tried_ns=piece.end_ns,
    )


def _dtype(name: str) -> str:
    return "float64" if name in VALUE_COLUMNS else "int64"
