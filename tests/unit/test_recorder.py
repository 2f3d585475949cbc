"""The recorder against scripted venues: what it writes, what it asks for, and what it makes of trouble."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ratchet.clock import FixedClock, SystemClock
from ratchet.data.books.history import list_gaps, read_events, sample_books
from ratchet.data.books.journal import Journal, read_journal
from ratchet.data.books.limits import RecordingLimits
from ratchet.data.books.recorder import record
from ratchet.data.books.records import EVENT_COLUMNS, Record, decode_record, encode_record
from ratchet.data.books.replay import replay
from ratchet.data.books.segments import SegmentWriter, list_segments, segment_folder
from ratchet.data.books.tally import RecordingReport
from ratchet.data.lock import hold
from ratchet.errors import BusyError, InputError, UnavailableError
from ratchet.exchanges.feeds import feed_parser, open_stream
from ratchet.exchanges.simulated import SimulatedExchange
from ratchet.exchanges.simulated.server import ExchangeServer, FaultKind, FaultPlan
from ratchet.exchanges.simulated.server.books import BOOK_DEPTH, BookView, OrderBookWalk
from ratchet.market import Timeframe
from ratchet.market.events import BookSnapshot, MarketEvent, RawMessage
from ratchet.market.venue import BOOK_COLUMNS

SYMBOL = "BTC/USDT"
START_NS = 1_700_000_000_000_000_000
MS = 1_000_000
FOREVER_NS = 2**62
IDS = {"binance": "BTCUSDT", "bybit": "BTCUSDT", "coinbase": "BTC-USDT", "kraken": SYMBOL, "okx": "BTC-USDT"}
QUICK = RecordingLimits(tick_s=0.005, resync_every_s=0.02, sync_every_s=0.01)
Message = tuple[int, dict[str, object] | str]


class ScriptedStream:
    """A `MarketStream` that plays a list of (connection, message), one millisecond of its clock apart.

    `resync` plays `after_resync`; `snapshot` hands out `answers` one after the other. After its list it stays silent,
    with the clock going on, or ends.
    """

    def __init__(
        self,
        venue: str,
        script: Iterable[Message],
        *,
        stays: bool = False,
        silent_ms: int = 0,
        start_ns: int = START_NS,
    ) -> None:
        self.venue = venue
        self.clock = FixedClock(start_ns)
        self.answers: list[BookSnapshot] = []
        self.after_resync: list[Message] = []
        self.asked: list[str] = []
        self._script = list(script)
        self._stays, self._silent_ms = stays, silent_ms
        self._parse = feed_parser(venue, {IDS[venue]: SYMBOL})

    async def messages(self) -> AsyncIterator[RawMessage]:
        for _ in range(self._silent_ms):
            self.clock.advance(MS)
            await asyncio.sleep(0.001)
        while self._script or self._stays:
            self.clock.advance(MS)
            if self._script:
                connection, message = self._script.pop(0)
                text = message if isinstance(message, str) else json.dumps(message)
                yield RawMessage(self.clock.now_ns(), text, connection)
            await asyncio.sleep(0.001)

    def parse(self, message: RawMessage) -> list[MarketEvent]:
        return self._parse(message)

    async def snapshot(self, symbol: str) -> BookSnapshot | None:
        self.asked.append(f"snapshot {symbol}")
        if not self.answers:
            raise UnavailableError("binance: no order book; try later")
        return replace(self.answers.pop(0), ts_recv_ns=self.clock.now_ns())

    async def resync(self, symbol: str) -> None:
        self.asked.append(f"resync {symbol}")
        self._script += self.after_resync
        self.after_resync = []

    async def close(self) -> None:
        self._stays = False


def _run(
    stream: ScriptedStream, root: Path, limits: RecordingLimits = QUICK, until_ns: int | None = None
) -> RecordingReport:
    return asyncio.run(record(stream, root, [SYMBOL], clock=stream.clock, limits=limits, until_ns=until_ns))


def _bybit(update: int, *, kind: str = "delta", bid: str = "99", size: str = "1") -> dict[str, object]:
    data = {"s": "BTCUSDT", "b": [[bid, size]], "a": [["101", "1"]], "u": update, "seq": update}
    return {"topic": "orderbook.50.BTCUSDT", "type": kind, "ts": START_NS // MS, "data": data}


def _bybit_trade(number: int) -> dict[str, object]:
    row = {"T": START_NS // MS, "s": "BTCUSDT", "S": "Buy", "v": "0.5", "p": "100", "i": f"id-{number}", "BT": False}
    return {"topic": "publicTrade.BTCUSDT", "type": "snapshot", "ts": START_NS // MS, "data": [row]}


def _binance(update: int) -> dict[str, object]:
    levels = {"b": [["99", str(update)]], "a": [["101", "1"]]}
    return {"e": "depthUpdate", "E": START_NS // MS, "s": "BTCUSDT", "U": update, "u": update, **levels}


def _coinbase(number: int, kind: str) -> dict[str, object]:
    stamp = "2024-01-01T00:00:00Z"
    message: dict[str, object] = {"channel": kind, "timestamp": stamp, "sequence_num": number, "events": []}
    if kind in {"snapshot", "update"}:
        updates = [
            {"side": "bid", "event_time": stamp, "price_level": "99", "new_quantity": str(number + 1)},
            {"side": "offer", "event_time": stamp, "price_level": "101", "new_quantity": "1"},
        ]
        message |= {"channel": "l2_data", "events": [{"type": kind, "product_id": "BTC-USDT", "updates": updates}]}
    return message


def _kinds(root: Path, venue: str) -> list[str]:
    rows = read_events(root, venue, SYMBOL, 0, FOREVER_NS)
    changed = (rows[["kind", "last_id", "note"]].shift() != rows[["kind", "last_id", "note"]]).any(axis=1)
    return [str(kind) for kind in rows.loc[changed, "kind"]]


def test_books_and_trades_are_written_as_they_came(tmp_path: Path) -> None:
    """Rows have the documented columns and types, one per level, and the report counts them."""
    script: list[Message] = [
        (1, _bybit(1, kind="snapshot")),
        (1, _bybit(2, size="2.50")),
        (1, _bybit_trade(1)),
        (1, "pong"),
    ]
    report = _run(ScriptedStream("bybit", script), tmp_path)
    rows = read_events(tmp_path, "bybit", SYMBOL, 0, FOREVER_NS)
    assert tuple(rows.columns) == EVENT_COLUMNS
    assert rows["kind"].tolist() == ["snapshot", "snapshot", "delta", "delta", "trade"]
    assert rows["side"].tolist() == [1, -1, 1, -1, 1]
    assert rows["size"].tolist() == [1.0, 1.0, 2.5, 1.0, 0.5]
    assert rows["last_id"].tolist() == [1, 1, 2, 2, -1]
    assert rows["note"].tolist()[-1] == "id-1"
    assert rows["ts_recv_ns"].dtype == np.int64
    assert (report.n_messages, report.n_events, report.n_gaps) == (4, {"snapshot": 1, "delta": 1, "trade": 1}, 0)
    assert report.skew is not None
    assert (report.skew.min_ns, report.skew.max_ns) == (2 * MS, 3 * MS)


def test_a_gap_is_written_and_the_book_asked_for_again(tmp_path: Path) -> None:
    """Update 4 is missing: a gap names 3 and 5, the subscription is renewed once, and the new snapshot is written."""
    script = [(1, _bybit(n, kind="snapshot" if n == 1 else "delta")) for n in (1, 2, 3, 5, 6, 7)]
    stream = ScriptedStream("bybit", script, stays=True)
    stream.after_resync = [(2, _bybit(20, kind="snapshot")), (2, _bybit(21))]
    report = _run(stream, tmp_path, replace(QUICK, resync_every_s=10.0), until_ns=START_NS + 80 * MS)
    assert stream.asked == [f"resync {SYMBOL}"]
    assert [(gap.after_id, gap.before_id) for gap in report.gaps] == [(3, 5)]
    assert (report.n_gaps, report.n_resyncs) == (1, 1)
    assert _kinds(tmp_path, "bybit") == ["snapshot", "delta", "delta", "gap", "snapshot", "delta"]
    (gap,) = list_gaps(tmp_path, "bybit", SYMBOL, 0, FOREVER_NS)
    assert gap.noticed_ns == START_NS + 4 * MS
    assert gap.until_ns is not None
    assert gap.reason.startswith("gap: 5..5")


def test_a_reconnection_is_never_silent(tmp_path: Path) -> None:
    """A book or a trade over a new connection: a gap, even where the numbers would fit."""
    script = [
        (1, _bybit(1, kind="snapshot")),
        (1, _bybit_trade(1)),
        (2, _bybit(2)),
        (2, _bybit_trade(1)),
        (2, _bybit_trade(2)),
    ]
    report = _run(ScriptedStream("bybit", script), tmp_path)
    assert [gap.reason for gap in report.gaps] == ["lost: reconnected"]
    assert _kinds(tmp_path, "bybit") == ["snapshot", "trade", "gap", "trade_gap", "trade"]
    assert report.n_repeated_trades == 1


def test_a_slow_start_is_not_taken_for_a_lost_book(tmp_path: Path) -> None:
    """While nothing has come at all, subscriptions are on their way; renewing them would only break them."""
    stream = ScriptedStream("bybit", [(1, _bybit(1, kind="snapshot"))], silent_ms=80)
    report = _run(stream, tmp_path)
    assert (stream.asked, report.n_gaps, report.n_events) == ([], 0, {"snapshot": 1})


def test_a_snapshot_that_does_not_come_is_asked_for(tmp_path: Path) -> None:
    """Trades flow and the book's snapshot stays out: the subscription is renewed after the pause, and again."""
    stream = ScriptedStream("bybit", [(1, _bybit_trade(n)) for n in range(60)])
    _run(stream, tmp_path)
    assert 2 <= len(stream.asked) <= 3


