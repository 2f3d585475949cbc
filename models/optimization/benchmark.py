"""Latency of an exported model, measured as it is served: ONNX Runtime, one window, one thread."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.optimization.onnx import OnnxPredictor
from ratchet.evaluation.latency import LatencyReport, measure_latency


def benchmark(path: Path | bytes, window: NDArray[np.float32], n: int = 500) -> LatencyReport:
    """Time `n` single predictions, after a warm-up, including the check that the window is finite.

    Args:
        path: the ONNX file, or its content.
        window: one raw window, float32 (1, time, feature).
        n: how many calls; below 299 their 99th percentile has no upper bound.

    Raises:
        InputError: `n` is below 299, or the window does not fit the model.
        ArtifactError: the file is missing or is not a model.
    """
    predictor = OnnxPredictor(path)
    return measure_latency(lambda: predictor(window), n)
