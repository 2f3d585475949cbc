"""One table of a dataset cut by symbol and calendar year, and each part as a Parquet file.

Columns are handled as numpy arrays, one part at a time: a table of ten million rows is never copied as a whole.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ratchet.data.atomic import sha256_bytes
from ratchet.data.manifest import Partition, Table
from ratchet.errors import ArtifactError, InputError
from ratchet.market.symbols import parse_symbol, symbol_slug

ADVICE = "remove the folder and collect the data again"

Columns = dict[str, NDArray[Any]]
"""Name -> values, all of one length, without the symbol; text as Python strings."""

_Where = slice | NDArray[np.int64]
"""Which rows of a table: a slice where they lie together, else their positions."""

_ZSTD_LEVEL = 1
_TEXT = "text"


def partition_path(table: Table, symbol: str, year: int) -> str:
    """Return where a partition lies in its dataset's folder.

    >>> partition_path("candles", "BTC/USDT", 2024)
    'candles/BTC-USDT/2024.parquet'
    """
    return f"{table}/{symbol_slug(symbol)}/{year}.parquet"


@dataclass(frozen=True)
class Part:
    """Rows of one table, symbol and year, in order of time; `columns()` copies them out of the table."""

    table: Table
    symbol: str
    year: int
    whole: Columns
    where: _Where

    @property
    def path(self) -> str:
        """Where the part lies in the dataset's folder."""
        return partition_path(self.table, self.symbol, self.year)

    def columns(self) -> Columns:
        """Return the part's rows; views of the table where these lie together."""
        return {name: np.ascontiguousarray(values[self.where]) for name, values in self.whole.items()}

    def content_digest(self) -> str:
        """Return the digest of the part's values."""
        return content_digest(self.symbol, self.columns())

    def payload(self) -> bytes:
        """Return the part as a Parquet file."""
        return _to_parquet(self.symbol, self.columns())

    def describe(self, content: str, payload_digest: str) -> Partition:
        """Return the manifest's entry of the part."""
        times_ns = self.whole["ts_event_ns"][self.where]
        return Partition(
            table=self.table,
            symbol=self.symbol,
            year=self.year,
            n_rows=len(times_ns),
            first_ns=int(times_ns[0]),
            last_ns=int(times_ns[-1]),
            content_digest=content,
            file_digest=payload_digest,
        )


def cut_table(table: Table, symbols: pd.Series, columns: Columns) -> list[Part]:
    """Cut a table, whose rows may come in any order, into parts sorted by symbol and year.

    Rows of one symbol and time keep their order.

    Raises:
        InputError: a symbol is not in canonical form.
    """
    codes, names = pd.factorize(symbols, use_na_sentinel=False)
    times_ns = columns["ts_event_ns"]
    in_order = len(codes) < 2 or bool(np.all(np.diff(codes) >= 0))
    order = None if in_order else np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    parts: list[Part] = []
    for symbol, start, end in zip(map(_canonical, names), [0, *ends[:-1]], ends, strict=True):
        rows = slice(int(start), int(end)) if order is None else order[start:end]
        where = _by_time(times_ns, rows)
        parts += [Part(table, symbol, year, columns, piece) for year, piece in _by_year(times_ns, where)]
    return sorted(parts, key=lambda part: (part.symbol, part.year))


def _canonical(name: object) -> str:
    symbol = parse_symbol(str(name))
    if symbol != name:
        raise InputError(f"{name!r} is not in canonical form; write {symbol}")
    return symbol


def _by_time(times_ns: NDArray[np.int64], rows: _Where) -> _Where:
    times = times_ns[rows]
    if bool(np.all(times[1:] >= times[:-1])):
        return rows
    positions = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
    return positions[np.argsort(times, kind="stable")]


def _by_year(times_ns: NDArray[np.int64], where: _Where) -> list[tuple[int, _Where]]:
    years = times_ns[where].astype("datetime64[ns]").astype("datetime64[Y]").astype(np.int64) + 1970
    edges = [0, *(np.flatnonzero(np.diff(years)) + 1).tolist(), len(years)]
    return [(int(years[start]), _piece(where, start, end)) for start, end in pairwise(edges)]


def _piece(where: _Where, start: int, end: int) -> _Where:
    return slice(where.start + start, where.start + end) if isinstance(where, slice) else where[start:end]


