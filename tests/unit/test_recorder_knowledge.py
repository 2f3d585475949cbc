"""How long a recorded book counts as known, whose time a folder holds, and clocks that are set while recording."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.clock import FixedClock
from ratchet.data.books import (
    RecordingLimits,
    RecordingReport,
    list_gaps,
    read_events,
    record,
    recorded_trades,
    replay,
    sample_books,
)
from ratchet.data.books.journal import Journal
from ratchet.data.books.records import Record, encode_record
from ratchet.data.books.segments import list_segments, segment_folder
from ratchet.errors import InputError, UnavailableError
from ratchet.exchanges.feeds import feed_parser
from ratchet.market.events import BookSnapshot, RawMessage
from tests.unit.test_recorder import (
    FOREVER_NS,
    MS,
    QUICK,
    START_NS,
    SYMBOL,
    Message,
    ScriptedStream,
    _binance,
    _bybit,
    _bybit_trade,
    _run,
)

HOUR_NS = 3_600_000 * MS
BOOK = (1, _bybit(1, kind="snapshot"))


def _known_ms(root: Path, end_ms: int, *, start_ms: int = 0, **options: int) -> list[int]:
    """Sample every millisecond; return the milliseconds at which the book was known."""
    start_ns, end_ns = START_NS + start_ms * MS, START_NS + end_ms * MS
    books = sample_books(root, "bybit", SYMBOL, start_ns, end_ns, interval_ns=MS, **options)
    return [(time_ns - START_NS) // MS for time_ns in books["ts_event_ns"].tolist()]


def test_a_book_is_not_known_for_ever_after_the_last_message(tmp_path: Path) -> None:
    """It lasts as long as is asked for, 30 s if nothing is, from wherever sampling begins."""
    _run(ScriptedStream("bybit", [BOOK, (1, _bybit(2))]), tmp_path)
    assert _known_ms(tmp_path, 100, valid_for_ns=5 * MS) == [1, 2, 3, 4, 5, 6, 7]
    assert _known_ms(tmp_path, 30_100, start_ms=29_900)[-1] == 30_002
    assert _known_ms(tmp_path, 60_100, start_ms=60_000) == []


@pytest.mark.parametrize("end_ms", [50, 120])
def test_a_pause_begins_with_the_last_message_before_it(tmp_path: Path, end_ms: int) -> None:
    """Between two recorders nothing is known, also where the sampled time ends before the second one began."""
    _run(ScriptedStream("bybit", [BOOK, (1, _bybit(2))]), tmp_path)
    again = ScriptedStream(
        "bybit", [(1, _bybit_trade(1)), (1, _bybit(9, kind="snapshot"))], start_ns=START_NS + 100 * MS
    )
    _run(again, tmp_path)
    assert _known_ms(tmp_path, end_ms) == [ms for ms in (1, 2, *range(102, 120)) if ms < end_ms]
    (gap,) = list_gaps(tmp_path, "bybit", SYMBOL, 0, FOREVER_NS)
    assert (gap.noticed_ns, gap.until_ns) == (START_NS + 100 * MS, START_NS + 102 * MS)


def test_a_gap_begins_before_it_is_noticed(tmp_path: Path) -> None:
    """Update 3 is missing and the next one comes 5 ms later: the book was not known meanwhile."""
    script: list[Message] = [BOOK, (1, _bybit(2)), *[(2, "pong")] * 4, (1, _bybit(4)), (1, _bybit(9, kind="snapshot"))]
    _run(ScriptedStream("bybit", script), tmp_path)
    assert _known_ms(tmp_path, 10) == [1, 2, 8, 9]


@pytest.mark.parametrize(("connection", "last_ms"), [(1, 62), (2, 21)])
def test_a_quiet_book_is_known_while_its_own_connection_speaks(tmp_path: Path, connection: int, last_ms: int) -> None:
    """Messages without market data prove that the line is alive, but not those of another line."""
    script: list[Message] = [BOOK, *[(connection, "pong")] * 59]
    report = _run(ScriptedStream("bybit", script), tmp_path, replace(QUICK, alive_every_s=0.01))
    known = _known_ms(tmp_path, 100, valid_for_ns=20 * MS)
    assert known[0] == 1
    assert known == list(range(1, known[-1] + 1))
    assert known[-1] >= last_ms if connection == 1 else known[-1] == last_ms
    assert report.n_events.get("alive", 0) == (6 if connection == 1 else 0)


@pytest.mark.parametrize(("following", "last_ms"), [((1, _bybit(4)), 2), ((2, _bybit(3)), 20)])
def test_signs_of_life_prove_nothing_where_an_update_is_missing(
    tmp_path: Path, following: Message, last_ms: int
) -> None:
    """The book held as long as its line spoke if that broke, and until its last change if update 3 was lost on it."""
    script: list[Message] = [BOOK, (1, _bybit(2)), *[(1, "pong")] * 22, following]
    _run(ScriptedStream("bybit", script), tmp_path, replace(QUICK, alive_every_s=0.01))
    known = _known_ms(tmp_path, 40)
    assert known == list(range(1, last_ms + 1))


def test_a_checkpoint_proves_nothing(tmp_path: Path) -> None:
    """Segments that close while a venue is silent do not make its book younger."""
    stream = ScriptedStream("bybit", [BOOK], stays=True)
    limits = replace(QUICK, segment_age_s=0.01, sync_every_s=0.005)
    report = _run(stream, tmp_path, limits, until_ns=START_NS + 80 * MS)
    assert report.n_segments >= 3
    assert _known_ms(tmp_path, 100, valid_for_ns=5 * MS) == [1, 2, 3, 4, 5, 6]


def test_samples_do_not_depend_on_where_segments_end(tmp_path: Path) -> None:
    """Many small segments and one large one give the same books, over gaps too, from any start."""
    script = [
        (1, _bybit(n, kind="snapshot" if n in {1, 31} else "delta", size=str(n))) for n in range(1, 61) if n != 25
    ]
    for name, n_rows in (("small", 8), ("large", 10_000)):
        _run(ScriptedStream("bybit", script), tmp_path / name, replace(QUICK, segment_rows=n_rows, sync_every_s=0.0))
    assert len(list_segments(segment_folder(tmp_path / "small", "bybit", SYMBOL))) > 5
    for start_ms in (0, 10, 24, 40):
        span = (START_NS + start_ms * MS, START_NS + 70 * MS)
        one, other = (
            sample_books(tmp_path / name, "bybit", SYMBOL, *span, interval_ns=MS) for name in ("small", "large")
        )
        assert len(one) >= 25
        pd.testing.assert_frame_equal(one, other)


def test_one_segment_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a segment is read, the one before has gone; those after the time are not read, nor rows of other kinds."""
    script: list[Message] = [BOOK]
    for n in range(2, 120):
        script += [(1, _bybit(n, size=str(n))), (1, _bybit_trade(n))]
    _run(ScriptedStream("bybit", script), tmp_path, replace(QUICK, segment_rows=20, sync_every_s=0.0))
    n_segments = len(list_segments(segment_folder(tmp_path, "bybit", SYMBOL)))
    read_table = pq.read_table
    tables: list[weakref.ref[pa.Table]] = []
    n_held: list[int] = []
    kinds: set[str] = set()

    def watched(*args: Any, **kwargs: Any) -> pa.Table:
        n_held.append(sum(table() is not None for table in tables))
        table = read_table(*args, **kwargs)
        kinds.update(table["kind"].to_pylist())
        tables.append(weakref.ref(table))
        return table

    monkeypatch.setattr(pq, "read_table", watched)
    assert len(_known_ms(tmp_path, 238)) == 237
    assert len(n_held) == n_segments >= 8
    assert max(n_held) <= 1
    assert kinds == {"snapshot", "delta"}
    n_held.clear()
    _known_ms(tmp_path, 20)
    assert len(n_held) <= 3
    n_held.clear()
    assert len(_known_ms(tmp_path, 238, start_ms=228)) == 10
    assert len(n_held) <= 3
    kinds.clear()
    trades = recorded_trades(tmp_path, "bybit", [SYMBOL], START_NS, START_NS + 240 * MS)
    assert trades is not None
    assert len(trades) == 118
    assert kinds == {"trade"}


