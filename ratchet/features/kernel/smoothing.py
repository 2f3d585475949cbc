"""Recursive means, seeded as TA-Lib seeds them: by the simple mean of the first values.

A mean lives in one slot of `s`, zero at the start. `count` is the number of values it has been given, this one
included. Until `count` reaches the period the slot holds a sum and the result is NaN.
"""

from __future__ import annotations

import math

from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.compiling import formula


@formula
def _seed(s: FloatArray, slot: int, value: float, count: int, period: int) -> float:
    if count < 1:
        return math.nan
    mean: float = s[slot] + value
    if count == period:
        mean /= period
    s[slot] = mean
    return mean if count == period else math.nan


@formula
def exponential(s: FloatArray, slot: int, value: float, count: int, period: int) -> float:
    """Update an exponential mean with weight 2 / (period + 1) on the new value and return it."""
    if count > period:
        mean: float = s[slot] + (value - s[slot]) * (2.0 / (period + 1))
        s[slot] = mean
        return mean
    return _seed(s, slot, value, count, period)


@formula
def wilder(s: FloatArray, slot: int, value: float, count: int, period: int) -> float:
    """Update a mean with weight 1 / period on the new value and return it."""
    if count > period:
        mean: float = (s[slot] * (period - 1) + value) / period
        s[slot] = mean
        return mean
    return _seed(s, slot, value, count, period)
