"""The `files:` source: candle files as other tools leave them, read into one candle frame."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ratchet.clock import NS_PER_S, iso_utc
from ratchet.data.filenames import FORMATS, NamedFile, file_format, read_name, symbol_from_text
from ratchet.data.tables import NotCandlesError, read_candle_table
from ratchet.errors import InputError
from ratchet.market.candles import CANDLE_COLUMNS, as_candle_frame
from ratchet.market.symbols import Timeframe, parse_symbol

_log = logging.getLogger(__name__)

_N_LISTED = 30
_N_SPACING_ROWS = 3  # fewer bars show no spacing
_UNITS_S = (("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class _WrongSpacingError(InputError):
    """The file holds bars of another length."""


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows of one file; without a column `symbol` where only the request can name the symbol."""

    path: Path
    rows: pd.DataFrame

    @property
    def symbols(self) -> set[str]:
        return set(self.rows["symbol"].unique()) if "symbol" in self.rows else set()


def read_candle_files(path: Path, *, timeframe: Timeframe, symbols: Sequence[str] | None) -> pd.DataFrame:
    """Read one candle file, or all of a folder that hold `timeframe`, into a candle frame.

    Formats: feather, Parquet, CSV and JSON, plain or gzipped, as freqtrade, exchanges' archives and pandas write them.
    In a folder the files of other timeframes are passed over: by their names, or by the commonest spacing of their bars
    where the name is silent. The symbol comes from the file's name, from a column `symbol`, or is the only one asked
    for. Values stay as they are: judging them is the quality gate's work.

    Args:
        path: a file or a folder (its own files, not those of subfolders).
        timeframe: the bars that are wanted.
        symbols: the symbols that are wanted; None takes all that are found.

    Raises:
        InputError: in one line: what is wrong, in which file, and what to do.
    """
    path = path.expanduser()
    wanted = None if symbols is None else _canonical(symbols)
    files = _files_of(path, timeframe, wanted or ())
    is_folder = path.is_dir()
    parts = (
        _read_folder(path, files, timeframe, wanted) if is_folder else [_read_part(files[0], timeframe, wanted or ())]
    )
    chosen = _choose(path, files, parts, timeframe, wanted)
    rows = pd.concat([part.rows.assign(file=index) for index, part in enumerate(chosen)], ignore_index=True)
    _refuse_duplicates(rows, [part.path for part in chosen])
    return as_candle_frame(rows)


def _canonical(symbols: Sequence[str]) -> list[str]:
    if not symbols:
        raise InputError("the list of symbols is empty; name at least one, or leave it out to take all that are found")
    return list(dict.fromkeys(parse_symbol(symbol) for symbol in symbols))


