"""Immutable, content-addressed datasets: `<root>/datasets/<first 16 hex of the digest>/`.

    manifest.json                     what is there: source, period, partitions and their digests
    schema.json                       the JSON schema of the manifest, the column types of each table
    lineage.jsonl                     how the dataset was made, one line per way (see `lineage`)
    candles/BTC-USDT/2024.parquet     one file per table, symbol and calendar year (UTC)
    books/BTC-USDT/2024.parquet       only where order books were collected
    trades/BTC-USDT/2024.parquet      only where trades were collected

A dataset appears by one rename of a finished, synced folder, so a process killed at any moment leaves either nothing
or the whole dataset, and at most a `.stage-*` folder that the next save removes. A partition that another dataset
holds already is a hard link to its file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from ratchet.clock import iso_utc
from ratchet.data.atomic import sha256_file
from ratchet.data.lineage import Way, add_way
from ratchet.data.manifest import DatasetManifest, DatasetRef, Partition, Table, dataset_digest
from ratchet.data.partitions import (
    ADVICE,
    Columns,
    Part,
    column_types,
    cut_table,
    empty_column,
    partition_path,
    read_part,
    text_or_numbers,
)
from ratchet.data.publishing import MANIFEST_FILE, only_writer, publish
from ratchet.errors import ArtifactError, InputError, NotFoundError
from ratchet.market.candles import CANDLE_COLUMNS, RECORD_COLUMNS, require_candle_types
from ratchet.market.symbols import Timeframe

_N_THREADS = 4


class StoredDataset(BaseModel):
    """A folder in which a dataset is stored; `manifest` is None where it cannot be read, and `problem` says why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folder: str
    manifest: DatasetManifest | None
    problem: str = ""


def save_dataset(
    root: Path,
    candles: pd.DataFrame,
    *,
    source: str,
    timeframe: Timeframe,
    books: pd.DataFrame | None = None,
    trades: pd.DataFrame | None = None,
    known_at_ns: int | None = None,
    parents: Sequence[DatasetRef] = (),
    made_by: str = "",
    made_at_ns: int | None = None,
) -> DatasetRef:
    """Store a dataset and return its reference; the same content gives the same reference and writes no rows.

    The digest covers source, timeframe and every value, not the bytes of the Parquet files, nor how the dataset was
    made; another way of making the same content is added to its lineage, and `known_at_ns` stays that of the first.
    Rows are handled one partition at a time. Safe to call from several processes at once.

    Args:
        root: the home folder; datasets live in `root/datasets`.
        candles: a candle frame; where it has no `known_ns` each bar is known at its close, where it has no `is_filled`
            none was made up.
        source: where the rows came from, for example `files:/data/binance`.
        timeframe: length of the bars.
        books: columns `symbol`, `ts_event_ns` and numbers; one row per snapshot.
        trades: columns `symbol`, `ts_event_ns` and numbers or text; one row per trade.
        known_at_ns: as of when the dataset is read by default, ns UTC; None for the latest `known_ns` of its candles.
        parents: the datasets from which this one was made.
        made_by: what made it, in one line.
        made_at_ns: when, ns UTC, where that matters.

    Raises:
        InputError: no candles, a column is missing or of the wrong type, a symbol that is not in canonical form, or a
            candle known before its bar closed or after `known_at_ns`.
        ArtifactError: the dataset exists but was altered.
    """
    if candles.empty:
        raise InputError(f"{source}: there are no candles to save; collect a longer period or other symbols")
    records = _record_columns(candles, timeframe)
    as_of_ns = _known_at_ns(candles, records, timeframe, known_at_ns)
    parts = [*cut_table("candles", candles["symbol"], records), *_cut("books", books), *_cut("trades", trades)]
    contents = _content_digests(parts)
    digest = dataset_digest(source, timeframe.text, contents)
    folder = root.expanduser().resolve() / "datasets" / digest[:16]
    ref = DatasetRef(uri=str(folder), digest=digest)
    made_from = tuple(parent.digest for parent in parents if parent.digest != digest)
    way = Way(made_by=made_by, parents=made_from, made_at_ns=made_at_ns)
    with only_writer(folder.parent):
        if folder.exists():
            _verify_files(ref)
            add_way(folder, way)
            return ref
        manifest = DatasetManifest(
            digest=digest,
            source=source,
            timeframe=timeframe.text,
            known_at_ns=as_of_ns,
            columns={part.table: column_types(part.whole) for part in parts},
            partitions={},
            parents=way.parents,
            made_by=made_by,
            **_extent(parts, timeframe),
        )
        publish(folder, manifest, parts, contents, way)
    return ref


