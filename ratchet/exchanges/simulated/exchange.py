"""The simulated market behind the port that real venues implement."""

from __future__ import annotations

import pandas as pd

from ratchet.errors import InputError, NotFoundError
from ratchet.exchanges.simulated.config import SimulatedMarketConfig
from ratchet.exchanges.simulated.market import SimulatedMarket
from ratchet.exchanges.simulated.microstructure import TRADES_PER_BAR, order_books, trades
from ratchet.market import Timeframe
from ratchet.market.venue import Exchange, Instrument, VenueTraits


class SimulatedExchange(Exchange):
    """Pages over a `SimulatedMarket`, as venues do.

    `now_ns` is the time at which it is asked: bars that close later, and books and trades that come later, do not exist
    yet. None stands for the end of the simulation. A page has at most `page_size` rows whatever is asked for.
    """

    def __init__(self, market: SimulatedMarket, *, now_ns: int | None = None, page_size: int = 1_000) -> None:
        self.market = market
        self._now_ns = market.config.end_ns if now_ns is None else min(now_ns, market.config.end_ns)
        self._page_size = page_size

    @classmethod
    def from_url(cls, url: str, *, now_ns: int | None = None) -> SimulatedExchange:
        """Open the market that a `simulated://` URL defines.

        Raises:
            InputError: the URL cannot be used.
        """
        return cls(SimulatedMarket(SimulatedMarketConfig.from_url(url)), now_ns=now_ns)

    @property
    def name(self) -> str:
        """The URL, which says all that is needed to make the same data again."""
        return self.market.config.to_url()

    @property
    def traits(self) -> VenueTraits:
        """Every bar is there, and every trade since the first bar."""
        return VenueTraits(emits_empty_bars=True, has_trade_history=True, page_rows=self._page_size)

    async def list_symbols(self) -> list[str]:
        """Return the symbols of the market."""
        return list(self.market.symbols)

    async def describe(self, symbol: str) -> Instrument:
        """Return the symbol, listed since the first bar."""
        if symbol not in self.market.symbols:
            raise NotFoundError(f"{self.name} does not list {symbol}")
        return Instrument(symbol, listed_ns=self.market.config.start_ns)

    async def server_time_ns(self) -> int:
        """Return the time at which the market is asked."""
        return self._now_ns

    async def close(self) -> None:
        """Nothing is held."""

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of closed candles (see `Exchange`)."""
        bar = self.market.config.bar
        if timeframe.ns != bar.ns:
            raise InputError(f"{self.name} has no {timeframe.text} candles, only {bar.text}")
        first = max(0, -((self.market.config.start_ns - since_ns) // bar.ns))
        closed = max(0, (self._now_ns - self.market.config.start_ns) // bar.ns)
        n_bars = min(self._page_rows(limit), closed - first)
        return self.market.candle_range(symbol, first, max(0, n_bars))

    async def fetch_order_books(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of snapshots, one per bar (see `Exchange`)."""
        rows = self._page_rows(limit)
        return self._page(order_books(self.market, symbol, self._bar_at(since_ns), rows + 1), since_ns, rows)

    async def fetch_trades(self, symbol: str, since_ns: int, limit: int) -> pd.DataFrame:
        """Return a page of trades (see `Exchange`)."""
        rows = self._page_rows(limit)
        n_bars = rows // TRADES_PER_BAR + 2
        return self._page(trades(self.market, symbol, self._bar_at(since_ns), n_bars), since_ns, rows)

    def _page_rows(self, limit: int) -> int:
        if limit < 1:
            raise InputError(f"limit={limit} must be at least 1")
        return min(limit, self._page_size)

    def _bar_at(self, ts_ns: int) -> int:
        config = self.market.config
        return min(max(0, (ts_ns - config.start_ns) // config.bar.ns), config.n_bars)

    def _page(self, frame: pd.DataFrame, since_ns: int, rows: int) -> pd.DataFrame:
        times = frame["ts_event_ns"]
        return frame[(times >= since_ns) & (times < self._now_ns)].head(rows).reset_index(drop=True)
