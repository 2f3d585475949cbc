"""A frame of candles behind the port that real venues implement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import InputError, NotFoundError
from ratchet.market import Timeframe, as_candle_frame
from ratchet.market.venue import BOOK_COLUMNS, TRADE_COLUMNS, Exchange, Instrument, VenueTraits

_PAGE_ROWS = 1_000


class FrameExchange(Exchange):
    """Pages over candles of one timeframe, and over trades where there are some.

    `candles` (`CANDLE_COLUMNS`) may have gaps; `trades` (`TRADE_COLUMNS`) are optional. `now_ns` is the time at which
    it is asked; None stands for the close of the last bar, and then every row is there. `instruments` replaces what
    `describe` says about a symbol: without it, a symbol is listed since its first bar.

    Raises:
        InputError: there is no candle at all, or a bar is there twice.
    """

    def __init__(
        self,
        candles: pd.DataFrame,
        timeframe: Timeframe,
        *,
        name: str = "frame",
        now_ns: int | None = None,
        trades: pd.DataFrame | None = None,
        instruments: Sequence[Instrument] = (),
        traits: VenueTraits | None = None,
    ) -> None:
        ordered = as_candle_frame(candles)
        if ordered.empty or ordered.duplicated(["symbol", "ts_event_ns"]).any():
            raise InputError(f"{name}: the candles are empty or hold a bar twice; clean them first")
        self._name = name
        self._timeframe = timeframe
        self._candles = _by_symbol(ordered)
        last_close_ns = max(int(times[-1]) for times, _ in self._candles.values()) + timeframe.ns
        self._now_ns = last_close_ns if now_ns is None else now_ns
        has_trades = trades is not None
        self._trades = _by_symbol(_ordered_trades(trades)) if trades is not None else {}
        self._instruments = {instrument.symbol: instrument for instrument in instruments}
        self._traits = traits or VenueTraits(emits_empty_bars=True, has_trade_history=has_trades, page_rows=_PAGE_ROWS)

    @property
    def name(self) -> str:
        """The name that was given."""
        return self._name

    @property
    def traits(self) -> VenueTraits:
        """The traits that were given; else every bar counts as emitted, and trades as known where there are some."""
        return self._traits

    async def list_symbols(self) -> list[str]:
        """Return the symbols of the frame, sorted."""
        return list(self._candles)

    async def describe(self, symbol: str) -> Instrument:
        """Return the symbol, listed since its first bar unless something else was given."""
        if symbol not in self._candles:
            raise NotFoundError(f"{self._name} does not list {symbol}")
        known = self._instruments.get(symbol)
        return known or Instrument(symbol, listed_ns=int(self._candles[symbol][0][0]))

    async def server_time_ns(self) -> int:
        """Return the time at which the frame is asked."""
        return self._now_ns

    async def close(self) -> None:
        """Nothing is held."""

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of closed candles (see `Exchange`)."""
        if timeframe.ns != self._timeframe.ns:
            raise InputError(f"{self._name} has no {timeframe.text} candles, only {self._timeframe.text}")
        times, rows = self._rows_of(symbol)
        first = int(np.searchsorted(times, since_ns))
        closed = int(np.searchsorted(times, self._now_ns - self._timeframe.ns, side="right"))
        return _slice(rows, first, min(first + self._page_rows(limit), closed))

    async def fetch_order_books(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return an empty page: a frame keeps no books."""
        self._rows_of(symbol)
        self._page_rows(limit)
        return pd.DataFrame({column: pd.Series(dtype="float64") for column in BOOK_COLUMNS}).astype(
            {"symbol": "object", "ts_event_ns": "int64"}
        )

    async def fetch_trades(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of trades (see `Exchange`); trades of one time stay together."""
        self._rows_of(symbol)
        rows = self._page_rows(limit)
        if symbol not in self._trades:
            return _ordered_trades(pd.DataFrame(columns=list(TRADE_COLUMNS)))
        times, trades = self._trades[symbol]
        first = int(np.searchsorted(times, since_ns))
        known = int(np.searchsorted(times, self._now_ns))
        stop = min(first + rows, known)
        if first < stop < known:
            stop = min(int(np.searchsorted(times, times[stop - 1], side="right")), known)
        return _slice(trades, first, stop)

    def _rows_of(self, symbol: str) -> tuple[NDArray[np.int64], pd.DataFrame]:
        try:
            return self._candles[symbol]
        except KeyError:
            raise InputError(f"{self._name} has no {symbol}; there are {', '.join(self._candles)}") from None

    def _page_rows(self, limit: int) -> int:
        if limit < 1:
            raise InputError(f"limit={limit} must be at least 1")
        return min(limit, self._traits.page_rows)


def _by_symbol(frame: pd.DataFrame) -> dict[str, tuple[NDArray[np.int64], pd.DataFrame]]:
    """Times and rows of each symbol."""
    return {
        str(symbol): (rows["ts_event_ns"].to_numpy(dtype=np.int64), rows.reset_index(drop=True))
        for symbol, rows in frame.groupby("symbol", sort=True)
    }


def _ordered_trades(trades: pd.DataFrame) -> pd.DataFrame:
    typed = trades.loc[:, list(TRADE_COLUMNS)].astype(
        {"ts_event_ns": "int64", "price": "float64", "size": "float64", "side": "int8", "trade_id": "str"}
    )
    return typed.sort_values(["symbol", "ts_event_ns"], kind="stable", ignore_index=True)


def _slice(rows: pd.DataFrame, first: int, stop: int) -> pd.DataFrame:
    return rows.iloc[first : max(first, stop)].reset_index(drop=True)
