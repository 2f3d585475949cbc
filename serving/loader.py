"""From a registered version to a model that has proved that it answers as it did when it was registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ArtifactError, CandidateRejectedError, InputError, RatchetError
from ratchet.registry.base import ModelRegistry, ModelVersion
from ratchet.registry.golden import GOLDEN_FILE, Golden, parse_golden

MODEL_FILE = "model.onnx"
GOLDEN_TOLERANCE = 1e-4
_INPUT_NAME = "windows"
_QUIET = 3  # onnxruntime's severity "error"


class _Metadata(BaseModel):
    """The part of a version's metadata that serving relies on."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    feature_view: str
    schema_hash: str
    feature_names: tuple[str, ...] = Field(min_length=1)
    window: int = Field(ge=1)
    timeframe: str
    horizon: int = Field(ge=1)
    symbols: tuple[str, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One version, ready to answer. Immutable; any number of threads may call `predict`."""

    name: str
    version: str
    digest: str
    schema_hash: str
    feature_view: str
    symbols: tuple[str, ...]
    window: int
    n_features: int
    timeframe: str
    horizon: int
    session: ort.InferenceSession

    def predict(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return P(up), float64 (batch,), for float32 windows (batch, time, feature).

        Raises:
            InputError: the windows do not have the model's shape.
            CandidateRejectedError: the model gave anything but one probability per window.
        """
        expected = (self.window, self.n_features)
        if windows.shape[1:] != expected:
            raise InputError(f"{self.name} {self.version} needs windows of shape {expected}, got {windows.shape[1:]}")
        p_up = np.asarray(self.session.run(None, {_INPUT_NAME: windows})[0], dtype=np.float64)
        if p_up.shape != windows.shape[:1] or not ((p_up >= 0) & (p_up <= 1)).all():
            raise CandidateRejectedError(f"{self.name} {self.version} did not answer with one probability per window")
        return p_up


def load_model(registry: ModelRegistry, version: ModelVersion) -> LoadedModel:
    """Load a version from bytes that match their registered digest, and check it against its golden answers.

    The check is the warm-up as well. It takes milliseconds to a second: never call it on an event loop.

    Raises:
        NotFoundError: no golden answers were registered.
        ArtifactError: a file is missing, was altered, or is not what its name says.
        CandidateRejectedError: the model does not reproduce its golden answers.
    """
    model, golden = open_model(
        lambda filename: registry.read_file(version, filename),
        version.metadata,
        name=version.name,
        version=version.version,
        digest=version.digest,
    )
    gap = golden_gap(model, golden)
    if gap > GOLDEN_TOLERANCE:
        raise CandidateRejectedError(
            f"{model.name} {model.version} differs from its golden answers by {gap:.1e}, over {GOLDEN_TOLERANCE:.0e}"
        )
    return model


def open_model(
    read: Callable[[str], bytes], metadata: Mapping[str, Any], *, name: str, version: str, digest: str
) -> tuple[LoadedModel, Golden]:
    """Load a model from wherever `read` finds its files, with its golden answers, which it has yet to give.

    Raises:
        ArtifactError: a file or the metadata are not what serving needs.
        RatchetError: whatever `read` raises.
    """
    described = _described(metadata, f"{name} {version}")
    session = _session(read(MODEL_FILE), f"{name} {version}")
    model = LoadedModel(
        name=name,
        version=version,
        digest=digest,
        schema_hash=described.schema_hash,
        feature_view=described.feature_view,
        symbols=described.symbols,
        window=described.window,
        n_features=len(described.feature_names),
        timeframe=described.timeframe,
        horizon=described.horizon,
        session=session,
    )
    try:
        return model, parse_golden(read(GOLDEN_FILE))
    except ArtifactError as error:
        raise ArtifactError(f"{name} {version}: {error}") from error


def golden_gap(model: LoadedModel, golden: Golden) -> float:
    """Return the largest difference between what the model answers and what it answered when it was registered.

    Raises:
        ArtifactError: the golden windows do not fit the model.
        CandidateRejectedError: it cannot run, or answers with anything but probabilities.
    """
    return float(np.abs(_first_answers(model, golden.windows) - golden.p_up).max())


def _described(metadata: Mapping[str, Any], label: str) -> _Metadata:
    try:
        return _Metadata.model_validate(dict(metadata))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{label}: metadata {where}: {first['msg']}") from error


def _session(onnx_bytes: bytes, label: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    # What was inspected as ONNX is never read as onnxruntime's own format, whatever marks the bytes carry.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise ArtifactError(f"{label}: onnxruntime cannot load {MODEL_FILE}: {error}") from error
    names = [node.name for node in session.get_inputs()]
    if names != [_INPUT_NAME]:
        raise ArtifactError(f"{label}: {MODEL_FILE} takes {names}, not [{_INPUT_NAME!r}]")
    return session


def _first_answers(model: LoadedModel, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    try:
        return model.predict(windows)
    except InputError as error:
        raise ArtifactError(f"{model.name} {model.version}: {GOLDEN_FILE} does not fit the model: {error}") from error
    except RatchetError:
        raise
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise CandidateRejectedError(f"{model.name} {model.version} cannot run: {error}") from error
