"""Recordings on disk: `<root>/books/<venue>/<symbol slug>/`.

    <first receive time, ns>-<number>.parquet    rows of `EVENT_COLUMNS`
    <first receive time, ns>-<number>.json       `SegmentManifest`: what makes the segment complete
    <number>.journal                             records of the segment that is still open

Records go to the journal first. A segment is closed by writing its Parquet file and its manifest, each under a
temporary name, synced and renamed, and only then is the journal removed. So a process killed at any moment leaves each
record in exactly one place that counts: a segment with a manifest, or else the journal of the same number, from which
the next writer makes the segment.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.clock import iso_utc
from ratchet.data.atomic import sha256_bytes, sha256_file, write_bytes
from ratchet.data.books.journal import Journal, read_journal
from ratchet.data.books.records import Record, decode_record, encode_record, to_table
from ratchet.errors import ArtifactError, InputError
from ratchet.market.symbols import symbol_slug


class SegmentManifest(BaseModel):
    """What is known about a closed segment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    """Name of the Parquet file in the same folder."""
    sha256: str
    """Of its bytes, lower-case hex."""
    symbol: str
    number: int
    """Segments of a symbol count up in the order of writing; what was replayed may be older than what is before it."""
    n_events: int
    n_rows: int
    first_recv_ns: int
    last_recv_ns: int
    """Earliest receive time of its events and the latest of the recording up to its end, ns UTC.

    They are those of its own events unless the clock was set back; then the second keeps the segments in order.
    """


@dataclass(frozen=True, slots=True)
class ClosedBatch:
    """The records of a segment whose journal has ended and whose Parquet file is still to be written."""

    number: int
    records: Sequence[Record]
    journal: Path


def segment_folder(root: Path, venue: str, symbol: str) -> Path:
    """Return the folder of a venue's symbol."""
    return root / "books" / venue / symbol_slug(symbol)


