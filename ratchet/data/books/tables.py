"""Recorded books and trades as the tables that datasets hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ratchet.data.books.history import VALID_FOR_NS, read_events, sample_books
from ratchet.errors import NotFoundError
from ratchet.market.venue import BOOK_COLUMNS, TRADE_COLUMNS


def recorded_books(
    root: Path,
    venue: str,
    symbols: Sequence[str],
    start_ns: int,
    end_ns: int,
    *,
    interval_ns: int,
    valid_for_ns: int = VALID_FOR_NS,
) -> pd.DataFrame | None:
    """Return the books at the ends of the intervals in [start_ns, end_ns]; None where none was recorded.

    Look-ahead safe: a row rests on messages that had arrived by its time; times at which the book was not known have
    none, see `sample_books`. `BOOK_COLUMNS`, by symbol and time.

    Raises:
        ArtifactError: a segment is missing or was altered.
    """
    frames = [
        frame
        for symbol in sorted(symbols)
        if (frame := _sampled(root, venue, symbol, (start_ns + interval_ns, end_ns + 1), interval_ns, valid_for_ns))
        is not None
    ]
    return pd.concat(frames, ignore_index=True)[list(BOOK_COLUMNS)] if frames else None


def recorded_trades(root: Path, venue: str, symbols: Sequence[str], start_ns: int, end_ns: int) -> pd.DataFrame | None:
    """Return the trades that arrived in [start_ns, end_ns); None where none was recorded.

    `TRADE_COLUMNS`, by symbol and the venue's time. A trade is known from its arrival, which lies shortly after.

    Raises:
        ArtifactError: a segment is missing or was altered.
    """
    frames = [
        frame for symbol in sorted(symbols) if (frame := _traded(root, venue, symbol, start_ns, end_ns)) is not None
    ]
    return pd.concat(frames, ignore_index=True)[list(TRADE_COLUMNS)] if frames else None


def _sampled(
    root: Path, venue: str, symbol: str, span_ns: tuple[int, int], interval_ns: int, valid_for_ns: int
) -> pd.DataFrame | None:
    try:
        books = sample_books(root, venue, symbol, *span_ns, interval_ns=interval_ns, valid_for_ns=valid_for_ns)
    except NotFoundError:
        return None
    return None if books.empty else books


def _traded(root: Path, venue: str, symbol: str, start_ns: int, end_ns: int) -> pd.DataFrame | None:
    try:
        rows = read_events(root, venue, symbol, start_ns, end_ns, kinds=["trade"])
    except NotFoundError:
        return None
    trades = rows.rename(columns={"note": "trade_id"})
    return None if trades.empty else trades.sort_values("ts_event_ns", kind="stable", ignore_index=True)
