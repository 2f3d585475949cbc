"""Asking a served model the questions whose answers are known."""

from __future__ import annotations

import math

from ratchet.registry import ModelVersion
from ratchet.registry.golden import Golden
from ratchet.rollout.served import ServedModels, ServedStage


def disagreement(
    served: ServedModels, version: ModelVersion, golden: Golden, stage: ServedStage, tolerance: float
) -> str | None:
    """Ask the server every golden question; return the first that is answered wrongly, in words.

    Args:
        served: the model server.
        version: the version that must answer.
        golden: questions and answers.
        stage: through which door to ask.
        tolerance: largest accepted difference of p_up.

    Raises:
        UnavailableError: the server cannot be reached.
        InputError: the server says that the window does not fit the model.
        NotFoundError: the server knows no such model.
    """
    for index, expected in enumerate(golden.p_up):
        view = served.predict(window=golden.windows[index], model=version.name, stage=stage)
        if view.version != version.version:
            return f"the {stage} door answers with {view.version} instead of {version.version}"
        if not math.isfinite(view.p_up) or abs(view.p_up - expected) > tolerance:
            return f"golden window {index}: p_up {view.p_up:.6f} instead of {expected:.6f} (tolerance {tolerance:g})"
    return None
