"""Export the last fold's model to ONNX, prove that it answers like torch, and measure it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.optimization.benchmark import benchmark
from models.optimization.onnx import OnnxPredictor, export_to_onnx
from models.training.recipes import recipe_by_name
from models.training.trainer import fit_fold, save_weights
from ratchet.data.atomic import write_json
from ratchet.evaluation.turn import CandidateRef, RetrainRequest, TrainingRef
from ratchet.evaluation.walk_forward import Fold
from ratchet.features.panel import PanelRef, load_panel
from tasks.champion import walk_forward_of
from tasks.narration import narrate
from tasks.train import fold_folder

N_PARITY_WINDOWS = 256
N_GOLDEN_WINDOWS = 2
N_LATENCY_CALLS = 1_000


@task(name="optimize", cache_policy=NO_CACHE)
def export_candidate(panel_ref: PanelRef, training: TrainingRef, request: RetrainRequest) -> CandidateRef:
    """Write model.onnx, model.pt and golden.json of the candidate, which is the last fold's model.

    Raises:
        CandidateRejectedError: the exported graph does not answer like the network.
    """
    panel, recipe = load_panel(panel_ref), recipe_by_name(request.preset)
    fold = walk_forward_of(panel).split(panel.decision_ns, panel.t1_ns)[-1]
    folder = training.folder / "candidate"
    folder.mkdir(parents=True, exist_ok=True)
    with narrate("compress") as narration:
        trained = fit_fold(panel, fold, recipe, fold_folder(training.folder, fold.index))  # finished: only loads
        windows = panel.windows(_spread(fold, N_PARITY_WINDOWS))
        report = export_to_onnx(trained.model, folder / "model.onnx", example_windows=windows)
        save_weights(trained.model, folder / "model.pt")
        predictor = OnnxPredictor(folder / "model.onnx")
        _write_golden(predictor, panel.windows(fold.test[-N_GOLDEN_WINDOWS:]), folder)
        latency = benchmark(folder / "model.onnx", windows[:1], n=N_LATENCY_CALLS)
        narration.conclude(
            f"ONNX {report.size_bytes / 1024:.0f} KiB, differs from torch by {report.max_abs_diff:.1e}, "
            f"p99 {latency.p99_ms:.2f} ms"
        )
    return CandidateRef(
        uri=str(folder),
        digest=report.digest,
        size_bytes=report.size_bytes,
        parity_max_abs_diff=report.max_abs_diff,
        n_parity_windows=report.n_windows,
        latency=latency,
    )


def _spread(fold: Fold, n_windows: int) -> NDArray[np.int64]:
    """Return evenly spaced samples of the fold's test window."""
    positions = np.linspace(0, len(fold.test) - 1, min(n_windows, len(fold.test))).astype(np.int64)
    return fold.test[positions]


def _write_golden(predictor: OnnxPredictor, windows: NDArray[np.float32], folder: Path) -> None:
    write_json(folder / "golden.json", {"windows": windows.tolist(), "p_up": predictor(windows).tolist()})
