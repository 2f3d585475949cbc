"""The fault battery on a few days of each kind; `python -m tests.battery.faults --days 1000` runs the whole."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pandas as pd
import pytest

from ratchet.clock import NS_PER_S, FixedClock, parse_utc
from ratchet.data.history import CandleHistory, CollectionReport, GapKind, collect_new_data
from ratchet.data.quality import VectorizedGate
from ratchet.exchanges.factory import open_exchange
from ratchet.exchanges.pacing import Sleep
from ratchet.exchanges.simulated import SimulatedExchange
from ratchet.exchanges.simulated.server import ExchangeServer, FaultKind, FaultPlan, FrameExchange
from ratchet.exchanges.venues import VENUES
from ratchet.market import Timeframe
from ratchet.market.venue import VenueTraits
from tests.battery.days import CANDLE_KINDS, LABELS, LIVE_LABELS, SOUND, Day
from tests.battery.driving import collect_day
from tests.battery.faults import main, run_days
from tests.battery.naive import collect_naively
from tests.battery.verdicts import judge

N_NAIVE_DAYS = 4
MINUTE = Timeframe.parse("1m")


@pytest.mark.parametrize("label", LABELS)
def test_what_is_stored_is_the_truth_and_the_ledger_has_the_rest(label: str) -> None:
    """Days of one kind of fault, venues in turn: nothing lost, nothing made up, every missing bar in the ledger."""
    first = LABELS.index(label)
    tally = run_days(label, range(first, first + (1 if label in LIVE_LABELS else 2)))
    assert tally.problems == []
    assert (tally.n_rows_lost, tally.n_rows_fabricated, tally.n_rows_wrong) == (0, 0, 0)
    assert tally.n_rows_checked > 0


@pytest.mark.parametrize("label", [label for label in LABELS if label not in {SOUND, FaultKind.SHORT_PAGE}])
def test_a_naive_collector_fails_the_same_checks(label: str) -> None:
    """Appending pages as they come loses, repeats or falsifies rows; so the checks can fail for each kind.

    Halves of pages alone do not harm it: Binance's come oldest first, and it goes on until one is empty.
    """
    assert any(_naive_problems(label, number) for number in range(0, N_NAIVE_DAYS * len(VENUES), len(VENUES)))


def test_without_faults_the_naive_collector_passes() -> None:
    """What fails it is the faults, not the way in which it is judged."""
    assert [_naive_problems(SOUND, number) for number in (0, 5, 10)] == [[], [], []]


def test_a_day_is_the_same_each_time() -> None:
    """The seed in a message is enough to see a failure again: requests, faults and rows repeat."""

    def once() -> tuple[int, dict[FaultKind, int], list[pd.DataFrame]]:
        collected = asyncio.run(collect_day(Day.draw(FaultKind.GARBAGE, 1)))
        return collected.n_requests, collected.counts, list(collected.faulty.stored.values())

    first, second = once(), once()
    assert first[:2] == second[:2]
    for one, other in zip(first[2], second[2], strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_every_kind_that_candles_know_is_in_the_battery() -> None:
    """A kind that is added to the server is tried, unless it is of books or streams."""
    assert len(CANDLE_KINDS) >= 24
    assert {kind.scope for kind in FaultKind if kind not in CANDLE_KINDS} == {"book", "message"}


def test_impossible_rows_are_kept_in_quarantine() -> None:
    """What the door refuses can be looked at: each row with its reason."""
    for kind in (FaultKind.OFF_GRID, FaultKind.HIGH_BELOW_LOW, FaultKind.NEGATIVE_PRICE, FaultKind.NULL_PRICE):
        rows = [asyncio.run(collect_day(Day.draw(kind, number))).quarantined for number in (2, 4)]
        assert pd.concat(rows)["reason"].str.len().min() > 0


def test_the_command_writes_figures(tmp_path: Path) -> None:
    """The full run leaves a file that says how much was tried, and its status is the verdict."""
    out = tmp_path / "battery.json"
    assert main(["--days", "1", "--kinds", SOUND, "--out", str(out)]) == 0
    assert '"n_days": 1' in out.read_text()


@pytest.mark.parametrize("venue", VENUES)
def test_a_crossed_book_is_told_from_a_sound_one(venue: str) -> None:
    """Over REST: a book whose best bid is above its best ask never passes the gate, a sound one does."""
    crossed = asyncio.run(_book(venue, FaultPlan({FaultKind.CROSSED_BOOK: 1.0}, seed=1)))
    sound = asyncio.run(_book(venue, FaultPlan({}, seed=1)))
    _, good, quarantined = VectorizedGate().check_books(crossed)
    assert good.empty
    assert "the best bid" in quarantined["reason"].iloc[0]
    report, good, quarantined = VectorizedGate().check_books(sound)
    assert report.passed
    assert (len(good), len(quarantined)) == (1, 0)


def test_what_a_venue_no_longer_answers_is_in_the_ledger(tmp_path: Path) -> None:
    """Of a day of minutes Kraken shows the latest 720 alone; the others are missing, and the ledger says why."""
    start_ns = parse_utc("2024-02-29")
    market = SimulatedExchange.from_url("simulated://?seed=3&bars=1440&symbols=2&timeframe=1m&start=2024-02-29").market
    report = asyncio.run(_collect_minutes(FrameExchange(market.candles(), MINUTE), start_ns, tmp_path))
    for series in report.series:
        assert 700 <= series.n_bars <= 720
        assert series.n_wanted == 1_440
        assert {gap.kind for gap in series.gaps} == {GapKind.FETCH_FAILURE}
        assert "latest 720 bars only" in series.gaps[0].evidence


def test_a_dark_start_of_a_listed_symbol_is_not_taken_for_its_listing(tmp_path: Path) -> None:
    """OKX says since when a symbol is listed; bars missing after that are no bars before its listing."""
    start_ns = parse_utc("2024-02-29")
    market = SimulatedExchange.from_url("simulated://?seed=3&bars=200&symbols=2&timeframe=1m&start=2024-02-29").market
    candles = market.candles()
    opens = candles["ts_event_ns"].to_numpy()
    is_dark = (opens >= start_ns + 10 * MINUTE.ns) & (opens < start_ns + 40 * MINUTE.ns)
    upstream = FrameExchange(
        candles[~is_dark], MINUTE, traits=VenueTraits(emits_empty_bars=True, has_trade_history=False)
    )
    report = asyncio.run(_collect_minutes(upstream, start_ns + 20 * MINUTE.ns, tmp_path, venue="okx", n_bars=180))
    assert [gap.n_bars for gap in report.series[0].gaps] == [20]
    assert GapKind.NOT_LISTED not in report.series[0].n_missing


def _naive_problems(label: str, number: int) -> list[str]:
    day = Day.draw(label, number)
    return judge(day, asyncio.run(collect_naively(day))).problems


def _clocked(start_ns: int) -> tuple[FixedClock, Sleep]:
    clock = FixedClock(start_ns)

    async def sleep(seconds: float) -> None:
        clock.advance(round(seconds * NS_PER_S))
        await asyncio.sleep(0)

    return clock, sleep


async def _book(venue: str, faults: FaultPlan) -> pd.DataFrame:
    market = SimulatedExchange.from_url("simulated://?seed=7&bars=200&symbols=1&timeframe=1h&start=2024-01-01")
    clock, sleep = _clocked(market.market.config.end_ns)
    hour = Timeframe.parse("1h")
    async with ExchangeServer(market, venue=venue, timeframe=hour, clock=clock, faults=faults) as server:
        exchange = open_exchange(f"{venue}://?url={server.url}", clock=clock, sleep=sleep)
        try:
            return await exchange.fetch_order_books("BTC/USDT", 0, 1)
        finally:
            await exchange.close()


async def _collect_minutes(
    upstream: FrameExchange, start_ns: int, folder: Path, *, venue: str = "kraken", n_bars: int = 1_440
) -> CollectionReport:
    clock, sleep = _clocked(start_ns + n_bars * MINUTE.ns + NS_PER_S)
    history = CandleHistory(folder / "history", clock)
    async with ExchangeServer(upstream, venue=venue, timeframe=MINUTE, clock=clock) as server:
        exchange = open_exchange(f"{venue}://?url={server.url}", clock=clock, sleep=sleep)
        try:
            return await collect_new_data(
                exchange,
                history,
                None,
                MINUTE,
                start_ns,
                start_ns + n_bars * MINUTE.ns,
                clock=clock,
                quarantine_folder=folder / "quarantine",
            )
        finally:
            await exchange.close()
            history.close()
