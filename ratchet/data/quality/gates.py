"""The quality gate as the rest of the library knows it, and how bad rows are kept before anything else happens."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Protocol

import pandas as pd

from ratchet.data.atomic import sha256_bytes, write_bytes
from ratchet.data.quality.report import Failure, QualityReport
from ratchet.errors import DataQualityError
from ratchet.market.symbols import Timeframe

_N_NAMED_FAILURES = 4


class QualityGate(Protocol):
    """What judges candles, order books and trades.

    Implementers owe: the input is not changed; the good and the quarantined rows together are all rows, in their order,
    each with a fresh index; quarantined rows carry a column `reason`; of a table that cannot be judged row by row
    (a missing column, none or wrong numbers) all rows are quarantined; a report with a critical failure did not pass.
    Where no row is bad, the good rows may be the input's own arrays: copy before writing into them.
    """

    def check(
        self,
        candles: pd.DataFrame,
        *,
        timeframe: Timeframe,
        reference: pd.DataFrame | None = None,
        now_ns: int | None = None,
    ) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
        """Return the report, the good rows and the quarantined rows.

        `reference` is a candle frame of a second venue to compare closes with; `now_ns` the time at which the last bars
        must not be too old. Each check that lacks its input is left out.
        """
        ...

    def check_books(self, books: pd.DataFrame) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
        """Return the same for order books (`BOOK_COLUMNS`)."""
        ...

    def check_trades(self, trades: pd.DataFrame) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
        """Return the same for trades (`TRADE_COLUMNS`)."""
        ...


def validate_data_quality(
    candles: pd.DataFrame,
    gate: QualityGate,
    *,
    timeframe: Timeframe,
    quarantine_folder: Path,
    reference: pd.DataFrame | None = None,
    now_ns: int | None = None,
) -> tuple[QualityReport, pd.DataFrame]:
    """Let `gate` judge the candles and return its report and the good rows.

    Quarantined rows are on disk, with their reasons, before anything else happens: in `quarantine_folder`, in a Parquet
    file named by its content, so that a second run over the same rows writes the same file.

    Raises:
        DataQualityError: the gate did not pass; one line names table, checks, rows (symbol, ISO time), reasons and the
            file.
        InputError: the reference is no candle frame.
    """
    return _settle(gate.check(candles, timeframe=timeframe, reference=reference, now_ns=now_ns), quarantine_folder)


def validate_books(
    books: pd.DataFrame, gate: QualityGate, *, quarantine_folder: Path
) -> tuple[QualityReport, pd.DataFrame]:
    """Do for order books what `validate_data_quality` does for candles."""
    return _settle(gate.check_books(books), quarantine_folder)


def validate_trades(
    trades: pd.DataFrame, gate: QualityGate, *, quarantine_folder: Path
) -> tuple[QualityReport, pd.DataFrame]:
    """Do for trades what `validate_data_quality` does for candles."""
    return _settle(gate.check_trades(trades), quarantine_folder)


def _settle(
    verdict: tuple[QualityReport, pd.DataFrame, pd.DataFrame], quarantine_folder: Path
) -> tuple[QualityReport, pd.DataFrame]:
    report, good, quarantined = verdict
    file = None if quarantined.empty else _write_quarantine(quarantine_folder, report.table, quarantined)
    if not report.passed:
        raise DataQualityError(_message(report, file))
    return report, good


def _write_quarantine(folder: Path, table: str, rows: pd.DataFrame) -> Path:
    texts = rows.select_dtypes(exclude="number").columns
    buffer = io.BytesIO()
    rows.astype(dict.fromkeys(texts, str)).to_parquet(buffer, index=False)
    payload = buffer.getvalue()
    name = "quarantine" if table == "candles" else f"quarantine-{table}"
    path = folder / f"{name}-{sha256_bytes(payload)[:16]}.parquet"
    write_bytes(path, payload)
    return path


def _message(report: QualityReport, file: Path | None) -> str:
    decisive = sorted(
        (failure for failure in report.failures if failure.severity != "warn"),
        key=lambda failure: failure.severity != "critical",
    )
    named = [_describe(failure) for failure in decisive[:_N_NAMED_FAILURES]]
    if len(decisive) > len(named):
        named.append(f"and {len(decisive) - len(named)} more checks")
    kept = f"; the rows and their reasons are in {file}" if file else ""
    return f"the {report.table} failed the quality gate: {'; '.join(named)}{kept}"


def _describe(failure: Failure) -> str:
    if not failure.sample:
        return f"{failure.check}: {failure.reason}"
    more = ", ..." if failure.n_rows > len(failure.sample[:2]) else ""
    plural = "" if failure.n_rows == 1 else "s"
    where = f"{failure.n_rows} {failure.subject}{plural}"
    return f"{failure.check} in {where} ({', '.join(failure.sample[:2])}{more}): {failure.reason}"
