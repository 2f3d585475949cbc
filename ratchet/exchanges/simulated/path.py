"""How prices and volumes come about, bar by bar."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.exchanges.simulated.config import SimulatedMarketConfig
from ratchet.exchanges.simulated.draws import Stream, normals, uniforms
from ratchet.exchanges.simulated.signal import MEMORY_BARS, REVERSAL_BARS, volume_weight

STEPS_PER_BAR = 12
_REGIME_SIGMA = np.array([0.6, 1.0, 1.8])  # calm, normal, wild
_REGIME_CHANGE = np.cumsum([[0.99, 0.01], [0.005, 0.985], [0.0, 0.03]], axis=1)  # to calm, to calm or normal
_NORMAL_REGIME = 1
_ALL_SYMBOLS = 0  # lane of the streams that symbols share
_QUOTE_TURNOVER_PER_HOUR = 40e6


@dataclass(frozen=True)
class MarketPath:
    """What happened to every symbol; arrays are (bar, symbol) float64.

    `sigma` is the standard deviation that each bar's noise really had: hidden from the market's participants.
    """

    opens: NDArray[np.float64]
    highs: NDArray[np.float64]
    lows: NDArray[np.float64]
    closes: NDArray[np.float64]
    volumes: NDArray[np.float64]
    sigma: NDArray[np.float64]


def simulate_path(config: SimulatedMarketConfig) -> MarketPath:
    """Run the market from its first bar to its last."""
    sigma = _volatility(config)
    noise = _noise(config)
    volumes = _volumes(config, sigma, noise)
    returns = _returns(config, sigma, noise, volume_weight(volumes))
    start = np.asarray(config.start_prices)
    closes = start * np.exp(np.cumsum(returns, axis=0))
    opens = np.vstack([start, closes[:-1]])
    highs, lows = np.maximum(opens, closes), np.minimum(opens, closes)
    for lane in range(config.n_symbols):
        inner = inner_prices(config, lane, 0, opens=opens[:, lane], closes=closes[:, lane], sigma=sigma[:, lane])
        highs[:, lane] = np.maximum(highs[:, lane], inner.max(axis=1))
        lows[:, lane] = np.minimum(lows[:, lane], inner.min(axis=1))
    return MarketPath(opens, highs, lows, closes, volumes, sigma)


def inner_prices(
    config: SimulatedMarketConfig,
    lane: int,
    first_bar: int,
    *,
    opens: NDArray[np.float64],
    closes: NDArray[np.float64],
    sigma: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return the (bar, 11) prices between open and close: a Brownian bridge in log price.

    The arguments are one symbol's bars from `first_bar` on.
    """
    steps = normals(config.seed, Stream.BRIDGE, lane, first_bar=first_bar, n_bars=len(opens), width=STEPS_PER_BAR)
    walk = np.cumsum(steps, axis=1) * (sigma / np.sqrt(STEPS_PER_BAR))[:, None]
    share = np.arange(1, STEPS_PER_BAR) / STEPS_PER_BAR
    to_close = np.log(closes / opens) - walk[:, -1]
    return np.asarray(opens[:, None] * np.exp(walk[:, :-1] + share * to_close[:, None]), dtype=np.float64)


def direction(config: SimulatedMarketConfig, n_bars: int) -> NDArray[np.float64]:
    """Return (n_bars,) +1, and -1 from the bar on in which the signal is reversed."""
    signs = np.ones(n_bars)
    if config.shift_at_bar is not None:
        signs[config.shift_at_bar :] = -1.0
    return signs


def _per_symbol(config: SimulatedMarketConfig, stream: Stream) -> NDArray[np.float64]:
    lanes = [
        normals(config.seed, stream, lane, first_bar=0, n_bars=config.n_bars, width=1)
        for lane in range(config.n_symbols)
    ]
    return np.hstack(lanes)


def _autoregression(noise: NDArray[np.float64], persistence: float, deviation: float) -> NDArray[np.float64]:
    """Return x with x[i] = persistence * x[i-1] + noise and the given long-run standard deviation, from zero."""
    level = np.zeros(noise.shape[1])
    path = np.empty_like(noise)
    for bar, surprise in enumerate(noise * (deviation * np.sqrt(1 - persistence**2))):
        level = persistence * level + surprise
        path[bar] = level
    return path


def _regimes(config: SimulatedMarketConfig) -> NDArray[np.int64]:
    chance = uniforms(config.seed, Stream.REGIME, _ALL_SYMBOLS, first_bar=0, n_bars=config.n_bars, width=1)[:, 0]
    following = (chance[:, None, None] >= _REGIME_CHANGE).sum(axis=2)  # (bar, from) -> to
    regimes = np.empty(config.n_bars, dtype=np.int64)
    regime = _NORMAL_REGIME
    for bar, options in enumerate(following.tolist()):
        regimes[bar] = regime = options[regime]
    return regimes


def _volatility(config: SimulatedMarketConfig) -> NDArray[np.float64]:
    level = np.exp(_autoregression(_per_symbol(config, Stream.LEVEL), persistence=0.995, deviation=0.2))
    shifted = np.where(direction(config, config.n_bars) < 0, 2.0, 1.0)
    common = config.base_sigma * _REGIME_SIGMA[_regimes(config)] * shifted
    return np.asarray(common[:, None] * level, dtype=np.float64)


def _noise(config: SimulatedMarketConfig) -> NDArray[np.float64]:
    common = normals(config.seed, Stream.COMMON_NOISE, _ALL_SYMBOLS, first_bar=0, n_bars=config.n_bars, width=1)
    own = _per_symbol(config, Stream.OWN_NOISE)
    return np.asarray(np.sqrt(config.correlation) * common + np.sqrt(1 - config.correlation) * own, dtype=np.float64)


def _volumes(
    config: SimulatedMarketConfig, sigma: NDArray[np.float64], noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Volume in base units: persistent, higher in wild times and in bars with a surprise."""
    usual = _QUOTE_TURNOVER_PER_HOUR * config.bar.seconds / 3_600 / np.asarray(config.start_prices)
    persistent = _autoregression(_per_symbol(config, Stream.VOLUME), persistence=0.8, deviation=0.5)
    excess = 0.5 * np.log(sigma / config.base_sigma) + 0.3 * np.abs(noise)
    return np.asarray(usual * np.exp(persistent + excess), dtype=np.float64)


def _returns(
    config: SimulatedMarketConfig,
    sigma: NDArray[np.float64],
    noise: NDArray[np.float64],
    weight: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Log returns (bar, symbol): the drift of each bar follows from the returns before it, as `signal` defines it."""
    gain = np.zeros_like(weight)
    gain[MEMORY_BARS:] = weight[MEMORY_BARS - 1 : -1]
    gain *= (-config.strength * direction(config, config.n_bars))[:, None]
    returns = sigma * noise
    level, energy = np.zeros((2, config.n_bars + 1, config.n_symbols))  # running sums of returns and of their squares
    for bar in range(config.n_bars):
        if bar >= MEMORY_BARS:
            scale = np.sqrt((energy[bar] - energy[bar - MEMORY_BARS]) * (REVERSAL_BARS / MEMORY_BARS))
            returns[bar] += sigma[bar] * gain[bar] * np.tanh((level[bar] - level[bar - REVERSAL_BARS]) / scale)
        level[bar + 1] = level[bar] + returns[bar]
        energy[bar + 1] = energy[bar] + np.square(returns[bar])
    return returns
