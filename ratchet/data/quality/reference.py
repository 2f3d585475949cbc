"""The same market on a second venue: two prices of one bar can hardly be far from each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.data.quality.bars import last_bar
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.rows import Derived, Group, Marks, Positions, Rows, marks
from ratchet.errors import InputError

EXCESS_COLUMN = "reference_excess"
"""Distance of the close from the second venue's, as a multiple of what is tolerated."""
COMMON_COLUMN = "reference_bars"
"""At a symbol's last bar: how many of its bars the second venue has too."""

_NAMES = ("reference_excess", "reference_distance", "reference_tolerance", "reference_close")


def second_venue(reference: pd.DataFrame, policy: QualityPolicy) -> Derived:
    """Mark the bars whose close differs from the second venue's by more than `policy.reference_share`.

    The distance is the log ratio of the closes. Per symbol the larger of that share and
    `policy.reference_deviations` median absolute deviations of the log ratio is tolerated, so two venues that never
    agree well are not held against each other bar by bar. A lasting difference is no excuse.

    Raises:
        InputError: the reference lacks a column, or has one of the wrong type.
    """
    kinds = {"ts_event_ns": "i", "close": "iuf"}
    wrong = [name for name, kind in kinds.items() if name not in reference or reference[name].dtype.kind not in kind]
    wrong += ["symbol"] if "symbol" not in reference else []
    if wrong:
        raise InputError(
            f"the candles of the second venue have no column {', '.join(wrong)}, or not as a candle frame has it; "
            "pass what as_candle_frame returns"
        )

    def compute(rows: Rows) -> Mapping[str, Marks]:
        other = Rows(reference)
        groups = {} if reference.empty else {group.symbol: group for group in other.named_groups}
        far: list[tuple[Positions, list[NDArray[Any]]]] = []
        common = []
        for group in rows.named_groups:
            places, closes = _common_bars(rows, group, other, groups.get(group.symbol))
            common.append((last_bar(group), np.array([len(places)])))
            far.append(_far_bars(rows, group.positions(places), closes, policy))
        columns = {
            name: marks([(positions, values[index]) for positions, values in far]) for index, name in enumerate(_NAMES)
        }
        return columns | {COMMON_COLUMN: marks(common, usual=1.0)}

    return Derived((*_NAMES, COMMON_COLUMN), compute)


def _common_bars(
    rows: Rows, group: Group, other: Rows, theirs: Group | None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return which of a symbol's bars the second venue has too, and its closes there."""
    if theirs is None:
        return np.empty(0, dtype=np.int64), np.empty(0)
    own_ns, their_ns = rows.times_ns[group.in_time], other.times_ns[theirs.in_time]
    closes = other.column("close")[theirs.in_time]
    if np.array_equal(own_ns, their_ns):
        return np.arange(len(own_ns)), closes
    found = np.minimum(np.searchsorted(their_ns, own_ns), len(their_ns) - 1)
    places = np.flatnonzero(their_ns[found] == own_ns)
    return places, closes[found[places]]


def _far_bars(
    rows: Rows, positions: Positions, closes: NDArray[np.float64], policy: QualityPolicy
) -> tuple[Positions, list[NDArray[Any]]]:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.log(rows.column("close")[positions] / closes)
    places = np.flatnonzero(np.isfinite(ratio) & (np.abs(ratio) > policy.reference_share))
    if not len(places):
        return positions[:0], [np.empty(0)] * len(_NAMES)
    known = ratio[np.isfinite(ratio)]
    spread = float(np.median(np.abs(known - np.median(known))))
    tolerance = max(policy.reference_share, policy.reference_deviations * spread)
    distance = np.abs(ratio[places])
    return positions[places], [distance / tolerance, distance, np.full(len(places), tolerance), closes[places]]
