"""Candles as the whole library passes them around."""

from __future__ import annotations

import pandas as pd

from ratchet.errors import InputError
from ratchet.market.symbols import Timeframe

CANDLE_COLUMNS = ("symbol", "ts_event_ns", "open", "high", "low", "close", "volume")
"""Columns of a candle frame, in order.

`symbol` str; `ts_event_ns` int64, the bar's OPEN time in ns UTC (the bar is known one timeframe later, never before);
prices float64 in quote currency; `volume` float64 in base units. One row per (symbol, ts_event_ns), sorted by both.
"""

RECORD_COLUMNS = (*CANDLE_COLUMNS, "known_ns", "is_filled")
"""Columns of stored candles, in order: a candle, when it became known, and whether it was made up.

`known_ns` int64, when these values could first be known, ns UTC; never before the bar's close. `is_filled` bool, True
for a bar that was made up to close a hole of no trades.
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


def as_candle_records(frame: pd.DataFrame, timeframe: Timeframe) -> pd.DataFrame:
    """Return `frame` with exactly the record columns, their dtypes, sorted, with a fresh index.

    A frame without `known_ns` is taken as known at each bar's close, one without `is_filled` as traded throughout.
    Like `as_candle_frame` it neither drops nor repairs rows.

    Raises:
        InputError: what `require_candle_types` refuses.
    """
    require_candle_types(frame)
    known = {} if "known_ns" in frame else {"known_ns": frame["ts_event_ns"] + timeframe.ns}
    filled = {} if "is_filled" in frame else {"is_filled": False}
    typed = frame.assign(**known, **filled)[list(RECORD_COLUMNS)].astype(
        {"ts_event_ns": "int64", "known_ns": "int64", **dict.fromkeys((*PRICE_COLUMNS, "volume"), "float64")}
    )
    return typed.sort_values(["symbol", "ts_event_ns"], kind="stable", ignore_index=True)


def require_candle_types(frame: pd.DataFrame) -> None:
    """Check that every candle column is there and that times and flags, also the optional ones, are of their type.

    Frames of which only one had `known_ns` or `is_filled`, put together, have missing values and so another type.

    Raises:
        InputError: a column is missing, a time is not a whole number, a price no number, or a flag not true or false.
    """
    missing = [name for name in CANDLE_COLUMNS if name not in frame]
    if missing:
        raise InputError(f"the candles have no column {', '.join(missing)}; a candle has {', '.join(CANDLE_COLUMNS)}")
    kinds = {
        "ts_event_ns": "iu",
        **dict.fromkeys((*PRICE_COLUMNS, "volume"), "iuf"),
        "known_ns": "iu",
        "is_filled": "b",
    }
    for name, kind in kinds.items():
        if name in frame and frame[name].dtype.kind not in kind:
            wanted = {"iu": "int64", "iuf": "float64", "b": "bool"}[kind]
            raise InputError(f"the candles' column {name} holds {frame[name].dtype}, not {wanted}; convert it")