def load_manifest(ref: DatasetRef) -> DatasetManifest:
    """Read what a dataset says about itself, and check that it is the one that `ref` means.

    Raises:
        NotFoundError: there is no such dataset.
        ArtifactError: the manifest is damaged, of another schema version, or belongs to other content.
    """
    path = Path(ref.uri) / MANIFEST_FILE
    try:
        manifest = DatasetManifest.model_validate_json(path.read_bytes())
        places = {partition_path(one.table, one.symbol, one.year) for one in manifest.partitions.values()}
    except FileNotFoundError as error:
        raise NotFoundError(f"{ref.uri}: no such dataset; collect the data again") from error
    except (OSError, ValidationError, InputError) as error:
        raise ArtifactError(f"{path}: the manifest cannot be read; remove the folder and collect again") from error
    digest = dataset_digest(manifest.source, manifest.timeframe, manifest.contents())
    if not manifest.digest == ref.digest == digest or manifest.partitions.keys() != places:
        raise ArtifactError(f"{path}: the manifest does not belong to dataset {ref.digest[:16]}; {ADVICE}")
    return manifest


def load_candles(ref: DatasetRef, *, known_at_ns: int | None = None) -> pd.DataFrame:
    """Read the candles of a dataset, as known at a moment, as a candle frame; every byte and value is verified.

    Only rows with `known_ns` <= `known_at_ns` are returned; None stands for the dataset's own moment, which no row is
    later than. A dataset holds one version of each bar, so a bar that was revised after `known_at_ns` is absent: its
    earlier version is in the parent.

    Raises:
        NotFoundError: there is no such dataset.
        ArtifactError: a file is missing or was altered.
    """
    manifest = load_manifest(ref)
    as_of_ns = manifest.known_at_ns if known_at_ns is None else known_at_ns
    candles = _candles(ref, manifest, (*CANDLE_COLUMNS, "known_ns"))
    is_known = candles.pop("known_ns") <= as_of_ns
    return candles if is_known.all() else candles[is_known].reset_index(drop=True)


def load_candle_records(ref: DatasetRef) -> pd.DataFrame:
    """Read the candles of a dataset with all `RECORD_COLUMNS`, whenever they became known. Raises as `load_candles`."""
    return _candles(ref, load_manifest(ref), RECORD_COLUMNS)


def load_books(ref: DatasetRef) -> pd.DataFrame | None:
    """Read the order books, sorted by symbol and time; None where the dataset has none. Raises as `load_candles`."""
    return _load(ref, load_manifest(ref), "books")


def load_trades(ref: DatasetRef) -> pd.DataFrame | None:
    """Read the trades, sorted by symbol and time; None where the dataset has none. Raises as `load_candles`."""
    return _load(ref, load_manifest(ref), "trades")


def load_partition(ref: DatasetRef, manifest: DatasetManifest, path: str) -> pd.DataFrame:
    """Read one partition, without its symbol. Raises as `load_candles`."""
    partition = manifest.partitions[path]
    return pd.DataFrame(read_part(Path(ref.uri) / path, partition, manifest.columns[partition.table]), copy=False)


def list_datasets(root: Path) -> list[StoredDataset]:
    """Return every dataset below `root`, sorted by folder; those that cannot be read say why."""
    folders = sorted((root.expanduser().resolve() / "datasets").glob("[0-9a-f]" * 16))
    return [_stored(folder) for folder in folders]


def _stored(folder: Path) -> StoredDataset:
    try:
        digest = json.loads((folder / MANIFEST_FILE).read_bytes())["digest"]
        manifest = load_manifest(DatasetRef(uri=str(folder), digest=digest))
    except (ArtifactError, NotFoundError) as error:
        return StoredDataset(folder=str(folder), manifest=None, problem=str(error))
    except (OSError, ValueError, KeyError, TypeError):
        problem = f"{folder / MANIFEST_FILE}: the manifest cannot be read; remove the folder and collect again"
        return StoredDataset(folder=str(folder), manifest=None, problem=problem)
    return StoredDataset(folder=str(folder), manifest=manifest)


def _record_columns(candles: pd.DataFrame, timeframe: Timeframe) -> Columns:
    """Return the columns of `RECORD_COLUMNS` without the symbol, uncopied where they have their type already."""
    require_candle_types(candles)
    times_ns = candles["ts_event_ns"].to_numpy(dtype=np.int64)
    numbers = {name: candles[name].to_numpy(dtype=np.float64) for name in CANDLE_COLUMNS[2:]}
    known_ns = candles["known_ns"].to_numpy(dtype=np.int64) if "known_ns" in candles else times_ns + timeframe.ns
    is_filled = candles["is_filled"].to_numpy() if "is_filled" in candles else np.zeros(len(times_ns), dtype=np.bool_)
    return {"ts_event_ns": times_ns, **numbers, "known_ns": known_ns, "is_filled": is_filled}


