"""What a version says of itself, in the parts that several tasks need."""

from __future__ import annotations

from typing import Any

from ratchet.data.manifest import DatasetRef
from ratchet.evaluation.turn import RetrainRequest, TrainingRef
from ratchet.features.panel import Panel, PanelRef


def served_metadata(panel: Panel, request: RetrainRequest) -> dict[str, Any]:
    """Return what the server needs to know to feed a model of this panel."""
    return {
        "feature_view": request.feature_view(panel.schema_hash, panel.window),
        "schema_hash": panel.schema_hash,
        "feature_names": list(panel.feature_names),
        "window": panel.window,
        "timeframe": panel.timeframe,
        "horizon": panel.horizon,
        "market": request.market,
        "symbols": list(panel.symbols),
    }


def judged_metadata(
    panel: Panel, panel_ref: PanelRef, dataset: DatasetRef, training: TrainingRef, request: RetrainRequest
) -> dict[str, Any]:
    """Return what the gate judges a model under: what it answers, and what it was trained on."""
    return {
        **served_metadata(panel, request),
        "train_end_ns": training.train_end_ns,
        "dataset_digest": dataset.digest,
        "panel_digest": panel_ref.digest,
    }