def test_binance_is_asked_once_deltas_wait_and_again_while_it_refuses(tmp_path: Path) -> None:
    """No request before the first delta; a refusal is counted; the snapshot and what waited are written in order."""
    stream = ScriptedStream("binance", [(1, _binance(n)) for n in range(10, 40)], stays=True)

    async def run() -> RecordingReport:
        recording = asyncio.create_task(
            record(stream, tmp_path, [SYMBOL], clock=stream.clock, limits=QUICK, until_ns=START_NS + 100 * MS)
        )
        while not stream.asked:
            await asyncio.sleep(0.001)
        stream.answers = [BookSnapshot("binance", SYMBOL, 1, 1, (("99", "1"),), (("101", "1"),), 11, 11)]
        return await recording

    report = asyncio.run(run())
    assert report.n_refused_requests == 1
    assert stream.asked == [f"snapshot {SYMBOL}"] * 2
    rows = read_events(tmp_path, "binance", SYMBOL, 0, FOREVER_NS)
    assert rows["last_id"].drop_duplicates().tolist() == [11, *range(12, 40)]


def test_a_message_missing_from_a_connection_is_noticed(tmp_path: Path) -> None:
    """Coinbase numbers all messages of a connection: heartbeats count, and a missing one costs the book."""
    kinds = {0: "snapshot", 1: "subscriptions", 2: "update", 3: "heartbeats", 4: "update"}
    whole = [(1, _coinbase(number, kind)) for number, kind in kinds.items()]
    assert _run(ScriptedStream("coinbase", whole), tmp_path / "whole").n_gaps == 0
    report = _run(ScriptedStream("coinbase", [*whole[:3], *whole[4:]]), tmp_path / "cut")
    assert [gap.reason for gap in report.gaps] == ["gap: 1 messages missing before 4"]


