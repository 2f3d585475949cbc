"""From a stage to a model that answers: bytes proved by their digest, inputs and output proved by the metadata."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ArtifactError, CandidateRejectedError, ConfigurationError, InputError
from ratchet.registry.base import ModelRegistry, ModelVersion
from ratchet.registry.metadata import INPUT_NAME, OUTPUT_NAME, Signature
from ratchet.registry.names import MODEL_FILE

_FLOAT32 = "tensor(float)"
_QUIET = 3  # onnxruntime's severity "error"
_WITHOUT_ONE_VERSION = frozenset({"none", "archived"})


class _Described(BaseModel):
    """The part of a version's metadata that says what the model takes."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    window: int = Field(ge=1)
    feature_names: tuple[str, ...] = Field(min_length=1)
    signature: Signature | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedArtifact:
    """One version, ready to answer on one thread; any number of threads may call `predict`."""

    version: ModelVersion
    window: int
    feature_names: tuple[str, ...]
    session: Any

    def predict(self, windows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return P(up), float64 (batch,), for raw float32 windows (batch, time, feature), oldest bar first.

        Raises:
            InputError: the windows have another shape or type, or hold numbers that are not finite.
            CandidateRejectedError: the model gave anything but one probability per window.
        """
        expected = (self.window, len(self.feature_names))
        if windows.ndim != 3 or windows.shape[1:] != expected or windows.dtype != np.float32:
            raise InputError(
                f"{self._title}: float32 windows (batch, {expected[0]}, {expected[1]}) are needed, "
                f"got {windows.dtype} {windows.shape}"
            )
        if not np.isfinite(windows).all():
            raise InputError(f"{self._title}: the windows hold numbers that are not finite")
        p_up = np.asarray(self._run(windows), dtype=np.float64)
        if p_up.shape != windows.shape[:1] or not ((p_up >= 0) & (p_up <= 1)).all():
            raise CandidateRejectedError(f"{self._title} did not answer with one probability per window")
        return p_up

    @property
    def _title(self) -> str:
        return f"{self.version.name} {self.version.version}"

    def _run(self, windows: NDArray[np.float32]) -> Any:
        try:
            return self.session.run([OUTPUT_NAME], {INPUT_NAME: windows})[0]
        except Exception as error:  # onnxruntime has no common base class for its errors
            raise CandidateRejectedError(f"{self._title} cannot run: {_first_line(error)}") from error


def load_model_from_registry(registry: ModelRegistry, name: str, stage: str = "Production") -> LoadedArtifact:
    """Load the version that has a stage or pointer; it takes milliseconds to a second.

    Args:
        registry: where to look.
        name: the model.
        stage: "Production" or "Staging" in any case, a pointer such as "challenger", or "vX.Y.Z".

    Raises:
        InputError: the stage is not one that a single version has.
        NotFoundError: no version has it.
        ArtifactError: the file is missing or altered, is no ONNX graph, or takes something else than the metadata say.
        ConfigurationError: onnxruntime is not installed.
    """
    wanted = stage.lower()
    if wanted in _WITHOUT_ONE_VERSION:
        raise InputError(f"stage {stage!r}: many versions have it; give Production, Staging, a pointer or vX.Y.Z")
    version = registry.get_model(name, wanted)
    described = _described(version)
    session = _session(version, registry.read_file(version, MODEL_FILE))
    _check_signature(version, described, session)
    return LoadedArtifact(version, described.window, described.feature_names, session)


def _described(version: ModelVersion) -> _Described:
    try:
        return _Described.model_validate(version.metadata)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ArtifactError(f"{version.name} {version.version}: metadata {where}: {first['msg']}") from error


def _session(version: ModelVersion, content: bytes) -> Any:
    try:
        import onnxruntime  # noqa: PLC0415 - heavy
    except ImportError as error:
        raise ConfigurationError('loading a model needs onnxruntime: pip install "ratchet[serve]"') from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = _QUIET
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common base class for its errors
        raise ArtifactError(
            f"{version.name} {version.version}: onnxruntime cannot load {MODEL_FILE}: {_first_line(error)}"
        ) from error


def _check_signature(version: ModelVersion, described: _Described, session: Any) -> None:
    n_features = len(described.feature_names)
    if described.signature not in {None, Signature.of(described.window, n_features)}:
        raise ArtifactError(
            f"{version.name} {version.version}: its metadata contradict themselves: the signature is not that of "
            f"window {described.window} and {n_features} features"
        )
    inputs = [(node.name, node.type, *node.shape[1:]) for node in session.get_inputs()]
    outputs = [(node.name, node.type) for node in session.get_outputs()]
    expected_inputs = [(INPUT_NAME, _FLOAT32, described.window, n_features)]
    expected_outputs = [(OUTPUT_NAME, _FLOAT32)]
    if inputs != expected_inputs or outputs != expected_outputs:
        raise ArtifactError(
            f"{version.name} {version.version}: {MODEL_FILE} maps {inputs} to {outputs}; "
            f"by its metadata it must map {expected_inputs} to {expected_outputs}"
        )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
