"""One file of candles: bytes to a table, the table's columns to times and numbers."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TextIO, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import feather

from ratchet.data.filenames import FORMATS, FileFormat, file_format
from ratchet.errors import InputError
from ratchet.market.candles import PRICE_COLUMNS

TIME_COLUMNS = (
    *("timestamp", "ts_event_ns", "ts_event", "open_time", "opentime", "open_timestamp", "datetime", "date_time"),
    *("date", "time", "ts", "unix", "unix_timestamp", "epoch", "start", "start_time", "starttime"),
    "__index_level_0__",  # Arrow's name for an index without one
)
"""Names under which the bar's OPEN time is looked for, in this order, whatever their case."""

SYMBOL_COLUMNS = ("symbol", "pair", "ticker")
_NUMBER_COLUMNS = {
    "open": ("open", "o", "open_price"),
    "high": ("high", "h", "high_price"),
    "low": ("low", "l", "low_price"),
    "close": ("close", "c", "close_price"),
    "volume": ("volume", "vol", "v", "base_volume", "volume_base"),
}
_KLINE_COLUMNS = ("open_time", "open", "high", "low", "close", "volume")
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    RecursionError,
    zlib.error,
    csv.Error,
    pa.ArrowException,
)
# Smallest value that is read as milliseconds, microseconds, nanoseconds; below the first: seconds since 1970.
_UNIT_BOUNDS = np.array([1e11, 1e14, 1e17])
_UNIT_NS = np.array([10**9, 10**6, 10**3, 1], dtype=np.int64)
_EARLIEST_S = 10**8  # smaller integers (20240101, a row number) are no time since 1970


class NotCandlesError(InputError):
    """The file is a readable table without any price column."""


def read_candle_table(path: Path) -> pd.DataFrame:
    """Read one file into columns `ts_event_ns` int64 ns UTC, open, high, low, close, volume float64, in file order.

    A column `symbol` (text as in the file) is added where the file has one. Numbers may be written as text; missing
    numbers become NaN, which the quality gate judges.

    Raises:
        NotCandlesError: a table without any price column.
        InputError: unreadable, without rows, without a needed column, or with text where a number or a time belongs.
    """
    table = _read_table(path)
    names = {_normal(column): column for column in reversed(list(table.columns))}
    numbers = {wanted: _find(names, aliases) for wanted, aliases in _NUMBER_COLUMNS.items()}
    time_column = _find(names, TIME_COLUMNS)
    _require_columns(path, table, numbers, time_column)
    if table.empty:
        raise InputError(f"{path}: the file holds no rows; download it again or remove it")
    columns: dict[str, object] = {"ts_event_ns": _times_ns(path, table[time_column])}
    columns |= {wanted: _numbers(path, table[column]) for wanted, column in numbers.items()}
    symbol_column = _find(names, SYMBOL_COLUMNS)
    if symbol_column is not None:
        columns["symbol"] = table[symbol_column].to_numpy(dtype=object)
    return pd.DataFrame(columns)


def _read_table(path: Path) -> pd.DataFrame:
    kind = file_format(path)
    if kind is None:
        raise InputError(f"{path}: not a candle file; the name must end in {', '.join(FORMATS)}")
    try:
        return _READERS[kind](path)
    except InputError:
        raise
    except _UNREADABLE as error:
        cause = " ".join(str(error).split())[:160] or type(error).__name__
        raise InputError(f"{path}: cannot be read as {kind} ({cause}); download it again or remove it") from error


def _read_csv(path: Path) -> pd.DataFrame:
    with _open_text(path) as file:
        first = file.readline()
    if not first:
        return pd.DataFrame(columns=list(_KLINE_COLUMNS))
    separator = max(",;\t", key=first.count)
    fields = next(csv.reader([first], delimiter=separator), [])
    has_header = not all(map(_is_number, fields))
    if not has_header:
        _require_kline_width(path, len(fields))
    table = pd.read_csv(
        path,
        sep=separator,
        header=0 if has_header else None,
        encoding="utf-8-sig",
        low_memory=False,
        float_precision="round_trip",
        skipinitialspace=True,
    )
    if not isinstance(table.index, pd.RangeIndex):
        raise InputError(f"{path}: the rows have more fields than the header; correct the header")
    return table if has_header else _as_klines(table)


def _read_json(path: Path) -> pd.DataFrame:
    with _open_text(path) as file:
        content = json.load(file)
    if not isinstance(content, list) or not all(isinstance(row, list | dict) for row in content):
        raise NotCandlesError(f"{path}: not a list of candles; expected [[time, open, high, low, close, volume], ...]")
    if content and isinstance(content[0], list):
        _require_kline_width(path, min(len(row) for row in content))
        return _as_klines(pd.DataFrame(content))
    return pd.DataFrame(content)


_READERS: dict[FileFormat, Callable[[Path], pd.DataFrame]] = {
    # Without the metadata of pandas an index is a column like the others, and types are the plain ones.
    "feather": lambda path: feather.read_table(path).to_pandas(ignore_metadata=True),
    "parquet": lambda path: pq.read_table(path).to_pandas(ignore_metadata=True),
    "csv": _read_csv,
    "json": _read_json,
}


