"""Closes that jump away for one bar and are back at once.

In a market that never closes a bar opens where the one before closed, so a true move is taken back within a bar. A
close that the next OPEN already denies is a bad number: it goes to quarantine. A move that only the next close takes
back may be a crash that really happened (AXS on 11 May 2022, XRP on 13 November 2023), so it is told and kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.rows import Derived, Group, Marks, Positions, Rows, marks
from ratchet.market.symbols import Timeframe

SPIKE_COLUMN = "spike_deviations"
"""Size of a jump that the next open denies, in robust standard deviations of the symbol's moves; 0 for no jump."""
REVERSAL_COLUMN = "reversal_deviations"
"""Size of a jump that the next close takes back, likewise."""

_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_MIN_MOVES = 50
_RETURNED = 0.5


_KINDS = {"spike": "open", "reversal": "close"}
_VALUES = ("deviations", "before", "after")


def spikes(timeframe: Timeframe, policy: QualityPolicy) -> Derived:
    """Mark the bars whose close jumps by at least the policy's share and is back in the next bar.

    Back is what is closer to the start than half the jump. A symbol with fewer than 50 moves is not judged: there is
    nothing to measure a jump by. Bars without neighbours on both sides, or with holes there, are not judged either.
    """

    def compute(rows: Rows) -> Mapping[str, Marks]:
        jumps = [_jumps(rows, group, timeframe.ns, policy.spike_share) for group in rows.named_groups]
        return {
            f"{kind}_{value}": marks([(found[kind][0], found[kind][1][index]) for found in jumps])
            for kind in _KINDS
            for index, value in enumerate(_VALUES)
        }

    return Derived(tuple(f"{kind}_{value}" for kind in _KINDS for value in _VALUES), compute)


def _jumps(rows: Rows, group: Group, bar_ns: int, share: float) -> dict[str, tuple[Positions, list[NDArray[Any]]]]:
    close, times_ns = rows.column("close")[group.in_time], rows.times_ns[group.in_time]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        ratio = close[1:] / close[:-1]
    places = np.flatnonzero((ratio[:-1] > 1 + share) | (ratio[:-1] < 1 / (1 + share))) + 1
    places = places[times_ns[places + 1] - times_ns[places - 1] == 2 * bar_ns]
    deviation = _deviation(ratio) if len(places) else np.nan
    if not deviation > 0:
        places = places[:0]
    jumps = {}
    for kind, column in _KINDS.items():
        before, after = close[places - 1], rows.column(column)[group.in_time][places + 1]
        size = _taken_back(close[places], before, after)
        is_jump = size >= np.log1p(share)
        values = [size[is_jump] / deviation, before[is_jump], after[is_jump]]
        jumps[kind] = (group.positions(places[is_jump]), values)
    return jumps


def _taken_back(
    price: NDArray[np.float64], before: NDArray[np.float64], after: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the log size of the jump from `before` to `price`, NaN where `after` is not back."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        there, back = np.log(price / before), np.log(after / price)
        size = np.minimum(np.abs(there), np.abs(back))
        is_back = (there * back < 0) & (np.abs(there + back) <= _RETURNED * size)
    return np.where(is_back, size, np.nan)


def _deviation(ratio: NDArray[np.float64]) -> float:
    """Return a standard deviation of the moves that a few bad ones do not change; NaN for too few moves."""
    with np.errstate(divide="ignore", invalid="ignore"):
        moves = np.log(ratio)
    moves = moves[np.isfinite(moves) & (moves != 0)]
    if len(moves) < _MIN_MOVES:
        return float("nan")
    return _MAD_TO_DEVIATION * float(np.median(np.abs(moves - np.median(moves))))
