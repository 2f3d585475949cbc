"""Small panels and predictions with known properties, for the tests of training and evaluation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.predictions import Predictions
from ratchet.features.panel import Panel

HOUR_NS = 3_600_000_000_000
START_NS = 1_704_067_200_000_000_000
NAMES = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT")

FloatArray = NDArray[np.float64]


def walk_returns(n_symbols: int, n_bars: int, seed: int, sigma: float = 0.006) -> FloatArray:
    """Independent log returns of pure random walks, (symbol, bar)."""
    return np.random.default_rng(seed).normal(0.0, sigma, size=(n_symbols, n_bars))


def panel_of_returns(returns: FloatArray, features: FloatArray, *, horizon: int, warm_up: int = 0) -> Panel:
    """A panel of hourly bars with the given log returns (symbol, bar) and features (symbol, bar, feature).

    Every bar opens at the last close; bars before `warm_up` give no sample; every move counts (band 0); the window is
    one bar.
    """
    n_symbols, n_bars = returns.shape
    close = np.exp(np.cumsum(returns, axis=1))
    bar_open = close / np.exp(returns)
    end = np.arange(warm_up, n_bars - horizon)
    ret = close[:, end + horizon] / bar_open[:, end + 1] - 1.0
    symbol_id, sample = np.meshgrid(np.arange(n_symbols), np.arange(len(end)), indexing="ij")
    order = np.lexsort((symbol_id.ravel(), sample.ravel()))
    symbol, bar = symbol_id.ravel()[order], end[sample.ravel()[order]]
    ts_ns = START_NS + bar * HOUR_NS
    return Panel(
        symbols=tuple(f"S{i:02d}/USDT" for i in range(n_symbols)),
        feature_names=tuple(f"f{i}" for i in range(features.shape[2])),
        schema_hash="0" * 64,
        timeframe="1h",
        horizon=horizon,
        window=1,
        features=features.reshape(n_symbols * n_bars, -1).astype(np.float32),
        row_ts_ns=np.tile(START_NS + np.arange(n_bars) * HOUR_NS, n_symbols),
        end_row=symbol * n_bars + bar,
        symbol_id=symbol.astype(np.int16),
        ts_ns=ts_ns,
        t1_ns=ts_ns + (horizon + 1) * HOUR_NS,
        label=np.sign(ret[symbol, bar - warm_up]).astype(np.int8),
        ret=ret[symbol, bar - warm_up],
        band=np.zeros(len(bar)),
        last_return=(close / bar_open - 1.0)[symbol, bar].astype(np.float32),
    )


def signal_panel(n_symbols: int = 3, n_bars: int = 900, *, strength: float = 0.5, seed: int = 3) -> Panel:
    """A panel in which feature 0 shifts the mean of the next bar's return by `strength` standard deviations."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_symbols, n_bars, 4))
    noise = walk_returns(n_symbols, n_bars, seed + 1)
    returns = noise.copy()
    returns[:, 1:] += 0.006 * strength * np.sign(features[:, :-1, 0])
    return panel_of_returns(returns, features, horizon=1)


def smooth_noise(rng: np.random.Generator, n: int, width: int) -> FloatArray:
    """A moving average of white noise with unit variance: neighbours up to `width` apart are alike."""
    total = np.cumsum(rng.normal(size=n + width))
    averaged: FloatArray = (total[width:] - total[:-width]) / np.sqrt(width)
    return averaged


def rival_predictions(
    skills: tuple[float, float], *, n_times: int, horizon: int, seed: int, n_symbols: int = 1, alike: float = 0.9
) -> tuple[Predictions, Predictions]:
    """Two models on the same random walks, which foresee the coming move with the given signal-to-noise ratios.

    A model with skill a is right with probability 1/2 + atan(a)/pi. Labels overlap `horizon` bars, and so do the
    models' errors, of which the share `alike` (in variance) is common to both.
    """
    rng = np.random.default_rng(seed)
    parts: list[tuple[FloatArray, ...]] = []
    for _ in range(n_symbols):
        move = rng.normal(size=n_times + horizon + 1)
        path = np.cumsum(np.r_[0.0, move])
        future = path[1 + horizon : 1 + horizon + n_times] - path[1 : 1 + n_times]
        common = smooth_noise(rng, n_times, horizon)
        signals = [
            skill * future / np.sqrt(horizon)
            + np.sqrt(alike) * common
            + np.sqrt(1.0 - alike) * smooth_noise(rng, n_times, horizon)
            for skill in skills
        ]
        parts.append((future, move[:n_times], *signals))
    future, move, first, second = (np.stack(column, axis=1).ravel() for column in zip(*parts, strict=True))
    rows = _rows(future, move, n_times, n_symbols, horizon)
    return rows.with_p_up(_squash(first)), rows.with_p_up(_squash(second))


def with_baselines(predictions: Predictions, *, seed: int = 0) -> Predictions:
    """Add the two naive baselines: always up, and a coin."""
    coin = np.random.default_rng(seed).uniform(0.4, 0.6, len(predictions))
    return replace(predictions, baselines={"majority": np.full(len(predictions), 0.51), "last_sign": coin})


def _rows(future: FloatArray, move: FloatArray, n_times: int, n_symbols: int, horizon: int) -> Predictions:
    ts_ns = np.repeat(START_NS + np.arange(n_times) * HOUR_NS, n_symbols)
    return Predictions(
        timeframe="1h",
        horizon=horizon,
        symbol=np.tile(np.array(NAMES[:n_symbols]), n_times),
        ts_ns=ts_ns,
        t1_ns=ts_ns + (horizon + 1) * HOUR_NS,
        fold=np.zeros(len(ts_ns), dtype=np.int16),
        label=np.sign(future).astype(np.int8),
        ret=0.006 * future,
        band=np.zeros(len(ts_ns)),
        bar_return=0.006 * move,
        p_up=np.full(len(ts_ns), 0.5),
    )


def _squash(signal: FloatArray) -> FloatArray:
    p_up: FloatArray = 1.0 / (1.0 + np.exp(-signal))
    return p_up
