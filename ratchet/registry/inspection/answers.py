"""What the model answers, on onnxruntime as it is served: known windows, random ones, and absurd ones."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, CandidateRejectedError
from ratchet.registry.golden import GOLDEN_FILE, Golden, parse_golden
from ratchet.registry.metadata import INPUT_NAME
from ratchet.registry.names import MODEL_FILE

GOLDEN_TOLERANCE = 1e-4
BATCH_SIZES = (1, 2, 7, 256)  # the last is the largest that the server accepts
EXTREMES = (0.0, 1e6, -1e6)
_SEED = 20_240_229
_QUIET = 4  # onnxruntime's severity "fatal"
_MAX_GOLDEN_WINDOWS = 256


def check_answers(content: bytes, golden_content: bytes, window: int, n_features: int) -> None:
    """Run a model file on the very bytes given, and check every answer.

    Raises:
        CandidateRejectedError: onnxruntime does not load or run it, it does not give its golden answers, or it
            answers finite windows with anything but one probability each.
    """
    golden = _golden(golden_content, window, n_features)
    session = _session(content)
    gap = float(np.abs(_run(session, golden.windows, "golden windows") - golden.p_up).max())
    if gap > GOLDEN_TOLERANCE:
        raise _refusal(
            f"differs from {GOLDEN_FILE} by {gap:.1e}, over {GOLDEN_TOLERANCE:.0e}; it is another or a damaged model"
        )
    generator = np.random.default_rng(_SEED)
    for n_windows in BATCH_SIZES:
        windows = generator.normal(size=(n_windows, window, n_features)).astype(np.float32)
        _run(session, windows, f"{n_windows} random windows")
    for value in EXTREMES:
        _run(session, np.full((2, window, n_features), value, dtype=np.float32), f"windows full of {value:g}")


def _golden(content: bytes, window: int, n_features: int) -> Golden:
    try:
        golden = parse_golden(content)
    except ArtifactError as error:
        raise CandidateRejectedError(" ".join(str(error).split())) from error
    if len(golden.windows) > _MAX_GOLDEN_WINDOWS:
        raise CandidateRejectedError(f"{GOLDEN_FILE}: {len(golden.windows)} windows; {_MAX_GOLDEN_WINDOWS} are plenty")
    if golden.windows.shape[1:] != (window, n_features) or not np.isfinite(golden.windows).all():
        raise CandidateRejectedError(
            f"{GOLDEN_FILE}: windows of shape {golden.windows.shape[1:]}; finite ones of {(window, n_features)} are "
            "needed, as the metadata say"
        )
    return golden


def _session(content: bytes) -> Any:
    import onnxruntime as ort  # noqa: PLC0415 - heavy, and only the inspecting process needs it

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # Otherwise bytes that are a valid ONNX model and carry onnxruntime's own mark would be read as that format.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _refusal(f"onnxruntime cannot load it: {_line(error)}") from error


def _run(session: Any, windows: NDArray[np.float32], what: str) -> NDArray[np.float64]:
    try:
        p_up = np.asarray(session.run(None, {INPUT_NAME: windows})[0], dtype=np.float64)
    except Exception as error:
        raise _refusal(f"cannot run on {what}: {_line(error)}") from error
    if p_up.shape != windows.shape[:1] or not ((p_up >= 0) & (p_up <= 1)).all():
        raise _refusal(f"does not answer {what} with one probability each")
    return p_up


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _refusal(reason: str) -> CandidateRejectedError:
    return CandidateRejectedError(f"{MODEL_FILE}: {reason}")
