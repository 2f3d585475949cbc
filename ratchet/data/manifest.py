"""What a stored dataset says about itself, and how tasks refer to one."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DatasetRef(BaseModel):
    """A dataset as it crosses a task boundary: where it is and what it must contain."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    """Absolute path of the dataset's folder."""
    digest: str
    """SHA-256 of the content, lower-case hex; equal content has an equal digest."""


class DatasetManifest(BaseModel):
    """The `manifest.json` of a dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: str
    """SHA-256 over source, timeframe and `contents`, lower-case hex."""
    source: str
    """Where the rows came from, as the collector names it."""
    timeframe: str
    symbols: tuple[str, ...]
    """Sorted."""
    n_rows: dict[str, int]
    """Candles per symbol."""
    start_ns: int
    """Open of the first bar, ns UTC."""
    end_ns: int
    """Close of the last bar, ns UTC."""
    partitions: dict[str, str]
    """Relative path -> SHA-256 of the Parquet bytes."""
    contents: dict[str, str]
    """Relative path -> SHA-256 of the column bytes, which does not depend on how Parquet encodes them."""
