"""Candles as the whole library passes them around."""

from __future__ import annotations

import pandas as pd

CANDLE_COLUMNS = ("symbol", "ts_event_ns", "open", "high", "low", "close", "volume")
"""Columns of a candle frame, in order.

`symbol` str; `ts_event_ns` int64, the bar's OPEN time in ns UTC (the bar is known one timeframe later, never before);
prices float64 in quote currency; `volume` float64 in base units. One row per (symbol, ts_event_ns), sorted by both.
"""

PRICE_COLUMNS = ("open", "high", "low", "close")


def as_candle_frame(frame: pd.DataFrame) -> pd.DataFrame:
    """Return `frame` with exactly the candle columns, their dtypes, sorted, with a fresh index.

    Neither drops nor repairs rows: that is the quality gate's work.
    """
    typed = frame.loc[:, list(CANDLE_COLUMNS)].astype(
        {"ts_event_ns": "int64", **dict.fromkeys((*PRICE_COLUMNS, "volume"), "float64")}
    )
    return typed.sort_values(["symbol", "ts_event_ns"], kind="stable", ignore_index=True)