def _files_of(path: Path, timeframe: Timeframe, wanted: Sequence[str]) -> list[NamedFile]:
    """Return the files that may hold the timeframe, as far as their names tell."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    files = _candle_files(path, wanted) if path.is_dir() else [_candle_file(path, wanted)]
    lengths_s = sorted({file.timeframe.seconds for file in files if file.timeframe})
    fitting = [file for file in files if file.timeframe is None or file.timeframe.seconds == timeframe.seconds]
    if not fitting:
        raise _other_length(path, lengths_s, timeframe, "by their names" if path.is_dir() else "by its name")
    return fitting


def _candle_file(path: Path, wanted: Sequence[str]) -> NamedFile:
    file = read_name(path, wanted)
    if file.other_kind:
        raise InputError(f"{path}: its name says {file.other_kind}, not traded candles; name a candle file")
    return file


def _candle_files(folder: Path, wanted: Sequence[str]) -> list[NamedFile]:
    try:
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be listed ({error.strerror}); check its permissions") from error
    files = [read_name(entry, wanted) for entry in entries if file_format(entry) and entry.is_file()]
    candles = [file for file in files if not file.other_kind]
    if not candles:
        subfolders = _listed(entry.name for entry in entries if entry.is_dir())
        hint = f"name one of its subfolders: {subfolders}" if subfolders else "put candle files there"
        raise InputError(f"{folder}: the folder has no candle file ({', '.join(FORMATS)}); {hint}")
    return candles


def _read_folder(folder: Path, files: list[NamedFile], timeframe: Timeframe, wanted: list[str] | None) -> list[_Part]:
    """Read the files of wanted symbols; one whose name is silent may turn out not to belong, and is passed over."""
    parts = []
    passed_over = []
    for file in files:
        if wanted and file.symbol and file.symbol not in wanted:
            continue
        try:
            parts.append(_read_part(file, timeframe, wanted or ()))
        except (NotCandlesError, _WrongSpacingError) as error:
            if file.timeframe:
                raise
            passed_over.append(error)
            _log.info("file passed over: %s", error)
    if passed_over and len(passed_over) == len(files):
        raise InputError(f"{folder}: none of its {len(files)} files has {timeframe.text} candles; {passed_over[0]}")
    return parts


def _read_part(file: NamedFile, timeframe: Timeframe, wanted: Sequence[str]) -> _Part:
    rows = read_candle_table(file.path)
    spacing_s = _spacing_s(rows)
    if spacing_s is not None and spacing_s != timeframe.seconds:
        raise _other_length(file.path, [spacing_s], timeframe, "by the times of its rows")
    if "symbol" in rows:
        rows["symbol"] = _column_symbols(file, rows["symbol"], wanted)
    elif file.symbol:
        rows["symbol"] = file.symbol
    return _Part(file.path, rows)


def _spacing_s(rows: pd.DataFrame) -> float | None:
    """Return the commonest spacing: unlike the median it survives a market in which most minutes have no trade."""
    times_ns = np.unique(rows["ts_event_ns"].to_numpy())
    if len(times_ns) < _N_SPACING_ROWS:
        return None
    spacings_ns, counts = np.unique(np.diff(times_ns), return_counts=True)
    return float(spacings_ns[counts.argmax()] / NS_PER_S)


def _column_symbols(file: NamedFile, column: pd.Series, wanted: Sequence[str]) -> pd.Series:
    texts = [str(text) for text in column.unique()]
    symbols = {text: symbol_from_text(text, wanted) for text in texts}
    unknown = [text for text, symbol in symbols.items() if symbol is None]
    if unknown:
        raise InputError(f"{file.path}: {unknown[0]!r} in the symbol column is no symbol; write BASE/QUOTE")
    found = sorted(symbol for symbol in symbols.values() if symbol)
    if file.symbol and len(texts) == 1:
        if file.symbol.partition(":")[0] != found[0].partition(":")[0]:
            raise InputError(
                f"{file.path}: its name says {file.symbol}, its symbol column {found[0]}; correct one of them"
            )
        return pd.Series(file.symbol, index=column.index)
    return column.astype(str).map(symbols)


def _choose(
    path: Path, files: list[NamedFile], parts: list[_Part], timeframe: Timeframe, wanted: list[str] | None
) -> list[_Part]:
    """Keep the rows of the wanted symbols; rows that nothing labels go to the only one asked for."""
    labelled = [part for part in parts if part.symbols]
    unlabelled = [part for part in parts if not part.symbols]
    found = set().union(*(part.symbols for part in labelled))
    missing = sorted(set(wanted or ()) - found)
    if unlabelled and (wanted is None or (missing and len(wanted) > 1)):
        raise InputError(
            f"{unlabelled[0].path}: the name does not tell the symbol; name it like BTC_USDT-{timeframe.text}.csv, "
            "add a column symbol, or ask for exactly one symbol"
        )
    if unlabelled and missing:
        return [_Part(part.path, part.rows.assign(symbol=missing[0])) for part in unlabelled]
    if missing:
        there = found | {file.symbol for file in files if file.symbol}
        has = f"it has {_listed(sorted(there))}; ask for one of these" if there else "its files name no symbol"
        raise InputError(f"{path}: no {timeframe.text} bars of {', '.join(missing)}; {has}")
    if wanted is None:
        return labelled
    return [_Part(part.path, part.rows[part.rows["symbol"].isin(wanted)]) for part in labelled]


def _refuse_duplicates(rows: pd.DataFrame, paths: Sequence[Path]) -> None:
    repeated = rows[rows.duplicated(["symbol", "ts_event_ns"], keep=False)]
    if repeated.empty:
        return
    first = repeated.sort_values(["ts_event_ns", "symbol"], kind="stable").iloc[0]
    same = repeated[(repeated["symbol"] == first["symbol"]) & (repeated["ts_event_ns"] == first["ts_event_ns"])]
    names = [paths[index] for index in dict.fromkeys(same["file"])]
    n_bars = repeated.groupby(["symbol", "ts_event_ns"]).ngroups
    n_distinct = repeated.drop_duplicates(list(CANDLE_COLUMNS)).groupby(["symbol", "ts_event_ns"]).size()
    nature = "with conflicting values" if (n_distinct > 1).any() else "with identical values"
    where, advice = str(names[0]), "remove the repeated rows"
    if len(names) > 1:
        where, advice = f"{names[0]} and {names[1].name}", "keep one of the files or cut the overlap"
    bar = f"{first['symbol']} at {iso_utc(first['ts_event_ns'])}"
    raise InputError(f"{where}: {n_bars} duplicate bars {nature}, the first {bar}; {advice}")


def _other_length(path: Path, lengths_s: Sequence[float], timeframe: Timeframe, source: str) -> _WrongSpacingError:
    there = ", ".join(map(_length_text, lengths_s))
    return _WrongSpacingError(
        f"{path}: {there} bars {source}, but {timeframe.text} bars were asked for; ask for {there} or name other files"
    )


def _length_text(length_s: float) -> str:
    for unit, unit_s in _UNITS_S:
        if length_s >= unit_s and length_s % unit_s == 0:
            return f"{length_s / unit_s:.0f}{unit}"
    return f"{length_s:g}s"


def _listed(names: Iterable[str]) -> str:
    texts = list(names)
    more = f" and {len(texts) - _N_LISTED} more" if len(texts) > _N_LISTED else ""
    return ", ".join(texts[:_N_LISTED]) + more
