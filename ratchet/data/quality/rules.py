"""The rules that checks are made of; each engine has its own form of each.

Every rule but `Present` holds for a missing value. `broken` returns the ascending positions of the rows that break it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.data.quality.rows import Positions, Rows

_NONE: Positions = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Present:
    """The value is not missing."""

    column: str

    def broken(self, rows: Rows) -> Positions:
        """Return the rows that break the rule."""
        if self.column == "symbol":
            return rows.unnamed
        if rows.column(self.column).dtype.kind in "iuf" and not np.isnan(rows.extremes(self.column)[0]):
            return _NONE
        return _where(rows, self.column, pd.isna)


@dataclass(frozen=True, slots=True)
class Between:
    """The value lies between two bounds, both included unless `is_strict` excludes the lower one."""

    column: str
    minimum: float
    maximum: float = np.inf
    is_strict: bool = False

    def broken(self, rows: Rows) -> Positions:
        """Return the rows that break the rule."""
        if not rows.is_derived(self.column):
            low, high = rows.extremes(self.column)
            if (low > self.minimum if self.is_strict else low >= self.minimum) and high <= self.maximum:
                return _NONE
        return _where(rows, self.column, self._is_outside)

    def _is_outside(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        too_low = values <= self.minimum if self.is_strict else values < self.minimum
        return np.asarray(too_low | (values > self.maximum), dtype=bool)


@dataclass(frozen=True, slots=True)
class Other:
    """The value is not this one."""

    column: str
    value: float

    def broken(self, rows: Rows) -> Positions:
        """Return the rows that break the rule."""
        low, high = rows.extremes(self.column)
        if self.value < low or self.value > high:
            return _NONE
        return _where(rows, self.column, lambda values: values == self.value)


@dataclass(frozen=True, slots=True)
class OneOf:
    """The value is one of a few."""

    column: str
    choices: tuple[float, ...]

    def broken(self, rows: Rows) -> Positions:
        """Return the rows that break the rule."""
        return _where(rows, self.column, lambda values: ~(np.isin(values, self.choices) | pd.isna(values)))


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The value is not below that of another column; above it, where `is_strict`."""

    column: str
    floor: str
    is_strict: bool = False

    def broken(self, rows: Rows) -> Positions:
        """Return the rows that break the rule."""
        value, floor = rows.column(self.column), rows.column(self.floor)
        return np.flatnonzero(value <= floor if self.is_strict else value < floor)


@dataclass(frozen=True, slots=True)
class Unique:
    """No other row of the symbol has the same value; of rows without symbol and value nothing can be said."""

    column: str

    def broken(self, rows: Rows) -> Positions:
        """Return the rows that break the rule."""
        values = rows.column(self.column)
        doubtful = [group for group in rows.groups if not (group.is_rising and self.column == "ts_event_ns")]
        found = [_doubles(values, np.arange(len(rows))[group.rows], group.symbol) for group in doubtful]
        return np.sort(np.concatenate(found)) if found else _NONE


Rule = Present | Between | Other | OneOf | AtLeast | Unique


def _doubles(values: NDArray[Any], positions: Positions, symbol: str | None) -> Positions:
    own = pd.Series(values[positions])
    is_double = own.duplicated(keep=False)
    return positions[is_double if symbol is not None else is_double & own.notna()]


def _where(rows: Rows, column: str, is_bad: Callable[[Any], Any]) -> Positions:
    values, positions = rows.values(column)
    found = np.flatnonzero(is_bad(values))
    return found if positions is None else positions[found]
