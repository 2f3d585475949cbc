"""Immutable, content-addressed datasets: `<root>/datasets/<first 16 hex of the digest>/`.

    manifest.json
    candles/BTC-USDT.parquet     one file per table and symbol
    books/BTC-USDT.parquet       only where order books were collected
    trades/BTC-USDT.parquet      only where trades were collected

A dataset appears by one rename of a finished, synced folder, so a process killed at any moment leaves either nothing
or the whole dataset, and at most a `.stage-*` folder that the next save removes.
"""

from __future__ import annotations

import fcntl
import io
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from ratchet.data.atomic import fsync_folder, sha256_bytes, sha256_file, write_bytes
from ratchet.data.manifest import DatasetManifest, DatasetRef
from ratchet.errors import ArtifactError, InputError, NotFoundError
from ratchet.market.candles import as_candle_frame
from ratchet.market.symbols import Timeframe, parse_symbol, symbol_slug

_MANIFEST = "manifest.json"
_STAGE_PREFIX = ".stage-"
_ADVICE = "remove the folder and collect the data again"


def save_dataset(
    root: Path,
    candles: pd.DataFrame,
    *,
    source: str,
    timeframe: Timeframe,
    books: pd.DataFrame | None = None,
    trades: pd.DataFrame | None = None,
) -> DatasetRef:
    """Store a dataset and return its reference; the same content gives the same reference and writes nothing.

    The digest covers source, timeframe and the bytes of every column, not the bytes of the Parquet files. Safe to call
    from several processes at once.

    Args:
        root: the home folder; datasets live in `root/datasets`.
        candles: a candle frame.
        source: where the rows came from, for example `files:/data/binance`.
        timeframe: length of the bars.
        books: columns `symbol`, `ts_event_ns` and numbers; one row per snapshot.
        trades: columns `symbol`, `ts_event_ns` and numbers or text; one row per trade.

    Raises:
        InputError: no candles, or a symbol that is not in canonical form.
        ArtifactError: the dataset exists but was altered.
    """
    if candles.empty:
        raise InputError(f"{source}: there are no candles to save; collect a longer period or other symbols")
    candles = as_candle_frame(candles)
    tables = {**_split("candles", candles), **_split("books", books), **_split("trades", trades)}
    contents = {path: _content_digest(rows) for path, rows in tables.items()}
    digest = _dataset_digest(source, timeframe.text, contents)
    folder = root.expanduser().resolve() / "datasets" / digest[:16]
    ref = DatasetRef(uri=str(folder), digest=digest)
    with _only_writer(folder.parent):
        if folder.exists():
            _verify_files(ref)
            return ref
        payloads = {path: _to_parquet(rows) for path, rows in tables.items()}
        manifest = DatasetManifest(
            digest=digest,
            source=source,
            timeframe=timeframe.text,
            partitions={path: sha256_bytes(payload) for path, payload in payloads.items()},
            contents=contents,
            **_extent(candles, timeframe),
        )
        _publish(folder, manifest, payloads)
    return ref


def load_manifest(ref: DatasetRef) -> DatasetManifest:
    """Read what a dataset says about itself, and check that it is the one that `ref` means.

    Raises:
        NotFoundError: there is no such dataset.
        ArtifactError: the manifest is damaged or belongs to other content.
    """
    path = Path(ref.uri) / _MANIFEST
    try:
        manifest = DatasetManifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFoundError(f"{ref.uri}: no such dataset; collect the data again") from error
    except (OSError, ValidationError) as error:
        raise ArtifactError(f"{path}: the manifest cannot be read; remove the folder and collect again") from error
    digest = _dataset_digest(manifest.source, manifest.timeframe, manifest.contents)
    if not manifest.digest == ref.digest == digest or manifest.partitions.keys() != manifest.contents.keys():
        raise ArtifactError(f"{path}: the manifest does not belong to dataset {ref.digest[:16]}; {_ADVICE}")
    return manifest


def load_candles(ref: DatasetRef) -> pd.DataFrame:
    """Read the candles of a dataset as a candle frame; every byte and every value is verified.

    Raises:
        NotFoundError: there is no such dataset.
        ArtifactError: a file is missing or was altered.
    """
    candles = _load(ref, "candles")
    if candles is None:
        raise ArtifactError(f"{ref.uri}: the dataset has no candles; {_ADVICE}")
    return as_candle_frame(candles)


def load_books(ref: DatasetRef) -> pd.DataFrame | None:
    """Read the order books, sorted by symbol and time; None where the dataset has none. Raises as `load_candles`."""
    return _load(ref, "books")


