"""What a rollout needs of the model server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

ServedStage = Literal["production", "staging"]


class PredictionView(Protocol):
    """The part of an answer that a rollout looks at."""

    @property
    def p_up(self) -> float:
        """P(up | the move is not flat)."""

    @property
    def model(self) -> str:
        """Name of the model that answered."""

    @property
    def version(self) -> str:
        """Version that answered, vX.Y.Z."""


class FailedLoad(Protocol):
    """A version that the server should serve and cannot load."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def version(self) -> str:
        """Version, vX.Y.Z."""

    @property
    def error(self) -> str:
        """Why it could not be loaded."""


class ServedState(Protocol):
    """What the server says after it looked at the registry."""

    @property
    def failures(self) -> Sequence[FailedLoad]:
        """Versions that it could not load."""


class ServedModels(Protocol):
    """The model server, as its client shows it.

    Every method but `is_healthy` raises UnavailableError when the server cannot be reached or has nothing to answer
    with.
    """

    def reload(self) -> ServedState:
        """Make the server look at the registry now."""
        ...

    def predict(
        self,
        symbol: str | None = None,
        *,
        window: NDArray[np.float32] | None = None,
        model: str | None = None,
        stage: ServedStage = "production",
    ) -> PredictionView:
        """Ask for a prediction on a window, float32 (time, feature), or on the newest window of a symbol.

        Raises:
            NotFoundError: the server knows no such model.
            InputError: the window does not fit the model.
        """
        ...

    def production_version(self, model: str) -> str | None:
        """Return the version that answers production requests, None where there is none."""
        ...

    def is_healthy(self) -> bool:
        """Tell whether the server answers and serves everything that the registry wants served."""
        ...
