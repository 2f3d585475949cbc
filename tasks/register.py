"""Put a judged candidate into the registry, whatever the verdict: every retraining counts."""

from __future__ import annotations

from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.data.manifest import DatasetRef
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.turn import CandidateRef, RetrainRequest, TrainingRef
from ratchet.features.panel import PanelRef, load_panel
from ratchet.registry import ModelVersion, open_registry
from ratchet.settings import load_settings
from tasks.narration import narrate

CANDIDATE_FILES = ("model.onnx", "model.pt", "golden.json")


@task(name="register", cache_policy=NO_CACHE)
def register_candidate(
    panel_ref: PanelRef,
    dataset: DatasetRef,
    training: TrainingRef,
    candidate: CandidateRef,
    gate: GateReport,
    request: RetrainRequest,
) -> ModelVersion:
    """Store the candidate's files with all that explains it; its stage stays "none"."""
    with narrate("register") as narration, open_registry(load_settings(), SystemClock()) as registry:
        version = registry.register_model(
            request.model_name,
            {name: candidate.folder / name for name in CANDIDATE_FILES},
            _metadata(panel_ref, dataset, training, gate, request),
            _metrics(training, candidate, gate),
            actor="retrain",
            reason=f"{request.reason}; gate: {gate.verdict}",
        )
        narration.conclude(f"{version.name} {version.version}, digest {version.digest[:12]}")
    return version


def _metadata(
    panel_ref: PanelRef, dataset: DatasetRef, training: TrainingRef, gate: GateReport, request: RetrainRequest
) -> dict[str, Any]:
    """Collect what serving needs to feed the model, and what an auditor needs to explain it."""
    panel = load_panel(panel_ref)
    return {
        "feature_view": request.feature_view(panel.schema_hash, panel.window),
        "schema_hash": panel.schema_hash,
        "feature_names": list(panel.feature_names),
        "window": panel.window,
        "timeframe": panel.timeframe,
        "horizon": panel.horizon,
        "market": request.market,
        "symbols": list(panel.symbols),
        "train_end_ns": training.train_end_ns,
        "dataset_digest": dataset.digest,
        "panel_digest": panel_ref.digest,
        "tracking_run_id": training.run_id,
        "request": request.model_dump(mode="json"),
        "recipe": training.recipe,
        "gate": gate.model_dump(mode="json"),
    }


def _metrics(training: TrainingRef, candidate: CandidateRef, gate: GateReport) -> dict[str, Any]:
    last = training.validation.folds[-1]
    return {
        "accuracy": last.accuracy.value,
        "accuracy_low": last.accuracy.low,
        "accuracy_high": last.accuracy.high,
        "train_accuracy": last.train_accuracy,
        "net_sharpe": last.net_sharpe.value,
        "pooled_accuracy": training.validation.pooled.accuracy.value,
        "latency_p99_upper_ms": candidate.latency.p99_upper_ms,
        "size_bytes": candidate.size_bytes,
        "n_evidence": gate.n,
    }
