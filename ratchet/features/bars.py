"""The bars of one symbol as arrays, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import iso_utc
from ratchet.errors import InputError
from ratchet.market.candles import CANDLE_COLUMNS, PRICE_COLUMNS, as_candle_frame
from ratchet.market.symbols import Timeframe

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Bars:
    """Consecutive bars of one symbol, oldest first; every array has shape (time,).

    Prices are float64 in quote currency, volume in base units, `ts_ns` the bar's open in ns UTC. Row i is known at
    `ts_ns[i] + timeframe_ns`.
    """

    symbol: str
    timeframe_ns: int
    ts_ns: IntArray
    open: FloatArray
    high: FloatArray
    low: FloatArray
    close: FloatArray
    volume: FloatArray

    @classmethod
    def from_frame(cls, candles: pd.DataFrame, timeframe: Timeframe) -> Bars:
        """Read a candle frame that holds one symbol.

        Raises:
            InputError: several symbols, times that do not increase, a price that is not positive and finite, or a
                volume that is negative or not finite. Validation removes such rows before features are computed.
        """
        symbols = candles["symbol"].unique()
        if len(symbols) > 1:
            raise InputError(f"features are computed per symbol, but the candles hold {', '.join(sorted(symbols))}")
        columns = {name: candles[name].to_numpy(dtype=np.float64) for name in (*PRICE_COLUMNS, "volume")}
        bars = cls(
            symbol=str(symbols[0]) if len(symbols) else "",
            timeframe_ns=timeframe.ns,
            ts_ns=candles["ts_event_ns"].to_numpy(dtype=np.int64),
            **columns,
        )
        bars._check()
        return bars

    def __len__(self) -> int:
        return len(self.ts_ns)

    def steps(self) -> IntArray:
        """Count the gap-free steps that lead to each row: 0 at the start and right after a gap."""
        is_next = np.concatenate(([False], np.diff(self.ts_ns) == self.timeframe_ns))[: len(self)]
        return run_length(is_next)

    def _check(self) -> None:
        prices = np.stack((self.open, self.high, self.low, self.close))
        is_price: BoolArray = np.all(np.isfinite(prices) & (prices > 0), axis=0)
        self._refuse(~is_price, "a price that is not positive and finite")
        self._refuse(~(np.isfinite(self.volume) & (self.volume >= 0)), "a volume that is negative or not finite")
        self._refuse(np.diff(self.ts_ns, prepend=self.ts_ns[:1] - 1) <= 0, "a time that does not increase")

    def _refuse(self, is_bad: BoolArray, what: str) -> None:
        if is_bad.any():
            first = iso_utc(int(self.ts_ns[int(np.argmax(is_bad))]))
            raise InputError(f"{self.symbol}: {int(is_bad.sum())} bars have {what}, first {first}; validate the data")


def run_length(is_true: BoolArray) -> IntArray:
    """Count the consecutive true rows that end at each row; 0 where the row is false.

    >>> run_length(np.array([True, True, False, True])).tolist()
    [1, 2, 0, 1]
    """
    position = np.arange(1, len(is_true) + 1)
    last_false = np.maximum.accumulate(np.where(is_true, 0, position))
    return np.asarray(position - last_false, dtype=np.int64)


def split_by_symbol(candles: pd.DataFrame, timeframe: Timeframe) -> list[Bars]:
    """Return the bars of each symbol, ordered by symbol.

    Raises:
        InputError: a column is missing, there are no rows, or `Bars.from_frame` refuses a symbol.
    """
    missing = [name for name in CANDLE_COLUMNS if name not in candles.columns]
    if missing:
        raise InputError(f"candles lack the column {', '.join(missing)}; they need {', '.join(CANDLE_COLUMNS)}")
    if candles.empty:
        raise InputError("there are no candles to compute features from")
    frame = as_candle_frame(candles)
    return [Bars.from_frame(group, timeframe) for _, group in frame.groupby("symbol", sort=True)]
