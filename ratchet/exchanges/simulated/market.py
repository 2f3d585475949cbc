"""The simulated market and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from ratchet.errors import InputError
from ratchet.exchanges.simulated.config import SimulatedMarketConfig
from ratchet.exchanges.simulated.path import MarketPath, direction, simulate_path
from ratchet.exchanges.simulated.signal import planted_drift
from ratchet.market import CANDLE_COLUMNS, as_candle_frame


class SimulatedMarket:
    """A market of known predictability; it runs once, when something is first asked of it.

    >>> market = SimulatedMarket(SimulatedMarketConfig(n_bars=50, n_symbols=2))
    >>> len(market.candles())
    100
    """

    def __init__(self, config: SimulatedMarketConfig | None = None) -> None:
        self.config = config or SimulatedMarketConfig()

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are traded."""
        return self.config.symbols

    @cached_property
    def path(self) -> MarketPath:
        """What happened, including what no participant sees. Not to be changed."""
        return simulate_path(self.config)

    @cached_property
    def drift(self) -> NDArray[np.float64]:
        """Drift of the bar after each bar (bar, symbol), in standard deviations; row i is known when bar i closes."""
        path, config = self.path, self.config
        drift = planted_drift(path.opens, path.closes, path.volumes, strength=config.strength)
        return drift * direction(config, config.n_bars + 1)[1:, None]

    def candles(self) -> pd.DataFrame:
        """Return every bar of every symbol as a candle frame; the caller may change it."""
        return as_candle_frame(pd.concat([self.candle_range(symbol, 0, self.config.n_bars) for symbol in self.symbols]))

    def candle_range(self, symbol: str, first_bar: int, n_bars: int) -> pd.DataFrame:
        """Return the candles of bars [first_bar, first_bar + n_bars) of one symbol, as far as the market runs."""
        lane, rows = self.lane(symbol), slice(first_bar, first_bar + n_bars)
        path = self.path
        values = [each[rows, lane] for each in (path.opens, path.highs, path.lows, path.closes, path.volumes)]
        opens_ns = self.open_ns(first_bar + np.arange(len(values[0])))
        columns = (np.full(len(opens_ns), symbol, dtype=object), opens_ns, *values)
        return pd.DataFrame(dict(zip(CANDLE_COLUMNS, columns, strict=True)))

    def up_probability(self, symbol: str, ts_event_ns: ArrayLike) -> NDArray[np.float64]:
        """Return P(close > open) of the bar AFTER each given bar, given everything up to the given bar's close.

        `ts_event_ns` are opens of bars in this market. This is the true conditional probability, not an estimate;
        look-ahead safe by construction.

        Raises:
            InputError: no such symbol, or a time at which no bar of this market opens.
        """
        bars = self.bar_index(np.asarray(ts_event_ns, dtype=np.int64))
        return np.asarray(ndtr(self.drift[bars, self.lane(symbol)]), dtype=np.float64)

    def bayes_accuracy(
        self, symbols: Sequence[str] | NDArray[np.str_], ts_ns: ArrayLike, band: ArrayLike = 0.0
    ) -> float:
        """Return the expected accuracy, one bar ahead, of the best possible predictor.

        Row i is a decision at the close of the bar of `symbols[i]` that opens at `ts_ns[i]`. As in the labels, only
        moves count whose simple return lies beyond plus or minus `band` (one number, or one per row). Each row counts
        with the chance that it does; the volatility of the next bar enters as it really was, which the best
        predictor need not know, because its choice depends on the sign of the drift alone.

        Raises:
            InputError: no rows, no such symbol or bar, or a decision at the last bar, which nothing follows.
        """
        bars = self.bar_index(np.asarray(ts_ns, dtype=np.int64))
        if bars.size == 0 or bars.max() >= self.config.n_bars - 1:
            raise InputError("the accuracy needs rows, and a bar after each of them")
        lane_of = {symbol: self.lane(symbol) for symbol in set(symbols)}
        lanes = np.array([lane_of[symbol] for symbol in symbols])
        drift, sigma = self.drift[bars, lanes], self.path.sigma[bars + 1, lanes]
        width = np.asarray(band, dtype=np.float64)
        up = ndtr(drift - np.log1p(width) / sigma)
        down = ndtr(np.log1p(-width) / sigma - drift)
        return float(np.where(drift > 0, up, down).sum() / (up + down).sum())

    def lane(self, symbol: str) -> int:
        """Return the column of `symbol` in the arrays.

        Raises:
            InputError: the symbol is not traded here.
        """
        try:
            return self.symbols.index(symbol)
        except ValueError:
            raise InputError(f"{symbol} is not traded here; there are {', '.join(self.symbols)}") from None

    def open_ns(self, bars: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the open times of bars."""
        return self.config.start_ns + bars * self.config.bar.ns

    def bar_index(self, ts_event_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the bars that open at the given times.

        Raises:
            InputError: a time at which no bar of this market opens.
        """
        bars, rest = np.divmod(ts_event_ns - self.config.start_ns, self.config.bar.ns)
        if np.any(rest != 0) or np.any(bars < 0) or np.any(bars >= self.config.n_bars):
            raise InputError(f"no bar of {self.config.to_url()} opens at some of the given times")
        return np.asarray(bars, dtype=np.int64)
