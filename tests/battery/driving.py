"""A day's collection: the venue's server, the real adapter, a fresh history, and a clock that only waiting moves."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import pandas as pd

from ratchet.clock import NS_PER_S, FixedClock
from ratchet.data.history import CandleHistory, CollectionReport, Gap, SeriesKey, collect_new_data
from ratchet.exchanges.factory import open_exchange
from ratchet.exchanges.simulated.server import ExchangeServer, FaultKind, FaultPlan, FrameExchange
from ratchet.market.venue import Exchange
from tests.battery.days import Day

_RUNS = 3
PATIENCE_S = 0.1
"""How long a reply may really take on days on which some never come."""

_AFTERWARDS_NS = 600 * NS_PER_S


@dataclass
class Outcome:
    """What a collector has of a day: rows by symbol, in the order in which it keeps them, and what it says is missing.

    `digests`, `wanted` (start, end) and `versions` by symbol, where the collector has them.
    """

    stored: dict[str, pd.DataFrame]
    gaps: list[Gap]
    digests: dict[str, str] = field(default_factory=dict)
    wanted: dict[str, tuple[int, int]] = field(default_factory=dict)
    versions: dict[str, pd.DataFrame] = field(default_factory=dict)


@dataclass
class Collected:
    """A day after its collections with faults, and after a further one without."""

    faulty: Outcome
    sound: Outcome | None
    quarantined: pd.DataFrame
    n_requests: int
    counts: dict[FaultKind, int]


async def collect_day(day: Day) -> Collected:
    """Collect a day with its faults, then once more without them."""
    plan, clock = day.plan(), FixedClock(day.start_ns)
    with _folder() as folder:
        history = CandleHistory(folder / "history", clock)
        async with served(day, plan, clock) as (server, exchange):
            run = _Runs(day, exchange, history, clock, folder / "quarantine")
            report = await (_live(day, plan, run) if day.is_live else _whole(day, run))
            faulty, n_requests, counts = run.outcome(report), server.n_requests, dict(plan.counts)
            if vanished := sum(plan.has_vanished(symbol, clock.now_ns()) for symbol in day.symbols):
                counts[FaultKind.VANISHED_SYMBOL] = vanished
            plan.rates.clear()
            plan.clock_offset_ns = 0
            clock.advance(_AFTERWARDS_NS)
            sound = run.outcome(await run(end_ns=day.end_ns, ask_again=True))
        history.close()
        files = sorted((folder / "quarantine").rglob("*.parquet"))
        quarantined = pd.concat([pd.read_parquet(file) for file in files]) if files else pd.DataFrame()
        return Collected(faulty, sound, quarantined, n_requests, counts)


@asynccontextmanager
async def served(day: Day, plan: FaultPlan, clock: FixedClock) -> AsyncIterator[tuple[ExchangeServer, Exchange]]:
    """Serve a day's market in its venue's dialect, and open the adapter onto it; nobody really waits."""

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * NS_PER_S))
        await asyncio.sleep(0)

    market = FrameExchange(day.candles, day.timeframe, trades=day.trades(plan))
    patience_s = PATIENCE_S if plan.rates.get(FaultKind.NO_ANSWER) else 10.0
    async with ExchangeServer(market, venue=day.venue, timeframe=day.timeframe, clock=clock, faults=plan) as server:
        exchange = open_exchange(f"{day.venue}://?url={server.url}&timeout_s={patience_s}", clock=clock, sleep=sleep)
        try:
            yield server, exchange
        finally:
            await exchange.close()


class _Runs:
    """Collections into one history, one after the other."""

    def __init__(
        self, day: Day, exchange: Exchange, history: CandleHistory, clock: FixedClock, quarantine: Path
    ) -> None:
        self.clock = clock
        self._day, self._exchange, self._history, self._quarantine = day, exchange, history, quarantine

    async def __call__(self, *, end_ns: int | None = None, ask_again: bool = False) -> CollectionReport:
        return await collect_new_data(
            self._exchange,
            self._history,
            self._day.symbols,
            self._day.timeframe,
            self._day.start_ns,
            end_ns,
            clock=self.clock,
            quarantine_folder=self._quarantine,
            ask_again=ask_again,
        )

    def to(self, at_ns: int) -> None:
        """Move the clock on to a time; it stays where waiting has moved it further."""
        self.clock.advance(max(0, at_ns - self.clock.now_ns()))

    def outcome(self, report: CollectionReport) -> Outcome:
        keys = [SeriesKey(report.venue, symbol, report.timeframe) for symbol in self._day.symbols]
        return Outcome(
            stored={key.symbol: self._history.candles([key], as_of_ns=2**62) for key in keys},
            gaps=self._history.catalog.list_gaps(),
            digests={item.symbol: item.digest for item in report.series},
            wanted={item.symbol: (item.start_ns, item.end_ns) for item in report.series},
            versions={key.symbol: self._history.versions(key) for key in keys},
        )


async def _whole(day: Day, run: _Runs) -> CollectionReport:
    """Collect the day after it has ended, again where something is missing."""
    run.to(day.end_ns + day.wait_ns)
    report = await run(end_ns=day.end_ns)
    for _ in range(_RUNS - 1):
        n_missing = sum(item.n_wanted - item.n_bars for item in report.series)
        if not n_missing:
            break
        run.clock.advance(_AFTERWARDS_NS)
        report = await run(end_ns=day.end_ns)
    return report


async def _live(day: Day, plan: FaultPlan, run: _Runs) -> CollectionReport:
    """Collect while the day passes at the venue, and twice soon after: by then its last bars are as they stay."""
    random, bar_ns = Random(day.seed), day.timeframe.ns  # noqa: S311
    behind_ns = max(0, -plan.clock_offset_ns)
    n_bars = 0
    while n_bars < day.n_bars:
        n_bars = min(n_bars + random.randint(2, 5), day.n_bars)
        if FaultKind.VANISHED_SYMBOL in plan.rates and n_bars > day.n_bars // 2 > n_bars - 5:
            n_bars = day.n_bars // 2
            run.to(day.start_ns + n_bars * bar_ns)
            await run()
            n_bars += 2
        run.to(day.start_ns + n_bars * bar_ns + behind_ns + random.randint(1, 4) * NS_PER_S)
        await run()
    for _ in range(2):
        run.to(run.clock.now_ns() + max(2 * bar_ns, _AFTERWARDS_NS))
        report = await run(end_ns=day.end_ns)
    return report


@contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder for a while, in memory where there is room for that."""
    memory = Path("/dev/shm")  # noqa: S108
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)
