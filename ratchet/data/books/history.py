"""Recordings read back: events as rows, and the book as it was known at given times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ratchet.data.books.ladder import Ladder
from ratchet.data.books.records import EVENT_COLUMNS
from ratchet.data.books.rules import book_rule
from ratchet.data.books.segments import SegmentManifest, list_segments, segment_folder, verified_path
from ratchet.errors import InputError, NotFoundError
from ratchet.market.venue import BOOK_COLUMNS, BOOK_LEVELS

_BOOK_KINDS = ("snapshot", "delta", "gap")


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which the book is not known: from the last trusted event (the venue's time) until the next snapshot.

    `noticed_ns` and `until_ns` are receive times; `until_ns` is None where no snapshot followed.
    """

    from_event_ns: int
    noticed_ns: int
    until_ns: int | None
    reason: str


def read_events(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int) -> pd.DataFrame:
    """Return the recorded rows (`EVENT_COLUMNS`) received in `[start_ns, end_ns)`, in the order of recording.

    Segments that are still open are not read. Every file is compared with its digest.

    Raises:
        NotFoundError: nothing was recorded for the symbol.
        ArtifactError: a segment is missing or was altered.
    """
    folder, segments = _segments(root, venue, symbol)
    wanted = [part for part in segments if part.first_recv_ns < end_ns and part.last_recv_ns >= start_ns]
    rows = _read(folder, wanted)
    return rows[rows["ts_recv_ns"].between(start_ns, end_ns, inclusive="left")].reset_index(drop=True)


def list_gaps(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int) -> list[Gap]:
    """Return the gaps that were noticed in `[start_ns, end_ns)`; of gaps that follow each other, each one.

    Raises as `read_events`.
    """
    rows = read_events(root, venue, symbol, start_ns, end_ns)
    rows = rows[rows["kind"].isin(["gap", "snapshot"])]
    gaps: list[Gap] = []
    until_ns: int | None = None
    columns = (rows[name].tolist() for name in ("kind", "ts_event_ns", "ts_recv_ns", "note"))
    for kind, ts_event_ns, ts_recv_ns, note in reversed(list(zip(*columns, strict=True))):
        if kind == "snapshot":
            until_ns = ts_recv_ns
        else:
            gaps.append(Gap(ts_event_ns, ts_recv_ns, until_ns, note))
    return gaps[::-1]


def sample_books(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int, *, interval_ns: int) -> pd.DataFrame:
    """Return the book at `start_ns`, `start_ns + interval_ns`, ... before `end_ns`, as it was known here by then.

    A row at time t rests on events with `ts_recv_ns <= t` only. Times at which the book was not known (no snapshot
    yet, or a gap) have no row; levels that the book did not have are NaN.

    Returns:
        `BOOK_COLUMNS`; `ts_event_ns` is the sampling time t, on this machine's clock.

    Raises:
        InputError: the interval is not positive, or the venue's rule is not known.
        NotFoundError: nothing was recorded for the symbol.
        ArtifactError: a segment is missing or was altered.
    """
    if interval_ns <= 0:
        raise InputError(f"a sampling interval of {interval_ns} ns is not positive")
    folder, segments = _segments(root, venue, symbol)
    before = [part.number for part in segments if part.first_recv_ns <= start_ns]
    first = max(before, default=0)  # each segment begins with the book
    wanted = [part for part in segments if part.number >= first and part.first_recv_ns < end_ns]
    rows = _read(folder, wanted)
    rows = rows[rows["kind"].isin(_BOOK_KINDS)]
    times = np.arange(start_ns, end_ns, interval_ns, dtype=np.int64)
    depth = book_rule(venue).depth
    samples = [(symbol, ts_ns, *values) for ts_ns, values in _walk(rows, times, depth)]
    return pd.DataFrame(samples, columns=list(BOOK_COLUMNS))


def _segments(root: Path, venue: str, symbol: str) -> tuple[Path, list[SegmentManifest]]:
    folder = segment_folder(root, venue, symbol)
    segments = list_segments(folder)
    if not segments:
        raise NotFoundError(f"{folder}: no closed segment of {symbol} on {venue}; record it first")
    return folder, segments


def _read(folder: Path, segments: Sequence[SegmentManifest]) -> pd.DataFrame:
    if not segments:
        return pd.DataFrame(columns=list(EVENT_COLUMNS)).astype({"ts_recv_ns": np.int64})
    table = pa.concat_tables([pq.read_table(verified_path(folder, part)) for part in segments])
    rows: pd.DataFrame = table.to_pandas()
    return rows


def _walk(rows: pd.DataFrame, times: NDArray[np.int64], depth: int | None) -> Iterator[tuple[int, list[float]]]:
    """Yield each time at which the book is known with its levels, in the order of `BOOK_COLUMNS`."""
    known_at = np.maximum.accumulate(rows["ts_recv_ns"].to_numpy(np.int64)) if len(rows) else np.zeros(0, np.int64)
    ends = np.searchsorted(known_at, times, side="right")
    kinds, sides = rows["kind"].to_numpy(), rows["side"].to_numpy()
    prices, sizes = rows["price"].to_numpy(float), rows["size"].to_numpy(float)
    starts_event = _event_starts(rows)
    bids: Ladder[tuple[float, float]] = Ladder(is_bid=True)
    asks: Ladder[tuple[float, float]] = Ladder(is_bid=False)
    is_known, position = False, 0
    for time_ns, end in zip(times.tolist(), ends.tolist(), strict=True):
        for row in range(position, end):
            if starts_event[row]:
                if kinds[row] != "delta":
                    bids.truncate(0)
                    asks.truncate(0)
                    is_known = kinds[row] == "snapshot"
                elif depth is not None:
                    bids.truncate(depth)
                    asks.truncate(depth)
            if sides[row]:
                _put(bids if sides[row] > 0 else asks, prices[row], sizes[row])
        position = end
        if is_known:
            bids.truncate(depth or len(bids))
            asks.truncate(depth or len(asks))
            yield time_ns, _columns(bids, asks)


def _event_starts(rows: pd.DataFrame) -> NDArray[np.bool_]:
    same = np.ones(len(rows), dtype=bool)
    for name in ("kind", "ts_recv_ns", "ts_event_ns", "last_id"):
        values = rows[name].to_numpy()
        same[1:] &= values[1:] == values[:-1]
    same[:1] = False
    return ~same


def _put(ladder: Ladder[tuple[float, float]], price: float, size: float) -> None:
    if size == 0.0:
        ladder.remove(price)
    else:
        ladder.put(price, (price, size))


def _columns(bids: Ladder[tuple[float, float]], asks: Ladder[tuple[float, float]]) -> list[float]:
    values: list[float] = []
    for ladder in (bids, asks):
        levels = ladder.top(BOOK_LEVELS)
        levels += [(np.nan, np.nan)] * (BOOK_LEVELS - len(levels))
        values += [level[0] for level in levels]
        values += [level[1] for level in levels]
    return values
