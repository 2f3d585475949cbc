"""Export the last fold's model to ONNX, prove that it answers like torch, and try it as it would be served."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.optimization.onnx import OnnxPredictor, export_to_onnx
from models.training.recipes import recipe_by_name
from models.training.trainer import fit_fold, save_weights
from ratchet.data.atomic import write_json
from ratchet.evaluation.turn import CandidateRef, RetrainRequest, TrainingRef
from ratchet.evaluation.walk_forward import Fold
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.registry.names import METADATA_FILE, MODEL_FILE
from tasks.champion import walk_forward_of
from tasks.infra import try_in_server
from tasks.metadata import served_metadata
from tasks.narration import narrate
from tasks.train import fold_folder

N_PARITY_WINDOWS = 256
MAX_GOLDEN_WINDOWS = 32
MAX_GOLDEN_VALUES = 60_000
"""Golden windows are JSON, which the registry accepts up to two megabytes of."""


@task(name="optimize", cache_policy=NO_CACHE)
def export_candidate(panel_ref: PanelRef, training: TrainingRef, request: RetrainRequest) -> CandidateRef:
    """Write model.onnx, model.pt, golden.json and metadata.json of the candidate, which is the last fold's model.

    Raises:
        CandidateRejectedError: the exported graph does not answer like the network.
    """
    panel, recipe = load_panel(panel_ref), recipe_by_name(request.preset)
    fold = walk_forward_of(panel, request).split(panel.decision_ns, panel.t1_ns)[-1]
    folder = training.folder / "candidate"
    folder.mkdir(parents=True, exist_ok=True)
    with narrate("compress") as narration:
        trained = fit_fold(panel, fold, recipe, fold_folder(training.folder, fold.index))  # finished: only loads
        windows = panel.windows(_spread(fold, N_PARITY_WINDOWS))
        report = export_to_onnx(trained.model, folder / MODEL_FILE, example_windows=windows)
        save_weights(trained.model, folder / "model.pt")
        predictor = OnnxPredictor(folder / MODEL_FILE)
        _write_golden(predictor, panel.windows(_spread(fold, _n_golden(panel))), folder)
        write_json(folder / METADATA_FILE, served_metadata(panel, request))
        latency, infra = try_in_server(folder)
        answered = f"p99 {latency.p99_ms:.2f} ms as served" if latency else f"NOT SERVED: {infra.error}"
        narration.conclude(
            f"ONNX {report.size_bytes / 1024:.0f} KiB, differs from torch by {report.max_abs_diff:.1e}, {answered}"
        )
    return CandidateRef(
        uri=str(folder),
        digest=report.digest,
        size_bytes=report.size_bytes,
        parity_max_abs_diff=report.max_abs_diff,
        n_parity_windows=report.n_windows,
        latency=latency,
        infra=infra,
    )


def _n_golden(panel: Panel) -> int:
    return max(2, min(MAX_GOLDEN_WINDOWS, MAX_GOLDEN_VALUES // (panel.window * len(panel.feature_names))))


def _spread(fold: Fold, n_windows: int) -> NDArray[np.int64]:
    """Return evenly spaced samples of the fold's test window."""
    positions = np.linspace(0, len(fold.test) - 1, min(n_windows, len(fold.test))).astype(np.int64)
    return fold.test[positions]


def _write_golden(predictor: OnnxPredictor, windows: NDArray[np.float32], folder: Path) -> None:
    write_json(folder / "golden.json", {"windows": windows.tolist(), "p_up": predictor(windows).tolist()})
