"""Let the quality gate judge a raw dataset; quarantine bad rows, stop on a failed suite."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.data.history import CandleHistory
from ratchet.data.history.second_venue import cut_second_venue
from ratchet.data.manifest import DatasetManifest, DatasetRef
from ratchet.data.quality import QualityPolicy, QualityReport, judge_dataset
from ratchet.data.snapshots import load_manifest, save_dataset
from ratchet.market import Timeframe
from ratchet.settings import Settings, load_settings
from tasks.narration import narrate


@task(name="validate", cache_policy=NO_CACHE)
def validate_dataset(raw: DatasetRef, *, is_live: bool) -> DatasetRef:
    """Return the dataset without quarantined rows; what is known when stays with the rows.

    The last bars of a live market must be fresh; a recording may end whenever it does. Where the history has the same
    symbols from another venue, closes are compared with those.

    Raises:
        DataQualityError: a suite failed; the message names table, check, rows, reason and the quarantine file.
    """
    settings = load_settings()
    manifest, now_ns = load_manifest(raw), SystemClock().now_ns()
    policy = QualityPolicy.model_validate(settings.quality.model_dump())
    with narrate("validate") as narration:
        reference = _second_venue(settings, manifest, now_ns) if is_live else None
        judged = judge_dataset(settings.root, raw, policy, reference=reference, now_ns=now_ns if is_live else None)
        ref = save_dataset(
            settings.root,
            judged.candles,
            source=manifest.source,
            timeframe=Timeframe.parse(manifest.timeframe),
            books=judged.books,
            trades=judged.trades,
            known_at_ns=manifest.known_at_ns,
            parents=(raw,),
            made_by="quality gate",
            made_at_ns=now_ns,
        )
        n_quarantined = sum(report.n_quarantined for report in judged.reports)
        narration.conclude(
            f"{len(judged.candles):,} candles pass, {n_quarantined} rows quarantined, dataset {ref.digest[:12]}"
        )
    create_markdown_artifact(
        _markdown(judged.reports, ref), key="data-quality", description="Verdict of the quality gate"
    )
    return ref


def _second_venue(settings: Settings, manifest: DatasetManifest, now_ns: int) -> DatasetRef | None:
    with closing(CandleHistory(settings.history_root, SystemClock(), read_only=True)) as history:
        return cut_second_venue(settings.root, history, manifest, as_of_ns=now_ns)


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
