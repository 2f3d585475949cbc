"""Streams of made-up feature events: bars, books, trades, derivatives, losses, in the order of arrival."""

from __future__ import annotations

import numpy as np

from ratchet.features.streaming.events import EventKind, FeatureEvent
from ratchet.market.venue import BOOK_LEVELS

START_NS = 1_700_000_040_000_000_000
"""A whole minute."""
MINUTE_NS = 60_000_000_000


def random_events(
    symbols: tuple[str, ...] = ("BTC/USDT", "ETH/USDT"),
    *,
    seed: int,
    n_minutes: int = 5,
    per_minute: int = 60,
    venue: str = "binance",
    bar_delay_ns: int = 0,
) -> list[FeatureEvent]:
    """Return events of a random market: each symbol's books and trades at random times, and a bar each minute.

    A bar arrives `bar_delay_ns` after its close. About one event in a hundred says that something was lost.
    """
    rng = np.random.default_rng(seed)
    events: list[tuple[int, int, FeatureEvent]] = []
    for n, symbol in enumerate(symbols):
        for event in _symbol_events(rng, symbol, n_minutes, per_minute, venue):
            delay = bar_delay_ns if event.kind is EventKind.BAR else 0
            events.append((event.ts_event_ns + delay, n, event))
    events.sort(key=lambda entry: (entry[0], entry[2].kind, entry[1]))
    return [event for _, _, event in events]


def history_bars(symbol: str, *, seed: int, n_bars: int, venue: str = "binance") -> list[FeatureEvent]:
    """Return `n_bars` bars that end at `START_NS`."""
    rng = np.random.default_rng(seed)
    closes = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, n_bars)))
    first_ns = START_NS - (n_bars - 1) * MINUTE_NS
    return [
        bar_event(symbol, first_ns + n * MINUTE_NS, closes[max(n - 1, 0)], closes[n], rng.gamma(2.0, 5.0), venue)
        for n in range(n_bars)
    ]


def bar_event(symbol: str, close_ns: int, open_: float, close: float, volume: float, venue: str) -> FeatureEvent:
    """Return a bar whose wicks are a tenth of a per cent."""
    values = np.array([open_, max(open_, close) * 1.001, min(open_, close) * 0.999, close, volume])
    return FeatureEvent(EventKind.BAR, venue, symbol, close_ns, close_ns, 0, values)


def _symbol_events(
    rng: np.random.Generator, symbol: str, n_minutes: int, per_minute: int, venue: str
) -> list[FeatureEvent]:
    mid, opened, events, sequence = 100.0, 100.0, [], 0
    for minute in range(n_minutes):
        start_ns = START_NS + minute * MINUTE_NS
        for ts_ns in np.sort(rng.integers(start_ns, start_ns + MINUTE_NS, per_minute)).tolist():
            sequence += 1
            mid *= float(np.exp(rng.normal(0.0, 1e-4)))
            events.append(_market_event(rng, symbol, ts_ns, sequence, mid, venue))
        events.append(bar_event(symbol, start_ns + MINUTE_NS, opened, mid, float(rng.gamma(2.0, 5.0)), venue))
        opened = mid
    return events


def _market_event(
    rng: np.random.Generator, symbol: str, ts_ns: int, sequence: int, mid: float, venue: str
) -> FeatureEvent:
    chance = rng.random()
    if chance < 0.6:
        kind, values = EventKind.BOOK, _book(rng, mid)
    elif chance < 0.95:
        side = float(rng.choice([-1.0, 1.0]))
        kind, values = EventKind.TRADE, np.array([mid * (1 + 1e-5 * side), float(rng.gamma(1.0, 0.5)) + 1e-6, side])
    elif chance < 0.97:
        values = np.array([1e-4, 1e6 * rng.random(), mid, mid * 0.9999, 1e4 * rng.random(), np.nan])
        kind = EventKind.DERIVATIVE
    else:
        lost = (EventKind.BOOK_LOST, EventKind.TRADES_LOST, EventKind.BOOK_ALIVE)
        kind, values, sequence = lost[int(rng.integers(3))], np.empty(0), 0
    return FeatureEvent(kind, venue, symbol, ts_ns, ts_ns + int(rng.integers(0, 5_000_000)), sequence, values)


def _book(rng: np.random.Generator, mid: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    steps = np.cumsum(rng.exponential(0.01, BOOK_LEVELS)) + 0.005
    asks = mid + np.cumsum(rng.exponential(0.01, BOOK_LEVELS)) + 0.005
    sizes = rng.gamma(2.0, 1.0, (2, BOOK_LEVELS))
    return np.concatenate((mid - steps, sizes[0], asks, sizes[1]))
