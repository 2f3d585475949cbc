"""What `ratchet data validate` does: every table of a dataset before the quality gate."""

from __future__ import annotations

from typing import Literal, cast

from ratchet.data.manifest import DatasetRef
from ratchet.data.quality import (
    QualityPolicy,
    QualityReport,
    open_gate,
    validate_books,
    validate_data_quality,
    validate_trades,
)
from ratchet.data.snapshots import load_books, load_candles, load_manifest, load_trades
from ratchet.market import Timeframe
from ratchet.settings import Settings


def judge_dataset(
    settings: Settings, ref: DatasetRef, *, reference: DatasetRef | None, engine: str
) -> list[QualityReport]:
    """Return the gate's reports on candles, and on books and trades where the dataset has them.

    Raises:
        DataQualityError: a table failed; the message names checks, rows and the quarantine file.
        ConfigurationError: there is no such engine.
        ArtifactError: a dataset was altered.
    """
    candles, books, trades = load_candles(ref), load_books(ref), load_trades(ref)
    chosen = cast("Literal['auto', 'great_expectations', 'vectorized']", engine)  # open_gate refuses what is none
    policy = QualityPolicy.model_validate(settings.quality.model_dump())
    gate = open_gate(chosen, settings.root / "quality", policy, n_rows=len(candles))
    folder = settings.root / "quarantine" / ref.digest[:16]
    report, _ = validate_data_quality(
        candles,
        gate,
        timeframe=Timeframe.parse(load_manifest(ref).timeframe),
        quarantine_folder=folder,
        reference=load_candles(reference) if reference else None,
    )
    reports = [report]
    if books is not None:
        reports.append(validate_books(books, gate, quarantine_folder=folder)[0])
    if trades is not None:
        reports.append(validate_trades(trades, gate, quarantine_folder=folder)[0])
    return reports
