"""One definition: history, stream, restart and shuffled replay give the same rows, bit for bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ratchet.errors import ArtifactError, ConfigurationError, InputError
from ratchet.features.history import EventTable, merged, ordered_tables, replay
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import EventKind, FeatureEvent, FeatureRow, digest_rows
from ratchet.market.symbols import Timeframe
from tests.market_events import MINUTE_NS, START_NS, bar_event, history_bars, random_events

MINUTE = Timeframe.parse("1m")
SYMBOLS = ("BTC/USDT", "ETH/USDT")
CORE = FeatureSet.named("core")
FULL = FeatureSet.named("full")


def _engine(features: FeatureSet = CORE, *, every_event: bool = True, lateness_ns: int = 0) -> FeatureEngine:
    return FeatureEngine(features, MINUTE, every_event=every_event, lateness_ns=lateness_ns, universe=SYMBOLS)


def _stream(engine: FeatureEngine, events: list[FeatureEvent]) -> list[FeatureRow]:
    return [row for event in events for row in engine.apply(event)] + engine.flush()


def _with_history(events: list[FeatureEvent], n_bars: int = 520) -> list[FeatureEvent]:
    history = [bar for n, symbol in enumerate(SYMBOLS) for bar in history_bars(symbol, seed=n, n_bars=n_bars)]
    return sorted(history, key=lambda event: (event.ts_event_ns, event.symbol)) + events


def test_history_and_stream_have_the_same_rows_bit_for_bit() -> None:
    events = _with_history(random_events(seed=1))
    streamed = _stream(_engine(), events)
    tables = ordered_tables(events)
    whole = [row for table in replay(CORE, MINUTE, tables, every_event=True) for row in table.rows()]
    assert len(streamed) == len(whole) > 1_000
    assert digest_rows(streamed) == digest_rows(whole)
    known = {(row.symbol, row.ts_event_ns, row.sequence): row.known_ns for row in whole}
    assert all(known[row.symbol, row.ts_event_ns, row.sequence] == row.known_ns for row in streamed)


def test_the_full_set_over_history_is_that_of_the_stream() -> None:
    events = _with_history(random_events(seed=2, n_minutes=4))
    streamed = _stream(_engine(FULL, every_event=False), events)
    tables = replay(FULL, MINUTE, ordered_tables(events), universe=SYMBOLS)
    assert digest_rows(streamed) == digest_rows(row for table in tables for row in table.rows())
    last = [row for row in streamed if row.symbol == "ETH/USDT"][-1]
    n_values = dict(zip(FULL.names, np.isfinite(last.values).tolist(), strict=True))
    assert sum(n_values.values()) > 300
    assert n_values["rsi_14"]
    assert n_values["graph_mean_correlation"]


@pytest.mark.parametrize("name", ["base", "graph", "alpha158", "alpha360"])
def test_sets_of_bars_are_the_same_over_history_in_the_stream_and_after_a_restart(name: str) -> None:
    features = FeatureSet.named(name)
    bars = [bar for n, symbol in enumerate(SYMBOLS) for bar in history_bars(symbol, seed=20 + n, n_bars=560)]
    bars.sort(key=lambda event: (event.ts_event_ns, event.symbol))
    first, second = _engine(features, every_event=False), _engine(features, every_event=False)
    streamed = [row for bar in bars[:700] for row in first.apply(bar)]
    second.restore(first.changed_state())
    streamed += _stream(second, bars[700:])
    tables = replay(features, MINUTE, ordered_tables(bars), universe=SYMBOLS)
    assert digest_rows(streamed) == digest_rows(row for table in tables for row in table.rows())
    assert np.isfinite(streamed[-1].values).all()


def test_a_late_bar_has_the_row_of_one_that_came_in_time() -> None:
    in_time = _stream(_engine(every_event=False), random_events(seed=3))
    late = _stream(_engine(every_event=False), random_events(seed=3, bar_delay_ns=90_000_000_000))
    assert digest_rows(in_time) == digest_rows(late)


def test_merging_bars_into_history_is_what_the_stream_does() -> None:
    events = random_events(("BTC/USDT",), seed=4)
    bars = EventTable.of("BTC/USDT", [event for event in events if event.kind is EventKind.BAR])
    (market,) = ordered_tables(event for event in events if event.kind is not EventKind.BAR)
    (table,) = replay(CORE, MINUTE, [merged(bars, market)])
    assert digest_rows(table.rows()) == digest_rows(_stream(_engine(every_event=False), events))


@pytest.mark.parametrize("features", [CORE, FULL], ids=["core", "full"])
def test_a_restored_engine_goes_on_bit_for_bit(features: FeatureSet) -> None:
    events = _with_history(random_events(seed=5))
    expected = _stream(_engine(features, every_event=False, lateness_ns=2_000_000_000), events)
    parts: dict[str, bytes] = {}
    rows: list[FeatureRow] = []
    engine = _engine(features, every_event=False, lateness_ns=2_000_000_000)
    for n, event in enumerate(events):
        rows += engine.apply(event)
        if n % 97 == 0:
            parts |= engine.changed_state()
            engine = _engine(features, every_event=False, lateness_ns=2_000_000_000)
            engine.restore(parts)
    rows += engine.flush()
    assert digest_rows(rows) == digest_rows(expected)
    assert engine.counts()["rows"] == len(expected)


def test_a_shuffled_replay_equals_the_ordered_one_within_the_lateness() -> None:
    events = random_events(("BTC/USDT",), seed=6, per_minute=200)
    rng = np.random.default_rng(0)
    jittered = sorted(events, key=lambda event: event.ts_event_ns + int(rng.integers(0, 900_000_000)))
    assert [event.ts_event_ns for event in jittered] != [event.ts_event_ns for event in events]
    engine = _engine(lateness_ns=1_000_000_000)
    shuffled = _stream(engine, jittered)
    assert digest_rows(shuffled) == digest_rows(_stream(_engine(lateness_ns=1_000_000_000), events))
    assert engine.counts()["late"] == 0


def test_what_is_later_than_the_lateness_is_counted_and_left_out() -> None:
    events = random_events(("BTC/USDT",), seed=7)
    moved = [event for event in events if event.kind is EventKind.TRADE][10]
    late = [event for event in events if event is not moved]
    late.insert(len(late) // 2, moved)
    engine = _engine()
    rows = _stream(engine, late)
    assert engine.counts()["late"] + engine.counts()["duplicates"] == 1
    assert digest_rows(rows) == digest_rows(_stream(_engine(), [event for event in late if event is not moved]))


def test_a_repeated_event_changes_nothing() -> None:
    events = random_events(("BTC/USDT",), seed=8)
    numbered = {EventKind.BAR, EventKind.BOOK, EventKind.TRADE}
    doubled = [copy for event in events for copy in ([event, event] if event.kind in numbered else [event])]
    engine = _engine()
    assert digest_rows(_stream(engine, doubled)) == digest_rows(_stream(_engine(), events))
    assert engine.counts()["duplicates"] == len(doubled) - len(events)


def test_a_lost_book_makes_its_features_missing_until_it_is_back() -> None:
    events = random_events(("BTC/USDT",), seed=9)
    books = [event for event in events if event.kind is EventKind.BOOK]
    engine = _engine()
    before = engine.apply(books[0])[0]
    spread = CORE.names.index("spread_bps")
    assert np.isfinite(before.values[spread])
    lost = FeatureEvent(EventKind.BOOK_LOST, "binance", "BTC/USDT", books[0].ts_event_ns + 1, START_NS, 0, np.empty(0))
    assert engine.apply(lost) == []
    trade = FeatureEvent(
        EventKind.TRADE, "binance", "BTC/USDT", books[0].ts_event_ns + 2, START_NS, 1, np.array([100.0, 1.0, 1.0])
    )
    assert np.isnan(engine.apply(trade)[0].values[spread])
    assert np.isfinite(engine.apply(books[1])[0].values[spread])


def test_features_without_their_source_are_missing_never_zero() -> None:
    bars = history_bars("BTC/USDT", seed=1, n_bars=520)
    last = _stream(FeatureEngine(FULL, MINUTE, universe=SYMBOLS), bars)[-1]
    missing = {item.source for item, value in zip(FULL.definitions, last.values, strict=True) if np.isnan(value)}
    assert missing == {"book", "trades", "derivatives", "universe"}
    absent = {"book", "trades", "derivatives"}
    values = [value for item, value in zip(FULL.definitions, last.values, strict=True) if item.source in absent]
    assert np.isnan(values).all()


def test_no_row_rests_on_what_came_after_it() -> None:
    events = _with_history(random_events(seed=10))
    other = random_events(seed=11)
    cut_ns = START_NS + 2 * MINUTE_NS + 30_000_000_000
    changed = [event for event in events if event.ts_event_ns <= cut_ns]
    changed += [event for event in other if event.ts_event_ns > cut_ns]
    before = [row for row in _stream(_engine(FULL, every_event=False), events) if row.ts_event_ns <= cut_ns]
    after = [row for row in _stream(_engine(FULL, every_event=False), changed) if row.ts_event_ns <= cut_ns]
    assert digest_rows(before) == digest_rows(after)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([100.0, 99.0, 98.0, 99.0, 1.0], EventKind.BAR),
        ([100.0, 101.0, 98.0, np.nan, 1.0], EventKind.BAR),
        ([100.0, 101.0, 98.0, 99.0], EventKind.BAR),
        ([100.0, 0.0, 1.0], EventKind.TRADE),
        ([100.0, 1.0, 0.5], EventKind.TRADE),
        ([100.0] * 40, EventKind.BOOK),
        ([np.inf] * 6, EventKind.DERIVATIVE),
    ],
)
def test_an_event_that_cannot_be_used_is_refused_and_changes_nothing(values: list[float], kind: EventKind) -> None:
    engine = _engine()
    events = random_events(("BTC/USDT",), seed=12, n_minutes=1)
    expected = _stream(_engine(), events)
    bad = FeatureEvent(kind, "binance", "BTC/USDT", START_NS + 1, START_NS, 0, np.array(values))
    with pytest.raises(InputError, match="BTC/USDT"):
        engine.apply(bad)
    assert digest_rows(_stream(engine, events)) == digest_rows(expected)


def test_a_state_of_other_features_is_refused() -> None:
    engine = _engine()
    engine.apply(bar_event("BTC/USDT", START_NS, 1.0, 1.0, 1.0, "binance"))
    parts = engine.changed_state()
    with pytest.raises(ArtifactError, match="another feature set"):
        _engine(FULL).restore(parts)
    with pytest.raises(ArtifactError):
        _engine().restore({"BTC/USDT": parts["BTC/USDT"][:-40]})


def test_a_set_that_relates_symbols_needs_two() -> None:
    with pytest.raises(ConfigurationError, match="two"):
        FeatureEngine(FULL, MINUTE, universe=("BTC/USDT",))


def test_a_symbol_that_falls_behind_is_left_out_and_the_others_go_on() -> None:
    bars = [bar for symbol in SYMBOLS for bar in history_bars(symbol, seed=3, n_bars=300)]
    bars.sort(key=lambda event: (event.ts_event_ns, event.symbol))
    graph = FeatureSet.named("graph")
    engine = FeatureEngine(graph, MINUTE, universe=SYMBOLS)
    for bar in bars:
        engine.apply(bar)

    def one(symbol: str, n: int) -> FeatureEvent:
        return bar_event(symbol, START_NS + n * MINUTE_NS, 100.0, 100.5, 1.0, "binance")

    assert engine.apply(one("BTC/USDT", 1)) == []
    released = engine.apply(one("BTC/USDT", 2))
    assert [(row.symbol, row.ts_event_ns - START_NS) for row in released] == [
        ("BTC/USDT", MINUTE_NS),
        ("BTC/USDT", 2 * MINUTE_NS),
    ]
    assert released[0].known_ns == START_NS + 2 * MINUTE_NS, "that ETH was missing was known with the next bar only"
    (back,) = engine.apply(one("ETH/USDT", 2))
    assert np.isnan(back.values[graph.names.index("graph_strength")])
    assert engine.apply(one("BTC/USDT", 3)) == [], "it is waited for again"
    assert len(engine.apply(one("ETH/USDT", 3))) == 2


def test_rows_after_a_bar_that_came_late_are_known_as_late_as_it() -> None:
    bars = history_bars("BTC/USDT", seed=5, n_bars=40)
    corrected = bars[30]
    late_ns = corrected.ts_event_ns + 5 * MINUTE_NS
    bars[30] = replace(corrected, known_ns=late_ns)
    rows = _stream(_engine(every_event=False), bars)
    assert [row.known_ns for row in rows[29:37]] == [
        max(row.ts_event_ns, late_ns) if row.ts_event_ns >= corrected.ts_event_ns else row.ts_event_ns
        for row in rows[29:37]
    ]


def test_after_a_loss_the_venues_numbers_may_begin_again() -> None:
    events = [event for event in random_events(("BTC/USDT",), seed=13) if event.kind is EventKind.BOOK]
    lost_ns = events[20].ts_event_ns
    lost = FeatureEvent(EventKind.BOOK_LOST, "binance", "BTC/USDT", lost_ns, lost_ns, 0, np.empty(0))
    again = [replace(event, sequence=n + 1) for n, event in enumerate(events[21:])]
    engine = _engine()
    rows = _stream(engine, [*events[:20], lost, *again])
    assert engine.counts()["duplicates"] == 0
    assert len(rows) == 20 + len(again)
    unannounced = _engine()
    _stream(unannounced, [*events[:20], *again])
    assert unannounced.counts()["duplicates"] == sum(event.sequence <= events[19].sequence for event in again) > 0


def test_an_event_from_far_in_the_future_does_not_stop_a_symbol() -> None:
    events = random_events(("BTC/USDT",), seed=14, n_minutes=1)
    wrong = replace(events[5], ts_event_ns=events[5].ts_event_ns + 3 * 86_400_000_000_000)
    engine = _engine()
    with pytest.raises(InputError, match="ahead of its arrival"):
        engine.apply(wrong)
    assert digest_rows(_stream(engine, events)) == digest_rows(_stream(_engine(), events))


def test_numbers_too_large_for_a_row_are_missing_and_stop_nothing() -> None:
    engine = _engine()
    events = random_events(("BTC/USDT",), seed=15, n_minutes=1)
    huge = replace(
        next(event for event in events if event.kind is EventKind.TRADE),
        values=np.array([1e300, 1e300, 1.0]),
        sequence=1,
    )
    rows = _stream(engine, [huge, *events])
    assert not np.isinf(np.stack([row.values for row in rows])).any()


def test_history_leaves_out_what_a_stream_sets_aside() -> None:
    events = random_events(("BTC/USDT",), seed=16)
    bad = replace(next(event for event in events if event.kind is EventKind.TRADE), values=np.array([-1.0, 1.0, 1.0]))
    (table,) = replay(CORE, MINUTE, ordered_tables([bad, *events]), every_event=True)
    assert digest_rows(table.rows()) == digest_rows(_stream(_engine(), events))
