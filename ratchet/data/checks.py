"""What candles must satisfy, as data: each engine of the quality gate runs these same checks.

A `RowCheck` holds for each row by itself; a missing value passes every check but `not_missing`. The table checks come
first, because rows of a table without a column, or with text for numbers, cannot be judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import iso_utc
from ratchet.data.quality import Failure, Severity
from ratchet.market.candles import CANDLE_COLUMNS, PRICE_COLUMNS
from ratchet.market.symbols import Timeframe

OFFSET_COLUMN = "ts_offset_ns"
"""How far the bar's open is behind the last point of the timeframe's grid; 0 is on the grid."""
STEP_COLUMN = "ts_step_ns"
"""Time since the row before of the same symbol; negative where the order is broken."""

NUMBER_TYPES = ("float64", "float32", "int64", "int32")
TIME_TYPES = ("int64",)

_LARGEST = float(np.finfo(np.float64).max)
_N_SAMPLE = 5
_DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Present:
    """The value is not NaN."""

    column: str

    def bad_rows(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return a mask of the rows that break the rule."""
        return rows[self.column].isna().to_numpy(dtype=bool)


@dataclass(frozen=True, slots=True)
class Between:
    """The value lies between two bounds, both included unless `is_strict` excludes the lower one."""

    column: str
    minimum: float
    maximum: float = np.inf
    is_strict: bool = False

    def bad_rows(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return a mask of the rows that break the rule."""
        values = rows[self.column].to_numpy()
        too_low = values <= self.minimum if self.is_strict else values < self.minimum
        return np.asarray(too_low | (values > self.maximum), dtype=bool)


@dataclass(frozen=True, slots=True)
class AtLeast:
    """The value is not below that of another column."""

    column: str
    floor: str

    def bad_rows(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return a mask of the rows that break the rule."""
        return np.asarray(rows[self.column].to_numpy() < rows[self.floor].to_numpy(), dtype=bool)


@dataclass(frozen=True, slots=True)
class Unique:
    """No other row has the same values in these columns."""

    columns: tuple[str, ...]

    def bad_rows(self, rows: pd.DataFrame) -> NDArray[np.bool_]:
        """Return a mask of the rows that break the rule."""
        return rows.duplicated(list(self.columns), keep=False).to_numpy(dtype=bool)


Rule = Present | Between | AtLeast | Unique


@dataclass(frozen=True, slots=True)
class RowCheck:
    """A named rule with what breaking it means."""

    name: str
    columns: tuple[str, ...]
    rule: Rule
    severity: Severity
    reason: str

    @property
    def column(self) -> str:
        """The columns concerned, separated by commas."""
        return ", ".join(self.columns)


def row_checks(timeframe: Timeframe) -> tuple[RowCheck, ...]:
    """Return every check of a row, the critical ones first; they run on what `with_time_columns` returns."""
    bar = timeframe.text
    time = ("ts_event_ns",)
    critical = [
        RowCheck("symbol_named", ("symbol",), Present("symbol"), "critical", "the row has no symbol"),
        RowCheck("unique_bar", time, Unique(("symbol", *time)), "critical", "another row has the same symbol and time"),
        RowCheck("on_grid", time, Between(OFFSET_COLUMN, 0, 0), "critical", f"the time is not the open of a {bar} bar"),
        RowCheck("ascending", time, Between(STEP_COLUMN, 0), "critical", "the time is before that of the row above"),
        *(
            RowCheck("positive_price", (name,), Between(name, 0, is_strict=True), "critical", f"{name} is not above 0")
            for name in PRICE_COLUMNS
        ),
    ]
    return (*critical, *_quarantine_checks())


def _quarantine_checks() -> list[RowCheck]:
    numbers = (*PRICE_COLUMNS, "volume")
    finite = (-_LARGEST, _LARGEST)
    return [
        *(RowCheck("not_missing", (name,), Present(name), "row", f"{name} is missing") for name in numbers),
        *(RowCheck("finite", (name,), Between(name, *finite), "row", f"{name} is not finite") for name in numbers),
        *(
            RowCheck("high_is_highest", ("high", name), AtLeast("high", name), "row", f"high is below {name}")
            for name in ("open", "close")
        ),
        *(
            RowCheck("low_is_lowest", ("low", name), AtLeast(name, "low"), "row", f"low is above {name}")
            for name in ("open", "close")
        ),
        RowCheck("volume_not_negative", ("volume",), Between("volume", 0), "row", "volume is negative"),
    ]


def table_failures(candles: pd.DataFrame) -> list[Failure]:
    """Return what is wrong with the table as a whole; then its rows cannot be judged."""
    n_rows = len(candles)
    failures = [
        Failure(check=check, column=name, n_rows=n_rows, sample=(), reason=reason, severity="critical")
        for name in CANDLE_COLUMNS
        for check, reason in _column_defects(candles, name)
    ]
    if n_rows == 0:
        failures.append(
            Failure(check="not_empty", column="", n_rows=0, sample=(), reason="there are no rows", severity="critical")
        )
    return failures


def column_types(name: str) -> tuple[str, ...] | None:
    """Return the dtypes that a candle column may have; None where any will do."""
    return {"symbol": None, "ts_event_ns": TIME_TYPES}.get(name, NUMBER_TYPES)


def _column_defects(candles: pd.DataFrame, name: str) -> list[tuple[str, str]]:
    if name not in candles:
        return [("column_present", f"the column {name} is missing")]
    allowed = column_types(name)
    dtype = str(candles[name].dtype)
    if allowed is None or dtype in allowed:
        return []
    return [("column_type", f"the column {name} holds {dtype}, not {allowed[0]}")]


def with_time_columns(candles: pd.DataFrame, timeframe: Timeframe) -> pd.DataFrame:
    """Return the candle columns with a fresh index and the two time columns that the checks need."""
    rows = candles.loc[:, list(CANDLE_COLUMNS)].reset_index(drop=True)
    times_ns = rows["ts_event_ns"].to_numpy()
    return rows.assign(
        **{
            OFFSET_COLUMN: (times_ns - _grid_phase_ns(times_ns, timeframe)) % timeframe.ns,
            STEP_COLUMN: _steps_ns(rows["symbol"], times_ns),
        }
    )


def failures_of(rows: pd.DataFrame, checks: Sequence[RowCheck]) -> list[tuple[RowCheck, NDArray[np.int64]]]:
    """Return each check that some rows break, with the positions of those rows."""
    found = [(check, np.flatnonzero(check.rule.bad_rows(rows))) for check in checks]
    return [(check, positions) for check, positions in found if len(positions)]


def describe_failure(rows: pd.DataFrame, check: RowCheck, positions: NDArray[np.int64]) -> Failure:
    """Return the report's line for a check that some rows break, naming the first of them."""
    names = [name for name in check.columns if name != "ts_event_ns"]
    sample = [_row_text(rows.iloc[position], names) for position in positions[:_N_SAMPLE]]
    return Failure(
        check=check.name,
        column=check.column,
        n_rows=len(positions),
        sample=tuple(sample),
        reason=check.reason,
        severity=check.severity,
    )


def row_reasons(n_rows: int, broken: Sequence[tuple[RowCheck, NDArray[np.int64]]]) -> NDArray[np.object_]:
    """Return for each row the reasons why it is bad, separated by `; `; empty text for a good row."""
    reasons = np.full(n_rows, "", dtype=object)
    for check, positions in broken:
        text = f"{check.name}: {check.reason}"
        reasons[positions] = [f"{before}; {text}" if before else text for before in reasons[positions]]
    return reasons


def _row_text(row: pd.Series, names: Sequence[str]) -> str:
    values = "".join(f" {name}={row[name]}" for name in names if name != "symbol")
    return f"{row['symbol']} {iso_utc(int(row['ts_event_ns']))}{values}"


def _grid_phase_ns(times_ns: NDArray[np.int64], timeframe: Timeframe) -> int:
    """Return where the grid starts: at whole bars since 1970, but days and weeks start at a venue's own hour."""
    if timeframe.seconds < _DAY_S:
        return 0
    phases, counts = np.unique(times_ns % timeframe.ns, return_counts=True)
    return int(phases[counts.argmax()])


def _steps_ns(symbols: pd.Series, times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    codes, _ = pd.factorize(symbols)
    order = np.argsort(codes, kind="stable")
    is_first = np.diff(codes[order], prepend=-2) != 0
    steps_ns = np.where(is_first, 0, np.diff(times_ns[order], prepend=times_ns[order][:1]))
    scattered = np.empty_like(steps_ns)
    scattered[order] = steps_ns
    return scattered
