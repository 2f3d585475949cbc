"""Files of the history: immutable Parquet segments of one series, named by what they hold."""

from __future__ import annotations

import io
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ratchet.data.atomic import fsync_folder, sha256_bytes
from ratchet.errors import ArtifactError

VALUE_COLUMNS = ("open", "high", "low", "close", "volume")
SEGMENT_COLUMNS = ("ts_event_ns", *VALUE_COLUMNS, "known_ns", "ingested_ns")
"""Columns of a segment, in order; times int64 ns UTC, values float64.

`known_ns`: when somebody who watched the venue could first know this value. `ingested_ns`: when it was stored.
"""

UNLISTED = "unlisted"
"""Folder of segments that are not in the catalog."""

_STAGED = ".stage-"


@dataclass(frozen=True, slots=True)
class Segment:
    """One file, as the catalog knows it."""

    path: str
    """Relative to the history's folder."""
    digest: str
    n_rows: int
    start_ns: int
    """Open of its earliest bar."""
    end_ns: int
    """Open of its latest bar."""


def write_segment(root: Path, folder: str, rows: pd.DataFrame) -> Segment:
    """Store rows of `SEGMENT_COLUMNS` as a file; when the call returns it survives a power cut.

    The file appears by one rename; equal rows give an equal name. It counts only once the catalog lists it.
    """
    payload = _encode(rows)
    digest = sha256_bytes(payload)
    name = f"{int(rows['ts_event_ns'].min())}-{digest[:16]}.parquet"
    target = root / folder
    target.mkdir(parents=True, exist_ok=True)
    stage = target / f"{_STAGED}{secrets.token_hex(8)}"
    with stage.open("xb") as file:
        file.write(payload)
        file.flush()
        os.fsync(file.fileno())
    stage.replace(target / name)
    fsync_folder(target)
    times = rows["ts_event_ns"]
    return Segment(f"{folder}/{name}", digest, len(rows), int(times.min()), int(times.max()))


def read_segment(root: Path, segment: Segment) -> pd.DataFrame:
    """Read a segment; the bytes are verified.

    Raises:
        ArtifactError: the file is missing or was altered.
    """
    rows: pd.DataFrame = _decode(root, segment, SEGMENT_COLUMNS).to_pandas()
    return rows


def read_times(root: Path, segment: Segment) -> NDArray[np.int64]:
    """Return the opens of a segment's bars, in file order. Raises as `read_segment`."""
    times: NDArray[np.int64] = _decode(root, segment, ("ts_event_ns",))["ts_event_ns"].to_numpy()
    return times


def set_strangers_aside(root: Path, known: set[str]) -> int:
    """Move segments that the catalog does not list to `unlisted`, and remove half-written ones; return how many.

    A writer that died leaves them; so does a catalog that was restored from an older copy.
    """
    strangers = [path for path in root.glob(f"*/*/*/{_STAGED}*") if path.is_file()]
    for path in strangers:
        path.unlink(missing_ok=True)
    unlisted = [path for path in segment_files(root) if path.relative_to(root).as_posix() not in known]
    for path in unlisted:
        set_aside(root, path.relative_to(root).as_posix())
    return len(strangers) + len(unlisted)


def set_aside(root: Path, path: str) -> None:
    """Move a segment, where it is there, to the folder `unlisted`."""
    target = root / UNLISTED / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if (root / path).is_file():
        (root / path).replace(target)


def segment_files(root: Path) -> list[Path]:
    """Return the segments on disk, listed or not, but not those that were set aside."""
    return [path for path in root.glob("*/*/*/*.parquet") if path.relative_to(root).parts[0] != UNLISTED]


def _encode(rows: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table = pa.Table.from_pandas(rows.loc[:, list(SEGMENT_COLUMNS)], preserve_index=False)
    pq.write_table(table, buffer, compression="zstd", compression_level=1)
    return buffer.getvalue()


def _decode(root: Path, segment: Segment, columns: tuple[str, ...]) -> pa.Table:
    file = root / segment.path
    advice = "restore it from a backup, or strike the series out with `ratchet data forget` and collect it again"
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read ({error.strerror}); {advice}") from error
    if sha256_bytes(payload) != segment.digest:
        raise ArtifactError(f"{file}: altered since it was stored; {advice}")
    return pq.read_table(io.BytesIO(payload), columns=list(columns))