def _open_text(path: Path) -> TextIO:
    if path.name.lower().endswith(".gz"):
        return cast("TextIO", gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")


def _require_kline_width(path: Path, n_fields: int) -> None:
    if n_fields < len(_KLINE_COLUMNS):
        raise NotCandlesError(
            f"{path}: no header and {n_fields} fields a row; name the columns timestamp, open, high, low, close, volume"
        )


def _as_klines(table: pd.DataFrame) -> pd.DataFrame:
    names = [*_KLINE_COLUMNS, *(f"field_{index}" for index in range(len(_KLINE_COLUMNS), table.shape[1]))]
    return table.set_axis(names, axis="columns")


def _require_columns(
    path: Path, table: pd.DataFrame, numbers: Mapping[str, Hashable | None], time_column: Hashable | None
) -> None:
    there = ", ".join(map(str, list(table.columns)[:20])) or "nothing"
    missing = [name for name, column in numbers.items() if column is None]
    if missing:
        kind = NotCandlesError if set(PRICE_COLUMNS) <= set(missing) else InputError
        raise kind(
            f"{path}: no column {', '.join(missing)}; it has {there}; "
            "a candle file needs open, high, low, close and volume"
        )
    if time_column is None:
        raise InputError(
            f"{path}: no time column; it has {there}; call the column of the bar's open time timestamp or date"
        )


def _find(names: Mapping[str, Hashable], aliases: Sequence[str]) -> Hashable | None:
    return next((names[alias] for alias in aliases if alias in names), None)


def _normal(column: object) -> str:
    return str(column).strip().lower().replace(" ", "_").replace("-", "_")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _numbers(path: Path, column: pd.Series) -> NDArray[np.float64]:
    if column.dtype.kind in "iuf":
        return column.to_numpy(dtype="float64", na_value=np.nan)
    numbers = np.array([_as_float(value) for value in column.astype(object)], dtype=np.float64)
    _refuse(path, column, np.isnan(numbers) & column.notna().to_numpy(), "is not a number; correct or remove the row")
    return numbers


def _as_float(value: object) -> float:
    """Read a number written as text; unlike pandas' reader this is exact to the last bit."""
    try:
        if isinstance(value, Decimal) or (isinstance(value, str) and "_" not in value):
            return float(value)
    except ValueError:
        return np.nan
    is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return float(value) if is_number else np.nan  # type: ignore[arg-type]


def _times_ns(path: Path, column: pd.Series) -> NDArray[np.int64]:
    _refuse(path, column, column.isna().to_numpy(), "is not a time; correct or remove the row")
    if isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M":
        return _datetime_ns(path, column)
    is_number = column.dtype.kind in "iuf"
    numbers = column if is_number else pd.to_numeric(column.astype(str), errors="coerce")
    if numbers.notna().all():
        return _epoch_ns(path, column, numbers.to_numpy())
    text = column.astype(str).str.strip().str.removesuffix(" UTC")
    times = pd.to_datetime(text, format="ISO8601", utc=True, errors="coerce")
    advice = "is not a time; write ISO 8601 (2024-01-31T10:00:00Z) or s, ms, us or ns since 1970"
    _refuse(path, column, times.isna().to_numpy(), advice)
    return _datetime_ns(path, times)


def _datetime_ns(path: Path, column: pd.Series) -> NDArray[np.int64]:
    naive = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
    try:
        times: NDArray[np.int64] = naive.dt.as_unit("ns").to_numpy().astype(np.int64)
    except pd.errors.OutOfBoundsDatetime as error:
        raise InputError(f"{path}: column {column.name}: a time is outside 1678 to 2262; remove the row") from error
    return times


def _epoch_ns(path: Path, column: pd.Series, numbers: NDArray[np.generic]) -> NDArray[np.int64]:
    """Scale s, ms, us or ns, recognised by size, to ns; a file may change its unit midway, as Binance's archive did."""
    sizes = numbers.astype(np.float64)
    unit_ns = _UNIT_NS[np.searchsorted(_UNIT_BOUNDS, sizes, side="right")]
    is_time = (sizes >= _EARLIEST_S) & (sizes * unit_ns < np.iinfo(np.int64).max)
    _refuse(path, column, ~is_time, "is not a time; write ISO 8601 or s, ms, us or ns since 1970")
    if numbers.dtype.kind in "iu":
        return numbers.astype(np.int64) * unit_ns
    whole = np.floor(sizes)
    # A float64 holds a time of our days to about 0.2 us at best, so fractions are kept to the microsecond.
    fraction_ns = np.rint((sizes - whole) * unit_ns / 1_000).astype(np.int64) * 1_000
    return whole.astype(np.int64) * unit_ns + fraction_ns


def _refuse(path: Path, column: pd.Series, bad: NDArray[np.bool_], problem: str) -> None:
    if bad.any():
        row = int(bad.argmax())
        value = str(column.iloc[row])[:40]
        raise InputError(f"{path}: column {column.name}, row {row + 1}: {value!r} {problem}")
