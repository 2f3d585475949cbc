"""The last bars of a symbol, so that any window of them is one contiguous slice."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ratchet.features.kernel.compiling import formula

OPEN: Final = 0
HIGH: Final = 1
LOW: Final = 2
CLOSE: Final = 3
VOLUME: Final = 4
LOG_RETURN: Final = 5
"""Of the close over the previous close; NaN in the first bar."""
TIME_OF_DAY: Final = 6
"""Nanoseconds from UTC midnight to the bar's close, 0 at midnight."""
N_FIELDS: Final = 7

_DAY_NS: Final = 86_400_000_000_000

FloatArray = NDArray[np.float64]


@formula
def push_bar(bars: FloatArray, n_bars: int, close_ns: int, values: FloatArray) -> int:
    """Write bar number `n_bars` (from 0) and return the end of the window that it closes.

    `bars` is float64 (field, 2 * capacity): each bar is written twice, `capacity` apart, so that the last n <=
    capacity values of a field are `bars[field, end - n : end]`.
    """
    capacity = bars.shape[1] // 2
    place = n_bars % capacity
    end: int = place + capacity + 1
    previous = bars[CLOSE, end - 2]
    for field in range(5):
        bars[field, place] = values[field]
    bars[LOG_RETURN, place] = math.log(values[CLOSE] / previous) if n_bars > 0 else math.nan
    bars[TIME_OF_DAY, place] = close_ns % _DAY_NS
    for field in range(N_FIELDS):
        bars[field, place + capacity] = bars[field, place]
    return end