def test_silence_is_a_gap_and_connects_anew(tmp_path: Path) -> None:
    """No message for the stall time: book and trades may be incomplete, and the stream is told."""
    stream = ScriptedStream("bybit", [(1, _bybit(1, kind="snapshot"))], stays=True)
    report = _run(stream, tmp_path, replace(QUICK, stall_s=0.03), until_ns=START_NS + 50 * MS)
    assert report.n_stalls == 1
    assert stream.asked[0] == f"resync {SYMBOL}"
    assert report.gaps[0].reason == "lost: no message for 0.03 s"


def test_poison_is_set_aside_and_recording_goes_on(tmp_path: Path) -> None:
    """Three unreadable messages are kept with their time; the book around them is whole."""
    bad = ["{", "<html>", '{"topic":"orderbook.50.BTCUSDT","type":"delta","data":{"s":"BTCUSDT"}}']
    script: list[Message] = [(1, _bybit(1, kind="snapshot")), *((1, text) for text in bad), (1, _bybit(2))]
    report = _run(ScriptedStream("bybit", script), tmp_path)
    (kept,) = (tmp_path / "books" / "bybit").glob("poison-*.txt")
    assert [line.split(" ", 1)[1] for line in kept.read_text().splitlines()] == [repr(text) for text in bad]
    assert (report.n_poison, report.n_gaps, report.n_events["delta"]) == (3, 0, 1)


