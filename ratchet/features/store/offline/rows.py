"""Rows of feature tables: what may be stored, which of them are new, and their Parquet file."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ratchet.clock import iso_utc
from ratchet.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

KEY = ("symbol", "ts_event_ns", "known_ns")
"""The columns that identify a row: no two rows of a table share all three."""

_ENGINE_COLUMNS = {"file_index", "file_row_number"}  # a column of such a name would hide what DuckDB says of a row
_TIMES = ("ts_event_ns", "ts_ns", "known_ns")
_ROW_GROUP = 122_880  # DuckDB reads row groups in parallel, and makes its own of this size
_ZSTD_LEVEL = 1


def feature_names(view: str, rows: pd.DataFrame) -> tuple[str, ...]:
    """Return the columns beside `KEY`, after checking that every row may be stored.

    Raises:
        InputError: a column is missing, of the wrong type or of a name that cannot be kept apart; there is no row or
            no feature; a symbol is not in canonical form; a row lacks a time or would be known before its event; a
            value is infinite.
    """
    from ratchet.market.symbols import parse_symbol  # noqa: PLC0415 - `ratchet.market` loads pandas

    names = [str(name) for name in rows.columns]
    if rows.empty or len(names) <= len(KEY):
        raise InputError(f"{view}: no rows or no features to store; give {', '.join(KEY)} and float32 columns")
    if len({name.lower() for name in names}) < len(names):
        raise InputError(f"{view}: two columns have the same name but for upper and lower case; rename one")
    if taken := _ENGINE_COLUMNS.intersection(map(str.lower, names)):
        raise InputError(f"{view}: the name {', '.join(sorted(taken))} is DuckDB's own; rename the feature")
    require_times(view, rows, ("ts_event_ns", "known_ns"))
    for symbol in rows["symbol"].unique():
        if parse_symbol(str(symbol)) != symbol:
            raise InputError(f"{view}: {symbol!r} is not in canonical form; write {parse_symbol(str(symbol))}")
    is_early = rows["known_ns"].to_numpy() < rows["ts_event_ns"].to_numpy()
    _refuse(view, rows, is_early, "known before their event", "correct their known_ns")
    features = tuple(name for name in names if name not in KEY)
    for name in features:
        if rows[name].dtype != np.float32:
            raise InputError(f"{view}: the column {name} holds {rows[name].dtype}; convert it to float32")
        _refuse(
            view, rows, np.isinf(rows[name].to_numpy()), f"infinite in {name}", "store NaN where a value is missing"
        )
    return features


def require_times(view: str, rows: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that every row has a symbol, and a time of int64 nanoseconds since 1970 in each of `columns`.

    A negative time counts as missing: it is what a missing pandas time becomes as an integer.

    Raises:
        InputError: names the view, how many rows are wrong, and the first of them by symbol and time.
    """
    for name in ("symbol", *columns):
        if name not in rows:
            raise InputError(f"{view}: there is no column {name}; the rows need symbol, {', '.join(columns)}")
        _refuse(view, rows, rows[name].isna().to_numpy(), f"without {name}", "give one to every row")
    for name in columns:
        if rows[name].dtype != np.int64:
            raise InputError(f"{view}: the column {name} holds {rows[name].dtype}; give int64, ns UTC")
        _refuse(view, rows, rows[name].to_numpy() < 0, f"without {name} (negative)", "give ns since 1970 UTC")


def unstored(view: str, stored: Sequence[pd.DataFrame], rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that `stored` does not hold yet, sorted by `KEY`.

    Raises:
        InputError: a row has the key of another one but other values, so that none of them would be the newest.
    """
    import pandas as pd  # noqa: PLC0415 - the package is imported by the model server, which has no pandas

    rows = rows.astype({"symbol": object})
    every = pd.concat([*stored, rows], ignore_index=True)
    codes, _ = pd.factorize(every["symbol"], sort=True)
    order = np.lexsort((every["known_ns"], every["ts_event_ns"], codes))  # stable: what is stored comes first
    keys = (codes[order], *(every[name].to_numpy()[order] for name in KEY[1:]))
    has_twin = np.append(False, np.logical_and.reduce([key[1:] == key[:-1] for key in keys]))
    twin, origin = order[has_twin], order[np.flatnonzero(has_twin) - 1]
    is_changed = np.zeros(len(every), dtype=np.bool_)
    for name in every.columns.drop(list(KEY)):
        values = every[name].to_numpy()
        is_same = (values[twin] == values[origin]) | (np.isnan(values[twin]) & np.isnan(values[origin]))
        is_changed[twin[~is_same]] = True
    _refuse(view, every, is_changed, "given again with other values", "give a correction a later known_ns")
    return every.iloc[order[~has_twin & (order >= len(every) - len(rows))]].reset_index(drop=True)


def to_parquet(rows: pd.DataFrame) -> bytes:
    """Return sorted rows as a Parquet file; a NaN stays a NaN."""
    import pyarrow as pa  # noqa: PLC0415 - as above
    import pyarrow.parquet as pq  # noqa: PLC0415

    columns = {str(name): pa.array(rows[name].to_numpy()) for name in rows.columns if name != "symbol"}
    columns = {"symbol": pa.array(rows["symbol"], type=pa.string()).dictionary_encode()} | columns
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(columns),
        buffer,
        compression="zstd",
        compression_level=_ZSTD_LEVEL,
        use_dictionary=["symbol"],
        column_encoding={"ts_event_ns": "DELTA_BINARY_PACKED", "known_ns": "DELTA_BINARY_PACKED"},
        row_group_size=_ROW_GROUP,
        store_schema=False,
    )
    return buffer.getvalue()


def read_parquet(file: Path, events_ns: tuple[int, int]) -> pd.DataFrame:
    """Return the rows of a file whose events lie between two times, both included."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    first_ns, last_ns = events_ns
    table = pq.read_table(file, filters=[("ts_event_ns", ">=", first_ns), ("ts_event_ns", "<=", last_ns)])
    rows: pd.DataFrame = table.to_pandas()
    return rows


def read_values(file: Path, features: Sequence[str], rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    """Return one feature after the other at some rows of a file, counted from 0; other row groups are not read."""
    import pyarrow.parquet as pq  # noqa: PLC0415 - as above

    groups, position = np.unique(rows // _ROW_GROUP, return_inverse=True)
    position = position * _ROW_GROUP + rows % _ROW_GROUP  # every group is full but for the file's last
    with pq.ParquetFile(file) as parquet:
        for name in features:
            yield parquet.read_row_groups(groups.tolist(), columns=[name]).column(name).to_numpy()[position]


def _refuse(view: str, rows: pd.DataFrame, is_wrong: NDArray[np.bool_], what: str, advice: str) -> None:
    if not is_wrong.any():
        return
    row = int(is_wrong.argmax())
    times = [rows[name].iloc[row] for name in _TIMES if name in rows and rows[name].dtype == np.int64]
    when = f"{iso_utc(int(times[0]))} ({times[0]})" if times else f"in row {row}"
    what = f"{int(is_wrong.sum())} rows {what}, the first {rows['symbol'].iloc[row]} {when}"
    raise InputError(f"{view}: {what}; {advice}")
