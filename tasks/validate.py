"""Let the quality gate judge a raw dataset; quarantine bad rows, stop on a failed suite."""

from __future__ import annotations

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from ratchet.data.expectations import GreatExpectationsGate
from ratchet.data.manifest import DatasetRef
from ratchet.data.quality import QualityReport, validate_data_quality
from ratchet.data.snapshots import load_books, load_candles, load_manifest, load_trades, save_dataset
from ratchet.evaluation.turn import RetrainRequest
from ratchet.market import Timeframe
from ratchet.settings import load_settings
from tasks.narration import narrate


@task(name="validate", cache_policy=NO_CACHE)
def validate_dataset(raw: DatasetRef, request: RetrainRequest) -> DatasetRef:
    """Return the dataset without quarantined rows.

    Raises:
        DataQualityError: the suite failed; the message names check, rows, reason and the quarantine file.
    """
    settings = load_settings()
    timeframe = Timeframe.parse(request.timeframe)
    with narrate("validate") as narration:
        report, good = validate_data_quality(
            load_candles(raw),
            GreatExpectationsGate(settings.root / "quality"),
            timeframe=timeframe,
            quarantine_folder=settings.root / "quarantine" / raw.digest[:16],
        )
        ref = save_dataset(
            settings.root,
            good,
            source=load_manifest(raw).source,
            timeframe=timeframe,
            books=load_books(raw),
            trades=load_trades(raw),
        )
        narration.conclude(f"{len(good):,} rows pass, {report.n_quarantined} quarantined, dataset {ref.digest[:12]}")
    create_markdown_artifact(_markdown(report, ref), key="data-quality", description="Verdict of the quality gate")
    return ref


def _markdown(report: QualityReport, ref: DatasetRef) -> str:
    lines = [
        "# Data quality",
        f"- rows judged: {report.n_rows:,}",
        f"- rows quarantined: {report.n_quarantined:,}",
        f"- dataset: `{ref.digest}`",
        f"- Data Docs: `{report.docs_path}`",
    ]
    lines += [f"- {failure.check}: {failure.n_rows} rows, {failure.reason}" for failure in report.failures]
    return "\n".join(lines)
