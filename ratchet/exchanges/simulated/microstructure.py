"""Order books and trades that go with the bars, made for the range that is asked for."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtri

from ratchet.exchanges.simulated.draws import Stream, uniforms
from ratchet.exchanges.simulated.market import SimulatedMarket
from ratchet.exchanges.simulated.path import STEPS_PER_BAR, inner_prices
from ratchet.market.venue import BOOK_COLUMNS, BOOK_LEVELS, TRADE_COLUMNS

TRADES_PER_BAR = STEPS_PER_BAR + 1
SNAPSHOT_BEFORE_CLOSE_NS = 1_000_000
"""A bar's snapshot is taken one millisecond before it closes."""

_BPS = 1e-4
_NARROWEST_SPREAD_BPS = 1.0
_WIDEST_SPREAD_BPS = 3.0
_NARROWEST_GAP_BPS = 0.05
_MEAN_EXTRA_GAP_BPS = 0.75
_LEVEL_SHARE_OF_VOLUME = 0.002
_LEAN_ON_DRIFT = 0.8
_LEAN_NOISE = 0.6


def order_books(market: SimulatedMarket, symbol: str, first_bar: int, n_bars: int) -> pd.DataFrame:
    """Return one snapshot per bar of [first_bar, first_bar + n_bars), as far as the market runs (`BOOK_COLUMNS`).

    The mid price is the bar's close. Sizes lean to the side to which the next bar drifts, with noise; the drift follows
    from candles up to this bar, so the book reveals nothing that is not public.
    """
    lane, bars = market.lane(symbol), _bars(market, first_bar, n_bars)
    drawn = uniforms(
        market.config.seed, Stream.BOOK, lane, first_bar=first_bar, n_bars=len(bars), width=4 * BOOK_LEVELS
    )
    spread_draw, gap_draws, size_draws = drawn[:, :1], drawn[:, 2 : 2 * BOOK_LEVELS], drawn[:, 2 * BOOK_LEVELS :]
    distance = _distances_bps(spread_draw, gap_draws.reshape(len(bars), 2, BOOK_LEVELS - 1)) * _BPS
    mid = market.path.closes[bars, lane][:, None]
    lean = _lean(market.drift[bars, lane], drawn[:, 1])[:, None]
    size = _sizes(size_draws.reshape(len(bars), 2, BOOK_LEVELS), market.path.volumes[bars, lane])
    blocks = (mid * (1 - distance[:, 0]), size[:, 0] * (1 + lean), mid * (1 + distance[:, 1]), size[:, 1] * (1 - lean))
    frame = pd.DataFrame(np.hstack(blocks), columns=list(BOOK_COLUMNS[2:]))
    frame.insert(0, "symbol", symbol)
    frame.insert(1, "ts_event_ns", market.open_ns(bars) + market.config.bar.ns - SNAPSHOT_BEFORE_CLOSE_NS)
    return frame


def trades(market: SimulatedMarket, symbol: str, first_bar: int, n_bars: int) -> pd.DataFrame:
    """Return the trades of bars [first_bar, first_bar + n_bars), as far as the market runs (`TRADE_COLUMNS`).

    13 a bar, the first at its open and the last at its close: aggregated by bar they give the candle again. Takers
    mostly trade in the direction of the price.
    """
    lane, bars = market.lane(symbol), _bars(market, first_bar, n_bars)
    config, path = market.config, market.path
    drawn = uniforms(config.seed, Stream.TRADE, lane, first_bar=first_bar, n_bars=len(bars), width=3 * TRADES_PER_BAR)
    delay_draws, size_draws, side_draws = np.hsplit(drawn, 3)
    opens, closes, sigma = path.opens[bars, lane], path.closes[bars, lane], path.sigma[bars, lane]
    inner = inner_prices(config, lane, first_bar, opens=opens, closes=closes, sigma=sigma)
    prices = np.column_stack([opens, inner, closes])
    shares = -np.log(size_draws)
    columns = (
        np.full(prices.size, symbol, dtype=object),
        _trade_times(market, bars, delay_draws).ravel(),
        prices.ravel(),
        (path.volumes[bars, lane][:, None] * shares / shares.sum(axis=1, keepdims=True)).ravel(),
        _sides(prices, sigma, side_draws).ravel(),
        (first_bar * TRADES_PER_BAR + np.arange(prices.size)).astype(str).astype(object),
    )
    return pd.DataFrame(dict(zip(TRADE_COLUMNS, columns, strict=True)))


def _bars(market: SimulatedMarket, first_bar: int, n_bars: int) -> NDArray[np.int64]:
    return np.arange(first_bar, min(first_bar + n_bars, market.config.n_bars), dtype=np.int64)


def _distances_bps(spread_draw: NDArray[np.float64], gap_draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Distance from mid (bar, side, level): half the spread, then gaps that are never zero."""
    half = (_NARROWEST_SPREAD_BPS + (_WIDEST_SPREAD_BPS - _NARROWEST_SPREAD_BPS) * spread_draw) / 2
    gaps = _NARROWEST_GAP_BPS - _MEAN_EXTRA_GAP_BPS * np.log(gap_draws)
    best = np.broadcast_to(half[:, None], (len(half), 2, 1))
    return np.cumsum(np.concatenate([best, gaps], axis=2), axis=2)


def _lean(drift: NDArray[np.float64], draw: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share by which bids outweigh the usual size and asks fall short of it, within (-1, 1)."""
    return np.asarray(np.tanh(_LEAN_ON_DRIFT * drift + _LEAN_NOISE * ndtri(draw)), dtype=np.float64)


def _sizes(draws: NDArray[np.float64], volume: NDArray[np.float64]) -> NDArray[np.float64]:
    """Size (bar, side, level) before the lean: a share of the bar's volume, larger away from mid."""
    depth = 1 + 0.15 * np.arange(BOOK_LEVELS)
    return np.asarray(_LEVEL_SHARE_OF_VOLUME * volume[:, None, None] * depth * np.exp(0.5 * ndtri(draws)))


def _trade_times(market: SimulatedMarket, bars: NDArray[np.int64], draws: NDArray[np.float64]) -> NDArray[np.int64]:
    """Times (bar, trade), strictly rising, each somewhere in its own slot of the bar."""
    slot_ns = market.config.bar.ns // TRADES_PER_BAR
    within_ns = np.arange(TRADES_PER_BAR) * slot_ns + (draws * slot_ns).astype(np.int64)
    return np.asarray(market.open_ns(bars)[:, None] + within_ns, dtype=np.int64)


def _sides(prices: NDArray[np.float64], sigma: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.int8]:
    """Side of the taker (bar, trade): the sign of the price's last step, blurred."""
    steps = np.diff(np.log(prices), axis=1, prepend=np.log(prices[:, :1])) / (sigma[:, None] / np.sqrt(STEPS_PER_BAR))
    return np.where(steps + ndtri(draws) > 0, 1, -1).astype(np.int8)
