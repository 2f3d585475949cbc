"""The other side of the skew audit: features computed anew from stored candles."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.features.audit.skew import Recompute
from ratchet.features.bars import Bars
from ratchet.features.panel import feature_rows
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import FeatureEvent
from ratchet.market.symbols import Timeframe


def recomputer(
    candles: pd.DataFrame, feature_set: FeatureSet, timeframe: Timeframe, market: Iterable[FeatureEvent] = ()
) -> Recompute:
    """Return a function that looks features up in tables computed from `candles` and recorded `market` events.

    `candles` are those of an immutable dataset or history, and begin with the same bar as the history that the windows
    were written from: recursive features remember where they started. A bar that is not among them, or that lies in the
    warm-up, is not known.

    Raises:
        InputError: candles that cannot be used.
    """
    tables = {
        bars.symbol: (bars, rows)
        for bars, rows in feature_rows(candles, feature_set, timeframe=timeframe, market=market)
    }

    def recompute(_view: str, symbol: str, ts_event_ns: int) -> NDArray[np.float32] | None:
        if symbol not in tables:
            return None
        bars, rows = tables[symbol]
        row = _row_of(bars, ts_event_ns)
        if row is None or row < feature_set.warmup_bars:
            return None
        values: NDArray[np.float32] = rows[row]
        return values

    return recompute


def _row_of(bars: Bars, ts_event_ns: int) -> int | None:
    row = int(np.searchsorted(bars.ts_ns, ts_event_ns))
    return row if row < len(bars) and bars.ts_ns[row] == ts_event_ns else None
