"""The events that `benchmarks.feature_latency` sends, made up or recorded, each with the time at which it is due."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import NS_PER_S
from ratchet.data.books.replay import FileStream
from ratchet.features.streaming.events import FeatureEvent, decode_event, encode_event
from ratchet.features.streaming.recorded import recorded_events
from ratchet.ingestion import replay_recording
from ratchet.settings import Settings
from tests.market_events import MINUTE_NS, START_NS, bar_event, random_events

VENUE, SYMBOL, VENUE_ID = "binance-swap", "BTC/USDT:USDT", "BTCUSDT"
SYMBOLS = tuple(f"S{number:02d}/USDT" for number in range(50))
N_BARS, BARS_S, WARM_S = 100, 5, 5
"""Bars of each symbol that go first, within how many seconds, and how long the load is warm-up after that."""

Load = tuple[NDArray[np.int64], list[FeatureEvent]]
"""When each event is due, ns from the beginning, and the events."""


def made_up_load(seconds: int) -> Load:
    """Return events of 50 symbols; a minute closes in their middle."""
    n_minutes = 2 + (WARM_S + seconds) // 60
    first_ns = START_NS + MINUTE_NS - (WARM_S + seconds // 2) * NS_PER_S
    events = random_events(SYMBOLS, seed=3, n_minutes=n_minutes, per_minute=20 * 60, venue=VENUE)
    return _with_bars(SYMBOLS, events, first_ns, seconds)


def recorded_load(recording: Path, seconds: int) -> Load:
    """Return the events of a recording, from 20 s after its book is known."""
    with tempfile.TemporaryDirectory() as folder:
        raw = head_of(recording, Path(folder) / "raw.txt", seconds + 60)
        settings = Settings(home=Path(folder) / "home")
        replay_recording(settings, raw, venue=VENUE, symbol=SYMBOL)
        events = list(recorded_events(settings.recordings_root, VENUE, SYMBOL, 0, 2**62))
    return _with_bars((SYMBOL,), events, events[0].known_ns + 20 * NS_PER_S, seconds)


def _with_bars(symbols: Sequence[str], events: Sequence[FeatureEvent], first_ns: int, seconds: int) -> Load:
    """Cut out the events that are used, and put made-up bars before them."""
    last_ns = first_ns + (WARM_S + seconds) * NS_PER_S
    used = [event for event in events if first_ns <= event.known_ns < last_ns]
    close_ns = first_ns // MINUTE_NS * MINUTE_NS
    rng = np.random.default_rng(5)
    prices = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 1e-3, N_BARS + 1)))
    bars = [
        bar_event(symbol, close_ns - (N_BARS - 1 - n) * MINUTE_NS, prices[n], prices[n + 1], rng.gamma(2.0), VENUE)
        for n in range(N_BARS)
        for symbol in symbols
    ]
    before = np.linspace(0, BARS_S * NS_PER_S, len(bars), endpoint=False).astype(np.int64)
    after = np.array([event.known_ns - first_ns + BARS_S * NS_PER_S for event in used], dtype=np.int64)
    return np.concatenate((before, after)), bars + used


def head_of(recording: Path, target: Path, seconds: float) -> Path:
    """Copy the lines of the first seconds, without the compression."""
    stream = FileStream(recording, VENUE, lambda message: [])

    async def copy() -> None:
        until_ns = None
        with target.open("w") as file:
            async for message in stream.messages():
                until_ns = until_ns or message.ts_recv_ns + round(seconds * NS_PER_S)
                if message.ts_recv_ns >= until_ns:
                    return
                file.write(f"{message.ts_recv_ns} {message.text}\n")

    asyncio.run(copy())
    return target


def save_load(load: Load, path: Path) -> None:
    """Write a load for the processes to come."""
    packed = [encode_event(event) for event in load[1]]
    sizes = np.array([len(one) for one in packed])
    np.savez(path, due=load[0], sizes=sizes, packed=np.frombuffer(b"".join(packed), dtype=np.uint8))


def read_load(path: Path) -> Load:
    """Return what `save_load` wrote."""
    with np.load(path) as saved:
        ends, blob = np.cumsum(saved["sizes"]).tolist(), saved["packed"].tobytes()
        starts = [0, *ends[:-1]]
        return saved["due"], [decode_event(blob[start:end]) for start, end in zip(starts, ends, strict=True)]