def list_segments(folder: Path) -> list[SegmentManifest]:
    """Return the closed segments of a folder in the order of receiving; none where it does not exist.

    Raises:
        ArtifactError: a manifest cannot be read.
    """
    manifests = []
    for path in folder.glob("*-*.json"):
        try:
            manifests.append(SegmentManifest.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            raise ArtifactError(f"{path}: the segment's manifest cannot be read; restore or remove it") from error
    return sorted(manifests, key=lambda manifest: (manifest.last_recv_ns, manifest.number))


def refuse_held(folder: Path, start_ns: int, end_ns: int | None) -> None:
    """Do nothing where a folder holds no event received in `[start_ns, end_ns)`; None is for ever.

    What a killed recorder left in its journal counts too. Nothing is written.

    Raises:
        InputError: it holds some.
        ArtifactError: a manifest cannot be read.
    """
    spans = [(part.first_recv_ns, part.last_recv_ns) for part in list_segments(folder)]
    for path in folder.glob("*.journal"):
        times = [decode_record(entry).ts_recv_ns for entry in read_journal(path)[0]]
        spans += [(min(times), max(times))] if times else []
    held = [(first, last) for first, last in spans if last >= start_ns and (end_ns is None or first < end_ns)]
    if held:
        first, last = min(held)[0], max(last for _, last in held)
        raise InputError(
            f"{folder}: {iso_utc(first)} to {iso_utc(last)} is there already; "
            "record into another home folder or move these segments away"
        )


def verified_path(folder: Path, manifest: SegmentManifest) -> Path:
    """Return the Parquet file of a segment after comparing its bytes with the manifest.

    Raises:
        ArtifactError: the file is missing or was altered.
    """
    path = folder / manifest.file
    if not path.is_file() or sha256_file(path) != manifest.sha256:
        raise ArtifactError(f"{path}: the segment is missing or was altered; restore it or remove it and its manifest")
    return path


class SegmentWriter:
    """Appends records of one symbol; at most one writer per folder at a time.

    Opening it closes what an earlier writer left open: a torn tail of its journal (`n_trimmed_bytes`) was never
    acknowledged and is dropped. `flush` and `fsync` acknowledge; `roll` and `publish` close a segment. `fsync` and
    `publish` may run in another thread while `append` goes on, but not at the same time as each other or `roll`.

    Args:
        folder: from `segment_folder`; made where absent.
        symbol: canonical.
        max_rows: rows after which a segment is full.
        max_age_ns: time after which a segment is full.

    Raises:
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path, symbol: str, *, max_rows: int, max_age_ns: int) -> None:
        self._folder, self._symbol = folder, symbol
        self._max_rows, self._max_age_ns = max_rows, max_age_ns
        self.n_trimmed_bytes = 0
        self.n_segments = 0
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(".*.tmp"):
            torn.unlink()
        self._n_flushed = 0
        self._latest_ns = 0
        self._begun_ns: int | None = None
        self._number = self._recover()
        self._start(self._number)

    def append(self, record: Record) -> None:
        """Take a record; it is not safe yet."""
        self._journal.append(encode_record(record))
        self._records.append(record)
        self._n_rows += max(1, len(record.levels))

    def is_full(self, now_ns: int) -> bool:
        """Return whether the open segment has reached its rows or its age.

        `now_ns` is of a clock that only goes forward. The age begins when a segment with records is first asked for it.
        """
        if not self._records:
            return False
        if self._begun_ns is None:
            self._begun_ns = now_ns
        return self._n_rows >= self._max_rows or now_ns - self._begun_ns >= self._max_age_ns

    def flush(self) -> list[Record]:
        """Hand records to the operating system and return them; `fsync` then makes these safe."""
        self._journal.flush()
        flushed = self._records[self._n_flushed :]
        self._n_flushed = len(self._records)
        return flushed

    def fsync(self) -> None:
        """Wait until all flushed records are on the disk."""
        self._journal.fsync()

    def roll(self) -> ClosedBatch:
        """End the open segment and begin the next; the batch is to be given to `publish`."""
        self._journal.close()
        batch = ClosedBatch(self._number, self._records, self._journal.path)
        self._number += 1
        self._start(self._number)
        return batch

    def publish(self, batch: ClosedBatch) -> None:
        """Write a closed segment and remove its journal; nothing is written for an empty one."""
        if batch.records:
            self._write(batch)
            self.n_segments += 1
        batch.journal.unlink()

    def close(self) -> None:
        """Close the open segment."""
        self._journal.close()
        self.publish(ClosedBatch(self._number, self._records, self._journal.path))

    def _start(self, number: int) -> None:
        self._journal = Journal(self._folder / f"{number:08d}.journal")
        self._records: list[Record] = []
        self._n_rows = 0
        self._n_flushed = 0
        self._begun_ns = None

    def _recover(self) -> int:
        """Make segments of the journals that were left; return the number of the next segment."""
        numbers = [manifest.number for manifest in list_segments(self._folder)]
        for path in sorted(self._folder.glob("*.journal")):
            number = int(path.stem)  # may have a segment, finished or not: the same one is written again
            entries, n_torn = read_journal(path)
            self.n_trimmed_bytes += n_torn
            self.publish(ClosedBatch(number, [decode_record(entry) for entry in entries], path))
            numbers.append(number)
        self._latest_ns = 0  # what was recovered may be newer than what is to be written
        return max(numbers, default=0) + 1

    def _write(self, batch: ClosedBatch) -> None:
        table = to_table(self._symbol, batch.records)
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd")
        received = [record.ts_recv_ns for record in batch.records]
        first = min(received)  # what waited for a snapshot was received before it
        self._latest_ns = max(self._latest_ns, *received)
        stem = f"{first}-{batch.number:08d}"
        manifest = SegmentManifest(
            file=f"{stem}.parquet",
            sha256=sha256_bytes(buffer.getvalue()),
            symbol=self._symbol,
            number=batch.number,
            n_events=len(batch.records),
            n_rows=table.num_rows,
            first_recv_ns=first,
            last_recv_ns=self._latest_ns,
        )
        write_bytes(self._folder / manifest.file, buffer.getvalue())
        write_bytes(self._folder / f"{stem}.json", manifest.model_dump_json(indent=2).encode() + b"\n")
