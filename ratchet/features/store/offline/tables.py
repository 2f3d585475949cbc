"""What a stored feature table says about itself: its manifest, and how others refer to it.

    <root>/<view>/<first 16 hex of the version>/
        table.json                      names, timeframe and the batches that belong to the table
        <first 16 hex of digest>.parquet  one batch of rows each, never changed

A batch belongs to the table from the moment at which the manifest that names it replaces the one before.
"""

from __future__ import annotations

import json
from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.data.atomic import sha256_bytes, sha256_file, write_bytes
from ratchet.errors import ArtifactError

TABLE_FILE = "table.json"

_ADVICE = "remove the folder and compute the features again"


class FeatureTableRef(BaseModel):
    """A feature table as it crosses a task boundary: where it is, and its state when it was referred to."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    """Absolute path of the table's folder."""
    view: str
    version: str
    """Content hash of the feature set, 64 hex."""
    digest: str
    """SHA-256 over everything the table held then, but for its lineage; it changes with every batch."""


@dataclass(frozen=True, slots=True)
class FeatureTableInfo:
    """A stored feature table in short; times in ns UTC."""

    ref: FeatureTableRef
    timeframe: str
    features: tuple[str, ...]
    symbols: tuple[str, ...]
    """Sorted."""
    n_rows: int
    """Corrections counted."""
    n_batches: int
    first_event_ns: int
    last_event_ns: int
    last_known_ns: int
    lineage: tuple[dict[str, str], ...]
    """What the writer said about each batch, the first batch first."""


class Batch(BaseModel):
    """Rows that were added together: one Parquet file, sorted by symbol, `ts_event_ns` and `known_ns`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file_digest: str
    """SHA-256 of the Parquet file's bytes."""
    n_rows: int
    symbols: tuple[str, ...]
    first_event_ns: int
    last_event_ns: int
    first_known_ns: int
    last_known_ns: int
    lineage: dict[str, str]

    @property
    def file_name(self) -> str:
        """Where the batch lies in its table's folder."""
        return f"{self.file_digest[:16]}.parquet"

    def meets(self, events_ns: tuple[int, int], known_ns: tuple[int, int], symbols: Set[str]) -> bool:
        """Return whether rows of these symbols may lie between these times, both ends included."""
        return (
            self.first_event_ns <= events_ns[1]
            and self.last_event_ns >= events_ns[0]
            and self.first_known_ns <= known_ns[1]
            and self.last_known_ns >= known_ns[0]
            and not set(self.symbols).isdisjoint(symbols)
        )


class FeatureTable(BaseModel):
    """The `table.json` of one view and version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    view: str
    version: str
    timeframe: str
    features: tuple[str, ...]
    """Names of the float32 columns, in their order."""
    batches: tuple[Batch, ...]
    digest: str = ""
    """`content_digest()` when the manifest was written."""

    @property
    def symbols(self) -> tuple[str, ...]:
        """Every symbol that has a row, sorted."""
        return tuple(sorted({symbol for batch in self.batches for symbol in batch.symbols}))

    def content_digest(self) -> str:
        """Return the digest of everything but the lineage; the order of the batches does not enter."""
        batches = sorted(batch.model_dump_json(exclude={"lineage"}) for batch in self.batches)
        named = [self.schema_version, self.view, self.version, self.timeframe, self.features, batches]
        return sha256_bytes(json.dumps(named).encode())

    def with_batch(self, batch: Batch) -> FeatureTable:
        """Return the table with one more batch."""
        grown = self.model_copy(update={"batches": (*self.batches, batch)})
        return grown.model_copy(update={"digest": grown.content_digest()})

    def ref(self, folder: Path) -> FeatureTableRef:
        """Return the reference to the table in `folder`."""
        return FeatureTableRef(uri=str(folder), view=self.view, version=self.version, digest=self.digest)

    def info(self, folder: Path) -> FeatureTableInfo:
        """Return the table in short."""
        return FeatureTableInfo(
            ref=self.ref(folder),
            timeframe=self.timeframe,
            features=self.features,
            symbols=self.symbols,
            n_rows=sum(batch.n_rows for batch in self.batches),
            n_batches=len(self.batches),
            first_event_ns=min(batch.first_event_ns for batch in self.batches),
            last_event_ns=max(batch.last_event_ns for batch in self.batches),
            last_known_ns=max(batch.last_known_ns for batch in self.batches),
            lineage=tuple(batch.lineage for batch in self.batches),
        )


def read_table(folder: Path) -> FeatureTable | None:
    """Read the manifest in a table's folder; None where no batch was ever finished there.

    Raises:
        ArtifactError: the manifest is damaged or belongs to another folder.
    """
    path = folder / TABLE_FILE
    try:
        table = FeatureTable.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path}: the manifest cannot be read; {_ADVICE}") from error
    if table.digest != table.content_digest() or (folder.parent.name, folder.name) != (table.view, table.version[:16]):
        raise ArtifactError(f"{path}: the manifest was altered or belongs to another table; {_ADVICE}")
    return table


def write_table(folder: Path, table: FeatureTable) -> None:
    """Replace the manifest in a table's folder; after a crash it is the old or the new one."""
    write_bytes(folder / TABLE_FILE, table.model_dump_json(indent=2).encode() + b"\n")


def verified_file(folder: Path, batch: Batch) -> Path:
    """Return a batch's file after comparing all of its bytes with the manifest.

    Raises:
        ArtifactError: the file is missing or was altered.
    """
    file = folder / batch.file_name
    try:
        if sha256_file(file) == batch.file_digest:
            return file
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read; {_ADVICE}") from error
    raise ArtifactError(f"{file}: altered since it was stored; {_ADVICE}")
