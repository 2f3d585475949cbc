"""The model in production: what a candidate has to be compared with."""

from __future__ import annotations

from ratchet.clock import SystemClock
from ratchet.errors import InputError, NotFoundError
from ratchet.evaluation.champion import refuse_incomparable, refuse_seen_window
from ratchet.evaluation.turn import RetrainRequest
from ratchet.evaluation.walk_forward import PurgedWalkForward
from ratchet.features.panel import Panel
from ratchet.market import Timeframe
from ratchet.registry import ModelRegistry, ModelVersion, open_registry
from ratchet.settings import Settings

MIN_EVIDENCE = 64
"""Fewest samples of the last test window: the exported graph is compared with torch on that many."""


def walk_forward_of(panel: Panel, request: RetrainRequest) -> PurgedWalkForward:
    """Return how a panel is cut: as many folds as asked for, with an embargo of one label horizon."""
    embargo_ns = panel.horizon * Timeframe.parse(panel.timeframe).ns
    return PurgedWalkForward(
        n_splits=request.n_splits, embargo_ns=embargo_ns, scheme=request.scheme, window=request.calendar
    )


def in_production(registry: ModelRegistry, name: str) -> ModelVersion | None:
    """Return the version in production, None where there is none."""
    try:
        return registry.get_model(name, "production")
    except NotFoundError:
        return None


def refuse_short(panel: Panel, request: RetrainRequest) -> None:
    """Find out before the training whether the history can be cut into folds and a window of judgement.

    Raises:
        InputError: it is too short.
    """
    folds = walk_forward_of(panel, request).split(panel.decision_ns, panel.t1_ns)
    if len(folds[-1].test) < MIN_EVIDENCE:
        raise InputError(
            f"history too short: the last of {request.n_splits} test windows has {len(folds[-1].test)} samples, "
            f"{MIN_EVIDENCE} are needed; give a longer history or more symbols"
        )


def refuse_hopeless(settings: Settings, panel: Panel, request: RetrainRequest) -> None:
    """Find out before the training whether its result could be compared with the champion.

    Raises:
        CandidateRejectedError: the champion is of another kind.
        LeakageError: the champion was trained on the window of judgement.
    """
    walk_forward = walk_forward_of(panel, request)
    with open_registry(settings, SystemClock(), read_only=True) as registry:
        champion = in_production(registry, request.model_name)
    if champion is None:
        return
    label = f"{champion.name} {champion.version}"
    refuse_incomparable(label, champion.metadata, kind_of(panel, request))
    starts = [fold.test_start_ns for fold in walk_forward.split(panel.decision_ns, panel.t1_ns)]
    refuse_seen_window(label, int(champion.metadata["train_end_ns"]), starts, walk_forward.embargo_ns)


def kind_of(panel: Panel, request: RetrainRequest) -> dict[str, object]:
    """Return what makes two models answer the same question."""
    return {
        "schema_hash": panel.schema_hash,
        "window": panel.window,
        "timeframe": panel.timeframe,
        "horizon": panel.horizon,
        "market": request.market,
        "symbols": list(panel.symbols),
    }
