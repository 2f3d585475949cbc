"""Comparing two registered versions on a frozen window: bars that were kept and that neither was trained on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError, LeakageError
from ratchet.evaluation.champion import refuse_incomparable
from ratchet.evaluation.comparison import ComparisonReport
from ratchet.evaluation.comparison import compare_models as compare_predictions
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.predictions import Predictions, predictions_of
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.market import Timeframe
from ratchet.registry import ModelRegistry, ModelVersion
from ratchet.registry.loading import LoadedArtifact, load_model_from_registry
from ratchet.settings import Settings

_BATCH = 2_048
_KIND = ("schema_hash", "window", "timeframe", "horizon", "market")


def compare_models(
    registry: ModelRegistry,
    settings: Settings,
    challenger: ModelVersion,
    champion: ModelVersion,
    *,
    policy: GatePolicy,
    seed: int = 0,
) -> ComparisonReport:
    """Score both versions again on the newest window that was kept for one of them, and compare them in pairs.

    No stored figure is used. The window begins after the training and embargo of both.

    Raises:
        CandidateRejectedError: the two answer different questions.
        LeakageError: every kept bar was seen by one of them in training.
        ArtifactError: the bars or a model's files are missing or altered.
        InputError: nothing moved in the window.
    """
    known = {key: champion.metadata.get(key) for key in (*_KIND, "symbols")}
    refuse_incomparable(_title(champion), known, {key: challenger.metadata.get(key) for key in (*_KIND, "symbols")})
    panel = max((_panel(settings, version) for version in (challenger, champion)), key=_end_ns)
    index = _unseen(panel, challenger, champion)
    own, other = (
        _answers(load_model_from_registry(registry, version.name, version.version), panel, index)
        for version in (challenger, champion)
    )
    return compare_predictions(
        own,
        other,
        names=(_title(challenger), _title(champion)),
        costs=settings.costs,
        policy=policy,
        seed=seed,
    )


def _panel(settings: Settings, version: ModelVersion) -> Panel:
    digest = str(version.metadata["panel_digest"])
    return load_panel(PanelRef(uri=str(settings.root / "panels" / digest[:16]), digest=digest))


def _end_ns(panel: Panel) -> int:
    return int(panel.decision_ns.max())


def _unseen(panel: Panel, *versions: ModelVersion) -> NDArray[np.int64]:
    embargo_ns = panel.horizon * Timeframe.parse(panel.timeframe).ns
    ends = {_title(version): int(version.metadata["train_end_ns"]) for version in versions}
    index = np.flatnonzero(panel.decision_ns >= max(ends.values()) + embargo_ns)
    if not len(index):
        later = max(ends, key=lambda title: ends[title])
        raise LeakageError(
            f"{later} was trained on every bar that was kept, so no window is left that neither version has seen; "
            "retrain on newer data, then compare again"
        )
    if not np.count_nonzero(panel.label[index]):
        raise InputError(f"none of the {len(index)} bars after both trainings moved beyond the cost band")
    return index


def _answers(model: LoadedArtifact, panel: Panel, index: NDArray[np.int64]) -> Predictions:
    parts = [model.predict(panel.windows(index[start : start + _BATCH])) for start in range(0, len(index), _BATCH)]
    return predictions_of(panel, index, np.concatenate(parts).astype(np.float64))


def _title(version: ModelVersion) -> str:
    return f"{version.name} {version.version}"
