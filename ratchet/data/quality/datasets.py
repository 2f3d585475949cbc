"""All tables of a stored dataset before the quality gate."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ratchet.data.manifest import DatasetRef
from ratchet.data.quality.engines import Engine, open_gate
from ratchet.data.quality.gates import validate_books, validate_data_quality, validate_trades
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.report import QualityReport
from ratchet.data.snapshots import load_books, load_candle_records, load_candles, load_manifest, load_trades
from ratchet.market.symbols import Timeframe


@dataclass(frozen=True)
class JudgedDataset:
    """The gate's reports, and the rows that passed; candles with `known_ns` and `is_filled`."""

    reports: tuple[QualityReport, ...]
    candles: pd.DataFrame
    books: pd.DataFrame | None
    trades: pd.DataFrame | None


def judge_dataset(
    root: Path,
    ref: DatasetRef,
    policy: QualityPolicy,
    *,
    engine: Engine = "auto",
    reference: DatasetRef | None = None,
    now_ns: int | None = None,
) -> JudgedDataset:
    """Let the gate judge candles, and books and trades where the dataset has them.

    Args:
        root: the home folder: Data Docs go to `quality`, bad rows to `quarantine/<digest>`.
        ref: the dataset.
        policy: what is tolerated.
        engine: see `open_gate`.
        reference: a dataset of a second venue to compare closes with.
        now_ns: the time at which the last bars must be fresh; None where they need not be.

    Raises:
        DataQualityError: a table failed; the message names table, checks, rows, reasons and the quarantine file.
        ConfigurationError: there is no such engine, or Great Expectations is not installed.
        ArtifactError: a dataset was altered.
    """
    candles, books, trades = load_candle_records(ref), load_books(ref), load_trades(ref)
    n_rows = max(len(rows) for rows in (candles, books, trades) if rows is not None)
    gate = open_gate(engine, root / "quality", policy, n_rows=n_rows)
    folder = root / "quarantine" / ref.digest[:16]
    report, candles = validate_data_quality(
        candles,
        gate,
        timeframe=Timeframe.parse(load_manifest(ref).timeframe),
        quarantine_folder=folder,
        reference=load_candles(reference) if reference else None,
        now_ns=now_ns,
    )
    reports = [report]
    if books is not None:
        report, books = validate_books(books, gate, quarantine_folder=folder)
        reports.append(report)
    if trades is not None:
        report, trades = validate_trades(trades, gate, quarantine_folder=folder)
        reports.append(report)
    return JudgedDataset(tuple(reports), candles, books, trades)
