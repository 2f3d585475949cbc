"""Candles of one symbol on their way into a venue's text."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ratchet.clock import NS_PER_S
from ratchet.market.candles import PRICE_COLUMNS

_NS_PER_MS = 1_000_000
_SMALLEST_PLAIN = 1e-6
_LARGEST_PLAIN = 1e15
"""Numbers between these are written without an exponent by Arrow."""

VALUE_COLUMNS = (*PRICE_COLUMNS, "volume")
"""Columns of `CandlePage.values`."""

Texts = Any
"""An Arrow array of strings."""


@dataclass(frozen=True, slots=True)
class CandlePage:
    """Rows of a page, the oldest first until it is turned around.

    `ts_ns` (row,) int64 open times; `values` (row, 5) float64 in the order of `VALUE_COLUMNS`, NaN standing for null;
    `is_closed` (row,) bool, False for the running bar. `has_wrong_unit`: times are to be written in the wrong unit.
    """

    ts_ns: NDArray[np.int64]
    values: NDArray[np.float64]
    is_closed: NDArray[np.bool_]
    has_wrong_unit: bool = False

    @classmethod
    def from_frame(cls, frame: pd.DataFrame) -> CandlePage:
        """Read a candle frame of closed bars of one symbol."""
        values = np.column_stack([frame[column].to_numpy(dtype=np.float64) for column in VALUE_COLUMNS])
        return cls(frame["ts_event_ns"].to_numpy(dtype=np.int64), values, np.ones(len(frame), dtype=np.bool_))

    @classmethod
    def empty(cls) -> CandlePage:
        """Return a page without rows."""
        return cls(np.empty(0, dtype=np.int64), np.empty((0, len(VALUE_COLUMNS))), np.empty(0, dtype=np.bool_))

    def __len__(self) -> int:
        return len(self.ts_ns)

    def take(self, rows: Any) -> CandlePage:
        """Return the rows of a slice, a mask or a list of positions."""
        return replace(self, ts_ns=self.ts_ns[rows], values=self.values[rows], is_closed=self.is_closed[rows])

    def joined(self, other: CandlePage) -> CandlePage:
        """Return the rows of both, one after the other."""
        return replace(
            self,
            ts_ns=np.concatenate([self.ts_ns, other.ts_ns]),
            values=np.concatenate([self.values, other.values]),
            is_closed=np.concatenate([self.is_closed, other.is_closed]),
        )

    def column(self, name: str) -> NDArray[np.float64]:
        """Return (row,) values of one column."""
        return self.values[:, VALUE_COLUMNS.index(name)]

    def stamps(self, unit_ns: int) -> NDArray[np.int64]:
        """Return open times in units of `unit_ns`, or in the wrong one of seconds and ms."""
        wrong_ns = NS_PER_S if unit_ns == _NS_PER_MS else _NS_PER_MS
        return self.ts_ns // (wrong_ns if self.has_wrong_unit else unit_ns)


def number_texts(values: NDArray[Any]) -> Texts:
    """Return numbers as the shortest decimal texts that read back equal, never with an exponent; NaN as `nan`."""
    texts = pa.array(values).cast(pa.string())
    if values.dtype.kind != "f":
        return texts
    size = np.abs(values)
    odd = (size >= _LARGEST_PLAIN) | ((size < _SMALLEST_PLAIN) & (size > 0))
    if not odd.any():
        return texts
    plain = texts.to_pylist()
    for row in np.flatnonzero(odd):
        plain[row] = np.format_float_positional(values[row], trim="-")
    return pa.array(plain)


def rows_text(*pieces: str | Texts) -> str:
    """Return a JSON list with one element per row, made of fixed and of per-row pieces; quoted `nan` becomes null."""
    scalars = [pa.scalar(piece) if isinstance(piece, str) else piece for piece in pieces]
    text = ",".join(pc.binary_join_element_wise(*scalars, "").to_pylist())
    return "[" + (text.replace('"nan"', "null") if "nan" in text else text) + "]"
