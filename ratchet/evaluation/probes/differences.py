"""Which features came out differently when they were computed again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import iso_utc

FloatArray = NDArray[np.float64]

_N_NAMED = 3


@dataclass(slots=True)
class _Found:
    """Where a feature differs: how many values, and the first of them."""

    n_values: int
    symbol: str
    ts_ns: int


class Differences:
    """Counts values that differ by more than `tolerance`, float64 (feature,); 0 asks for the same bits."""

    def __init__(self, names: Sequence[str], tolerance: FloatArray) -> None:
        self._names = tuple(names)
        self._tolerance = tolerance
        self._found: dict[str, _Found] = {}
        self.largest: FloatArray = np.zeros(len(names))
        """Largest difference of each feature, infinite where only one side has a value (feature,)."""
        self.n_rows = 0

    @property
    def n_features(self) -> int:
        """How many features differ somewhere."""
        return len(self._found)

    def take(
        self, symbol: str, ts_ns: NDArray[np.int64], used: NDArray[np.float32], again: NDArray[np.float32]
    ) -> None:
        """Compare rows that training used with the same rows computed again, both (row, feature)."""
        first, second = used.astype(np.float64), again.astype(np.float64)
        is_equal = (first == second) | (np.isnan(first) & np.isnan(second))
        with np.errstate(invalid="ignore"):
            gap = np.where(is_equal, 0.0, np.nan_to_num(np.abs(first - second), nan=np.inf))
        self.n_rows += len(ts_ns)
        self.largest = np.maximum(self.largest, gap.max(axis=0, initial=0.0))
        differs = gap > self._tolerance
        for column in np.flatnonzero(differs.any(axis=0)):
            rows = np.flatnonzero(differs[:, column])
            new = _Found(0, symbol, int(ts_ns[rows[0]]))
            self._found.setdefault(self._names[column], new).n_values += len(rows)

    def named(self) -> str:
        """Name the features that differ most often, with the first bar of each, in words."""
        often = sorted(self._found.items(), key=lambda item: (-item[1].n_values, item[0]))
        shown = [
            f"{name} ({found.n_values} values, first {found.symbol} {iso_utc(found.ts_ns)})"
            for name, found in often[:_N_NAMED]
        ]
        rest = len(often) - len(shown)
        return ", ".join(shown) + (f" and {rest} more" if rest else "")