def _raw_file(path: Path, start_ns: int, bid: str) -> Path:
    """Write a raw Binance recording of ten updates, one each millisecond."""
    levels = f'"b":[["{bid}","1"]],"a":[["101","1"]]'
    lines = [f'{{"e":"depthUpdate","E":1,"s":"BTCUSDT","U":{n},"u":{n},{levels}}}' for n in range(1, 11)]
    path.write_text("".join(f"{start_ns + n * MS} {line}\n" for n, line in enumerate(lines)))
    return path


def _replay(path: Path, root: Path) -> RecordingReport:
    parse, limits = feed_parser("binance", {"BTCUSDT": SYMBOL}), RecordingLimits(trust_after=1)
    return asyncio.run(replay(path, root, venue="binance", symbol=SYMBOL, parse=parse, limits=limits))


def _files(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_file_is_replayed_once(tmp_path: Path) -> None:
    """The second time, or any file of the same time, is refused in one line, and nothing is written."""
    root = tmp_path / "home"
    _replay(_raw_file(tmp_path / "a.txt", START_NS, "99"), root)
    before = _files(root)
    overlapping = _raw_file(tmp_path / "b.txt", START_NS - 9 * MS, "98")
    for path in (tmp_path / "a.txt", overlapping):
        with pytest.raises(InputError, match="is there already") as error:
            _replay(path, root)
        assert "\n" not in str(error.value)
    assert _files(root) == before


def test_an_older_file_after_a_newer_one_keeps_to_its_own_time(tmp_path: Path) -> None:
    """Segments count by the time of receiving: the newer book stays at the newer time, the older one ends."""
    _replay(_raw_file(tmp_path / "new.txt", START_NS + HOUR_NS, "98"), tmp_path)
    older = _replay(_raw_file(tmp_path / "old.txt", START_NS, "97"), tmp_path)
    assert older.n_gaps == 0  # nothing was recorded before it
    for start_ns, bid in ((START_NS, 97.0), (START_NS + HOUR_NS, 98.0)):
        books = sample_books(tmp_path, "binance", SYMBOL, start_ns, start_ns + 20 * MS, interval_ns=MS)
        assert (len(books), set(books["bid_price_0"])) == (20, {bid})
    whole = sample_books(tmp_path, "binance", SYMBOL, START_NS, START_NS + 2 * HOUR_NS, interval_ns=60_000 * MS)
    assert whole["bid_price_0"].tolist() == [97.0, 98.0]
    assert read_events(tmp_path, "binance", SYMBOL, 0, FOREVER_NS)["ts_recv_ns"].is_monotonic_increasing


@pytest.mark.parametrize("is_killed", [False, True])
def test_a_live_recorder_does_not_write_over_what_is_there(tmp_path: Path, is_killed: bool) -> None:
    """A clock that stands before the end of what is there, in a segment or in a journal that was left, is refused."""
    _run(ScriptedStream("bybit", [BOOK, (1, _bybit(2))]), tmp_path)
    folder = segment_folder(tmp_path, "bybit", SYMBOL)
    if is_killed:
        for path in folder.iterdir():
            path.unlink()
        journal = Journal(folder / "00000001.journal")
        journal.append(encode_record(Record("delta", START_NS, START_NS + 2 * MS)))
        journal.close()
    before = _files(tmp_path)
    with pytest.raises(InputError, match="is there already"):
        _run(ScriptedStream("bybit", [(1, _bybit(5, kind="snapshot"))]), tmp_path)
    assert _files(tmp_path) == before


class SetClockStream(ScriptedStream):
    """Sets its wall clock after five messages; `elapsed` counts what really passes."""

    def __init__(self, script: Iterable[Message], jump_ns: int, *, stays: bool = False) -> None:
        super().__init__("bybit", script, stays=stays)
        self.elapsed = FixedClock(0)
        self._jump_ns = jump_ns
        self.n_played = 0
        advance = self.clock.advance

        def both(by_ns: int) -> None:
            advance(by_ns)
            self.elapsed.advance(by_ns)

        self.clock.advance = both  # type: ignore[method-assign]
        self._set = advance

    async def messages(self) -> AsyncIterator[RawMessage]:
        """Yield the script."""
        async for message in super().messages():
            self.n_played += 1
            yield message
            if self.n_played == 5:
                self._set(self._jump_ns)


def _run_set(
    stream: SetClockStream, root: Path, limits: RecordingLimits, until_ns: int | None = None
) -> tuple[RecordingReport, list[int]]:
    """Record; return the report and after how many messages something was acknowledged."""
    seen: list[int] = []

    def note(_symbol: str, _records: Sequence[Record]) -> None:
        seen.append(stream.n_played)

    recording = record(
        stream,
        root,
        [SYMBOL],
        clock=stream.clock,
        until_ns=until_ns,
        monotonic_ns=stream.elapsed.now_ns,
        limits=limits,
        on_durable=note,
    )

    async def run() -> RecordingReport:
        return await asyncio.wait_for(recording, 10.0)

    return asyncio.run(run()), seen


def test_a_clock_set_back_delays_nothing(tmp_path: Path) -> None:
    """Syncing, segments and stalls go by what passes; rows keep the wall clock and samples keep their order."""
    script: list[Message] = [BOOK, *((1, _bybit(n, size=str(n))) for n in range(2, 61))]
    limits = replace(QUICK, sync_every_s=0.005, segment_age_s=0.01, stall_s=0.03)
    stream = SetClockStream(script, -HOUR_NS, stays=True)
    report, seen = _run_set(stream, tmp_path, limits, START_NS + 110 * MS)
    assert len({n for n in seen if 5 < n < 60}) >= 3
    assert report.n_segments >= 3
    assert report.n_stalls == 1
    rows = read_events(tmp_path, "bybit", SYMBOL, 0, FOREVER_NS)
    deltas = rows[(rows["kind"] == "delta") & (rows["side"] == 1)]
    assert deltas["last_id"].tolist() == list(range(2, 61))
    assert deltas["ts_recv_ns"].iloc[-1] < START_NS
    assert _known_ms(tmp_path, 5) == [1, 2, 3, 4]


def test_a_clock_set_forward_ends_nothing(tmp_path: Path) -> None:
    """A time limit of 40 ms is 40 ms, also when the clock jumps a day."""
    script: list[Message] = [BOOK, *((1, _bybit(n)) for n in range(2, 200))]
    stream = SetClockStream(script, 24 * HOUR_NS)
    report, _ = _run_set(stream, tmp_path, QUICK, START_NS + 40 * MS)
    assert 38 <= report.n_messages <= 41
    assert (report.n_stalls, report.n_gaps) == (0, 0)


class BrokenAnswers(ScriptedStream):
    """Fails each request for a snapshot in its own way, then answers after its last message."""

    def __init__(self, errors: list[Exception], answer: BookSnapshot) -> None:
        super().__init__("binance", [(1, _binance(n)) for n in range(10, 40)], stays=True)
        self._errors, self._answer = errors, answer

    async def snapshot(self, symbol: str) -> BookSnapshot | None:
        """Raise the next error."""
        self.asked.append(symbol)
        if self._errors:
            raise self._errors.pop(0)
        while self._script:
            await asyncio.sleep(0.001)
        return self._answer


def test_every_failed_request_is_counted(tmp_path: Path) -> None:
    """Whatever a stream raises where only `UnavailableError` was agreed, the recording goes on and asks again."""
    answer = BookSnapshot("binance", SYMBOL, 1, START_NS, (("99", "1"),), (("101", "1"),), 11, 11)
    stream = BrokenAnswers([InputError("no such symbol"), OSError("reset"), UnavailableError("later")], answer)
    report = _run(stream, tmp_path, replace(QUICK, resync_every_s=0.01), START_NS + 90 * MS)
    assert report.n_refused_requests == 3
    assert report.n_events["snapshot"] == 1


def test_an_answer_that_cannot_be_written_stops_the_recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is no refused request."""
    answer = BookSnapshot("binance", SYMBOL, 1, START_NS, (("99", "1"),), (("101", "1"),), 11, 11)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ratchet.data.books.segments.SegmentWriter.append", full)
    with pytest.raises(UnavailableError, match="recording has stopped"):
        _run(BrokenAnswers([], answer), tmp_path, QUICK, START_NS + 200 * MS)
