"""Bars without volume in a row, and those among them that only repeat the prices before."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ratchet.data.quality.rows import Derived, Marks, Positions, Rows, marks
from ratchet.market.candles import PRICE_COLUMNS

SILENT_COLUMN = "zero_volume_bars"
"""Length of the run of bars without volume to which the bar belongs."""
STALE_COLUMN = "stale_bars"
"""Length of the run of bars without volume and with the same four prices to which the bar belongs."""


def silent_runs() -> Derived:
    """Mark the bars without volume with the lengths of their runs; bars that are flagged as made up do not count."""

    def compute(rows: Rows) -> Mapping[str, Marks]:
        is_silent = rows.column("volume") == 0
        if rows.has("is_filled"):
            is_silent &= ~rows.column("is_filled").astype(bool)
        silent, stale = [], []
        for group in rows.named_groups:
            places = np.flatnonzero(is_silent[group.in_time])
            positions = group.positions(places)
            follows = np.diff(places) == 1
            silent.append((positions, _run_lengths(follows, len(places))))
            stale.append((positions, _run_lengths(follows & _repeats(rows, positions), len(places))))
        return {SILENT_COLUMN: marks(silent), STALE_COLUMN: marks(stale)}

    return Derived((SILENT_COLUMN, STALE_COLUMN), compute)


def _repeats(rows: Rows, positions: Positions) -> NDArray[np.bool_]:
    """Tell of each row but the first whether its prices are those of the row before."""
    is_same = np.ones(max(len(positions) - 1, 0), dtype=bool)
    for name in PRICE_COLUMNS:
        prices = rows.column(name)[positions]
        is_same &= prices[1:] == prices[:-1]
    return is_same


def _run_lengths(follows: NDArray[np.bool_], n_rows: int) -> NDArray[np.int64]:
    """Return for each row the length of its run; `follows` tells whether it continues that of the row before."""
    if n_rows == 0:
        return np.empty(0, dtype=np.int64)
    run = np.concatenate(([0], np.cumsum(~follows)))
    lengths: NDArray[np.int64] = np.bincount(run)[run]
    return lengths
