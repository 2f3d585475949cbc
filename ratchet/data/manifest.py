"""What a stored dataset says about itself, and how tasks refer to one."""

from __future__ import annotations

import json
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ratchet.data.atomic import sha256_bytes

SCHEMA_VERSION: Literal[2] = 2
"""Version of the layout of a dataset's folder; other versions are not read."""

Table = Literal["candles", "books", "trades"]


class DatasetRef(BaseModel):
    """A dataset as it crosses a task boundary: where it is and what it must contain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    """Absolute path of the dataset's folder."""
    digest: str
    """SHA-256 of the content, lower-case hex; equal content has an equal digest."""


class Partition(BaseModel):
    """The rows of one table and symbol whose bars open in one calendar year (UTC): one Parquet file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Table
    symbol: str
    year: int
    n_rows: int
    first_ns: int
    """`ts_event_ns` of the first row."""
    last_ns: int
    """`ts_event_ns` of the last row."""
    content_digest: str
    """SHA-256 of symbol, column names, types and values; does not depend on how Parquet encodes them."""
    file_digest: str
    """SHA-256 of the Parquet file's bytes."""


class DatasetManifest(BaseModel):
    """The `manifest.json` of a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[2] = SCHEMA_VERSION
    digest: str
    """`dataset_digest` of source, timeframe and the contents of the partitions, lower-case hex."""
    source: str
    """Where the rows came from, as the collector names it."""
    timeframe: str
    known_at_ns: int
    """The moment as of which the dataset is read by default, ns UTC; no row became known later."""
    symbols: tuple[str, ...]
    """Sorted."""
    n_rows: dict[str, int]
    """Candles per symbol."""
    start_ns: int
    """Open of the first bar, ns UTC."""
    end_ns: int
    """Close of the last bar, ns UTC."""
    columns: dict[str, dict[str, str]]
    """Table -> its columns in order, each with its type as numpy names it; `text` for text."""
    partitions: dict[str, Partition]
    """Path relative to the folder -> what lies there."""
    parents: tuple[str, ...]
    """Digests of the datasets from which this one was first made; `lineage.jsonl` holds every way."""
    made_by: str
    """How it was first made, in one line."""

    def contents(self) -> dict[str, str]:
        """Return the content digest of each partition by its path."""
        return {path: partition.content_digest for path, partition in self.partitions.items()}


def dataset_digest(source: str, timeframe: str, contents: dict[str, str]) -> str:
    """Return the digest of a dataset from the digests of its partitions; how it was made does not enter."""
    return sha256_bytes(json.dumps([SCHEMA_VERSION, source, timeframe, contents], sort_keys=True).encode())


def describe_schema(columns: dict[str, dict[str, str]]) -> dict[str, object]:
    """Return what `schema.json` holds: the JSON schema of the manifest and the column types of each table."""
    return {"manifest": DatasetManifest.model_json_schema(), "tables": columns}
