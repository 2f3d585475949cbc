"""Latency of an exported model, measured as it is served: ONNX Runtime, one window, one thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.optimization.onnx import OnnxPredictor
from ratchet.evaluation.latency import LatencyReport, measure_latency


def benchmark(path: Path | bytes, window: NDArray[np.float32], n: int = 500, *, n_rounds: int = 3) -> LatencyReport:
    """Time `n` single predictions, after a warm-up, including the check that the window is finite.

    Of several rounds the least disturbed one is returned, that with the lowest bound: what else runs on the machine
    is no property of the model. Each round's bound allows for the choice, so the lowest holds with 95 %.

    Args:
        path: the ONNX file, or its content.
        window: one raw window, float32 (1, time, feature).
        n: how many calls in a round; of three rounds each needs 408, or its 99th percentile has no such bound.
        n_rounds: how many rounds.

    Raises:
        InputError: `n` is too small for a bound, or the window does not fit the model.
        ArtifactError: the file is missing or is not a model.
    """
    predictor = OnnxPredictor(path)
    rounds = [measure_latency(lambda: predictor(window), n, confidence=1.0 - 0.05 / n_rounds) for _ in range(n_rounds)]
    return min(rounds, key=lambda report: report.p99_upper_ms)
