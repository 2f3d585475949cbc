"""A recorder in a process of its own, to be killed: `python -m tests.unit.recorder_child ROOT EPOCH_NS WRITER`.

It records a market that runs by the wall clock since EPOCH_NS, one update and one trade each millisecond, in Binance's
format; so a restarted recorder has missed what happened meanwhile. Each line on standard output names what has been
acknowledged. WRITER is `real` or `naive`, the mutant: rows go straight into an open Parquet file.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

import ratchet.data.books.recorder as recorder_module
from ratchet.clock import Clock, SystemClock
from ratchet.data.books.limits import RecordingLimits
from ratchet.data.books.records import Record, to_table
from ratchet.exchanges.feeds import feed_parser
from ratchet.market.events import BookSnapshot, MarketEvent, RawMessage

SYMBOL = "BTC/USDT"
VENUE = "binance"
STEP_NS = 1_000_000
N_LEVELS = 5
LIMITS = RecordingLimits(
    sync_every_s=0.02, segment_rows=600, segment_age_s=10.0, resync_every_s=0.05, tick_s=0.01, stall_s=10.0
)


def level_size(update: int, level: int) -> int:
    """Size at a level after an update, the same on both sides."""
    return 1 + (update * 7 + level * 3) % 11


def trade_price(update: int) -> float:
    """Price of the trade that comes with an update."""
    return 100.0 + update % 13 / 100


class ClockworkMarket:
    """A `MarketStream` whose every message follows from its number, which is the time since `epoch_ns` in ms."""

    def __init__(self, epoch_ns: int, clock: Clock) -> None:
        self.venue = VENUE
        self._epoch_ns, self._clock = epoch_ns, clock
        self._parse = feed_parser(VENUE, {"BTCUSDT": SYMBOL})

    async def messages(self) -> AsyncIterator[RawMessage]:
        """Yield the updates from now on as they become due."""
        number = self._now() + 1
        while True:
            while number <= self._now():
                yield RawMessage(self._clock.now_ns(), self._delta(number))
                yield RawMessage(self._clock.now_ns(), self._trade(number))
                number += 1
            await asyncio.sleep(0.001)

    def parse(self, message: RawMessage) -> list[MarketEvent]:
        """Read a message."""
        return self._parse(message)

    async def snapshot(self, symbol: str) -> BookSnapshot | None:
        """Return the book of now."""
        number, now_ns = self._now(), self._clock.now_ns()
        bids, asks = (tuple((price, size) for price, size in side) for side in self._sides(number))
        return BookSnapshot(VENUE, symbol, now_ns, now_ns, bids, asks, number, number)

    async def resync(self, symbol: str) -> None:
        """Do nothing: the market answers requests."""

    async def close(self) -> None:
        """Do nothing."""

    def _now(self) -> int:
        return (self._clock.now_ns() - self._epoch_ns) // STEP_NS

    def _sides(self, number: int) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        sizes = [str(level_size(number, level)) for level in range(N_LEVELS)]
        bids = [(str(99 - level), size) for level, size in enumerate(sizes)]
        return bids, [(str(101 + level), size) for level, size in enumerate(sizes)]

    def _delta(self, number: int) -> str:
        bids, asks = self._sides(number)
        time_ms = self._clock.now_ns() // 1_000_000
        fields = {"e": "depthUpdate", "E": time_ms, "s": "BTCUSDT", "U": number, "u": number, "b": bids, "a": asks}
        return json.dumps(fields)

    def _trade(self, number: int) -> str:
        time_ms = self._clock.now_ns() // 1_000_000
        price = f"{trade_price(number):.2f}"
        fields = {
            "e": "trade",
            "E": time_ms,
            "T": time_ms,
            "s": "BTCUSDT",
            "t": number,
            "p": price,
            "q": "1",
            "m": True,
        }
        return json.dumps(fields)


@dataclass
class _NoBatch:
    records: Sequence[Record] = ()


class NaiveWriter:
    """The mutant: rows are appended to a Parquet file that stays open, without journal, stage or manifest."""

    n_trimmed_bytes = 0
    n_segments = 0

    def __init__(self, folder: Path, symbol: str, *, max_rows: int, max_age_ns: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._symbol, self._max_rows, self._max_age_ns = folder, symbol, max_rows, max_age_ns
        self._waiting: list[Record] = []
        self._open()

    def _open(self) -> None:
        number = len(list(self._folder.glob("*.parquet")))
        schema = to_table(self._symbol, [Record("gap", 0, 0)]).schema
        self._file = pq.ParquetWriter(self._folder / f"{number:019d}-{number:08d}.parquet", schema)
        self._n_rows = 0

    def append(self, record: Record) -> None:
        """Keep a record until `flush`."""
        self._waiting.append(record)

    def is_full(self, _now_ns: int) -> bool:
        """Return whether the file has its rows."""
        return self._n_rows >= self._max_rows

    def flush(self) -> list[Record]:
        """Write what waits."""
        records, self._waiting = self._waiting, []
        if records:
            table = to_table(self._symbol, records)
            self._file.write_table(table)
            self._n_rows += table.num_rows
        return records

    def fsync(self) -> None:
        """Believe the operating system."""

    def roll(self) -> _NoBatch:
        """Close the file and begin the next."""
        self._file.close()
        self._open()
        return _NoBatch()

    def publish(self, _batch: _NoBatch) -> None:
        """Do nothing: the file is there already."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _acknowledge(_symbol: str, records: Sequence[Record]) -> None:
    names = [f"t{record.note}" if record.kind == "trade" else f"d{record.last_id}" for record in records]
    kept = [name for name, record in zip(names, records, strict=True) if record.kind in {"trade", "delta"}]
    sys.stdout.write(" ".join(kept) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Record until killed; a line `ready` comes first. A fourth argument stops it after that many seconds."""
    root, epoch_ns, writer = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if writer == "naive":
        vars(recorder_module)["SegmentWriter"] = NaiveWriter
    clock = SystemClock()
    until_ns = clock.now_ns() + int(float(sys.argv[4]) * 1e9) if len(sys.argv) > 4 else None
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    stream = ClockworkMarket(epoch_ns, clock)
    recording = recorder_module.record(
        stream, root, [SYMBOL], clock=clock, until_ns=until_ns, limits=LIMITS, on_durable=_acknowledge
    )
    asyncio.run(recording)


if __name__ == "__main__":
    main()
