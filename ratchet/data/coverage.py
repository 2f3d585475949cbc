"""How much of a period each symbol's candles cover, in buckets of time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.market.symbols import Timeframe

COVERAGE_COLUMNS = ("symbol", "start_ns", "end_ns", "share", "kind")
"""Columns of a coverage frame, in order: one row per symbol and bucket `[start_ns, end_ns)`, ns UTC.

`share` float64 is the part of the bucket's bars that is there; `kind` text, the class of gap that takes most of the
bucket, empty where no known gap reaches into it.
"""


def cover(
    candles: pd.DataFrame,
    gaps: pd.DataFrame,
    *,
    timeframe: Timeframe,
    start_ns: int,
    end_ns: int,
    n_buckets: int = 120,
) -> pd.DataFrame:
    """Return a frame of `COVERAGE_COLUMNS` for every symbol that has candles or gaps.

    Args:
        candles: a candle frame; a bar that is there twice counts once.
        gaps: columns `symbol`, `start_ns`, `end_ns` (exclusive) and `kind`.
        timeframe: length of the bars.
        start_ns: open of the first bar expected, ns UTC.
        end_ns: close of the last one.
        n_buckets: at most so many buckets, each of the same whole number of bars; the last may be shorter.

    Raises:
        InputError: no bar fits the period, or no bucket was asked for.
    """
    n_bars = (end_ns - start_ns) // timeframe.ns
    if n_bars < 1 or n_buckets < 1:
        raise InputError(f"{n_buckets} buckets of {n_bars} {timeframe.text} bars cannot be drawn; give a longer period")
    bars_each = -(-n_bars // n_buckets)
    edges = np.append(np.arange(0, n_bars, bars_each), n_bars) * timeframe.ns + start_ns
    times_of = {str(name): rows.to_numpy() for name, rows in candles.groupby("symbol")["ts_event_ns"]}
    gaps_of = {str(name): rows for name, rows in gaps.groupby("symbol")}
    frames = [
        pd.DataFrame(
            {
                "symbol": symbol,
                "start_ns": edges[:-1],
                "end_ns": edges[1:],
                "share": _shares(times_of.get(symbol, np.empty(0, dtype=np.int64)), edges, timeframe),
                "kind": _kinds(gaps_of[symbol], edges) if symbol in gaps_of else "",
            }
        )
        for symbol in sorted(times_of.keys() | gaps_of.keys())
    ]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(COVERAGE_COLUMNS))


def _shares(times_ns: NDArray[np.int64], edges: NDArray[np.int64], timeframe: Timeframe) -> NDArray[np.float64]:
    present = np.diff(np.searchsorted(np.unique(times_ns), edges))
    return np.asarray(present / (np.diff(edges) // timeframe.ns), dtype=np.float64)


def _kinds(gaps: pd.DataFrame, edges: NDArray[np.int64]) -> NDArray[np.object_]:
    kinds = sorted(gaps["kind"].unique())
    lost = np.zeros((len(kinds), len(edges) - 1), dtype=np.int64)
    for kind, first_ns, last_ns in zip(gaps["kind"], gaps["start_ns"], gaps["end_ns"], strict=True):
        overlap = np.minimum(edges[1:], last_ns) - np.maximum(edges[:-1], first_ns)
        lost[kinds.index(kind)] += np.maximum(overlap, 0)
    names = np.array(kinds, dtype=object)[lost.argmax(axis=0)]
    return np.where(lost.max(axis=0) > 0, names, "").astype(object)
