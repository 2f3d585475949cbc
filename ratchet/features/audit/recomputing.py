"""The other side of the skew audit: features computed anew from stored candles."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.features.audit.skew import Recompute
from ratchet.features.bars import Bars, split_by_symbol
from ratchet.features.history import bar_features
from ratchet.features.sets import FeatureSet
from ratchet.market.symbols import Timeframe


def recomputer(candles: pd.DataFrame, feature_set: FeatureSet, timeframe: Timeframe) -> Recompute:
    """Return a function that looks features up in tables computed from `candles`, one table per symbol when needed.

    `candles` are those of an immutable dataset, and begin with the same bar as the history that the windows were
    written from: recursive features remember where they started. A bar that is not among them, or that lies in the
    warm-up, is not known.

    Raises:
        InputError: candles that cannot be used, or a set that needs more than candles.
    """
    others = sorted(feature_set.sources - {"bars"})
    if others:
        raise InputError(f"feature set {feature_set.name!r} needs {', '.join(others)}; candles alone cannot prove it")
    histories = {bars.symbol: bars for bars in split_by_symbol(candles, timeframe)}
    tables: dict[str, NDArray[np.float32]] = {}

    def recompute(_view: str, symbol: str, ts_event_ns: int) -> NDArray[np.float32] | None:
        bars = histories.get(symbol)
        row = None if bars is None else _row_of(bars, ts_event_ns)
        if bars is None or row is None or row < feature_set.warmup_bars:
            return None
        if symbol not in tables:
            tables[symbol] = bar_features(feature_set, bars)
        values: NDArray[np.float32] = tables[symbol][row]
        return values

    return recompute


def _row_of(bars: Bars, ts_event_ns: int) -> int | None:
    row = int(np.searchsorted(bars.ts_ns, ts_event_ns))
    return row if row < len(bars) and bars.ts_ns[row] == ts_event_ns else None
