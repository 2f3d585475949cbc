"""The recorder: what a stream delivers is read, verified, journalled and kept in segments.

A book that is lost is written as a gap and asked for again; nothing is repaired by guessing. A message that cannot be
read is set aside in `<root>/books/<venue>/poison-<start>.txt` (time and text, at most 10 MiB); the recording goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from ratchet.clock import NS_PER_S, Clock
from ratchet.data.books.builder import BookBuilder, Fault
from ratchet.data.books.connections import ConnectionSequence
from ratchet.data.books.limits import RecordingLimits
from ratchet.data.books.records import Record
from ratchet.data.books.resync import Resync
from ratchet.data.books.rules import Sequencing, book_rule
from ratchet.data.books.segments import SegmentWriter, refuse_held, segment_folder
from ratchet.data.books.tally import RecordingReport, Tally
from ratchet.data.books.tape import Memory, Tape
from ratchet.data.lock import hold
from ratchet.errors import BusyError, InputError, UnavailableError
from ratchet.market.events import (
    BestQuote,
    MarketEvent,
    MarketStream,
    RawMessage,
    SequenceMark,
    TradeEvent,
)
from ratchet.market.symbols import parse_symbol

_MAX_POISON_BYTES = 10 * 1024 * 1024

OnDurable = Callable[[str, Sequence[Record]], None]
"""Called with a symbol and the records that have just become safe against a crash of the machine."""

OnRecord = Callable[[str, Record], None]
"""Called with a symbol and a record as soon as it is accepted, before it is safe."""


async def record(
    stream: MarketStream,
    root: Path,
    symbols: Sequence[str],
    *,
    clock: Clock,
    until_ns: int | None = None,
    monotonic_ns: Callable[[], int] | None = None,
    limits: RecordingLimits | None = None,
    on_durable: OnDurable | None = None,
    on_record: OnRecord | None = None,
) -> RecordingReport:
    """Record books and trades of `symbols` below `root` until the stream ends or it is `until_ns`.

    Cancelling it closes the segments too. One recorder at a time may write a venue's folder. The stream is not closed.

    Args:
        stream: where messages come from.
        root: the home folder; see `ratchet.data.books.segments` for what is written.
        symbols: events of others are dropped.
        clock: dates gaps; receive times are those of the messages.
        until_ns: when to stop, ns UTC; None to go on. How far off it is is taken at the start.
        monotonic_ns: measures what has passed and decides what is due, so that setting the machine's clock changes
            nothing; `time.monotonic_ns` for live streams, None where `clock` itself only goes forward.
        limits: when to write, close and resynchronise.
        on_durable: told what has become safe.
        on_record: told what was accepted, at once; it must be quick.

    Raises:
        InputError: no symbol, a venue whose rule is not known, or a folder that already holds something received
            between now and `until_ns`; then nothing is written.
        BusyError: another recorder writes the same folder.
        ArtifactError: an earlier recording was altered.
        UnavailableError: the folder cannot be written; what was acknowledged is safe.
    """
    names = [parse_symbol(symbol) for symbol in dict.fromkeys(symbols)]
    if not names:
        raise InputError("no symbols to record; name at least one")
    folder = root / "books" / stream.venue
    try:
        with ExitStack() as stack:
            if not stack.enter_context(hold(folder / ".lock")):
                raise BusyError(f"{folder}: another recorder is writing here; stop it or choose another folder")
            now_ns = clock.now_ns()
            for symbol in names:
                refuse_held(segment_folder(root, stream.venue, symbol), now_ns, until_ns)
            passing = monotonic_ns or clock.now_ns
            end_ns = None if until_ns is None else passing() + until_ns - now_ns
            recording = _Recording(
                stream, root, names, clock, passing, limits or RecordingLimits(), on_durable, on_record
            )
            return await recording.run(end_ns)
    except OSError as error:
        raise UnavailableError(f"{root}: the recording cannot be written ({error}); recording has stopped") from error


class _Recording:
    def __init__(
        self,
        stream: MarketStream,
        root: Path,
        symbols: Sequence[str],
        clock: Clock,
        passing_ns: Callable[[], int],
        limits: RecordingLimits,
        on_durable: OnDurable | None,
        on_record: OnRecord | None,
    ) -> None:
        self._stream, self._clock, self._limits, self._on_durable = stream, clock, limits, on_durable
        self._on_record = on_record
        self._passing_ns = passing_ns
        self._rule = book_rule(stream.venue)
        self._tally = Tally()
        self._sequence = ConnectionSequence()
        self._lock = asyncio.Lock()
        now_ns, started_ns = clock.now_ns(), passing_ns()
        self._last_message_ns = self._synced_ns = self._alive_ns = started_ns
        self._heard: dict[int, int] = {}  # receive time of the last message of each connection, since `_alive_ns`
        self._n_unsafe = 0
        self._poison = root / "books" / stream.venue / f"poison-{now_ns}.txt"
        self._n_poison_bytes = 0
        self._tapes = {symbol: self._open(root, symbol, now_ns) for symbol in symbols}
        self._resync = Resync(
            stream, self._rule, self._tapes, limits, self._tally, started_ns, lambda book: self._take_event(book, None)
        )

    def _open(self, root: Path, symbol: str, now_ns: int) -> Tape:
        limits = self._limits
        folder = segment_folder(root, self._stream.venue, symbol)
        age_ns = int(limits.segment_age_s * NS_PER_S)
        writer = SegmentWriter(folder, symbol, max_rows=limits.segment_rows, max_age_ns=age_ns)
        memory = Memory(folder, now_ns)
        builder = BookBuilder(
            symbol,
            self._rule,
            max_levels=limits.max_levels,
            trust_after=limits.trust_after,
            floor_id=memory.last_id if self._rule.by_request else None,
        )
        told = None if self._on_record is None else partial(self._on_record, symbol)
        tape = Tape(self._stream.venue, builder, writer, self._tally, memory.trade_ids, told)
        if not memory.is_empty:
            tape.note_pause(memory, now_ns)
        return tape

    async def run(self, end_ns: int | None) -> RecordingReport:
        """Pump messages and watch the time until one of the two ends; then close whatever happened."""
        tasks = {asyncio.create_task(self._pump(end_ns)), asyncio.create_task(self._watch(end_ns))}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._resync.close()
            self._close()
        return self._report()

    async def _pump(self, end_ns: int | None) -> None:
        async for message in self._stream.messages():
            if end_ns is not None and self._passing_ns() >= end_ns:
                return
            self._take(message)
            self._note_alive(message)
            if self._n_unsafe >= self._limits.sync_records or self._is_sync_due():
                await self._maintain()

    async def _watch(self, end_ns: int | None) -> None:
        while True:
            await asyncio.sleep(self._limits.tick_s)
            now_ns = self._passing_ns()
            if end_ns is not None and now_ns >= end_ns:
                return
            if now_ns - self._last_message_ns >= self._limits.stall_s * NS_PER_S:
                self._stall(now_ns)
            if self._tally.counts["messages"]:
                self._resync.ask_for_lost(now_ns)
            if self._is_sync_due():
                await self._maintain()

    def _is_sync_due(self) -> bool:
        return self._passing_ns() - self._synced_ns >= self._limits.sync_every_s * NS_PER_S

    def _take(self, message: RawMessage) -> None:
        self._tally.counts["messages"] += 1
        self._last_message_ns = self._passing_ns()
        try:
            events = self._stream.parse(message)
        except InputError:
            self._tally.counts["poison"] += 1
            self._set_aside(message)
            return
        if events and self._rule.sequencing is Sequencing.CONNECTION:
            self._check_connection(message, events[0])
        for event in events:
            self._take_event(event, message.connection)
        self._n_unsafe += len(events)

    def _take_event(self, event: MarketEvent, connection: int | None) -> None:
        tape = None if isinstance(event, SequenceMark) else self._tapes.get(event.symbol)
        if tape is None or isinstance(event, SequenceMark):
            return
        if isinstance(event, TradeEvent):
            tape.take_trade(event, connection or 0)
        elif isinstance(event, BestQuote):
            tape.take_quote(event)
        else:
            tape.take_book(event, connection)

    def _note_alive(self, message: RawMessage) -> None:
        self._heard[message.connection] = message.ts_recv_ns
        now_ns = self._passing_ns()
        if now_ns - self._alive_ns < self._limits.alive_every_s * NS_PER_S:
            return
        for tape in self._tapes.values():
            heard_ns = None if tape.connection is None else self._heard.get(tape.connection)
            if heard_ns is not None:
                tape.note_alive(heard_ns)
        self._heard.clear()
        self._alive_ns = now_ns

    def _check_connection(self, message: RawMessage, event: MarketEvent) -> None:
        n_missing = 0 if event.last_id is None else self._sequence.n_missing(message.connection, event.last_id)
        if n_missing:
            for tape in self._tapes.values():
                tape.lose(Fault.GAP, f"{n_missing} messages missing before {event.last_id}", message.ts_recv_ns)
                tape.lose_trades(f"{n_missing} messages missing", message.ts_recv_ns)

    def _set_aside(self, message: RawMessage) -> None:
        line = f"{message.ts_recv_ns} {message.text!r}\n".encode(errors="backslashreplace")
        if self._n_poison_bytes + len(line) <= _MAX_POISON_BYTES:
            with self._poison.open("ab") as file:
                file.write(line)
            self._n_poison_bytes += len(line)

    def _stall(self, now_ns: int) -> None:
        self._tally.counts["stalls"] += 1
        self._last_message_ns, noticed_ns = now_ns, self._clock.now_ns()
        for tape in self._tapes.values():
            tape.lose(Fault.LOST, f"no message for {self._limits.stall_s:g} s", noticed_ns)
            tape.lose_trades("no message came", noticed_ns)
        self._resync.renew_all(now_ns)

    async def _maintain(self) -> None:
        """Make records safe and close full segments; the slow parts run in a thread while messages go on."""
        async with self._lock:
            now_ns = self._passing_ns()
            self._synced_ns, self._n_unsafe = now_ns, 0
            for symbol, tape in self._tapes.items():
                records = tape.writer.flush()
                if records:
                    await _in_thread(tape.writer.fsync)
                    self._acknowledge(symbol, records)
                if tape.writer.is_full(now_ns):
                    late = tape.writer.flush()
                    batch = tape.writer.roll()
                    tape.checkpoint()
                    await _in_thread(partial(tape.writer.publish, batch))
                    self._acknowledge(symbol, late)

    def _acknowledge(self, symbol: str, records: Sequence[Record]) -> None:
        if self._on_durable is not None and records:
            self._on_durable(symbol, records)

    def _close(self) -> None:
        for symbol, tape in self._tapes.items():
            late = tape.writer.flush()
            tape.writer.close()
            self._acknowledge(symbol, late)

    def _report(self) -> RecordingReport:
        counts, tapes = self._tally.counts, self._tapes.values()
        return RecordingReport(
            n_messages=counts["messages"],
            n_events=dict(self._tally.records),
            n_gaps=counts["gaps"],
            gaps=tuple(self._tally.gaps),
            n_resyncs=counts["resyncs"],
            n_crossed=sum(tape.builder.n_faults[Fault.CROSSED] for tape in tapes),
            n_checksum_failures=sum(tape.builder.n_faults[Fault.CHECKSUM] for tape in tapes),
            n_stalls=counts["stalls"],
            n_poison=counts["poison"],
            n_repeated_trades=counts["repeated_trades"],
            n_refused_requests=counts["refused_requests"],
            n_trimmed_bytes=sum(tape.writer.n_trimmed_bytes for tape in tapes),
            n_segments=sum(tape.writer.n_segments for tape in tapes),
            n_quotes=sum(tape.agreement.n_quotes for tape in tapes),
            n_quotes_matched=sum(tape.agreement.n_matched for tape in tapes),
            n_quotes_agreed=sum(tape.agreement.n_agreed for tape in tapes),
            skew=self._tally.clock_skew(),
        )


async def _in_thread(work: Callable[[], None]) -> None:
    """Run slow work beside the event loop; a cancellation waits for its end, so that nothing writes on afterwards."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
