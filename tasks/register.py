"""Put a judged candidate into the registry, whatever the verdict: every retraining counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.optimization.onnx import OPSET
from ratchet.clock import SystemClock
from ratchet.data.atomic import write_bytes
from ratchet.data.manifest import DatasetRef
from ratchet.evaluation.card import ModelCard, Question, Training, model_card
from ratchet.evaluation.card_html import card_html
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.turn import CandidateRef, RetrainRequest, TrainingRef
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.registry import ModelVersion, open_registry
from ratchet.registry.evidence import GATE_FILE
from ratchet.registry.golden import GOLDEN_FILE
from ratchet.registry.metadata import Signature
from ratchet.registry.names import MODEL_FILE
from ratchet.settings import load_settings
from ratchet.tracking.lineage import UNKNOWN, code_tags, environment_digest
from tasks.evidence import evidence_folder
from tasks.hardware import this_machine
from tasks.metadata import judged_metadata
from tasks.narration import narrate
from tasks.summary import summarize

CARD_FILES = ("card.md", "card.html")
CANDIDATE_FILES = (MODEL_FILE, "model.pt", GOLDEN_FILE, GATE_FILE, *CARD_FILES)
_PICTURES = ("folds", "equity", "calibration", "confusion", "slices")


@task(name="register", cache_policy=NO_CACHE)
def register_candidate(
    panel_ref: PanelRef,
    raw: DatasetRef,
    dataset: DatasetRef,
    training: TrainingRef,
    evaluation: EvaluationReport,
    candidate: CandidateRef,
    gate: GateReport,
    request: RetrainRequest,
) -> ModelVersion:
    """Store the candidate's files, its gate report and its card with all that explains it; its stage stays "none".

    Raises:
        CandidateRejectedError: the files did not pass the registry's inspection.
    """
    panel = load_panel(panel_ref)
    metadata = _metadata(panel, panel_ref, dataset, training, gate, request)
    with narrate("register") as narration, open_registry(load_settings(), SystemClock()) as registry:
        _write_card(candidate, _card(raw, dataset, training, evaluation, candidate, gate, metadata), training)
        version = registry.register_model(
            request.model_name,
            {name: candidate.folder / name for name in CANDIDATE_FILES},
            metadata,
            _metrics(training, evaluation, candidate, gate),
            actor="retrain",
            reason=f"{request.reason}; gate: {gate.verdict}",
        )
        narration.conclude(f"{version.name} {version.version}, digest {version.digest[:12]}")
    return version


def _metadata(
    panel: Panel,
    panel_ref: PanelRef,
    dataset: DatasetRef,
    training: TrainingRef,
    gate: GateReport,
    request: RetrainRequest,
) -> dict[str, Any]:
    """Collect what serving needs to feed the model, and what an auditor needs to explain it."""
    code = code_tags(Path.cwd())
    is_known = UNKNOWN not in code.values()
    return {
        **judged_metadata(panel, panel_ref, dataset, training, request),
        "tracking_run_id": training.run_id,
        "request": request.model_dump(mode="json"),
        "recipe": training.recipe,
        "signature": Signature.of(panel.window, len(panel.feature_names)).model_dump(mode="json"),
        "feature_set": {"name": request.features, "version": panel.schema_hash},
        "code": {"commit": code["git_commit"], "is_dirty": code["git_dirty"] == "true"} if is_known else None,
        "seeds": {"training": training.recipe["seed"]},
        "env_lock": environment_digest(),
        "parent_version": gate.champion.rpartition(" ")[2] if gate.champion else None,
        "opset": OPSET,
        "benchmark_hardware": this_machine().model_dump(mode="json"),
    }


def _metrics(
    training: TrainingRef, evaluation: EvaluationReport, candidate: CandidateRef, gate: GateReport
) -> dict[str, Any]:
    last = training.validation.folds[-1]
    return {
        "accuracy": last.accuracy.value,
        "accuracy_low": last.accuracy.low,
        "accuracy_high": last.accuracy.high,
        "train_accuracy": last.train_accuracy,
        "net_sharpe": last.net_sharpe.value,
        "pooled_accuracy": training.validation.pooled.accuracy.value,
        "pooled_net_sharpe": evaluation.trading.net_sharpe.value,
        "pooled_log_loss": evaluation.scores.log_loss.value,
        "deflated_sharpe": evaluation.selection.deflated_sharpe if evaluation.selection else None,
        "n_trials": evaluation.selection.n_trials if evaluation.selection else None,
        "latency_p99_upper_ms": candidate.latency.p99_upper_ms if candidate.latency else None,
        "size_bytes": candidate.size_bytes,
        "n_evidence": gate.n,
    }


def _card(
    raw: DatasetRef,
    dataset: DatasetRef,
    training: TrainingRef,
    evaluation: EvaluationReport,
    candidate: CandidateRef,
    gate: GateReport,
    metadata: dict[str, Any],
) -> ModelCard:
    request, recipe, pooled = metadata["request"], training.recipe, training.validation.pooled
    code = metadata["code"]
    return ModelCard(
        name=RetrainRequest.model_validate(request).model_name,
        version=f"candidate {candidate.digest[:12]}",
        created_ns=gate.issued_ns,
        digest=candidate.digest,
        question=Question(
            symbols=tuple(metadata["symbols"]), timeframe=metadata["timeframe"], horizon=metadata["horizon"]
        ),
        training=Training(
            network=str(recipe["network"]),
            recipe=recipe,
            feature_set=metadata["feature_set"]["name"],
            n_features=len(metadata["feature_names"]),
            window=metadata["window"],
            train_end_ns=training.train_end_ns,
            seeds=tuple(metadata["seeds"].values()),
            code_commit=code["commit"] + (" with changes" if code["is_dirty"] else "") if code else None,
        ),
        data=summarize(raw, dataset),
        scores=evaluation.scores,
        trading=evaluation.trading,
        selection=evaluation.selection,
        baselines=pooled.baselines,
        gain_over=pooled.gain_over,
        slices=evaluation.slices,
        leaks=evaluation.leaks,
        gate=gate,
        latency=candidate.latency,
        size_bytes=candidate.size_bytes,
        run_id=training.run_id,
        parent_version=gate.champion,
    )


def _write_card(candidate: CandidateRef, card: ModelCard, training: TrainingRef) -> None:
    """Write the card beside the model, as Markdown and as one HTML file with the pictures inside."""
    text = model_card(card)
    files = {name: evidence_folder(training) / f"{name}.png" for name in _PICTURES}
    files["gate"] = candidate.folder / "gate.png"
    pictures = {name: path.read_bytes() for name, path in files.items() if path.is_file()}
    markdown, html = CARD_FILES
    write_bytes(candidate.folder / markdown, text.encode())
    write_bytes(candidate.folder / html, card_html(text, pictures).encode())
