"""Real candles with holes punched into them, over real HTTP: found, classified, repaired, and nothing else changed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import FixedClock
from ratchet.data.files import read_candle_files
from ratchet.data.history import CandleHistory, CollectionReport, GapKind, SeriesKey, collect_new_data
from ratchet.exchanges.factory import open_exchange
from ratchet.exchanges.simulated.server import ExchangeServer, FrameExchange
from ratchet.market import Timeframe

REAL_DATA = Path(os.environ.get("RATCHET_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FOLDER = REAL_DATA / "candles" / "binance_spot_2024_freqtrade"
HOUR = Timeframe.parse("1h")
SYMBOLS = ["BCH/USDT", "LINK/USDT", "SOL/USDT", "XRP/USDT"]
SEED = 5

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no recordings in {FOLDER}")


def collect(
    folder: Path, frame: pd.DataFrame, clock: FixedClock, start_ns: int, *, ask_again: bool = False
) -> CollectionReport:
    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * 1e9))

    async def run() -> CollectionReport:
        upstream = FrameExchange(frame, HOUR, now_ns=clock.now_ns())
        async with ExchangeServer(upstream, venue="binance", timeframe=HOUR, clock=clock) as server:
            exchange = open_exchange(f"binance://?url={server.url}", clock=clock, sleep=sleep)
            try:
                return await collect_new_data(
                    exchange,
                    CandleHistory(folder / "history", clock),
                    SYMBOLS,
                    HOUR,
                    start_ns,
                    None,
                    clock=clock,
                    quarantine_folder=folder / "quarantine",
                    ask_again=ask_again,
                )
            finally:
                await exchange.close()

    return asyncio.run(run())


def punched(truth: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """Take out runs of one symbol and two runs of all; return what is left and a mask of what is gone."""
    rng = np.random.default_rng(SEED)
    opens = np.sort(truth["ts_event_ns"].unique())
    gone = pd.Series(False, index=truth.index)
    for symbol in SYMBOLS[:3]:
        for _ in range(15):
            first, length = int(rng.integers(50, len(opens) - 60)), int(rng.integers(1, 12))
            span = opens[first : first + length]
            gone |= (truth["symbol"] == symbol) & truth["ts_event_ns"].isin(span)
    for first in (1_000, 3_000):
        gone |= truth["ts_event_ns"].isin(opens[first : first + 4])
    return truth[~gone], gone


def test_holes_in_real_candles_are_found_and_repaired(tmp_path: Path) -> None:
    """Every hole is in the ledger and no other; after the repair the candles are the recording's, bit for bit."""
    every = read_candle_files(FOLDER, timeframe=HOUR, symbols=SYMBOLS)
    last = every.groupby("symbol")["ts_event_ns"].max().min()
    truth = every[every["ts_event_ns"] <= last].sort_values(["symbol", "ts_event_ns"], ignore_index=True)
    clock = FixedClock(int(last) + HOUR.ns)
    start_ns = int(truth["ts_event_ns"].min())
    left, gone = punched(truth)
    first = collect(tmp_path, left, clock, start_ns)
    history = CandleHistory(tmp_path / "history", clock)
    keys = [SeriesKey("binance-at-127-0-0-1", symbol, "1h") for symbol in SYMBOLS]
    before = history.candles(keys, as_of_ns=2**62)
    pd.testing.assert_frame_equal(before[list(truth.columns)], left.reset_index(drop=True), check_exact=True)
    missing = {
        (gap.symbol, open_ns)
        for gap in history.catalog.list_gaps()
        for open_ns in range(gap.start_ns, gap.end_ns, HOUR.ns)
    }
    assert missing == set(zip(truth.loc[gone, "symbol"], truth.loc[gone, "ts_event_ns"], strict=True)), f"seed {SEED}"
    dark = {gap.start_ns for gap in history.catalog.list_gaps() if gap.kind is GapKind.EXCHANGE_OUTAGE}
    opens = np.sort(truth["ts_event_ns"].unique())
    assert {int(opens[1_000]), int(opens[3_000])} <= dark
    assert sum(item.n_new for item in first.series) == len(left)

    clock.advance(HOUR.ns // 4)
    report = collect(tmp_path, truth, clock, start_ns, ask_again=True)
    after = history.candles(keys, as_of_ns=2**62)
    pd.testing.assert_frame_equal(after[list(truth.columns)], truth, check_exact=True)
    assert sum(item.n_repaired for item in report.series) == int(gone.sum())
    assert history.catalog.list_gaps() == []
    rest = after[~gone.to_numpy()].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, before, check_exact=True)