def _known_at_ns(candles: pd.DataFrame, records: Columns, timeframe: Timeframe, known_at_ns: int | None) -> int:
    known_ns = records["known_ns"]
    is_early = known_ns < records["ts_event_ns"] + timeframe.ns
    if is_early.any():
        row = int(is_early.argmax())
        bar = f"{candles['symbol'].iloc[row]} {iso_utc(int(records['ts_event_ns'][row]))}"
        raise InputError(f"{bar}: known_ns lies before the close of the {timeframe.text} bar; correct its known_ns")
    latest_ns = int(known_ns.max())
    if known_at_ns is not None and latest_ns > known_at_ns:
        n_late = int(np.count_nonzero(known_ns > known_at_ns))
        raise InputError(
            f"{n_late} candles became known after {iso_utc(known_at_ns)}, the last at {iso_utc(latest_ns)}; "
            "leave them out or give a later known_at_ns"
        )
    return latest_ns if known_at_ns is None else known_at_ns


def _cut(table: Table, rows: pd.DataFrame | None) -> list[Part]:
    return [] if rows is None or rows.empty else cut_table(table, rows["symbol"], _plain_columns(table, rows))


def _content_digests(parts: Sequence[Part]) -> dict[str, str]:
    with ThreadPoolExecutor(_N_THREADS) as pool:
        digests = pool.map(Part.content_digest, parts)
        return {part.path: digest for part, digest in zip(parts, digests, strict=True)}


def _plain_columns(table: str, rows: pd.DataFrame) -> Columns:
    columns = {str(name): text_or_numbers(table, str(name), rows[name]) for name in rows.columns if name != "symbol"}
    if columns.get("ts_event_ns", np.empty(0)).dtype != np.int64:
        raise InputError(f"{table}: needs a column ts_event_ns of int64, ns UTC")
    return columns


def _extent(parts: Sequence[Part], timeframe: Timeframe) -> dict[str, Any]:
    candles = [part.describe("", "") for part in parts if part.table == "candles"]
    n_rows: dict[str, int] = {}
    for part in candles:
        n_rows[part.symbol] = n_rows.get(part.symbol, 0) + part.n_rows
    return {
        "symbols": tuple(n_rows),
        "n_rows": n_rows,
        "start_ns": min(part.first_ns for part in candles),
        "end_ns": max(part.last_ns for part in candles) + timeframe.ns,
    }


def _verify_files(ref: DatasetRef) -> None:
    for path, partition in load_manifest(ref).partitions.items():
        file = Path(ref.uri) / path
        if not file.is_file() or sha256_file(file) != partition.file_digest:
            raise ArtifactError(f"{file}: missing or altered since it was stored; {ADVICE}")


def _candles(ref: DatasetRef, manifest: DatasetManifest, wanted: Sequence[str]) -> pd.DataFrame:
    candles = _load(ref, manifest, "candles", wanted)
    if candles is None:
        raise ArtifactError(f"{ref.uri}: the dataset has no candles; {ADVICE}")
    return candles


def _load(
    ref: DatasetRef, manifest: DatasetManifest, table: Table, wanted: Sequence[str] | None = None
) -> pd.DataFrame | None:
    """Read a table into room for all of its rows, so that beside it only the parts being read are in memory."""
    chosen = {path: part for path, part in manifest.partitions.items() if part.table == table}
    if not chosen:
        return None
    ordered = sorted(chosen.items(), key=lambda item: (item[1].symbol, item[1].year))
    types = manifest.columns[table]
    ends = np.cumsum([part.n_rows for _, part in ordered]).tolist()
    columns = {name: empty_column(types[name], ends[-1]) for name in wanted or types}

    def read(path: str, part: Partition, start: int, end: int) -> None:
        values = read_part(Path(ref.uri) / path, part, types)
        for name, column in columns.items():
            column[start:end] = part.symbol if name == "symbol" else values[name]

    with ThreadPoolExecutor(_N_THREADS) as pool:
        jobs = [
            pool.submit(read, path, part, start, end)
            for (path, part), start, end in zip(ordered, chain([0], ends), ends, strict=False)
        ]
        for job in jobs:
            job.result()
    return pd.DataFrame(columns, copy=False)