def load_trades(ref: DatasetRef) -> pd.DataFrame | None:
    """Read the trades, sorted by symbol and time; None where the dataset has none. Raises as `load_candles`."""
    return _load(ref, "trades")


def _split(table: str, rows: pd.DataFrame | None) -> dict[str, pd.DataFrame]:
    if rows is None or rows.empty:
        return {}
    parts = {}
    for symbol, part in rows.groupby("symbol", sort=True, dropna=False):
        if parse_symbol(str(symbol)) != symbol:
            raise InputError(f"{symbol!r} is not in canonical form; write {parse_symbol(str(symbol))}")
        ordered = part.sort_values("ts_event_ns", kind="stable", ignore_index=True)
        parts[f"{table}/{symbol_slug(str(symbol))}.parquet"] = ordered
    return parts


def _extent(candles: pd.DataFrame, timeframe: Timeframe) -> dict[str, Any]:
    return {
        "symbols": tuple(sorted(candles["symbol"].unique())),
        "n_rows": {str(symbol): int(n) for symbol, n in candles["symbol"].value_counts().items()},
        "start_ns": int(candles["ts_event_ns"].min()),
        "end_ns": int(candles["ts_event_ns"].max()) + timeframe.ns,
    }


def _dataset_digest(source: str, timeframe: str, contents: Mapping[str, str]) -> str:
    return sha256_bytes(json.dumps([source, timeframe, dict(contents)], sort_keys=True).encode())


def _content_digest(rows: pd.DataFrame) -> str:
    header = [str(rows["symbol"].iloc[0]), *rows.columns.drop("symbol")]
    blocks = [json.dumps(header).encode(), *(_column_bytes(rows[name]) for name in header[1:])]
    return sha256_bytes(json.dumps([sha256_bytes(block) for block in blocks]).encode())


def _column_bytes(column: pd.Series) -> bytes:
    if column.dtype.kind not in "iufb":
        return json.dumps([str(value) for value in column]).encode()
    values = column.to_numpy()
    if values.dtype.kind == "f":
        values = np.where(np.isnan(values), np.nan, values).astype(values.dtype)  # one NaN, whatever its bits were
    return values.astype(values.dtype.newbyteorder("<")).tobytes() + values.dtype.name.encode()


def _to_parquet(rows: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pandas(rows, preserve_index=False), buffer, compression="zstd")
    return buffer.getvalue()


def _publish(folder: Path, manifest: DatasetManifest, payloads: Mapping[str, bytes]) -> None:
    stage = Path(tempfile.mkdtemp(prefix=_STAGE_PREFIX, dir=folder.parent))
    stage.chmod(0o755)
    for path, payload in payloads.items():
        write_bytes(stage / path, payload)
    write_bytes(stage / _MANIFEST, manifest.model_dump_json(indent=2).encode() + b"\n")
    stage.rename(folder)
    fsync_folder(folder.parent)


@contextmanager
def _only_writer(datasets: Path) -> Iterator[None]:
    """Hold the lock of the datasets folder; whatever is staged while it is held belongs to a process that died."""
    datasets.mkdir(parents=True, exist_ok=True)
    fsync_folder(datasets.parent)
    with (datasets / ".lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for stage in datasets.glob(f"{_STAGE_PREFIX}*"):
            shutil.rmtree(stage)
        yield


def _verify_files(ref: DatasetRef) -> None:
    for path, digest in load_manifest(ref).partitions.items():
        file = Path(ref.uri) / path
        if not file.is_file() or sha256_file(file) != digest:
            raise ArtifactError(f"{file}: missing or altered since it was stored; {_ADVICE}")


def _load(ref: DatasetRef, table: str) -> pd.DataFrame | None:
    manifest = load_manifest(ref)
    paths = sorted(path for path in manifest.partitions if path.startswith(f"{table}/"))
    if not paths:
        return None
    parts = [
        _read_partition(Path(ref.uri) / path, manifest.partitions[path], manifest.contents[path]) for path in paths
    ]
    return pd.concat(parts, ignore_index=True).sort_values(["symbol", "ts_event_ns"], kind="stable", ignore_index=True)


def _read_partition(file: Path, digest: str, content: str) -> pd.DataFrame:
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read; {_ADVICE}") from error
    if sha256_bytes(payload) != digest:
        raise ArtifactError(f"{file}: altered since it was stored; {_ADVICE}")
    try:
        rows: pd.DataFrame = pq.read_table(io.BytesIO(payload)).to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise ArtifactError(f"{file}: not a Parquet file; {_ADVICE}") from error
    if _content_digest(rows) != content:
        raise ArtifactError(f"{file}: its values are not those that were stored; {_ADVICE}")
    return rows