def test_segments_close_by_rows_and_begin_with_the_book(tmp_path: Path) -> None:
    """Each segment can be read alone; together they hold each update once; a second recorder adds a pause."""
    script = [(1, _bybit(n, kind="snapshot" if n == 1 else "delta", size=str(n))) for n in range(1, 61)]
    limits = replace(QUICK, segment_rows=20, sync_every_s=0.0)
    report = _run(ScriptedStream("bybit", script), tmp_path, limits)
    folder = segment_folder(tmp_path, "bybit", SYMBOL)
    segments = list_segments(folder)
    assert report.n_segments == len(segments) >= 5
    assert [segment.number for segment in segments] == list(range(1, len(segments) + 1))
    rows = read_events(tmp_path, "bybit", SYMBOL, 0, FOREVER_NS)
    deltas = rows[(rows["kind"] == "delta") & (rows["side"] == 1)]
    assert deltas["last_id"].tolist() == list(range(2, 61))
    for segment in segments:
        part = read_events(tmp_path, "bybit", SYMBOL, segment.first_recv_ns, segment.first_recv_ns + 1)
        assert "snapshot" in set(part["kind"])
    stream = ScriptedStream("bybit", [(1, _bybit(70, kind="snapshot"))], start_ns=START_NS + 100 * MS)
    assert _run(stream, tmp_path, limits).gaps[0].reason == "lost: no recorder was running"


def test_samples_know_only_what_had_arrived(tmp_path: Path) -> None:
    """At each time the book is the one of the last message received by then; none inside a gap."""
    updates = [1, 2, 3, 5, 6]  # received at 1 to 5 ms; 4 is missing
    script = [(1, _bybit(n, kind="snapshot" if n in {1, 6} else "delta", size=str(n))) for n in updates]
    _run(ScriptedStream("bybit", script), tmp_path)
    end_ns = START_NS + 8 * MS
    books = sample_books(tmp_path, "bybit", SYMBOL, START_NS, end_ns, interval_ns=MS)
    assert tuple(books.columns) == BOOK_COLUMNS
    assert ((books["ts_event_ns"] - START_NS) // MS).tolist() == [1, 2, 3, 5, 6, 7]
    assert books["bid_size_0"].tolist() == [1.0, 2.0, 3.0, 6.0, 6.0, 6.0]
    assert books["ask_price_0"].tolist() == [101.0] * 6
    assert books["bid_price_1"].isna().all()
    later = sample_books(tmp_path, "bybit", SYMBOL, START_NS + 5 * MS, end_ns, interval_ns=MS)
    assert later["bid_size_0"].tolist() == [6.0, 6.0, 6.0]
    with pytest.raises(InputError, match="is not positive"):
        sample_books(tmp_path, "bybit", SYMBOL, START_NS, end_ns, interval_ns=0)


def test_cancelling_closes_the_segment(tmp_path: Path) -> None:
    """What arrived before the cancellation is in a segment, and no journal is left."""
    stream = ScriptedStream("bybit", [(1, _bybit(1, kind="snapshot"))], stays=True)

    async def run() -> None:
        recording = asyncio.create_task(record(stream, tmp_path, [SYMBOL], clock=stream.clock, limits=QUICK))
        await asyncio.sleep(0.05)
        recording.cancel()
        with pytest.raises(asyncio.CancelledError):
            await recording

    asyncio.run(run())
    assert len(list_segments(segment_folder(tmp_path, "bybit", SYMBOL))) == 1
    assert not list(tmp_path.rglob("*.journal"))


def test_two_recorders_do_not_share_a_folder(tmp_path: Path) -> None:
    with hold(tmp_path / "books" / "bybit" / ".lock"), pytest.raises(BusyError, match="another recorder"):
        _run(ScriptedStream("bybit", []), tmp_path)
    with pytest.raises(InputError, match="no symbols"):
        asyncio.run(record(ScriptedStream("bybit", []), tmp_path, [], clock=FixedClock(0)))


def test_a_folder_that_cannot_be_written_stops_the_recorder(tmp_path: Path) -> None:
    """Fail-stop: one line says so."""
    (tmp_path / "books").write_text("in the way")
    with pytest.raises(UnavailableError, match="recording has stopped"):
        _run(ScriptedStream("bybit", []), tmp_path)


RECORDS = [Record("delta", n, n, n, n, n - 1, "", ((1, "99.10", str(n)), (-1, "101", "0"))) for n in range(1, 6)]


def test_a_torn_journal_keeps_its_whole_records(tmp_path: Path) -> None:
    """Cut at every byte: the records before the cut are there, the rest is reported as torn."""
    path = tmp_path / "1.journal"
    journal = Journal(path)
    for entry in RECORDS:
        journal.append(encode_record(entry))
    journal.close()
    data = path.read_bytes()
    ends = [0]
    for entry in RECORDS:
        ends.append(ends[-1] + 8 + len(encode_record(entry)))
    assert ends[-1] == len(data)
    for cut in range(len(data) + 1):
        path.write_bytes(data[:cut])
        entries, n_torn = read_journal(path)
        n_whole = max(n for n, end in enumerate(ends) if end <= cut)
        assert [decode_record(entry) for entry in entries] == RECORDS[:n_whole]
        assert n_torn == cut - ends[n_whole]
    for position in range(len(data)):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x40]) + data[position + 1 :])
        entries, _ = read_journal(path)
        assert [decode_record(entry) for entry in entries] == RECORDS[: len(entries)]


