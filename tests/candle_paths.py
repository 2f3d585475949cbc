"""Candles for tests: seeded random paths, with flat bars, silent bars and gaps on demand, and recorded ones."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.market.candles import as_candle_frame
from ratchet.market.symbols import Timeframe

HOUR = Timeframe.parse("1h")
START_NS = 1_704_067_200_000_000_000


def random_candles(
    n_bars: int, *, seed: int, symbol: str = "BTC/USDT", flat_share: float = 0.0, silent_share: float = 0.0
) -> pd.DataFrame:
    """Return hourly candles of a random walk; shares of bars without range (and move) and without volume."""
    rng = np.random.default_rng(seed)
    is_flat = rng.random(n_bars) < flat_share
    close = 100.0 * np.exp(np.cumsum(np.where(is_flat, 0.0, 0.006 * rng.standard_normal(n_bars))))
    gap = np.where(is_flat, 0.0, 0.0005 * rng.standard_normal(n_bars))
    previous = np.concatenate(([100.0], close[:-1]))
    opening = np.where(is_flat, close, previous * np.exp(gap))
    reach = np.where(is_flat, 0.0, 0.004 * np.abs(rng.standard_normal((2, n_bars))))
    volume = np.where(rng.random(n_bars) < silent_share, 0.0, 50.0 * np.exp(rng.standard_normal(n_bars)))
    return as_candle_frame(
        pd.DataFrame(
            {
                "symbol": symbol,
                "ts_event_ns": START_NS + np.arange(n_bars) * HOUR.ns,
                "open": opening,
                "high": np.maximum(opening, close) * np.exp(reach[0]),
                "low": np.minimum(opening, close) * np.exp(-reach[1]),
                "close": close,
                "volume": volume,
            }
        )
    )


def rescaled(candles: pd.DataFrame, *, price: float = 1.0, volume: float = 1.0) -> pd.DataFrame:
    """Return the same market quoted in other units."""
    factors = {"open": price, "high": price, "low": price, "close": price, "volume": volume}
    return candles.assign(**{name: candles[name] * factor for name, factor in factors.items()})


def with_new_future(candles: pd.DataFrame, after_row: int, *, seed: int) -> pd.DataFrame:
    """Return the candles with prices and volumes of every later row replaced by others."""
    rng = np.random.default_rng(seed)
    n_new = len(candles) - after_row - 1
    body = np.exp(rng.normal(3.0, 2.0, (2, n_new)))
    wick = np.exp(np.abs(rng.normal(0.0, 0.5, (2, n_new))))
    changed = candles.copy()
    later = changed.index[after_row + 1 :]
    changed.loc[later, "open"], changed.loc[later, "close"] = body[0], body[1]
    changed.loc[later, "high"], changed.loc[later, "low"] = body.max(axis=0) * wick[0], body.min(axis=0) / wick[1]
    changed.loc[later, "volume"] = np.exp(rng.normal(0.0, 6.0, n_new)) * (rng.random(n_new) > 0.2)
    return changed


def without_rows(candles: pd.DataFrame, rows: slice | list[int]) -> pd.DataFrame:
    """Return the candles with some bars missing."""
    return candles.drop(candles.index[rows]).reset_index(drop=True)


def recorded_candles(symbol: str, *, n_bars: int, folder: str = "binance_1h_2023_2025") -> pd.DataFrame:
    """Return the first recorded hourly candles of `symbol`, or skip the test where the recordings are absent."""
    root = Path(__file__).resolve().parents[1]
    data = Path(os.environ.get("RATCHET_REAL_DATA", root.parent / "shared" / "data"))
    path = data / "candles" / folder / f"{symbol.replace('/', '')}_1h.parquet"
    if not path.exists():
        pytest.skip(f"no recorded candles: {path} is absent, set RATCHET_REAL_DATA")
    table = pd.read_parquet(path).head(n_bars)
    times = pd.DatetimeIndex(table.get("date", table.index)).as_unit("ns")
    return as_candle_frame(table.assign(symbol=symbol, ts_event_ns=times.asi8))
