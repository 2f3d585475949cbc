"""Put the whole turn into one report: an artifact in the Prefect UI, a file in the tracker, the flow's result."""

from __future__ import annotations

from contextlib import closing

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock, iso_utc
from ratchet.data.atomic import write_bytes, write_json
from ratchet.data.manifest import DatasetRef
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.turn import (
    CandidateRef,
    RetrainRequest,
    RolloutSummary,
    TrainingRef,
    TurnReport,
)
from ratchet.registry import ModelVersion
from ratchet.settings import load_settings
from ratchet.tracking import open_tracker
from tasks.summary import summarize


@task(name="report", cache_policy=NO_CACHE)
def publish_report(
    raw: DatasetRef,
    dataset: DatasetRef,
    training: TrainingRef,
    candidate: CandidateRef,
    gate: GateReport,
    version: ModelVersion,
    rollout: RolloutSummary,
    request: RetrainRequest,
) -> TurnReport:
    """Return the report, after publishing it where people look."""
    report = TurnReport(
        request=request,
        model_name=version.name,
        version=version.version,
        run_id=training.run_id,
        dataset=summarize(raw, dataset),
        validation=training.validation,
        gate=gate,
        candidate=candidate,
        rollout=rollout,
    )
    text = to_markdown(report)
    write_bytes(training.folder / "report.md", text.encode())
    write_json(training.folder / "report.json", report.model_dump(mode="json"))
    with closing(open_tracker(load_settings(), SystemClock(), {})) as tracker:
        for name in ("report.md", "report.json", "candidate"):
            tracker.log_artifacts(training.run_id, training.folder / name)
    create_markdown_artifact(text, key="turn-report", description=f"{version.name} {version.version}: {gate.verdict}")
    return report


def to_markdown(report: TurnReport) -> str:
    """Write the report for people."""
    data, pooled = report.dataset, report.validation.pooled
    lines = [
        f"# {report.model_name} {report.version}: {report.gate.verdict}",
        f"Dataset `{data.digest[:16]}`, {data.n_rows:,} candles of {', '.join(data.symbols)}.",
        "",
        "Accuracy among moves beyond the cost band; Sharpe net of costs; 95 % intervals.",
        "",
        *_fold_table(report),
        "",
    ]
    if pooled.bayes_accuracy is not None:
        lines.append(
            f"- the best possible predictor is expected to be right on {pooled.bayes_accuracy:.1%}, the simulator knows"
        )
    return "\n".join([*lines, *_conclusions(report)]) + "\n"


def _fold_table(report: TurnReport) -> list[str]:
    pooled = report.validation.pooled
    names = list(pooled.baselines)
    rows = [("fold", "test window", "accuracy", "net Sharpe", *names), ("---",) * (4 + len(names))]
    for fold in report.validation.folds:
        window = f"{iso_utc(fold.test_start_ns)[:10]} to {iso_utc(fold.test_end_ns)[:10]}"
        baselines = [f"{fold.baselines[name]:.1%}" for name in names]
        rows.append((str(fold.index + 1), window, _share(fold.accuracy), _number(fold.net_sharpe), *baselines))
    baselines = [f"{pooled.baselines[name].value:.1%}" for name in names]
    rows.append(("all", f"{pooled.n_moves:,} moves", _share(pooled.accuracy), _number(pooled.net_sharpe), *baselines))
    return ["| " + " | ".join(row) + " |" for row in rows]


def _share(metric: Metric) -> str:
    return f"{metric.value:.1%} ({metric.low:.1%} to {metric.high:.1%})"


def _number(metric: Metric) -> str:
    return f"{metric.value:.1f} ({metric.low:.1f} to {metric.high:.1f})"


def _latency(latency: LatencyReport | None) -> str:
    if latency is None:
        return "not measured, the artifact did not answer"
    return f"p50 {latency.p50_ms:.2f} ms, p99 {latency.p99_ms:.2f} ms, bound {latency.p99_upper_ms:.2f} ms, as served"


def _conclusions(report: TurnReport) -> list[str]:
    latency, rollout = report.candidate.latency, report.rollout
    return [
        *(f"- {item.name}: **{item.status}**. {item.reason}" for item in report.gate.criteria),
        *(f"- remark: {remark}" for remark in report.remarks),
        f"- latency: {_latency(latency)}",
        f"- rollout: **{rollout.verdict}**. {rollout.reason}",
        f"- in production: {rollout.production_version or 'nothing'}",
    ]