@pytest.mark.parametrize("died", ["in the journal", "before the manifest", "before the journal was removed"])
def test_each_moment_of_closing_a_segment_can_be_the_last(tmp_path: Path, died: str) -> None:
    """Killed between any two steps: the next writer has each record once."""
    writer = SegmentWriter(tmp_path, SYMBOL, max_rows=1_000, max_age_ns=FOREVER_NS)
    for entry in RECORDS:
        writer.append(entry)
    writer.flush()
    journal = next(tmp_path.glob("*.journal"))
    data = journal.read_bytes()
    if died == "in the journal":
        journal.write_bytes(data + b"\x20\x00\x00\x00torn")
    else:
        writer.close()
        journal.write_bytes(data)
        if died == "before the manifest":
            next(tmp_path.glob("*.json")).unlink()
    (tmp_path / ".1-00000001.parquet.0123456789abcdef.tmp").write_bytes(b"half a segment")
    after = SegmentWriter(tmp_path, SYMBOL, max_rows=1_000, max_age_ns=FOREVER_NS)
    after.close()
    (segment,) = list_segments(tmp_path)
    assert (segment.n_events, segment.n_rows) == (len(RECORDS), 2 * len(RECORDS))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".parquet"]
    assert (after.n_trimmed_bytes > 0) == (died == "in the journal")


def test_a_broken_recording_is_refused(tmp_path: Path) -> None:
    """A cut gzip file, a line without a time, a file that is not there."""
    parse = feed_parser("binance", {"BTCUSDT": SYMBOL})
    for name, content in {"a.gz": b"\x1f\x8b\x08\x00cut", "b.txt": b"hello\n", "c.txt": b"1 {}\nx {}\n"}.items():
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name):
            asyncio.run(replay(path, tmp_path / "out", venue="binance", symbol=SYMBOL, parse=parse))
    with pytest.raises(InputError, match="cannot be read"):
        asyncio.run(replay(tmp_path / "no.gz", tmp_path / "out", venue="binance", symbol=SYMBOL, parse=parse))


async def _record_live(venue: str, root: Path, faults: FaultPlan | None, seconds: float) -> RecordingReport:
    """Record a simulated venue over real HTTP and WebSocket."""
    clock = SystemClock()
    upstream = SimulatedExchange.from_url("simulated://?seed=7")
    limits = replace(QUICK, resync_every_s=0.2, stall_s=2.0)
    async with ExchangeServer(
        upstream, venue=venue, timeframe=Timeframe.parse("1h"), clock=clock, faults=faults
    ) as server:
        stream = open_stream(f"{venue}://?url={server.url}", [SYMBOL], clock=clock)
        try:
            until_ns = clock.now_ns() + int(seconds * 1e9)
            return await record(stream, root, [SYMBOL], clock=clock, until_ns=until_ns, limits=limits)
        finally:
            await stream.close()


