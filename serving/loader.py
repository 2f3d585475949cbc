"""From a registered version to a model that has proved that it answers as it did when it was registered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ArtifactError, CandidateRejectedError, InputError, RatchetError
from ratchet.registry.base import ModelRegistry, ModelVersion
from ratchet.registry.golden import GOLDEN_FILE, Golden, read_golden

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
        ArtifactError: a file is missing, was altered, or is not what its name says.
        CandidateRejectedError: the model does not reproduce its golden answers.
    """
    metadata = _metadata(version)
    session = _session(version, registry.read_file(version, MODEL_FILE))
    model = LoadedModel(
        name=version.name,
        version=version.version,
        digest=version.digest,
        schema_hash=metadata.schema_hash,
        feature_view=metadata.feature_view,
        symbols=metadata.symbols,
        window=metadata.window,
        n_features=len(metadata.feature_names),
        timeframe=metadata.timeframe,
        horizon=metadata.horizon,
        session=session,
    )
    _check_golden(model, read_golden(registry, version))
    return model


def _metadata(version: ModelVersion) -> _Metadata:
    try:
        return _Metadata.model_validate(dict(version.metadata))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{version.name} {version.version}: metadata {where}: {first['msg']}") from error


def _session(version: ModelVersion, onnx_bytes: bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        session = ort.InferenceSession(onnx_bytes, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise ArtifactError(
            f"{version.name} {version.version}: onnxruntime cannot load {MODEL_FILE}: {error}"
        ) from error
    names = [node.name for node in session.get_inputs()]
    if names != [_INPUT_NAME]:
        raise ArtifactError(f"{version.name} {version.version}: {MODEL_FILE} takes {names}, not [{_INPUT_NAME!r}]")
    return session


def _check_golden(model: LoadedModel, golden: Golden) -> None:
    gap = float(np.abs(_first_answers(model, golden.windows) - golden.p_up).max())
    if gap > GOLDEN_TOLERANCE:
        raise CandidateRejectedError(
            f"{model.name} {model.version} differs from its golden answers by {gap:.1e}, over {GOLDEN_TOLERANCE:.0e}"
        )


def _first_answers(model: LoadedModel, windows: NDArray[np.float32]) -> NDArray[np.float64]:
    try:
        return model.predict(windows)
    except InputError as error:
        raise ArtifactError(f"{model.name} {model.version}: {GOLDEN_FILE} does not fit the model: {error}") from error
    except RatchetError:
        raise
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise CandidateRejectedError(f"{model.name} {model.version} cannot run: {error}") from error
