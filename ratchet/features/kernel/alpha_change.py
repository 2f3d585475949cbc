"""Qlib's Alpha158 operators on changes from bar to bar: how many go up or down, and how far.

`p[0]` is the window n: the last n changes, which take n + 1 bars. A window without any change gives 0.
"""

from __future__ import annotations

from ratchet.features.kernel.bars import CLOSE, FloatArray
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.windows import ratio


@formula
def alpha_rise_share(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return CNTP: the share of bars that close above the bar before."""
    period, count = int(p[0]), 0
    for i in range(end - period, end):
        count += bars[CLOSE, i] > bars[CLOSE, i - 1]
    return count / period


@formula
def alpha_fall_share(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return CNTN: the share of bars that close below the bar before."""
    period, count = int(p[0]), 0
    for i in range(end - period, end):
        count += bars[CLOSE, i] < bars[CLOSE, i - 1]
    return count / period


@formula
def alpha_rise_balance(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return CNTD: the share of bars that close higher minus the share that close lower."""
    period, count = int(p[0]), 0
    for i in range(end - period, end):
        count += bars[CLOSE, i] > bars[CLOSE, i - 1]
        count -= bars[CLOSE, i] < bars[CLOSE, i - 1]
    return count / period


@formula
def alpha_gain_share(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return SUMP, VSUMP: the sum of the increases of field `p[1]` over the sum of all its absolute changes."""
    values = bars[int(p[1])]
    gain = moved = 0.0
    for i in range(end - int(p[0]), end):
        change = values[i] - values[i - 1]
        gain += max(change, 0.0)
        moved += abs(change)
    return ratio(gain, moved, 0.0)


@formula
def alpha_loss_share(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return SUMN, VSUMN: the sum of the decreases of field `p[1]` over the sum of all its absolute changes."""
    values = bars[int(p[1])]
    loss = moved = 0.0
    for i in range(end - int(p[0]), end):
        change = values[i] - values[i - 1]
        loss += max(-change, 0.0)
        moved += abs(change)
    return ratio(loss, moved, 0.0)


@formula
def alpha_gain_balance(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return SUMD, VSUMD: the sum of increases less that of decreases of field `p[1]`, over all absolute changes."""
    values = bars[int(p[1])]
    gain = loss = 0.0
    for i in range(end - int(p[0]), end):
        change = values[i] - values[i - 1]
        gain += max(change, 0.0)
        loss += max(-change, 0.0)
    return ratio(gain - loss, gain + loss, 0.0)