@pytest.mark.parametrize("venue", IDS)
def test_live_streams_are_recorded(tmp_path: Path, venue: str) -> None:
    """ccxt.pro against the simulated venues: books in sync, trades, nothing unreadable, skew of milliseconds."""
    report = asyncio.run(_record_live(venue, tmp_path, None, 1.5))
    assert (report.n_poison, report.n_crossed, report.n_checksum_failures, report.n_stalls) == (0, 0, 0, 0)
    assert report.n_events["snapshot"] >= 1
    assert report.n_events["trade"] >= 5
    assert report.skew is not None
    assert 0 <= report.skew.median_ns < 500 * MS
    assert report.n_events["delta"] >= 20
    assert (report.n_gaps, report.n_resyncs) == (0, 0)


@pytest.mark.parametrize("venue", ["binance", "kraken"])
def test_closed_connections_are_opened_again_and_leave_gaps(tmp_path: Path, venue: str) -> None:
    """Each reconnection is a gap of that name, whatever the numbers say, and the book comes back."""
    plan = FaultPlan({FaultKind.CLOSED_STREAM: 0.03}, seed=6)  # the first one comes within a second
    report = asyncio.run(_record_live(venue, tmp_path, plan, 3.0))
    assert plan.counts[FaultKind.CLOSED_STREAM] >= 1
    assert report.n_gaps + report.n_events.get("trade_gap", 0) >= 1
    assert {gap.reason for gap in report.gaps} <= {"lost: reconnected"}
    assert report.n_gaps - 1 <= report.n_resyncs <= report.n_gaps


@pytest.mark.parametrize("venue", ["binance", "okx"])
def test_whatever_befalls_a_live_stream_only_true_books_are_recorded(
    tmp_path: Path, venue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropped, doubled, swapped, crossed, closed: after each recorded event the book is the one that the venue had."""
    truth: dict[int, BookView] = {}
    view = OrderBookWalk.view

    def noted(walk: OrderBookWalk, depth: int = BOOK_DEPTH) -> BookView:
        seen = view(walk)
        truth[seen.update_id] = seen
        return view(walk, depth)

    monkeypatch.setattr(OrderBookWalk, "view", noted)
    rates = {
        FaultKind.DROPPED_MESSAGE: 0.03,
        FaultKind.DUPLICATED_MESSAGE: 0.03,
        FaultKind.REORDERED_MESSAGE: 0.02,
        FaultKind.CROSSED_STREAM_BOOK: 0.02,
        FaultKind.CLOSED_STREAM: 0.01,
        FaultKind.WRONG_CHECKSUM: 0.01,
    }
    plan = FaultPlan(rates, seed=11)
    report = asyncio.run(_record_live(venue, tmp_path, plan, 3.0))
    assert plan.counts.total() >= 3
    assert report.n_gaps >= 1
    assert report.n_resyncs >= 1
    (folder,) = (tmp_path / "books").iterdir()  # named for the address too, as the URL is not the venue's own
    rows = read_events(tmp_path, folder.name, SYMBOL, 0, FOREVER_NS)
    books = rows[rows["kind"].isin(["snapshot", "delta"])]
    sides: dict[int, dict[float, float]] = {1: {}, -1: {}}
    n_compared = 0
    for _, event in books.groupby((books["last_id"] != books["last_id"].shift()).cumsum()):
        if event["kind"].iloc[0] == "snapshot":
            sides = {1: {}, -1: {}}
        for side, price, size in zip(event["side"], event["price"], event["size"], strict=True):
            if side:
                sides[side][price] = size
        true = truth[int(event["last_id"].iloc[0])]
        for side, wanted in ((1, true.bids), (-1, true.asks)):
            found = {price: size for price, size in sides[side].items() if size}
            assert found == {float(price): float(size) for price, size in true.texts(wanted)}
        n_compared += 1
    assert n_compared >= 20
