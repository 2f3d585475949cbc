"""Ask the gate: is the candidate proven better than what is in production?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from models.optimization.onnx import OnnxPredictor
from ratchet.clock import SystemClock
from ratchet.data.atomic import write_json
from ratchet.data.manifest import DatasetRef
from ratchet.evaluation.gate import Evidence, GateReport, judge
from ratchet.evaluation.policy import load_policy
from ratchet.evaluation.predictions import Predictions, load_predictions
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.turn import CandidateRef, RetrainRequest, TrainingRef
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.registry import ModelVersion, open_registry
from ratchet.registry.evidence import GATE_FILE, judged_digest
from ratchet.settings import Settings, load_settings
from tasks.champion import in_production, walk_forward_of
from tasks.metadata import judged_metadata
from tasks.narration import narrate
from tasks.pictures import draw_gate, inline, keep_pictures

_BATCH = 2_048


@task(name="gate", cache_policy=NO_CACHE)
def judge_candidate(
    panel_ref: PanelRef,
    dataset: DatasetRef,
    training: TrainingRef,
    evaluation: EvaluationReport,
    candidate: CandidateRef,
    request: RetrainRequest,
) -> GateReport:
    """Compare the artefact that would ship with production, on a window that neither has seen.

    The sealed report is stored as gate.json beside the candidate, and registered with it.

    Raises:
        LeakageError: the champion was trained on labels that reach into the window.
        ConfigurationError: the policy's file cannot be used.
    """
    settings = load_settings()
    policy = load_policy(settings.gate_policy)
    with narrate("gate") as narration:
        panel = load_panel(panel_ref)
        judged = judged_digest(judged_metadata(panel, panel_ref, dataset, training, request))
        report = judge(_evidence(settings, panel, training, evaluation, candidate, request, judged), policy)
        narration.conclude(f"{report.verdict} on {report.n:,} moves, against {report.champion or 'the baselines'}")
    write_json(candidate.folder / GATE_FILE, report.model_dump(mode="json"))
    picture = draw_gate(report)
    keep_pictures(candidate.folder, picture)
    create_markdown_artifact(
        f"{_markdown(report)}\n\n{inline(picture)}",
        key="gate-report",
        description=f"{report.verdict}, with reasons",
    )
    return report


def _evidence(
    settings: Settings,
    panel: Panel,
    training: TrainingRef,
    evaluation: EvaluationReport,
    candidate: CandidateRef,
    request: RetrainRequest,
    judged: str,
) -> Evidence:
    walk_forward = walk_forward_of(panel, request)
    fold = walk_forward.split(panel.decision_ns, panel.t1_ns)[-1]
    window = last_fold(load_predictions(training.folder / "predictions.parquet"))
    index = sample_positions(panel, window)
    challenger = window.with_p_up(_predict(OnnxPredictor(candidate.folder / "model.onnx"), panel, index))
    champion = _champion(settings, request.model_name, panel, index)
    return Evidence(
        challenger=challenger,
        challenger_train_end_ns=fold.train_end_ns,
        latency=candidate.latency,
        train_gap=training.validation.pooled.train_gap,
        walk_forward_sharpe=evaluation.trading.net_sharpe,
        costs=settings.costs,
        embargo_ns=walk_forward.embargo_ns,
        seed=int(fold.index),
        model=request.model_name,
        model_digest=candidate.digest,
        judged=judged,
        issued_ns=SystemClock().now_ns(),
        gain_over=training.validation.pooled.gain_over,
        leaks=evaluation.leaks,
        infra=candidate.infra,
        selection=evaluation.selection,
        champion=window.with_p_up(champion[1]) if champion else None,
        champion_train_end_ns=int(champion[0].metadata["train_end_ns"]) if champion else None,
        champion_name=f"{champion[0].name} {champion[0].version}" if champion else None,
    )


def _champion(
    settings: Settings, name: str, panel: Panel, index: NDArray[np.int64]
) -> tuple[ModelVersion, NDArray[np.float64]] | None:
    """Let the production model, loaded from its verified bytes, answer the same samples; None where there is none."""
    with open_registry(settings, SystemClock(), read_only=True) as registry:
        version = in_production(registry, name)
        if version is None:
            return None
        return version, _predict(OnnxPredictor(registry.read_file(version, "model.onnx")), panel, index)


def _predict(predict: OnnxPredictor, panel: Panel, index: NDArray[np.int64]) -> NDArray[np.float64]:
    parts = [predict(panel.windows(index[start : start + _BATCH])) for start in range(0, len(index), _BATCH)]
    return np.concatenate(parts).astype(np.float64)


def last_fold(predictions: Predictions) -> Predictions:
    """Return the rows of the last fold."""
    return predictions.take(np.flatnonzero(predictions.fold == predictions.fold.max()))


def sample_positions(panel: Panel, rows: Predictions) -> NDArray[np.int64]:
    """Return the panel's sample of each row."""
    symbols = np.asarray(panel.symbols)[panel.symbol_id]
    where = {key: position for position, key in enumerate(zip(symbols.tolist(), panel.ts_ns.tolist(), strict=True))}
    keys = zip(rows.symbol.tolist(), rows.ts_ns.tolist(), strict=True)
    return np.array([where[key] for key in keys], dtype=np.int64)


def _markdown(report: GateReport) -> str:
    against = report.champion or "no champion yet, the baselines"
    lines = [
        f"# Gate: {report.verdict}",
        f"Against: {against}. Policy: {report.policy.policy}.",
        f"Seal `{report.digest}` on model file `{report.model_digest[:16]}`.",
        "",
        "| criterion | status | reason |",
        "|---|---|---|",
    ]
    lines += [f"| {item.name} | {item.status} | {item.reason} |" for item in report.criteria]
    return "\n".join(lines)
