"""What a live stream does when the venue, the taker of events or a part of itself fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ratchet.clock import NS_PER_S, FixedClock, SystemClock
from ratchet.data.books.records import Record
from ratchet.errors import BusyError, ConfigurationError, UnavailableError
from ratchet.exchanges import SimulatedExchange
from ratchet.features.sets import FeatureSet
from ratchet.features.store import MemoryOnlineStore
from ratchet.features.streaming.bus import open_publisher
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import EventKind, FeatureEvent, FeatureRow, decode_rows, encode_rows
from ratchet.features.streaming.live import BarFeed, stream_features
from ratchet.features.streaming.local import LocalHost
from ratchet.features.streaming.metrics import StreamMetrics
from ratchet.features.streaming.metrics_file import MetricsFile
from ratchet.features.streaming.recorded import RecordedEvents
from ratchet.features.streaming.sinks import VectorSink, WindowSink
from ratchet.market.symbols import Timeframe
from tests.market_events import MINUTE_NS, START_NS, history_bars, random_events

HOUR, MINUTE = Timeframe.parse("1h"), Timeframe.parse("1m")
BASE = FeatureSet.base()


def _exchange(*, short_of_end: int = 0) -> SimulatedExchange:
    whole = SimulatedExchange.from_url("simulated://?bars=40&symbols=2")
    end_ns = whole.market.config.end_ns - short_of_end * HOUR.ns
    return SimulatedExchange.from_url("simulated://?bars=40&symbols=2", now_ns=end_ns)


def test_bars_come_once_each_in_order_and_with_their_arrival() -> None:
    taken: list[FeatureEvent] = []
    clock = FixedClock(1)
    feed = BarFeed(_exchange(short_of_end=5), ["BTC/USDT", "ETH/USDT"], HOUR, taken.append, clock)
    asyncio.run(feed.catch_up(10))
    assert len(taken) == 20
    assert all(bar.known_ns == bar.ts_event_ns for bar in taken)
    assert [bar.ts_event_ns for bar in taken] == sorted(bar.ts_event_ns for bar in taken)
    feed._exchange = _exchange()  # five bars later
    asyncio.run(feed.ask())
    asyncio.run(feed.ask())
    late = taken[20:]
    assert len(late) == 10
    assert {bar.known_ns for bar in late} == {1}


def test_a_bar_that_could_not_be_handed_on_is_asked_for_again() -> None:
    taken: list[FeatureEvent] = []
    n_left = [15]

    def full(bar: FeatureEvent) -> None:
        if n_left[0] == 0:
            raise BusyError("the bus is full")
        n_left[0] -= 1
        taken.append(bar)

    feed = BarFeed(_exchange(short_of_end=39), ["BTC/USDT"], HOUR, full, FixedClock(1))
    asyncio.run(feed.catch_up(1))
    feed._exchange = _exchange()
    with pytest.raises(BusyError, match="full"):
        asyncio.run(feed.ask())
    n_left[0] = 100
    asyncio.run(feed.ask())
    times = [bar.ts_event_ns for bar in taken]
    assert times == sorted(set(times))
    assert len(times) == 40


def test_a_venue_that_does_not_answer_is_asked_again_and_counted() -> None:
    class Silent(SimulatedExchange):
        async def server_time_ns(self) -> int:
            raise UnavailableError("no answer")

    feed = BarFeed(_exchange(), ["BTC/USDT"], HOUR, lambda bar: None, FixedClock(1))
    asyncio.run(feed.catch_up(1))
    feed._exchange = Silent(_exchange().market)
    asyncio.run(feed.ask())
    assert feed.n_failures == 1


def test_the_stream_ends_with_the_error_of_the_part_that_failed(tmp_path: Path) -> None:
    def fail() -> None:
        raise UnavailableError("the store is gone")

    async def follow() -> None:
        await stream_features(
            None,
            _exchange(),
            tmp_path,
            ["BTC/USDT"],
            HOUR,
            publish=lambda event: None,
            tick=fail,
            n_history=2,
            clock=SystemClock(),
            monotonic_ns=lambda: 0,
        )

    with pytest.raises(UnavailableError, match="store is gone"):
        asyncio.run(asyncio.wait_for(follow(), 20))


def test_the_newest_row_of_a_symbol_is_the_one_that_is_kept() -> None:
    store, clock = MemoryOnlineStore(), FixedClock(NS_PER_S)
    sink = VectorSink(store, "view", "ab" * 32, clock, every_ns=NS_PER_S // 10)

    def row(ts_ns: int, value: float, kind: EventKind = EventKind.BOOK, sequence: int = 0) -> FeatureRow:
        return FeatureRow("BTC/USDT", ts_ns, ts_ns, kind, sequence, np.array([value], np.float32))

    def kept() -> float:
        return float(store.read_vectors("view", ["BTC/USDT"])["BTC/USDT"].values[0])

    sink.take([row(10, 1.0, sequence=900)])
    assert kept() == 1.0
    sink.take([row(20, 2.0, sequence=901), row(15, 9.0, EventKind.BAR)])
    assert kept() == 1.0
    sink.flush()
    assert kept() == 2.0
    clock.advance(NS_PER_S)
    sink.take([row(20, 3.0, EventKind.TRADE, sequence=5)])
    assert kept() == 3.0


def test_a_window_is_stored_when_it_is_whole_and_not_over_a_gap() -> None:
    store = MemoryOnlineStore()
    sink = WindowSink(store, "view", BASE.schema_hash, MINUTE, 4)
    engine = FeatureEngine(BASE, MINUTE)
    rows = [row for bar in history_bars("BTC/USDT", seed=1, n_bars=510) for row in engine.apply(bar)]
    sink.take(rows[:503])
    assert store.read_window("view", "BTC/USDT") is None
    sink.take(rows[503:504])
    window = store.read_window("view", "BTC/USDT")
    assert window is not None
    assert window.ts_event_ns == rows[503].ts_event_ns - MINUTE_NS
    sink.take([*rows[505:], *rows[505:]])
    stored = store.read_window("view", "BTC/USDT")
    assert stored is not None
    assert stored.values.tobytes() == np.stack([row.values for row in rows[-4:]]).tobytes()


def test_the_local_host_sets_poison_aside_and_measures_what_is_new() -> None:
    clock = FixedClock(START_NS + 10 * MINUTE_NS)
    host = LocalHost(FeatureEngine(BASE, MINUTE), [], clock)
    events = random_events(("BTC/USDT",), seed=1)
    bad = FeatureEvent(EventKind.TRADE, "binance", "BTC/USDT", START_NS, START_NS, 0, np.array([0.0, 1.0, 1.0]))
    host.run([*events, bad])
    assert host.metrics.poison == 1
    assert "are no trade" in host.poison[0][1]
    assert host.metrics.latency.n_observed == 0  # all of it is older than the host
    late_ns = START_NS + 11 * MINUTE_NS
    clock.advance(MINUTE_NS + 5_000_000)
    host.take(FeatureEvent(EventKind.BAR, "binance", "BTC/USDT", late_ns, late_ns, 0, np.array([1.0, 1, 1, 1, 1])))
    assert host.metrics.latency.max_ns == 5_000_000


def test_metrics_are_a_file_that_a_collector_reads(tmp_path: Path) -> None:
    clock, metrics, path = FixedClock(10 * NS_PER_S), StreamMetrics(), tmp_path / "run" / "features.prom"
    report = MetricsFile(path, clock)
    metrics.add(events=3)
    report(metrics)
    assert "ratchet_stream_events_total 3" in path.read_text()
    metrics.add(events=1)
    report(metrics)
    assert "ratchet_stream_events_total 3" in path.read_text()
    clock.advance(6 * NS_PER_S)
    report(metrics)
    assert "ratchet_stream_events_total 4" in path.read_text()


def test_a_gap_of_a_recording_is_dated_by_what_has_passed_here() -> None:
    events = RecordedEvents("binance", "BTC/USDT")
    book = Record("snapshot", 5_000, 90_000, 7, 7, -1, "", ((1, "99", "1"), (-1, "101", "2")))
    taken = events.take(book)
    assert taken is not None
    assert (taken.kind, taken.sequence) == (EventKind.BOOK, 7)
    assert taken.values[0] == 99.0
    assert taken.values[20] == 101.0
    lost = events.take(Record("gap", 5_000, 90_400, 7, 9, -1, "gap: 8 is missing"))
    assert lost is not None
    assert (lost.kind, lost.ts_event_ns) == (EventKind.BOOK_LOST, 5_400)
    assert events.take(Record("delta", 5_500, 90_500, 10, 10, 9, "", ((1, "99.5", "1"),))) is None


def test_many_rows_are_one_value() -> None:
    engine = FeatureEngine(BASE, MINUTE)
    rows = [row for bar in history_bars("BTC/USDT", seed=2, n_bars=30) for row in engine.apply(bar)]
    again = decode_rows(encode_rows(rows))
    assert [row.values.tobytes() for row in again] == [row.values.tobytes() for row in rows]
    assert decode_rows(b"") == []


@pytest.mark.parametrize("url", ["smoke://signals", "kafka://nowhere", "redis:/x"])
def test_a_url_that_names_no_bus_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError):
        open_publisher(url, "x", 1)
