"""Named checks, as data, and the verdict that they give on a table.

The checks of the table come first, because rows of a table without a column, or with text for numbers, cannot be
judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from string import Formatter
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import iso_utc
from ratchet.data.quality.report import Engine, Failure, QualityReport, Severity, Subject
from ratchet.data.quality.rows import Derived, Positions, Rows
from ratchet.data.quality.rules import Rule

NUMBER_TYPES = ("float64", "float32", "int64", "int32", "int16", "int8")
TIME_TYPES = ("int64",)

_N_SAMPLE = 5


@dataclass(frozen=True, slots=True)
class Check:
    """A named rule with what breaking it means.

    `detail` is a template of the reason for one row, filled with the row's values of any column; `{name:iso}` writes
    nanoseconds as ISO time. A check whose subject is the symbol judges the symbol's last row and keeps it where it is.
    """

    name: str
    columns: tuple[str, ...]
    rule: Rule
    severity: Severity
    reason: str
    detail: str = ""
    subject: Subject = "row"

    @property
    def column(self) -> str:
        """The columns concerned, separated by commas."""
        return ", ".join(self.columns)

    @property
    def removes_rows(self) -> bool:
        """Tell whether the rows concerned go to quarantine."""
        return self.subject == "row" and self.severity != "warn"


@dataclass(frozen=True, slots=True)
class Suite:
    """What a kind of table must satisfy."""

    table: str
    types: Mapping[str, tuple[str, ...] | None]
    """The columns that must be there, with their possible dtypes; None where any will do."""
    checks: tuple[Check, ...]
    derived: tuple[Derived, ...]
    max_quarantined_share: float


Broken = Sequence[tuple[Check, Positions]]
"""Checks that some rows break, with the positions of those rows."""
Result = tuple[QualityReport, pd.DataFrame, pd.DataFrame]
Witness = Callable[[Rows | None, Broken], tuple[list[Failure], str | None]]
"""Judges the same rows by other means: what it holds against the verdict, and the path of its page.

