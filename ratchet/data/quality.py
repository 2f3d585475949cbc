"""The quality gate: what it reports, and how bad rows are kept apart before anything else happens."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal, Protocol

import pandas as pd
from pydantic import BaseModel, ConfigDict

from ratchet.data.atomic import sha256_bytes, write_bytes
from ratchet.errors import DataQualityError
from ratchet.market.symbols import Timeframe

Severity = Literal["critical", "row"]

_N_NAMED_FAILURES = 4


class Failure(BaseModel):
    """One check that some rows, or the table as a whole, did not meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    column: str
    """The column or columns concerned, separated by commas; empty for the table as a whole."""
    n_rows: int
    sample: tuple[str, ...]
    """The first rows concerned: symbol, ISO time, values."""
    reason: str
    severity: Severity
    """`critical` fails the gate; `row` only sends the rows to quarantine, as long as they are few."""


class QualityReport(BaseModel):
    """The verdict of a gate; a report that passed may still list rows that went to quarantine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    n_rows: int
    n_quarantined: int
    failures: tuple[Failure, ...]
    docs_path: str | None
    """The page for people, where the engine writes one."""


class QualityGate(Protocol):
    """What judges candles.

    Implementers owe: the input is not changed; the good and the quarantined rows together are all rows, in their order,
    each with a fresh index; quarantined rows carry a column `reason`; of a table that cannot be judged row by row
    (a missing column, none or wrong numbers) all rows are quarantined; a report with a critical failure did not pass.
    """

    def check(self, candles: pd.DataFrame, *, timeframe: Timeframe) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
        """Return the report, the good rows and the quarantined rows."""
        ...


def validate_data_quality(
    candles: pd.DataFrame, gate: QualityGate, *, timeframe: Timeframe, quarantine_folder: Path
) -> tuple[QualityReport, pd.DataFrame]:
    """Let `gate` judge the candles and return its report and the good rows.

    Quarantined rows are on disk, with their reasons, before anything else happens: in `quarantine_folder`, in a Parquet
    file named by its content, so that a second run over the same rows writes the same file.

    Raises:
        DataQualityError: the gate did not pass; one line names checks, rows (symbol, ISO time), reasons and the file.
    """
    report, good, quarantined = gate.check(candles, timeframe=timeframe)
    file = None if quarantined.empty else _write_quarantine(quarantine_folder, quarantined)
    if not report.passed:
        raise DataQualityError(_message(report, file))
    return report, good


def _write_quarantine(folder: Path, rows: pd.DataFrame) -> Path:
    texts = rows.select_dtypes(exclude="number").columns
    buffer = io.BytesIO()
    rows.astype(dict.fromkeys(texts, str)).to_parquet(buffer, index=False)
    payload = buffer.getvalue()
    path = folder / f"quarantine-{sha256_bytes(payload)[:16]}.parquet"
    write_bytes(path, payload)
    return path


def _message(report: QualityReport, file: Path | None) -> str:
    decisive = sorted(report.failures, key=lambda failure: failure.severity != "critical")
    named = [_describe(failure) for failure in decisive[:_N_NAMED_FAILURES]]
    if len(decisive) > len(named):
        named.append(f"and {len(decisive) - len(named)} more checks")
    kept = f"; the rows and their reasons are in {file}" if file else ""
    return f"the candles failed the quality gate: {'; '.join(named)}{kept}"


def _describe(failure: Failure) -> str:
    if not failure.sample:
        return f"{failure.check}: {failure.reason}"
    more = ", ..." if failure.n_rows > len(failure.sample[:2]) else ""
    n_rows = "1 row" if failure.n_rows == 1 else f"{failure.n_rows} rows"
    return f"{failure.check} in {n_rows} ({', '.join(failure.sample[:2])}{more}): {failure.reason}"
