"""Recordings read back: events as rows, and the book as it was known at given times."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ratchet.clock import NS_PER_S
from ratchet.data.books.records import EVENT_COLUMNS
from ratchet.data.books.rules import book_rule
from ratchet.data.books.sampling import BOOK_KINDS, event_starts, walk_books
from ratchet.data.books.segments import SegmentManifest, list_segments, segment_folder, verified_path
from ratchet.errors import InputError, NotFoundError
from ratchet.market.venue import BOOK_COLUMNS

VALID_FOR_NS = 30 * NS_PER_S
"""How long a book counts as known after the last row that says so, as long as a recorder waits before a stall."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the book is not known: from the last trusted event (the venue's time) until the next snapshot.

    `noticed_ns` and `until_ns` are receive times; `until_ns` is None where no snapshot followed.
    """

    from_event_ns: int
    noticed_ns: int
    until_ns: int | None
    reason: str


def read_events(
    root: Path, venue: str, symbol: str, start_ns: int, end_ns: int, *, kinds: Collection[str] | None = None
) -> pd.DataFrame:
    """Return the recorded rows (`EVENT_COLUMNS`) received in `[start_ns, end_ns)`, in the order of recording.

    Of all kinds, or of `kinds` only; others then take no memory. Segments that are still open are not read. Every file
    is compared with its digest.

    Raises:
        NotFoundError: nothing was recorded for the symbol.
        ArtifactError: a segment is missing or was altered.
    """
    parts = list(_received(root, venue, symbol, start_ns, end_ns, kinds))
    if not parts:
        return pd.DataFrame(columns=list(EVENT_COLUMNS)).astype({"ts_recv_ns": np.int64})
    return pd.concat(parts, ignore_index=True)


def list_gaps(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int) -> list[Gap]:
    """Return the gaps that were noticed in `[start_ns, end_ns)`; of gaps that follow each other, each one.

    Raises as `read_events`.
    """
    events: list[tuple[str, int, int, str]] = []
    for part in _received(root, venue, symbol, start_ns, end_ns, ("gap", "snapshot")):
        rows = part[event_starts(part)]
        columns = (rows[name].tolist() for name in ("kind", "ts_event_ns", "ts_recv_ns", "note"))
        events += zip(*columns, strict=True)
    gaps: list[Gap] = []
    until_ns: int | None = None
    for kind, ts_event_ns, ts_recv_ns, note in reversed(events):
        if kind == "snapshot":
            until_ns = ts_recv_ns
        else:
            gaps.append(Gap(ts_event_ns, ts_recv_ns, until_ns, note))
    return gaps[::-1]


def sample_books(
    root: Path,
    venue: str,
    symbol: str,
    start_ns: int,
    end_ns: int,
    *,
    interval_ns: int,
    valid_for_ns: int = VALID_FOR_NS,
) -> pd.DataFrame:
    """Return the book at `start_ns`, `start_ns + interval_ns`, ... before `end_ns`, as it was known here by then.

    A row at time t rests on events with `ts_recv_ns <= t` only. Times at which the book was not known have no row:
    before a snapshot; in a gap or a pause of the recorder, which begin after the last row before them that says the
    book holds (`snapshot`, `delta` or `alive`); and later than `valid_for_ns` after such a row, whatever follows.
    Levels that the book did not have are NaN. Segments are read one after the other.

    Returns:
        `BOOK_COLUMNS`; `ts_event_ns` is the sampling time t, on this machine's clock.

    Raises:
        InputError: the interval is not positive, or the venue's rule is not known.
        NotFoundError: nothing was recorded for the symbol.
        ArtifactError: a segment is missing or was altered.
    """
    if interval_ns <= 0:
        raise InputError(f"a sampling interval of {interval_ns} ns is not positive")
    depth = book_rule(venue).depth
    folder, segments = _segments(root, venue, symbol)
    parts = _frames(folder, segments[_first_needed(segments, start_ns) :], BOOK_KINDS)
    times = np.arange(start_ns, end_ns, interval_ns, dtype=np.int64)
    samples = [(symbol, ts_ns, *values) for ts_ns, values in walk_books(parts, times, depth, valid_for_ns)]
    return pd.DataFrame(samples, columns=list(BOOK_COLUMNS))


def _segments(root: Path, venue: str, symbol: str) -> tuple[Path, list[SegmentManifest]]:
    folder = segment_folder(root, venue, symbol)
    segments = list_segments(folder)
    if not segments:
        raise NotFoundError(f"{folder}: no closed segment of {symbol} on {venue}; record it first")
    return folder, segments


def _first_needed(segments: list[SegmentManifest], start_ns: int) -> int:
    """Return the place of the last segment that begins, after all rows before it, by `start_ns`.

    Each segment begins with the book, where that was known.
    """
    first, latest_ns = 0, 0
    for place, part in enumerate(segments):
        if max(latest_ns, part.first_recv_ns) > start_ns:
            break
        first, latest_ns = place, part.last_recv_ns
    return first


def _received(
    root: Path, venue: str, symbol: str, start_ns: int, end_ns: int, kinds: Collection[str] | None
) -> Iterator[pd.DataFrame]:
    folder, segments = _segments(root, venue, symbol)
    wanted = (part for part in segments if part.first_recv_ns < end_ns and part.last_recv_ns >= start_ns)
    for rows in _frames(folder, wanted, kinds):
        inside = rows[rows["ts_recv_ns"].between(start_ns, end_ns, inclusive="left")]
        if not inside.empty:
            yield inside


def _frames(folder: Path, segments: Iterable[SegmentManifest], kinds: Collection[str] | None) -> Iterator[pd.DataFrame]:
    """Yield the rows of one segment after the other."""
    filters = None if kinds is None else [("kind", "in", list(kinds))]
    for part in segments:
        rows: pd.DataFrame = pq.read_table(verified_path(folder, part), filters=filters).to_pandas()
        yield rows
