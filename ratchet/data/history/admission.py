"""Which rows of a venue's page may be stored at all.

This is the door, not the quality gate: a row that cannot be true (no number, a high below the low, a bar off the grid,
two bars of one time that disagree) is kept apart with its reason, and its bar counts as missing. Whether what is
stored is good enough to train on is judged later, on the dataset.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.data.history.segments import VALUE_COLUMNS
from ratchet.data.history.series import SeriesKey

_FIELDS = ["ts_event_ns", *VALUE_COLUMNS]


def admit(rows: pd.DataFrame, key: SeriesKey) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the rows that may be stored, ascending and each bar once, and the others with a column `reason`.

    Exact repetitions of a row are the same row. The caller has cut the rows to bars that are closed.
    """
    distinct = rows.loc[:, _FIELDS].drop_duplicates()
    reasons = _reasons(distinct, key)
    is_good = reasons == ""
    good = distinct[is_good].sort_values("ts_event_ns", kind="stable", ignore_index=True)
    refused = distinct[~is_good].assign(symbol=key.symbol, reason=reasons[~is_good])
    return good, refused.reset_index(drop=True)


def _reasons(rows: pd.DataFrame, key: SeriesKey) -> NDArray[np.object_]:
    times = rows["ts_event_ns"].to_numpy()
    values = rows.loc[:, list(VALUE_COLUMNS)].to_numpy()
    opens, highs, lows, closes, volumes = values.T
    prices = values[:, :4]
    finite = np.isfinite(values).all(axis=1)
    on_grid = (times - key.phase_ns) % key.bar.ns == 0
    with np.errstate(invalid="ignore"):
        checks = (
            (finite, "a number is missing or not finite"),
            (~finite | (prices > 0).all(axis=1), "a price is not above 0"),
            (~finite | ((highs >= opens) & (highs >= closes) & (highs >= lows)), "the high is not the highest"),
            (~finite | ((lows <= opens) & (lows <= closes)), "the low is not the lowest"),
            (~finite | (volumes >= 0), "the volume is negative"),
            (on_grid, f"the time is not the open of a {key.timeframe} bar"),
            (~_disagreeing(rows, finite & on_grid), "two bars of this time disagree"),
        )
    reasons = np.full(len(rows), "", dtype=object)
    for passed, text in checks:
        fails = ~passed
        if fails.any():
            reasons[fails] = [f"{before}; {text}" if before else text for before in reasons[fails]]
    return reasons


def _disagreeing(rows: pd.DataFrame, usable: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Mark usable rows that share their time with another usable row."""
    marked = np.zeros(len(rows), dtype=bool)
    marked[usable] = rows.loc[usable, "ts_event_ns"].duplicated(keep=False).to_numpy()
    return marked
