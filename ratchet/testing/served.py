"""A model server without a server: it follows a registry and answers from a function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import NotFoundError, UnavailableError
from ratchet.registry import ModelRegistry, ModelVersion
from ratchet.rollout.served import ServedStage

Answer = Callable[[ModelVersion, NDArray[np.float32]], float]


@dataclass(frozen=True)
class InMemoryPrediction:
    """One answer."""

    p_up: float
    model: str
    version: str
    stage: ServedStage


@dataclass(frozen=True)
class InMemoryFailure:
    """A version that was refused."""

    model: str
    version: str
    error: str


@dataclass(frozen=True)
class InMemoryState:
    """The versions that could not be loaded."""

    failures: tuple[InMemoryFailure, ...]


@dataclass
class InMemoryServedModels:
    """A `ServedModels` whose faults are switches.

    Args:
        registry: what to serve; it is looked at by `reload` only.
        answer: p_up for a version and a float32 (time, feature) window.
        is_down: nothing can be reached.
        lags_in_production: staged versions are picked up, a change of production is not.
        refused: why a version cannot be loaded, by version.
    """

    registry: ModelRegistry
    answer: Answer
    is_down: bool = False
    lags_in_production: bool = False
    refused: dict[str, str] = field(default_factory=dict)
    _loaded: dict[tuple[str, str], ModelVersion] = field(default_factory=dict)

    def reload(self) -> InMemoryState:
        """Look at the registry; a version that cannot be loaded leaves its predecessor serving."""
        self._require_up()
        wanted = {(v.stage, v.name): v for v in self.registry.list_models() if v.stage in {"production", "staging"}}
        failures = [
            InMemoryFailure(version.name, version.version, self.refused[version.version])
            for version in wanted.values()
            if version.version in self.refused
        ]
        self._loaded = {key: kept for key in wanted if (kept := self._next(key, wanted[key])) is not None}
        return InMemoryState(tuple(failures))

    def predict(
        self,
        symbol: str | None = None,
        *,
        window: NDArray[np.float32] | None = None,
        model: str | None = None,
        stage: ServedStage = "production",
    ) -> InMemoryPrediction:
        """Answer from `window`, or from an empty one where only a symbol is given."""
        self._require_up()
        if model is None:
            raise NotFoundError(f"no model covers {symbol!r}")
        loaded = self._loaded.get((stage, model))
        if loaded is None:
            raise UnavailableError(f"model {model} has no {stage} version loaded")
        asked = np.zeros((0, 0), dtype=np.float32) if window is None else window
        return InMemoryPrediction(self.answer(loaded, asked), model, loaded.version, stage)

    def production_version(self, model: str) -> str | None:
        """Return the version that answers production requests."""
        self._require_up()
        loaded = self._loaded.get(("production", model))
        return None if loaded is None else loaded.version

    def is_healthy(self) -> bool:
        """Tell whether the server can be reached."""
        return not self.is_down

    def _next(self, key: tuple[str, str], wanted: ModelVersion) -> ModelVersion | None:
        lags = self.lags_in_production and key[0] == "production"
        return self._loaded.get(key) if lags or wanted.version in self.refused else wanted

    def _require_up(self) -> None:
        if self.is_down:
            raise UnavailableError("the server is down")
