"""Where bars are in time: on the grid, in order, without holes, recent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.data.quality.rows import Derived, Group, Marks, Rows, marks
from ratchet.market.symbols import Timeframe

OFFSET_COLUMN = "ts_offset_ns"
"""How far the bar's open is behind the last point of the timeframe's grid; 0 is on the grid."""
STEP_COLUMN = "ts_step_ns"
"""Time since the row before of the same symbol; negative where the order is broken."""
GAP_COLUMN = "missing_bars"
"""Bars that are missing between this bar and the one before."""
COVERAGE_COLUMN = "coverage"
"""At a symbol's last bar: share of bars that are there, from its first to its last."""
AGE_COLUMN = "age_bars"
"""At a symbol's last bar: time since its close, in bars."""
MARKET_AGE_COLUMN = "market_age_bars"
"""The same at the last bar of all."""

_DAY_S = 86_400


def offsets(timeframe: Timeframe) -> Derived:
    """Return the distance of each time from the grid; days and weeks may start at a venue's own hour."""

    def compute(rows: Rows) -> Mapping[str, NDArray[np.int64]]:
        phases = rows.times_ns % timeframe.ns
        return {OFFSET_COLUMN: phases if timeframe.seconds < _DAY_S else _from_usual(phases, timeframe)}

    return Derived((OFFSET_COLUMN,), compute)


def steps() -> Derived:
    """Return the time since the row before of the same symbol, 0 in its first row."""

    def compute(rows: Rows) -> Mapping[str, NDArray[np.int64]]:
        times_ns = rows.times_ns
        step_ns = np.zeros(len(rows), dtype=np.int64)
        for group in rows.groups:
            if isinstance(group.rows, slice):
                own = times_ns[group.rows]
                np.subtract(own[1:], own[:-1], out=step_ns[group.rows][1:])
            else:
                step_ns[group.rows[1:]] = np.diff(times_ns[group.rows])
        return {STEP_COLUMN: step_ns}

    return Derived((STEP_COLUMN,), compute)


def gaps(timeframe: Timeframe) -> Derived:
    """Mark the bars before which others are missing, with their number and the first and last of them."""

    def compute(rows: Rows) -> Mapping[str, Marks]:
        found = [_holes(rows.times_ns, group, timeframe.ns) for group in rows.named_groups]
        return {
            name: marks([(positions, values[index]) for positions, values in found])
            for index, name in enumerate(("missing_bars", "missing_from_ns", "missing_to_ns"))
        }

    return Derived((GAP_COLUMN, "missing_from_ns", "missing_to_ns"), compute)


def coverages(timeframe: Timeframe) -> Derived:
    """Mark each symbol's last bar with the share of bars that are there, and how many these are of how many."""

    def compute(rows: Rows) -> Mapping[str, Marks]:
        found = []
        for group in rows.named_groups:
            times_ns = rows.times_ns[group.in_time]
            n_bars = len(times_ns) if group.is_rising else 1 + int(np.count_nonzero(times_ns[1:] != times_ns[:-1]))
            n_expected = int(times_ns[-1] - times_ns[0]) // timeframe.ns + 1
            found.append((last_bar(group), (min(n_bars / n_expected, 1.0), n_bars, n_expected)))
        return {
            name: marks([(positions, np.array([values[index]], dtype=float)) for positions, values in found], usual=1.0)
            for index, name in enumerate((COVERAGE_COLUMN, "n_bars", "n_expected"))
        }

    return Derived((COVERAGE_COLUMN, "n_bars", "n_expected"), compute)


def ages(timeframe: Timeframe, now_ns: int) -> Derived:
    """Mark each symbol's last bar, and the last of all, with the time since its close."""

    def compute(rows: Rows) -> Mapping[str, Marks]:
        last = np.concatenate([last_bar(group) for group in rows.named_groups] or [np.empty(0, dtype=np.int64)])
        age_bars = (now_ns - rows.times_ns[last]) / timeframe.ns - 1
        youngest = slice(age_bars.argmin(), age_bars.argmin() + 1) if len(last) else slice(0, 0)
        return {
            AGE_COLUMN: marks([(last, age_bars)]),
            MARKET_AGE_COLUMN: marks([(last[youngest], age_bars[youngest])]),
        }

    return Derived((AGE_COLUMN, MARKET_AGE_COLUMN), compute)


def last_bar(group: Group) -> NDArray[np.int64]:
    """Return the position of a symbol's last bar in time, as the only element."""
    if isinstance(group.in_time, slice):
        return np.array([group.in_time.stop - 1], dtype=np.int64)
    return group.in_time[-1:]


def _from_usual(phases: NDArray[np.int64], timeframe: Timeframe) -> NDArray[np.int64]:
    found, counts = np.unique(phases, return_counts=True)
    return np.asarray((phases - found[counts.argmax()]) % timeframe.ns, dtype=np.int64)


def _holes(times_ns: NDArray[np.int64], group: Group, bar_ns: int) -> tuple[NDArray[np.int64], tuple[Any, ...]]:
    own = times_ns[group.in_time]
    places = np.flatnonzero(own[1:] - own[:-1] >= 2 * bar_ns) + 1
    before, after = own[places - 1], own[places]
    return group.positions(places), ((after - before) // bar_ns - 1, before + bar_ns, after - bar_ns)
