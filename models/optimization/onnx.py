"""Export to ONNX, accepted only if ONNX Runtime answers like torch on real windows.

The graph has one input, `windows`, raw float32 features (batch, time, feature) with any batch size, and one output,
`p_up`, float32 (batch,). Standardisation, temperature and sigmoid are inside. Like the network it does not repair a
non-finite window (clipping may even hide it), so `OnnxPredictor` refuses one, and so must every other caller.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.data import limited_threads
from ratchet.data.atomic import sha256_bytes, write_bytes
from ratchet.errors import ArtifactError, CandidateRejectedError, InputError

WindowArray = NDArray[np.float32]

OPSET = 20
INPUT_NAME = "windows"
OUTPUT_NAME = "p_up"
PARITY_TOLERANCE = 1e-4
PARITY_BATCHES = (1, 2, 7, 64)
_QUIET = 3  # ONNX Runtime's log level: errors only


@dataclass(frozen=True, slots=True)
class OnnxReport:
    """What was exported: `max_abs_diff` is the largest difference in p_up between ONNX Runtime and torch."""

    max_abs_diff: float
    n_windows: int
    opset: int
    size_bytes: int
    digest: str


class OnnxPredictor:
    """Answers p_up from an exported graph, on one thread, as it is served.

    Raises:
        ArtifactError: the file is missing or is not a graph of this shape.
    """

    def __init__(self, model: Path | bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = _QUIET
        try:
            content = model if isinstance(model, bytes) else model.read_bytes()
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no narrower base
            raise ArtifactError(f"ONNX model cannot be loaded: {_first_line(error)}") from error
        names = [node.name for node in (*self._session.get_inputs(), *self._session.get_outputs())]
        if names != [INPUT_NAME, OUTPUT_NAME]:
            raise ArtifactError(f"ONNX model maps {names}, not {INPUT_NAME} to {OUTPUT_NAME}")

    def __call__(self, windows: NDArray[np.floating]) -> WindowArray:
        """Return P(up | not flat), float32 (batch,), of raw windows (batch, time, feature), oldest bar first.

        Raises:
            InputError: a window is not finite, or has not the shape the graph was made for.
        """
        batch = np.ascontiguousarray(windows, dtype=np.float32)
        if not np.isfinite(batch).all():
            raise InputError("the windows hold numbers that are not finite; the model answers finite features only")
        try:
            answer: WindowArray = self._session.run([OUTPUT_NAME], {INPUT_NAME: batch})[0]
        except Exception as error:  # ONNX Runtime's errors share no narrower base
            raise InputError(f"the model cannot answer windows of shape {batch.shape}: {_first_line(error)}") from error
        return answer


class _ProbabilityGraph(nn.Module):
    """The network with its sigmoid, which is what is exported and what parity is measured against."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, windows: Tensor) -> Tensor:
        """Map (batch, time, feature) to P(up), (batch,)."""
        probability: Tensor = torch.sigmoid(self.network(windows))
        return probability


def export_to_onnx(
    model: nn.Module, path: Path, *, example_windows: WindowArray, tolerance: float = PARITY_TOLERANCE
) -> OnnxReport:
    """Write `model` as one ONNX file; nothing is written unless the graph passes `check_parity`.

    Args:
        model: a network from windows to logits; it is put into evaluation mode.
        path: where the file goes, written atomically.
        example_windows: real windows, float32 (window, time, feature), best from validation data; all are compared.
        tolerance: the largest difference in p_up that is accepted.

    Raises:
        CandidateRejectedError: the graph answers differently from the network, or something not finite.
        InputError: fewer example windows than the largest parity batch.
    """
    model.eval()
    content = _export(_ProbabilityGraph(model).eval(), example_windows)
    max_abs_diff = check_parity(model, content, example_windows, tolerance=tolerance)
    write_bytes(path, content)
    return OnnxReport(
        max_abs_diff=max_abs_diff,
        n_windows=len(example_windows),
        opset=OPSET,
        size_bytes=len(content),
        digest=sha256_bytes(content),
    )


def check_parity(
    model: nn.Module, content: bytes, windows: WindowArray, *, tolerance: float = PARITY_TOLERANCE
) -> float:
    """Compare an exported graph with its network on real windows, in batches of 1, 2, 7 and 64; return the largest gap.

    Every batch size goes through all windows, but single windows through the first 64 only.

    Raises:
        CandidateRejectedError: a difference above `tolerance`, or an answer that is not finite.
        InputError: fewer windows than the largest batch.
    """
    if len(windows) < max(PARITY_BATCHES):
        raise InputError(f"parity needs at least {max(PARITY_BATCHES)} real windows, got {len(windows)}")
    predictor = OnnxPredictor(content)
    with torch.inference_mode(), limited_threads(1):
        expected = torch.sigmoid(model.eval()(torch.from_numpy(windows))).numpy()
    gaps = {size: _largest_gap(predictor, size, windows, expected) for size in PARITY_BATCHES}
    size, gap = max(gaps.items(), key=lambda item: item[1])
    if gap > tolerance:
        raise CandidateRejectedError(
            f"the ONNX graph differs from the network by {gap:.2e} in p_up at batch size {size}; "
            f"at most {tolerance:.0e} is accepted"
        )
    return gap


def _largest_gap(predictor: OnnxPredictor, size: int, windows: WindowArray, expected: WindowArray) -> float:
    n_windows = min(len(windows), max(PARITY_BATCHES) * size)
    answers = np.concatenate([predictor(windows[start : start + size]) for start in range(0, n_windows, size)])
    gap = np.abs(answers - expected[: len(answers)]).max()
    return float(gap) if np.isfinite(gap) else float("inf")


def _export(graph: nn.Module, example_windows: WindowArray) -> bytes:
    """Return the ONNX file of `graph`, without the source paths that the exporter writes into it."""
    example = torch.from_numpy(example_windows[:2])  # a batch of one would be taken for a constant
    with _silence(), limited_threads(1):
        program = torch.onnx.export(
            graph,
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT_NAME],
            output_names=[OUTPUT_NAME],
            dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise CandidateRejectedError("torch exported no program")
    proto = program.model_proto
    _strip_notes(proto.graph)
    for function in proto.functions:
        _strip_notes(function)
    onnx.checker.check_model(proto)
    return bytes(proto.SerializeToString(deterministic=True))


def _strip_notes(graph: onnx.GraphProto | onnx.FunctionProto) -> None:
    """Remove stack traces and other notes, which hold paths of this machine and make equal models differ."""
    del graph.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's progress, warnings and log lines from the screen."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
