"""Wrong clocks, changes of the clocks, leap days and ends of years: bars and schedules stay where they belong."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from prefect.server.schemas.schedules import CronSchedule

from ratchet.clock import NS_PER_S, Clock, FixedClock, parse_utc
from ratchet.data.history import CandleHistory, CollectionReport, SeriesKey, collect_new_data
from ratchet.exchanges.factory import open_exchange
from ratchet.exchanges.simulated import SimulatedExchange
from ratchet.exchanges.simulated.server import ExchangeServer, FaultKind, FaultPlan
from ratchet.market import Timeframe
from ratchet.market.venue import Exchange
from tests.battery.days import SOUND, Day
from tests.battery.driving import collect_day
from tests.battery.verdicts import judge

ROOT = Path(__file__).parents[2]
ZONES = ("America/New_York", "Europe/Berlin", "Australia/Lord_Howe")
"""Lord Howe moves its clocks by half an hour."""

DAY_NS = 86_400 * NS_PER_S
BAR = Timeframe.parse("15m")
N_BARS = 120
MARKET = SimulatedExchange.from_url("simulated://?seed=11&bars=240&symbols=2&timeframe=15m&start=2024-02-28T12:00")
START_NS = MARKET.market.config.start_ns
SYMBOLS = list(MARKET.market.symbols)
TRUTH = MARKET.market.candles()


class WrongClock:
    """A machine's clock: `error` makes of the true time what it shows."""

    def __init__(self, true: Clock, error: Callable[[int], int]) -> None:
        self._true = true
        self.error = error

    def now_ns(self) -> int:
        return self.error(self._true.now_ns())


class StumblingClock(FixedClock):
    """A clock that is set by `step_ns` once, after it was read a number of times; `true_ns` goes on as before."""

    def __init__(self, start_ns: int, *, n_reads: int, step_ns: int) -> None:
        super().__init__(start_ns)
        self.n_reads, self._step_ns = n_reads, step_ns

    def now_ns(self) -> int:
        self.n_reads -= 1
        return super().now_ns() + (self._step_ns if self.n_reads < 0 else 0)


class Workshop:
    """A venue on its own time, and a history on the machine's."""

    def __init__(self, folder: Path, true: FixedClock, machine: Clock, faults: FaultPlan | None = None) -> None:
        self.true, self.machine, self.folder = true, machine, folder
        self.history = CandleHistory(folder / "history", machine)
        self._faults = faults

    async def collect(self, end_ns: int | None = None) -> CollectionReport:
        """Collect once, with an adapter of its own, as each run of the flow has one."""
        async with self._venue() as exchange:
            return await collect_new_data(
                exchange,
                self.history,
                SYMBOLS,
                BAR,
                START_NS,
                end_ns,
                clock=self.machine,
                quarantine_folder=self.folder / "quarantine",
            )

    @asynccontextmanager
    async def _venue(self) -> AsyncIterator[Exchange]:
        async def sleep(seconds: float) -> None:
            self.true.advance(round(seconds * NS_PER_S))
            await asyncio.sleep(0)

        async with ExchangeServer(
            MARKET, venue="binance", timeframe=BAR, clock=self.true, faults=self._faults
        ) as server:
            exchange = open_exchange(f"binance://?url={server.url}", clock=self.machine, sleep=sleep)
            try:
                yield exchange
            finally:
                await exchange.close()

    def assert_sound(self, report: CollectionReport) -> None:
        """Nothing misplaced, unfinished, made up or known too early, and no gap of negative length."""
        for symbol in SYMBOLS:
            rows = self.history.versions(SeriesKey(report.venue, symbol, BAR.text))
            opens = rows["ts_event_ns"]
            assert (opens % BAR.ns == 0).all()
            assert (opens + BAR.ns <= self.true.now_ns()).all(), "a bar that has not closed is stored"
            assert (rows["known_ns"] >= opens + BAR.ns).all()
            truth = TRUTH[(TRUTH["symbol"] == symbol) & TRUTH["ts_event_ns"].isin(opens)]
            latest = rows.drop_duplicates("ts_event_ns", keep="last")
            columns = ["ts_event_ns", "open", "high", "low", "close", "volume"]
            np.testing.assert_array_equal(latest[columns].to_numpy(), truth[columns].to_numpy())
        for item in report.series:
            assert item.n_wanted == (item.end_ns - item.start_ns) // BAR.ns
            assert all(gap.n_bars > 0 and gap.attempts > 0 for gap in item.gaps)


