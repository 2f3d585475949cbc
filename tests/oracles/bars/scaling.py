"""Prices brought to the size that TA-Lib is exact at."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ratchet.features.bars import Bars
from ratchet.market.candles import PRICE_COLUMNS


def unit_scaled(bars: Bars) -> Bars:
    """Return the bars with prices divided by a power of two, so that the first close lies in [1, 2).

    TA-Lib treats anything below 1e-14 as zero. A power of two changes no digit.
    """
    if not len(bars):
        return bars
    exponent = 1 - math.frexp(float(bars.close[0]))[1]
    return replace(bars, **{name: np.ldexp(getattr(bars, name), exponent) for name in PRICE_COLUMNS})
