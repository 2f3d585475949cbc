"""Let the quality gate judge a raw dataset; quarantine bad rows, stop on a failed suite."""

from __future__ import annotations

from collections.abc import Sequence

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.data.manifest import DatasetRef
from ratchet.data.quality import (
    QualityPolicy,
    QualityReport,
    open_gate,
    validate_books,
    validate_data_quality,
    validate_trades,
)
from ratchet.data.snapshots import load_books, load_candle_records, load_manifest, load_trades, save_dataset
from ratchet.market import Timeframe
from ratchet.settings import load_settings
from tasks.narration import narrate


@task(name="validate", cache_policy=NO_CACHE)
def validate_dataset(raw: DatasetRef, *, is_live: bool) -> DatasetRef:
    """Return the dataset without quarantined rows; what is known when stays with the rows.

    The last bars of a live market must be fresh; a recording may end whenever it does.

    Raises:
        DataQualityError: a suite failed; the message names table, check, rows, reason and the quarantine file.
    """
    settings = load_settings()
    manifest = load_manifest(raw)
    timeframe = Timeframe.parse(manifest.timeframe)
    quarantine = settings.root / "quarantine" / raw.digest[:16]
    with narrate("validate") as narration:
        candles, books, trades = load_candle_records(raw), load_books(raw), load_trades(raw)
        n_rows = max(len(rows) for rows in (candles, books, trades) if rows is not None)
        policy = QualityPolicy.model_validate(settings.quality.model_dump())
        gate = open_gate("auto", settings.root / "quality", policy, n_rows=n_rows)
        now_ns = SystemClock().now_ns()
        report, good = validate_data_quality(
            candles,
            gate,
            timeframe=timeframe,
            quarantine_folder=quarantine,
            now_ns=now_ns if is_live else None,
        )
        reports = [report]
        if books is not None:
            report, books = validate_books(books, gate, quarantine_folder=quarantine)
            reports.append(report)
        if trades is not None:
            report, trades = validate_trades(trades, gate, quarantine_folder=quarantine)
            reports.append(report)
        ref = save_dataset(
            settings.root,
            good,
            source=manifest.source,
            timeframe=timeframe,
            books=books,
            trades=trades,
            known_at_ns=manifest.known_at_ns,
            parents=(raw,),
            made_by="quality gate",
            made_at_ns=now_ns,
        )
        n_quarantined = sum(report.n_quarantined for report in reports)
        narration.conclude(f"{len(good):,} candles pass, {n_quarantined} rows quarantined, dataset {ref.digest[:12]}")
    create_markdown_artifact(_markdown(reports, ref), key="data-quality", description="Verdict of the quality gate")
    return ref


def _markdown(reports: Sequence[QualityReport], ref: DatasetRef) -> str:
    return "\n".join(["# Data quality", f"- dataset: `{ref.digest}`", *(map(_section, reports))])


def _section(report: QualityReport) -> str:
    lines = [
        f"## {report.table.capitalize()}",
        f"- rows judged: {report.n_rows:,} by {report.engine}",
        f"- rows quarantined: {report.n_quarantined:,}",
        f"- Data Docs: `{report.docs_path}`",
    ]
    lines += [
        f"- {failure.check} ({failure.severity}): {failure.n_rows} {failure.subject}s, {failure.reason}"
        for failure in report.failures
    ]
    return "\n".join(lines)
