"""Questions whose answers are known: what a model said when it was registered, it must say when it is served."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ratchet.errors import ArtifactError, InputError
from ratchet.registry.base import ModelRegistry, ModelVersion

GOLDEN_FILE = "golden.json"


@dataclass(frozen=True)
class Golden:
    """Windows and the answers that belong to them.

    Args:
        windows: float32 (batch, time, feature).
        p_up: float64 (batch,).

    Raises:
        InputError: there is no window, or not one answer per window.
    """

    windows: NDArray[np.float32]
    p_up: NDArray[np.float64]

    def __post_init__(self) -> None:
        if self.windows.ndim != 3 or len(self.windows) == 0 or self.p_up.shape != self.windows.shape[:1]:
            raise InputError(
                f"golden: windows {self.windows.shape} and p_up {self.p_up.shape}; "
                "(batch, time, feature) and (batch,) are needed"
            )


class _GoldenFile(BaseModel):
    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    windows: list[list[list[float]]] = Field(min_length=1)
    p_up: list[float] = Field(min_length=1)


def read_golden(registry: ModelRegistry, version: ModelVersion) -> Golden:
    """Return the golden windows and answers that were registered with a version.

    Raises:
        NotFoundError: none were registered.
        ArtifactError: the file is missing, altered or malformed.
    """
    try:
        return parse_golden(registry.read_file(version, GOLDEN_FILE))
    except ArtifactError as error:
        raise ArtifactError(f"{version.name} {version.version}: {error}") from error


def parse_golden(content: bytes) -> Golden:
    """Return the golden windows and answers in the content of a golden.json.

    Raises:
        ArtifactError: it is malformed; the message says where, but not of which model.
    """
    try:
        parsed = _GoldenFile.model_validate_json(content)
        return Golden(np.asarray(parsed.windows, dtype=np.float32), np.asarray(parsed.p_up, dtype=np.float64))
    except (ValueError, InputError) as error:  # pydantic's ValidationError is a ValueError
        reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else error
        raise ArtifactError(f"{GOLDEN_FILE} is malformed: {reason}") from error
