"""Features of bars in double precision, straight from the compiled kernel's state, one bar at a time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.features.bars import Bars, FloatArray
from ratchet.features.history import bar_features, bar_table
from ratchet.features.kernel.program import bar_capacity, compile_program
from ratchet.features.kernel.state import new_state
from ratchet.features.kernel.step import step
from ratchet.features.sets import FeatureSet
from tests.candle_paths import HOUR


def kernel_columns(features: FeatureSet, bars: Bars, *, with_warmup: bool = False) -> dict[str, FloatArray]:
    """Compute every feature: name -> float64 (time,), NaN in its warm-up unless that is wanted too."""
    definitions = features.definitions
    capacity = bar_capacity(definitions)
    if with_warmup:
        definitions = tuple(replace(item, warmup_bars=0) for item in definitions)
    program = compile_program(definitions, bars.timeframe_ns, every_event=False)
    state, table = new_state(program, capacity), bar_table(bars)
    row, times = np.empty((1, len(definitions)), np.float32), np.empty((1, 3), np.int64)
    out = np.empty((len(bars), len(definitions)))
    for n in range(len(bars)):
        step(
            program,
            state,
            table.kinds[n : n + 1],
            table.times[n : n + 1],
            table.offsets[n : n + 2],
            table.values,
            row,
            times,
        )
        out[n] = state.values
    return dict(zip(features.names, out.T.copy(), strict=True))


def compute(features: FeatureSet, candles: pd.DataFrame) -> NDArray[np.float32]:
    """Compute the features of one symbol's hourly candles: float32 (time, feature)."""
    return bar_features(features, Bars.from_frame(candles, HOUR))