def column_types(columns: Columns) -> dict[str, str]:
    """Return the type of each column as manifests name it, the symbol first."""
    return {"symbol": _TEXT, **{name: _type_name(values) for name, values in columns.items()}}


def empty_column(type_name: str, n_rows: int) -> NDArray[Any]:
    """Return room for `n_rows` values of a type that `column_types` names."""
    return np.empty(n_rows, dtype=object if type_name == _TEXT else type_name)


def content_digest(symbol: str, columns: Columns) -> str:
    """Return the SHA-256 over symbol, names, types and values; every NaN counts as the same value."""
    digests = [_column_digest(values) for values in columns.values()]
    header = [symbol, *columns, *(_type_name(values) for values in columns.values())]
    return sha256_bytes(json.dumps([header, digests]).encode())


def read_part(file: Path, partition: Partition, types: Mapping[str, str]) -> Columns:
    """Read a partition's columns, after verifying every byte and every value.

    Raises:
        ArtifactError: the file is missing, was altered, or holds other values than those that were stored.
    """
    try:
        payload = file.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{file}: cannot be read; {ADVICE}") from error
    if sha256_bytes(payload) != partition.file_digest:
        raise ArtifactError(f"{file}: altered since it was stored; {ADVICE}")
    names = [name for name in types if name != "symbol"]
    try:
        table = pq.read_table(io.BytesIO(payload), columns=names, use_threads=False)
        columns = {name: table.column(name).to_numpy() for name in names}
    except (OSError, KeyError, pa.ArrowException) as error:
        raise ArtifactError(f"{file}: not the Parquet file of a partition; {ADVICE}") from error
    if len(table) != partition.n_rows or content_digest(partition.symbol, columns) != partition.content_digest:
        raise ArtifactError(f"{file}: its values are not those that were stored; {ADVICE}")
    return columns


def text_or_numbers(table: str, name: str, column: pd.Series) -> NDArray[Any]:
    """Return a column's values, uncopied where numpy can share them; anything but numbers must be text.

    Raises:
        InputError: the column holds something that is neither a number nor text.
    """
    values: NDArray[Any] = column.to_numpy()
    if values.dtype.kind in "iufb":
        return values
    try:
        pa.array(values, type=pa.large_string(), from_pandas=True)
    except pa.ArrowException as error:
        raise InputError(f"{table}: the column {name} holds neither numbers nor text; convert it") from error
    return values.astype(object)


def _type_name(values: NDArray[Any]) -> str:
    return values.dtype.name if values.dtype.kind in "iufb" else _TEXT


def _column_digest(values: NDArray[Any]) -> str:
    if values.dtype.kind not in "iufb":
        blocks: Sequence[Any] = _text_blocks(values)
    elif values.dtype.kind == "f" and np.isnan(values).any():
        blocks = (np.where(np.isnan(values), np.nan, values).astype(values.dtype),)  # NaNs differ in their bits
    else:
        blocks = (values,)
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def _text_blocks(values: NDArray[Any]) -> Sequence[Any]:
    """Return which values are missing, where each text ends, and all the texts in one run of UTF-8."""
    text = pa.array(values, type=pa.large_string(), from_pandas=True)
    ends = np.frombuffer(text.buffers()[1], dtype=np.int64, count=len(text) + 1)
    return text.is_null().to_numpy(zero_copy_only=False), ends, memoryview(text.buffers()[2] or b"")[: ends[-1]]


def _to_parquet(symbol: str, columns: Columns) -> bytes:
    n_rows = len(next(iter(columns.values())))
    named = pa.DictionaryArray.from_arrays(np.zeros(n_rows, dtype=np.int32), [symbol])
    arrays = [named, *(_to_arrow(values) for values in columns.values())]
    delta = {name: "DELTA_BINARY_PACKED" for name, values in columns.items() if values.dtype == np.int64}
    buffer = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, names=["symbol", *columns]),
        buffer,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=["symbol"],
        column_encoding=delta or None,
    )
    return buffer.getvalue()


def _to_arrow(values: NDArray[Any]) -> Any:
    is_text = values.dtype.kind not in "iufb"
    return pa.array(values, type=pa.large_string(), from_pandas=True) if is_text else pa.array(values)
