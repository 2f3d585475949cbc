"""The recording of one symbol: its book, its trades and its segments."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from ratchet.data.books.agreement import QuoteAgreement
from ratchet.data.books.builder import BookBuilder, BookState, Fault
from ratchet.data.books.records import NO_ID, Record, record_of
from ratchet.data.books.segments import SegmentWriter, list_segments, verified_path
from ratchet.data.books.tally import RecordedGap, Tally
from ratchet.market.events import BestQuote, BookDelta, BookEvent, TradeEvent

_REMEMBERED_TRADES = 5_000
_REMEMBERED_SEGMENTS = 5


class Tape:
    """Takes the events of one symbol, writes what the book accepts, and a gap where it was lost.

    Each record is written once: trades by their id, deltas by the book's numbering, also over a restart (`Memory`).
    """

    def __init__(
        self,
        venue: str,
        builder: BookBuilder,
        writer: SegmentWriter,
        tally: Tally,
        known_trades: Sequence[str] = (),
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.writer = writer
        self._on_record = on_record
        self.builder = builder
        self.agreement = QuoteAgreement()
        self._venue = venue
        self._tally = tally
        self._trades: OrderedDict[str, None] = OrderedDict.fromkeys(known_trades)
        self.connection: int | None = None
        """Which brings the book."""
        self._proved_ns = 0
        self._trade_connection: int | None = None

    def take_book(self, event: BookEvent, connection: int | None) -> None:
        """Take a snapshot or a delta; `connection` is None for an answer to a request."""
        if connection is not None and connection != self.connection:
            if self.connection is not None:
                self.lose(Fault.LOST, "reconnected", event.ts_recv_ns)
            self.connection = connection
        before, last_id, last_event_ns = self.builder.state, self.builder.last_id, self.builder.last_event_ns
        accepted = self.builder.apply(event)
        if before is BookState.SYNCED and self.builder.state is not BookState.SYNCED:
            self._write_gap("gap", self._why(), event.ts_recv_ns, last_event_ns, (last_id, event.last_id))
        elif before is BookState.DESYNCED and self.builder.state is BookState.SYNCED:
            self._tally.counts["resyncs"] += 1
        for part in accepted:
            self._write(record_of(part))
            self._proved_ns = part.ts_recv_ns
        if isinstance(event, BookDelta):
            self._tally.skew(event.ts_recv_ns - event.ts_event_ns)
        best = self.builder.best() if accepted else None
        if best is not None and self.builder.last_id is not None:
            self.agreement.see_book(self.builder.last_id, best)

    def take_trade(self, trade: TradeEvent, connection: int) -> None:
        """Take a trade; one that was written already is only counted."""
        if connection != self._trade_connection:
            if self._trade_connection is not None:
                self.lose_trades("reconnected", trade.ts_recv_ns)
            self._trade_connection = connection
        if trade.trade_id in self._trades:
            self._tally.counts["repeated_trades"] += 1
            return
        self._trades[trade.trade_id] = None
        if len(self._trades) > _REMEMBERED_TRADES:
            self._trades.popitem(last=False)
        self._tally.skew(trade.ts_recv_ns - trade.ts_event_ns)
        self._write(record_of(trade))

    def take_quote(self, quote: BestQuote) -> None:
        """Take a best quote."""
        self.agreement.see_quote(quote)
        self._write(record_of(quote))

    def lose(self, fault: Fault, reason: str, now_ns: int) -> None:
        """Stop trusting the book; a gap is written where it had been trusted."""
        was_synced, last_id = self.builder.state is BookState.SYNCED, self.builder.last_id
        self.builder.lose(fault, reason)
        if was_synced:
            self._write_gap("gap", self._why(), now_ns, self.builder.last_event_ns, (last_id, None))

    def lose_trades(self, reason: str, now_ns: int) -> None:
        """Write that trades may be missing before now."""
        self._write_gap("trade_gap", reason, now_ns, now_ns, (None, None))

    def note_pause(self, memory: Memory, now_ns: int) -> None:
        """Write that nothing was recorded since an earlier recorder ended."""
        self._write_gap("gap", "lost: no recorder was running", now_ns, memory.last_event_ns, (memory.last_id, None))
        self.lose_trades("no recorder was running", now_ns)

    def note_alive(self, heard_ns: int) -> None:
        """Write that the book's connection brought a message at `heard_ns`, so that a quiet book counts as known."""
        if self.builder.state is BookState.SYNCED and heard_ns != self._proved_ns:
            self._write(Record("alive", self.builder.last_event_ns, heard_ns))
            self._proved_ns = heard_ns

    def checkpoint(self) -> None:
        """Write the whole book, so that a segment can be read without the ones before it.

        It is dated as the last proof that the book holds: no message has come with it.
        """
        if self.builder.state is BookState.SYNCED:
            self._write(record_of(self.builder.snapshot(self._venue, self._proved_ns)))

    def _why(self) -> str:
        return f"{self.builder.fault}: {self.builder.reason}"

    def _write_gap(self, kind: str, reason: str, now_ns: int, from_ns: int, ids: tuple[int | None, int | None]) -> None:
        after, before = (NO_ID if number is None else number for number in ids)
        self._write(Record(kind, from_ns, now_ns, first_id=after, last_id=before, note=reason))
        if kind == "gap":
            self.agreement.forget_books()
            self._tally.gap(RecordedGap(self.builder.symbol, now_ns, ids[0], ids[1], reason))

    def _write(self, record: Record) -> None:
        self._tally.records[record.kind] += 1
        self.writer.append(record)
        if self._on_record is not None:
            self._on_record(record)


class Memory:
    """What a recorder has to know of the recordings received before `before_ns`: their last update, time and trades.

    Raises:
        ArtifactError: a segment is missing or was altered.
    """

    def __init__(self, folder: Path, before_ns: int) -> None:
        self.last_id: int | None = None
        self.last_event_ns = 0
        self.trade_ids: list[str] = []
        segments = [part for part in list_segments(folder) if part.last_recv_ns < before_ns]
        self.is_empty = not segments
        columns = ["kind", "ts_event_ns", "last_id", "note"]
        for segment in reversed(segments[-_REMEMBERED_SEGMENTS:]):
            rows = pq.read_table(verified_path(folder, segment), columns=columns).to_pandas()
            self.trade_ids = [*rows.loc[rows["kind"] == "trade", "note"], *self.trade_ids]
            books = rows[rows["kind"].isin(["snapshot", "delta"])]
            if self.last_id is None and not books.empty and books["last_id"].max() != NO_ID:
                self.last_id = int(books["last_id"].max())
            if not books.empty:
                self.last_event_ns = max(self.last_event_ns, int(books["ts_event_ns"].max()))
        self.trade_ids = self.trade_ids[-_REMEMBERED_TRADES:]