ERRORS: dict[str, Callable[[int], int]] = {
    "a day behind": lambda now_ns: now_ns - DAY_NS,
    "a day ahead": lambda now_ns: now_ns + DAY_NS,
    "a second ahead": lambda now_ns: now_ns + NS_PER_S,
    "at half speed": lambda now_ns: START_NS + (now_ns - START_NS) // 2,
    "at double speed": lambda now_ns: START_NS + (now_ns - START_NS) * 2,
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_wrong_clock_stores_nothing_wrong_and_loses_nothing(name: str, tmp_path: Path) -> None:
    """While the machine's clock is wrong, what is stored is true; once it is right, everything is there."""

    async def run() -> None:
        start_ns = START_NS + (DAY_NS if name == "a day behind" else 0) + 4 * BAR.ns + 5 * NS_PER_S
        true = FixedClock(start_ns)
        machine = WrongClock(true, ERRORS[name])
        workshop = Workshop(tmp_path, true, machine)
        for _ in range(6):
            true.advance(3 * BAR.ns + 7 * NS_PER_S)
            report = await workshop.collect()
            workshop.assert_sound(report)
            assert report.skew_ms == pytest.approx((true.now_ns() - machine.now_ns()) / 1e6, abs=2e3)
            assert not report.failures
        machine.error = lambda now_ns: now_ns
        last = await workshop.collect()
        workshop.assert_sound(last)
        n_closed = (true.now_ns() - START_NS) // BAR.ns
        assert [item.n_bars for item in last.series] == [n_closed] * len(SYMBOLS)

    asyncio.run(run())


@pytest.mark.parametrize("step_ns", [-DAY_NS, DAY_NS, -3_600 * NS_PER_S])
@pytest.mark.parametrize("n_reads", [3, 12, 25, 40])
def test_a_clock_that_is_set_in_the_middle_of_a_collection(n_reads: int, step_ns: int, tmp_path: Path) -> None:
    """Whenever it jumps, every bar is stored truly or in the ledger; the next collection brings the rest."""

    async def run() -> None:
        true = FixedClock(START_NS + N_BARS * BAR.ns + 5 * NS_PER_S)
        stumbling = StumblingClock(true.now_ns(), n_reads=n_reads, step_ns=step_ns)
        workshop = Workshop(tmp_path, true, stumbling)
        workshop.assert_sound(await workshop.collect())
        right = Workshop(tmp_path, true, true)
        report = await right.collect()
        right.assert_sound(report)
        assert [(item.n_bars, item.gaps) for item in report.series] == [(N_BARS, ())] * len(SYMBOLS)

    asyncio.run(run())


@pytest.mark.parametrize("skew_s", [1.5, 600.0, 86_400.0])
@pytest.mark.parametrize("kind", [FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BEHIND])
def test_a_venue_whose_clock_is_wrong(kind: FaultKind, skew_s: float, tmp_path: Path) -> None:
    """Ahead, it closes no bar early and none of its future is missing; behind, bars wait until it agrees."""

    async def run() -> None:
        true = FixedClock(START_NS + DAY_NS)
        faults = FaultPlan({kind: 1.0}, seed=1, clock_skew_s=skew_s)
        workshop = Workshop(tmp_path, true, true, faults)
        for _ in range(4):
            true.advance(2 * BAR.ns + NS_PER_S // 2)
            report = await workshop.collect()
            workshop.assert_sound(report)
            behind_ns = 0 if kind is FaultKind.CLOCK_AHEAD else round(skew_s * NS_PER_S)
            n_closed = (true.now_ns() - behind_ns - START_NS) // BAR.ns
            assert [(item.n_bars, item.gaps) for item in report.series] == [(n_closed, ())] * len(SYMBOLS)

    asyncio.run(run())


@pytest.mark.parametrize(
    ("date", "timeframe", "n_bars"),
    [
        ("2024-02-27", "1d", 5),
        ("2024-02-28", "1h", 72),
        ("2024-02-29", "15m", 96),
        ("2023-12-31", "1h", 48),
        ("2024-12-31", "1d", 3),
        ("2024-03-10", "15m", 96),
        ("2024-03-31", "15m", 96),
        ("2024-10-27", "15m", 96),
        ("2024-11-03", "1h", 48),
    ],
)
def test_special_days_are_days_like_others(date: str, timeframe: str, n_bars: int) -> None:
    """Leap days, ends of years and changes of the clocks have each bar once, on the grid of UTC."""
    day = _day(date, timeframe, n_bars)
    assert judge(day, asyncio.run(collect_day(day))).problems == []


def _day(date: str, timeframe: str, n_bars: int) -> Day:
    drawn = Day.draw(SOUND, 0)
    return replace(drawn, start_ns=parse_utc(date), timeframe=Timeframe.parse(timeframe), n_bars=n_bars, seed=5)


_IN_A_ZONE = """
import asyncio, json, sys, time
from tests.battery.driving import collect_day
from tests.unit.test_time_faults import _day, fired
days = [_day("2024-03-10", "1h", 48), _day("2024-03-31", "1h", 24), _day("2024-10-06", "15m", 96)]
digests = [asyncio.run(collect_day(day)).faulty.digests for day in days]
print(json.dumps({"zone": time.tzname, "digests": digests, "fired": fired("2 * * * *", "2024-03-30", "2024-04-08")}))
"""


def _told(zone: str) -> dict[str, object]:
    environment = {**os.environ, "TZ": zone, "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    command = [sys.executable, "-c", _IN_A_ZONE]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return told


@pytest.mark.slow
def test_the_zone_of_the_machine_changes_nothing() -> None:
    """Days on which clocks change: the same digests and the same hours of the schedule, whatever TZ says."""
    with ThreadPoolExecutor(2) as pool:
        utc, *others = pool.map(_told, ("UTC", *ZONES))
    assert len({str(told["zone"]) for told in (utc, *others)}) == 1 + len(ZONES)
    for told in others:
        assert (told["digests"], told["fired"]) == (utc["digests"], utc["fired"])


def fired(cron: str, first: str, end: str) -> list[str]:
    """Return when Prefect would start a deployment between two dates, asked in windows that overlap, as it does."""
    schedule = CronSchedule(cron=cron, timezone="UTC")
    at, end_at = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (first, end))
    found: list[datetime] = []
    while at < end_at:
        window = asyncio.run(schedule.get_dates(start=at, end=min(at + timedelta(hours=30), end_at)))
        assert len(window) == len(set(window))
        found += [moment for moment in window if moment < end_at]
        at += timedelta(hours=24)
    return sorted({moment.astimezone(UTC).isoformat() for moment in found})


def _due(cron: str, first: str, end: str) -> list[str]:
    """Return the minutes between two dates, in UTC, that match a cron of numbers and asterisks."""
    minutes = pd.date_range(first, end, freq="min", tz="UTC", inclusive="left")
    fields = (minutes.minute, minutes.hour, minutes.day, minutes.month, (minutes.dayofweek + 1) % 7)
    is_due = np.ones(len(minutes), dtype=bool)
    for text, values in zip(cron.split(), fields, strict=True):
        if text != "*":
            is_due &= np.asarray(values == int(text))
    return [moment.isoformat() for moment in minutes[is_due].to_pydatetime()]


def _crons() -> list[tuple[str, str]]:
    deployments = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    return [(item["cron"], item["timezone"]) for one in deployments for item in one.get("schedules", [])]


@pytest.mark.parametrize(
    ("first", "end"),
    [
        ("2024-02-26", "2024-03-04"),
        ("2024-03-08", "2024-03-13"),
        ("2024-03-29", "2024-04-09"),
        ("2024-10-04", "2024-10-09"),
        ("2024-10-25", "2024-11-06"),
        ("2024-12-28", "2025-01-03"),
        ("2028-02-27", "2028-03-07"),
    ],
)
def test_schedules_fire_once_per_due_time(first: str, end: str) -> None:
    """Over changes of the clocks, leap days and new year: none missed, none twice."""
    crons = _crons()
    assert crons
    for cron, timezone in crons:
        assert timezone == "UTC"
        assert fired(cron, first, end) == _due(cron, first, end)
