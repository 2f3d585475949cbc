"""Collecting new data: what is missing and nothing else, the same twice, and a ledger that says what cannot be had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import FixedClock
from ratchet.data.history import (
    CandleHistory,
    CollectionPolicy,
    CollectionReport,
    GapKind,
    SeriesKey,
    Span,
    collect_new_data,
)
from ratchet.data.history.gaps import HoleEvidence, classify
from ratchet.errors import InputError, UnavailableError
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.server.frame import FrameExchange
from ratchet.market import Timeframe
from ratchet.market.venue import Exchange, VenueTraits

CONFIG = SimulatedMarketConfig(n_bars=240, n_symbols=3)
TRUTH = SimulatedMarket(CONFIG).candles()
HOUR = Timeframe.parse("1h")
SYMBOLS = list(CONFIG.symbols)
START_NS, END_NS = CONFIG.start_ns, CONFIG.end_ns
LATER_NS = END_NS + 30 * 24 * HOUR.ns
QUIET = VenueTraits(emits_empty_bars=False, has_trade_history=False, page_rows=50)
EMITTING = VenueTraits(emits_empty_bars=True, has_trade_history=False, page_rows=50)
TRADED = VenueTraits(emits_empty_bars=True, has_trade_history=True, page_rows=50)


def bar(index: int) -> int:
    return START_NS + index * HOUR.ns


def without_bars(symbols: Sequence[str], bars: Sequence[int], frame: pd.DataFrame = TRUTH) -> pd.DataFrame:
    gone = frame["symbol"].isin(symbols) & frame["ts_event_ns"].isin([bar(index) for index in bars])
    return frame[~gone]


def venue(frame: pd.DataFrame, *, n_bars: int = 240, traits: VenueTraits = TRADED, trades: bool = False) -> Exchange:
    return FrameExchange(
        frame,
        HOUR,
        name="venue",
        now_ns=bar(n_bars),
        traits=traits,
        trades=trades_of(TRUTH) if trades else None,
    )


def trades_of(candles: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": candles["symbol"],
            "ts_event_ns": candles["ts_event_ns"] + HOUR.ns // 2,
            "price": candles["close"],
            "size": 1.0,
            "side": np.int8(1),
            "trade_id": [str(index) for index in range(len(candles))],
        }
    )


class Collector:
    """One history, collected into again and again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = FixedClock(END_NS)
        self.history = CandleHistory(folder / "history", self.clock)

    def collect(
        self,
        exchange: Exchange,
        symbols: Sequence[str] | None = SYMBOLS,
        start_ns: int | None = START_NS,
        end_ns: int | None = None,
        **options: object,
    ) -> CollectionReport:
        return asyncio.run(
            collect_new_data(
                exchange,
                self.history,
                symbols,
                HOUR,
                start_ns,
                end_ns,
                clock=self.clock,
                quarantine_folder=self.folder / "quarantine",
                **options,  # type: ignore[arg-type]
            )
        )

    def stored(self, as_of_ns: int = 2**62) -> pd.DataFrame:
        keys = [SeriesKey("venue", symbol, "1h") for symbol in SYMBOLS]
        return self.history.candles(keys, as_of_ns=as_of_ns)

    def missing(self, symbol: str) -> list[tuple[int, int, GapKind]]:
        gaps = self.history.catalog.list_gaps(symbol=symbol)
        return [((gap.start_ns - START_NS) // HOUR.ns, gap.n_bars, gap.kind) for gap in gaps]


@pytest.fixture
def collector(tmp_path: Path) -> Collector:
    return Collector(tmp_path)


def assert_stored(collector: Collector, frame: pd.DataFrame) -> None:
    expected = frame.sort_values(["symbol", "ts_event_ns"], ignore_index=True)
    pd.testing.assert_frame_equal(collector.stored()[list(TRUTH.columns)], expected, check_exact=True)


def test_collecting_twice_changes_nothing(collector: Collector) -> None:
    """The second run fetches the last bars only, stores nothing, and has the same digest."""
    first = collector.collect(venue(TRUTH))
    paths = collector.history.catalog.segment_paths()
    pages: list[int] = []
    second = collector.collect(venue(TRUTH), on_page=lambda _symbol, n_bars: pages.append(n_bars))
    assert_stored(collector, TRUTH)
    assert first.n_new == 720
    assert (second.n_new, second.digest) == (0, first.digest)
    assert collector.history.catalog.segment_paths() == paths
    assert pages == [5, 5, 5]


def test_steps_give_the_same_as_one_run(tmp_path: Path) -> None:
    """Growing by a few bars at a time ends where one download ends, digest and all."""
    whole = Collector(tmp_path / "whole").collect(venue(TRUTH))
    steps = Collector(tmp_path / "steps")
    for n_bars in (3, 4, 60, 61, 170, 240):
        steps.clock = FixedClock(bar(n_bars))
        report = steps.collect(venue(TRUTH, n_bars=n_bars))
    assert report.digest == whole.digest
    assert_stored(steps, TRUTH)


def test_only_closed_bars_are_stored(collector: Collector) -> None:
    """Whatever end is asked for, nothing is stored that the venue's time has not closed."""
    collector.collect(venue(TRUTH, n_bars=100), end_ns=LATER_NS)
    assert collector.stored()["ts_event_ns"].max() == bar(99)


def test_a_correction_is_taken_and_the_past_keeps_its_view(collector: Collector) -> None:
    """A changed bar among the last few becomes a new version, known from now on."""
    wrong = TRUTH.copy()
    row = wrong.index[(wrong["symbol"] == SYMBOLS[0]) & (wrong["ts_event_ns"] == bar(238))][0]
    wrong.loc[row, "volume"] += 1
    collector.collect(venue(wrong))
    now_ns = END_NS + HOUR.ns
    collector.clock.advance(HOUR.ns)
    report = collector.collect(venue(TRUTH))
    assert [item.n_revised for item in report.series] == [1, 0, 0]
    assert_stored(collector, TRUTH)
    then = collector.stored(as_of_ns=now_ns - 1)
    pd.testing.assert_frame_equal(then[list(TRUTH.columns)], wrong.sort_values(["symbol", "ts_event_ns"]))


def test_a_correction_of_a_late_bar_is_taken(collector: Collector) -> None:
    """A bar that came late is asked for again for a day, though it is not among the last: its value may be wrong."""
    preliminary = TRUTH.copy()
    row = preliminary.index[(TRUTH["symbol"] == SYMBOLS[0]) & (TRUTH["ts_event_ns"] == bar(225))][0]
    preliminary.loc[row, "volume"] += 1
    collector.collect(venue(without_bars(SYMBOLS[:1], [225]), traits=EMITTING))
    collector.collect(venue(preliminary, traits=EMITTING))
    collector.clock.advance(HOUR.ns)
    report = collector.collect(venue(TRUTH, traits=EMITTING))
    assert [item.n_revised for item in report.series] == [1, 0, 0]
    assert_stored(collector, TRUTH)


def test_a_correction_comes_after_what_it_corrects_although_the_clock_is_set_back(collector: Collector) -> None:
    """A clock that was a day ahead is put right: the next correction counts all the same, once that day has passed."""
    values = []
    for volume, hours in ((1.0, 24), (2.0, -24), (3.0, 1)):
        frame = TRUTH.copy()
        row = frame.index[(TRUTH["symbol"] == SYMBOLS[0]) & (TRUTH["ts_event_ns"] == bar(238))][0]
        frame.loc[row, "volume"] = volume
        collector.collect(venue(frame), SYMBOLS[:1])
        collector.clock.advance(hours * HOUR.ns)
        values.append(volume)
    rows = collector.history.versions(SeriesKey("venue", SYMBOLS[0], "1h"), Span(bar(238), bar(239)))
    assert rows["volume"].tolist() == values
    assert rows["known_ns"].is_monotonic_increasing
    assert rows["known_ns"].is_unique
    last = collector.stored()
    assert last.loc[last["ts_event_ns"] == bar(238), "volume"].tolist() == [3.0]


def test_a_recheck_that_is_not_answered_is_repeated(collector: Collector) -> None:
    """A page that lacks one of the last stored bars says nothing about its correction; it is asked for once more."""
    wrong = TRUTH.copy()
    row = wrong.index[(TRUTH["symbol"] == SYMBOLS[0]) & (TRUTH["ts_event_ns"] == bar(237))][0]
    wrong.loc[row, "volume"] += 1
    collector.collect(venue(wrong), SYMBOLS[:1])
    n_pages = 0

    def leave_out_once(_symbol: str, _since_ns: int, page: pd.DataFrame) -> pd.DataFrame:
        nonlocal n_pages
        n_pages += 1
        return page[page["ts_event_ns"] != bar(237)] if n_pages == 1 else page

    report = collector.collect(faulty(leave_out_once), SYMBOLS[:1])
    assert report.series[0].n_revised == 1
    assert_stored(collector, TRUTH[TRUTH["symbol"] == SYMBOLS[0]])


def test_a_young_series_is_not_fetched_from_before_its_start(collector: Collector) -> None:
    """With fewer bars stored than are rechecked, nothing before the wanted start is taken."""
    for n_bars in (102, 103):
        report = collector.collect(venue(TRUTH, n_bars=n_bars), start_ns=bar(100))
    assert collector.stored()["ts_event_ns"].min() == bar(100)
    assert [(item.n_bars, item.n_wanted) for item in report.series] == [(3, 3)] * 3


def test_what_a_venue_has_not_reached_is_not_missing(collector: Collector) -> None:
    """A venue whose clock runs a day ahead has no bars of that day; they are not wanted, let alone an outage."""
    collector.clock = FixedClock(bar(200))
    ahead = FrameExchange(TRUTH[TRUTH["ts_event_ns"] < bar(200)], HOUR, name="venue", now_ns=bar(224), traits=TRADED)
    report = collector.collect(ahead)
    assert [(item.end_ns, item.gaps) for item in report.series] == [(bar(200), ())] * 3


def test_holes_are_repaired_and_nothing_else_changes(collector: Collector) -> None:
    """Bars that were withheld come later: they are known since then, and every other row is the one it was."""
    punched = without_bars(SYMBOLS[:1], [10, 11, 12, 90, 200])
    punched = without_bars(SYMBOLS[1:2], [50], punched)
    collector.collect(venue(punched, traits=EMITTING))
    before = collector.stored()
    assert collector.missing(SYMBOLS[0]) == [
        (10, 3, GapKind.FETCH_FAILURE),
        (90, 1, GapKind.FETCH_FAILURE),
        (200, 1, GapKind.FETCH_FAILURE),
    ]
    collector.clock.advance(HOUR.ns)
    report = collector.collect(venue(TRUTH, traits=EMITTING))
    assert_stored(collector, TRUTH)
    assert [item.n_repaired for item in report.series] == [5, 1, 0]
    assert report.n_gaps_closed == 4
    assert collector.missing(SYMBOLS[0]) == []
    after = collector.stored()
    came = after.merge(before, how="left", indicator=True)
    late = came[came["_merge"] == "left_only"]
    assert len(late) == 6
    assert (late["known_ns"] == END_NS + HOUR.ns).all()
    assert len(collector.history.catalog.list_gaps(with_closed=True)) == 4


def test_an_outage_is_dark_everywhere_and_a_quiet_bar_is_not(collector: Collector) -> None:
    """Where all symbols stop it is an outage, where one stops nobody traded it; each bar by itself."""
    frame = without_bars(SYMBOLS, [100, 101])
    frame = without_bars(SYMBOLS[:1], [102, 150], frame)
    collector.collect(venue(frame, traits=QUIET))
    assert collector.missing(SYMBOLS[0]) == [
        (100, 2, GapKind.EXCHANGE_OUTAGE),
        (102, 1, GapKind.NO_TRADES),
        (150, 1, GapKind.NO_TRADES),
    ]
    assert collector.missing(SYMBOLS[1]) == [(100, 2, GapKind.EXCHANGE_OUTAGE)]
    assert_stored(collector, frame)


def test_trades_in_a_hole_say_that_the_candle_exists(collector: Collector) -> None:
    """A venue that shows trades but no candle owes one; one that shows neither had nobody trading."""
    frame = without_bars(SYMBOLS[:1], [30, 60])
    trades = trades_of(without_bars(SYMBOLS[:1], [60]))
    exchange = FrameExchange(frame, HOUR, name="venue", now_ns=END_NS, traits=TRADED, trades=trades)
    collector.collect(exchange)
    assert collector.missing(SYMBOLS[0]) == [(30, 1, GapKind.FETCH_FAILURE), (60, 1, GapKind.NO_TRADES)]


def test_settled_gaps_are_left_alone_unless_asked_for(collector: Collector) -> None:
    """A well-attested old gap costs no request; `ask_again` asks, and what comes then is stored."""
    frame = without_bars(SYMBOLS[:1], [30])
    for _ in range(3):
        collector.collect(venue(frame, traits=QUIET))
        collector.clock.advance(13 * HOUR.ns)
    full = venue(TRUTH, traits=QUIET)
    assert collector.collect(full).n_new == 0
    assert collector.missing(SYMBOLS[0]) == [(30, 1, GapKind.NO_TRADES)]
    assert collector.collect(full, ask_again=True).n_new == 1
    assert collector.missing(SYMBOLS[0]) == []
    assert_stored(collector, TRUTH)


def test_a_gap_is_not_settled_within_one_collection(collector: Collector) -> None:
    """However old the bars are: one collection is one answer, and a day has to pass before a gap is left alone."""
    frame = without_bars(SYMBOLS[:1], [30])
    collector.clock = FixedClock(LATER_NS)
    collector.collect(venue(frame, traits=QUIET))
    assert collector.collect(venue(TRUTH, traits=QUIET)).n_new == 1
    assert_stored(collector, TRUTH)


def test_a_late_bar_at_the_end_is_known_since_it_came(collector: Collector) -> None:
    """A bar that the venue did not have when it was asked was not known at its close, though none came after it."""
    collector.collect(venue(without_bars(SYMBOLS[:1], [239])))
    collector.clock.advance(HOUR.ns)
    collector.collect(venue(TRUTH))
    last = collector.stored()
    assert last.loc[last["ts_event_ns"] == bar(239), "known_ns"].tolist() == [
        END_NS + HOUR.ns if symbol == SYMBOLS[0] else END_NS for symbol in sorted(SYMBOLS)
    ]


def test_a_start_in_the_future_is_refused_and_changes_nothing(collector: Collector) -> None:
    """What is wanted does not grow beyond what can be."""
    collector.collect(venue(TRUTH))
    with pytest.raises(InputError, match="no 1h bar"):
        collector.collect(venue(TRUTH), start_ns=LATER_NS)
    assert collector.collect(venue(TRUTH)).failures == ()


def test_one_symbol_in_error_leaves_the_others_collected(collector: Collector) -> None:
    """The error is raised once the rest is stored and in the ledger; nothing is left of the symbol in error."""
    frame = without_bars(SYMBOLS[:1], [30])
    with pytest.raises(InputError, match="spelling"):
        collector.collect(venue(frame, traits=QUIET), [*SYMBOLS, "BTX/USDT"])
    assert_stored(collector, frame)
    assert collector.missing(SYMBOLS[0]) == [(30, 1, GapKind.NO_TRADES)]
    assert {key.symbol for key in collector.history.catalog.list_series()} == set(SYMBOLS)


def test_before_the_first_bar_a_symbol_was_not_listed(collector: Collector) -> None:
    """A symbol that starts later than asked for has a gap of that kind before it, and a later one is after it."""
    late = TRUTH[(TRUTH["symbol"] != SYMBOLS[0]) | (TRUTH["ts_event_ns"] >= bar(40))]
    collector.collect(venue(late, traits=QUIET))
    assert collector.missing(SYMBOLS[0]) == [(0, 40, GapKind.NOT_LISTED)]
    assert_stored(collector, late)


class Faulty(FrameExchange):
    """A venue that fails or lies on demand; `spoil` sees each page before the caller does."""

    spoil: Callable[[str, int, pd.DataFrame], pd.DataFrame] = staticmethod(lambda _symbol, _since_ns, page: page)

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        page = await super().fetch_candles(symbol, timeframe, since_ns, limit)
        return self.spoil(symbol, since_ns, page)


def faulty(spoil: Callable[[str, int, pd.DataFrame], pd.DataFrame], frame: pd.DataFrame = TRUTH) -> Faulty:
    exchange = Faulty(frame, HOUR, name="venue", now_ns=END_NS, traits=EMITTING)
    exchange.spoil = spoil
    return exchange


def test_a_failure_keeps_what_came_and_is_resumed(collector: Collector) -> None:
    """When the venue goes away midway, the bars so far are stored, the rest is in the ledger, and comes next time."""

    def fail(symbol: str, since_ns: int, page: pd.DataFrame) -> pd.DataFrame:
        if symbol == SYMBOLS[1] and since_ns > bar(60):
            raise UnavailableError("venue did not answer: HTTP 503")
        return page

    report = collector.collect(faulty(fail))
    assert [gap.symbol for gap in report.failures] == [SYMBOLS[1]]
    assert "503" in report.failures[0].evidence
    kept = report.failures[0].start_ns
    assert kept > bar(40)
    assert collector.collect(venue(TRUTH)).n_new == (END_NS - kept) // HOUR.ns
    assert_stored(collector, TRUTH)
    assert collector.missing(SYMBOLS[1]) == []


def test_impossible_bars_go_to_quarantine_and_are_asked_for_again(collector: Collector) -> None:
    """What cannot be true is never stored: its rows are kept with the reason, its place is a gap until it comes."""

    def lie(_symbol: str, _since_ns: int, page: pd.DataFrame) -> pd.DataFrame:
        spoilt = page.copy()
        spoilt.loc[spoilt["ts_event_ns"] == bar(70), "high"] = 0.01
        return spoilt

    report = collector.collect(faulty(lie), SYMBOLS[:1])
    assert collector.missing(SYMBOLS[0]) == [(70, 1, GapKind.FETCH_FAILURE)]
    (file,) = report.series[0].quarantine
    quarantined = pd.read_parquet(file)
    assert quarantined["ts_event_ns"].tolist() == [bar(70)]
    assert "high" in quarantined["reason"].iloc[0]
    collector.collect(venue(TRUTH), SYMBOLS[:1])
    assert_stored(collector, TRUTH[TRUTH["symbol"] == SYMBOLS[0]])


def test_a_venue_that_repeats_itself_ends_the_collection(collector: Collector) -> None:
    """Pages that never reach what was asked are a failure, not an endless loop."""
    first = TRUTH[TRUTH["symbol"] == SYMBOLS[0]].head(5)
    report = collector.collect(faulty(lambda *_: first), SYMBOLS[:1])
    assert collector.missing(SYMBOLS[0]) == [(5, 235, GapKind.FETCH_FAILURE)]
    assert "before" in report.failures[0].evidence


def test_a_symbol_that_vanishes_keeps_its_history(collector: Collector) -> None:
    """After delisting the stored bars stay, and what is missing from then on is `not_listed`."""
    collector.collect(venue(TRUTH, n_bars=100))
    left = TRUTH[TRUTH["symbol"] != SYMBOLS[2]]
    collector.collect(venue(left))
    assert collector.missing(SYMBOLS[2]) == [(100, 140, GapKind.NOT_LISTED)]
    gone = (TRUTH["symbol"] == SYMBOLS[2]) & (TRUTH["ts_event_ns"] >= bar(100))
    assert_stored(collector, TRUTH[~gone])


def test_unknown_symbols_and_empty_periods_are_refused(collector: Collector) -> None:
    """A misspelt symbol, no start for a new series, and a period without a bar say so and store nothing."""
    with pytest.raises(InputError, match="spelling"):
        collector.collect(venue(TRUTH), ["BTX/USDT"])
    with pytest.raises(InputError, match="no 1h bar"):
        collector.collect(venue(TRUTH), start_ns=END_NS - 1)
    assert collector.history.catalog.list_series() == []


def test_later_runs_need_no_symbols_and_no_start(collector: Collector) -> None:
    """What was asked for once is kept current."""
    collector.collect(venue(TRUTH, n_bars=50), SYMBOLS[:2])
    collector.collect(venue(TRUTH), None, None)
    assert_stored(collector, TRUTH[TRUTH["symbol"].isin(SYMBOLS[:2])])


def test_a_new_series_without_a_start_begins_a_number_of_bars_ago(collector: Collector) -> None:
    """Nobody has to know a date to begin."""
    collector.collect(venue(TRUTH), start_ns=None, policy=CollectionPolicy(first_bars=24))
    assert_stored(collector, TRUTH[TRUTH["ts_event_ns"] >= bar(240 - 24)])


def test_extending_backwards_fetches_the_older_bars_only(collector: Collector) -> None:
    """An earlier start adds what lies before; those bars were known at their close."""
    collector.collect(venue(TRUTH), start_ns=bar(200))
    report = collector.collect(venue(TRUTH), start_ns=bar(150))
    assert [item.n_new for item in report.series] == [50, 50, 50]
    stored = collector.stored()
    assert (stored["known_ns"] == stored["ts_event_ns"] + HOUR.ns).all()


def test_many_pages_are_stored_as_they_come(collector: Collector) -> None:
    """Rows are stored every `commit_rows`, so that a killed process has lost little."""
    collector.collect(venue(TRUTH), SYMBOLS[:1], policy=CollectionPolicy(commit_rows=50))
    assert len(collector.history.catalog.list_segments(SeriesKey("venue", SYMBOLS[0], "1h"))) >= 4
    assert_stored(collector, TRUTH[TRUTH["symbol"] == SYMBOLS[0]])


HOLE = Span(bar(10), bar(12))


def inside(attempts: int, traits: VenueTraits, **facts: Any) -> HoleEvidence:
    return HoleEvidence(attempts, traits, first_bar_ns=bar(0), last_bar_ns=bar(20), **facts)


@pytest.mark.parametrize(
    ("evidence", "kind"),
    [
        (inside(3, TRADED, error="time-out"), GapKind.FETCH_FAILURE),
        (inside(3, QUIET, is_refused=True), GapKind.FETCH_FAILURE),
        (inside(3, TRADED, n_trades=1, n_others=5), GapKind.FETCH_FAILURE),
        (inside(3, TRADED, n_trades=0, n_others=5), GapKind.EXCHANGE_OUTAGE),
        (inside(3, TRADED, n_trades=0, n_others=5, n_others_with_bars=4), GapKind.NO_TRADES),
        (inside(3, TRADED, n_trades=0), GapKind.EXCHANGE_OUTAGE),
        (inside(3, EMITTING), GapKind.FETCH_FAILURE),
        (inside(3, EMITTING, n_others=2, n_others_with_bars=2), GapKind.FETCH_FAILURE),
        (inside(3, EMITTING, n_others=2), GapKind.EXCHANGE_OUTAGE),
        (inside(3, QUIET), GapKind.NO_TRADES),
        (inside(3, QUIET, n_others=2, n_others_with_bars=1), GapKind.NO_TRADES),
        (HoleEvidence(3, QUIET, first_bar_ns=bar(12), last_bar_ns=bar(20)), GapKind.NOT_LISTED),
        (HoleEvidence(3, TRADED, first_bar_ns=bar(12), last_bar_ns=bar(20), n_trades=1), GapKind.FETCH_FAILURE),
        (HoleEvidence(3, EMITTING, listed_ns=bar(0), first_bar_ns=bar(12), last_bar_ns=bar(20)), GapKind.FETCH_FAILURE),
        (HoleEvidence(1, QUIET, listed_ns=bar(12), error="time-out"), GapKind.NOT_LISTED),
        (HoleEvidence(1, QUIET, is_delisted=True, first_bar_ns=bar(0), last_bar_ns=bar(9)), GapKind.NOT_LISTED),
        (
            HoleEvidence(3, VenueTraits(False, True, 720), first_bar_ns=bar(12), last_bar_ns=bar(20), n_trades=None),
            GapKind.FETCH_FAILURE,
        ),
    ],
)
def test_what_a_hole_is(evidence: HoleEvidence, kind: GapKind) -> None:
    """The decision table of the gap ledger; in doubt a hole stays open."""
    found, words = classify(HOLE, evidence)
    assert found is kind
    assert words