It is given no rows where the table cannot be judged row by row.
"""


def no_witness(_rows: Rows | None, _broken: Broken) -> tuple[list[Failure], str | None]:
    """Hold nothing against any verdict."""
    return [], None


def judge(table: pd.DataFrame, suite: Suite, *, engine: Engine, witness: Witness = no_witness) -> Result:
    """Return the report, the good rows and the quarantined rows."""
    defects = table_failures(table, suite)
    if defects:
        _, docs_path = witness(None, ())
        report = _report(suite, engine, len(table), len(table), defects, docs_path)
        quarantined = table.reset_index(drop=True).assign(reason="; ".join(defect.reason for defect in defects))
        return report, table.iloc[:0].reset_index(drop=True), quarantined
    rows = Rows(table, suite.derived)
    broken = broken_checks(rows, suite.checks)
    objections, docs_path = witness(rows, broken)
    failures = [*(_describe(rows, check, positions) for check, positions in broken), *objections]
    reasons = _row_reasons(rows, broken)
    failures += _share_failure(len(reasons), len(rows), suite.max_quarantined_share)
    good, quarantined = _divide(table, reasons)
    return _report(suite, engine, len(rows), len(reasons), failures, docs_path), good, quarantined


def table_failures(table: pd.DataFrame, suite: Suite) -> list[Failure]:
    """Return what is wrong with the table as a whole; then its rows cannot be judged."""
    found = [
        (check, name, reason) for name in suite.types for check, reason in _column_defects(table, name, suite.types)
    ]
    if table.empty:
        found.append(("not_empty", "", "there are no rows"))
    return [
        Failure(check=check, column=name, n_rows=len(table), sample=(), reason=reason, severity="critical")
        for check, name, reason in found
    ]


def broken_checks(rows: Rows, checks: Sequence[Check]) -> list[tuple[Check, Positions]]:
    """Return each check that some rows break, with the positions of those rows."""
    found = [(check, check.rule.broken(rows)) for check in checks]
    return [(check, positions) for check, positions in found if len(positions)]


def _column_defects(
    table: pd.DataFrame, name: str, types: Mapping[str, tuple[str, ...] | None]
) -> list[tuple[str, str]]:
    if name not in table:
        return [("column_present", f"the column {name} is missing")]
    allowed = types[name]
    dtype = str(table[name].dtype)
    if allowed is None or dtype in allowed:
        return []
    return [("column_type", f"the column {name} holds {dtype}, not {allowed[0]}")]


def _describe(rows: Rows, check: Check, positions: Positions) -> Failure:
    return Failure(
        check=check.name,
        column=check.column,
        n_rows=len(positions),
        sample=tuple(_row_texts(rows, check, positions[:_N_SAMPLE])),
        reason=check.reason,
        severity=check.severity,
        subject=check.subject,
    )


def _row_texts(rows: Rows, check: Check, positions: Positions) -> list[str]:
    if check.detail:
        texts = _details(rows, check, positions)
    else:
        names = [name for name in check.columns if name not in ("symbol", "ts_event_ns")]
        texts = _filled(rows, " ".join(f"{name}={{{name}}}" for name in names), positions)
    where = _filled(rows, "{symbol} {ts_event_ns:iso}", positions)
    return [f"{place} {text}".rstrip() for place, text in zip(where, texts, strict=True)]


def _details(rows: Rows, check: Check, positions: Positions) -> list[str]:
    return _filled(rows, check.detail, positions) if check.detail else [check.reason] * len(positions)


def _filled(rows: Rows, template: str, positions: Positions) -> list[str]:
    parts: list[Iterable[str]] = [[""] * len(positions)]
    for literal, name, spec, _ in Formatter().parse(template):
        parts.append(repeat(literal, len(positions)))
        if name:
            parts.append(_texts(rows.at(name, positions), spec or ""))
    return ["".join(pieces) for pieces in zip(*parts, strict=True)]


def _texts(values: NDArray[Any], spec: str) -> list[str]:
    if spec == "iso":
        return [iso_utc(value) for value in values.tolist()]
    # Python's own numbers are written faster than numpy's, but have no 32-bit floats.
    plain = list(values) if values.dtype == np.float32 else values.tolist()
    return [format(value, spec) for value in plain]


def _row_reasons(rows: Rows, broken: Broken) -> dict[int, str]:
    """Return the reasons of each row that goes to quarantine, separated by `; `, by position."""
    found: dict[int, list[str]] = {}
    for check, positions in broken:
        if check.removes_rows:
            for position, text in zip(positions.tolist(), _details(rows, check, positions), strict=True):
                found.setdefault(position, []).append(f"{check.name}: {text}")
    return {position: "; ".join(found[position]) for position in sorted(found)}


def _share_failure(n_bad: int, n_rows: int, max_share: float) -> list[Failure]:
    if n_bad <= max_share * n_rows:
        return []
    reason = f"{n_bad} of {n_rows} rows are bad ({n_bad / n_rows:.2%}); at most {max_share:.2%} may be"
    return [Failure(check="quarantined_share", column="", n_rows=n_bad, sample=(), reason=reason, severity="critical")]


def _divide(table: pd.DataFrame, reasons: Mapping[int, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    if not reasons:
        # Ten million good rows need no second copy.
        good = table.copy(deep=False)
        good.index = pd.RangeIndex(len(table))
        return good, table.iloc[:0].reset_index(drop=True).assign(reason=pd.Series(dtype=object))
    is_bad: NDArray[np.bool_] = np.zeros(len(table), dtype=bool)
    is_bad[list(reasons)] = True
    quarantined = table[is_bad].reset_index(drop=True).assign(reason=list(reasons.values()))
    good = table[~is_bad]
    good.index = pd.RangeIndex(len(good))
    return good, quarantined


def _report(
    suite: Suite, engine: Engine, n_rows: int, n_bad: int, failures: Sequence[Failure], docs_path: str | None
) -> QualityReport:
    return QualityReport(
        passed=all(failure.severity != "critical" for failure in failures),
        n_rows=n_rows,
        n_quarantined=n_bad,
        failures=tuple(failures),
        docs_path=docs_path,
        table=suite.table,
        engine=engine,
    )
