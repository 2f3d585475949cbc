"""Train by purged walk-forward, beside the baselines, with every fold tracked as a run of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.training.recipes import TrainRecipe, recipe_by_name
from models.training.trainer import fit_fold, predict
from ratchet.clock import SystemClock
from ratchet.data.atomic import write_json
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_manifest
from ratchet.evaluation.predictions import save_predictions
from ratchet.evaluation.turn import RetrainRequest, TrainingRef
from ratchet.evaluation.validation import FoldResult, Predictor, ValidationResult, walk_forward_validation
from ratchet.evaluation.walk_forward import Fold
from ratchet.exchanges.simulated import SimulatedMarket, SimulatedMarketConfig
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.market import Timeframe
from ratchet.settings import Settings, load_settings
from ratchet.tracking import Tracker, open_tracker
from ratchet.tracking.lineage import lineage_tags
from tasks.champion import walk_forward_of
from tasks.narration import Narration, narrate


@task(name="train", cache_policy=NO_CACHE)
def train_walk_forward(panel_ref: PanelRef, dataset: DatasetRef, request: RetrainRequest) -> TrainingRef:
    """Fit and judge one model per fold; the same panel and recipe resume where a killed run stopped."""
    settings = load_settings()
    panel, recipe = load_panel(panel_ref), recipe_by_name(request.preset)
    folder = settings.root / "training" / training_key(panel_ref, recipe, request)
    tags = _tags(panel, panel_ref, dataset, request, recipe)
    with closing(open_tracker(settings, SystemClock())) as tracker:
        run_id = tracker.start_run(request.model_name, f"{request.model_name} walk-forward", tags)
        try:
            tracker.log_params(run_id, _params(recipe, request, panel))
            with narrate("train") as narration:
                narration.expect(request.n_splits * recipe.epochs)
                on_fold = _on_fold(tracker, run_id, tags, request)
                result = _validate(settings, panel, recipe, folder, dataset, request, on_fold, narration)
                narration.conclude(
                    f"{request.n_splits} folds, out-of-sample accuracy {result.pooled.accuracy.value:.1%} "
                    f"[{result.pooled.accuracy.low:.1%}, {result.pooled.accuracy.high:.1%}]"
                )
            _keep(tracker, run_id, folder, result)
        except BaseException:
            tracker.end_run(run_id, "FAILED")
            raise
        tracker.end_run(run_id)
    return TrainingRef(
        uri=str(folder),
        run_id=run_id,
        recipe=asdict(recipe),
        train_end_ns=result.folds[-1].train_end_ns,
        validation=result,
    )


def _validate(
    settings: Settings,
    panel: Panel,
    recipe: TrainRecipe,
    folder: Path,
    dataset: DatasetRef,
    request: RetrainRequest,
    on_fold: Callable[[FoldResult], None],
    narration: Narration,
) -> ValidationResult:
    walk_forward = walk_forward_of(panel, request)

    def fit(panel: Panel, fold: Fold) -> Predictor:
        detail = f"fold {fold.index + 1} of {request.n_splits}"
        model = fit_fold(
            panel, fold, recipe, fold_folder(folder, fold.index), lambda _: narration.advance(detail=detail)
        )
        narration.reach((fold.index + 1) * recipe.epochs)  # early stopping leaves epochs out
        return lambda panel, index: predict(model, panel, index)

    return walk_forward_validation(
        panel,
        fit,
        n_splits=walk_forward.n_splits,
        embargo_ns=walk_forward.embargo_ns,
        scheme=walk_forward.scheme,
        window=walk_forward.window,
        costs=settings.costs,
        timeframe=Timeframe.parse(panel.timeframe),
        seed=recipe.seed,
        bayes_accuracy=_bayes_accuracy(panel, dataset),
        on_fold=on_fold,
    )


def fold_folder(training: Path, index: int) -> Path:
    """Return where a fold's checkpoints are kept."""
    return training / f"fold-{index}"


def _bayes_accuracy(panel: Panel, dataset: DatasetRef) -> Callable[[NDArray[np.int64]], float] | None:
    """Return the best possible accuracy on given samples, where the simulator knows it: one bar ahead."""
    source = load_manifest(dataset).source
    if not source.startswith("simulated://") or panel.horizon != 1:
        return None
    market = SimulatedMarket(SimulatedMarketConfig.from_url(source))
    symbols = np.asarray(panel.symbols)[panel.symbol_id]
    return lambda index: market.bayes_accuracy(symbols[index], panel.ts_ns[index], panel.band[index])


def training_key(panel_ref: PanelRef, recipe: TrainRecipe, request: RetrainRequest) -> str:
    """Return what names a training: its data, its recipe and how it was cut; the same again is the same training."""
    identity = json.dumps(
        [panel_ref.digest, request.n_splits, request.scheme, request.calendar, asdict(recipe)], sort_keys=True
    )
    return hashlib.sha256(identity.encode()).hexdigest()[:16]


def _tags(
    panel: Panel, panel_ref: PanelRef, dataset: DatasetRef, request: RetrainRequest, recipe: TrainRecipe
) -> dict[str, str]:
    lineage = lineage_tags(
        dataset_digest=dataset.digest,
        feature_views={request.feature_view(panel.schema_hash, panel.window): panel.schema_hash},
        schema_hash=panel.schema_hash,
        seed=recipe.seed,
        trigger_event_id=request.event_id,
        trigger_reason=request.reason,
    )
    return {**lineage, "panel_digest": panel_ref.digest, "source": request.source}


def _params(recipe: TrainRecipe, request: RetrainRequest, panel: Panel) -> dict[str, str | int | float | bool | None]:
    recipe_values = {f"recipe_{key}": value for key, value in asdict(recipe).items() if not isinstance(value, dict)}
    return {
        **recipe_values,
        "preset": request.preset,
        "timeframe": panel.timeframe,
        "horizon": panel.horizon,
        "symbols": ",".join(panel.symbols),
        "schema_hash": panel.schema_hash,
        "n_samples": len(panel),
        "n_splits": request.n_splits,
        "scheme": request.scheme,
    }


def _on_fold(
    tracker: Tracker, run_id: str, tags: dict[str, str], request: RetrainRequest
) -> Callable[[FoldResult], None]:
    def log(fold: FoldResult) -> None:
        name = f"{request.model_name} fold {fold.index + 1}"
        child = tracker.start_run(request.model_name, name, tags, parent_run_id=run_id)
        tracker.log_params(child, {"fold": fold.index, "n_train": fold.n_train, "n_test": fold.n_test})
        figures = {
            "fold_accuracy": fold.accuracy.value,
            "fold_accuracy_low": fold.accuracy.low,
            "fold_accuracy_high": fold.accuracy.high,
            "fold_train_accuracy": fold.train_accuracy,
            "fold_net_sharpe": fold.net_sharpe.value,
            **{f"fold_accuracy_{name}": value for name, value in fold.baselines.items()},
        }
        tracker.log_metrics(run_id, figures, step=fold.index)
        tracker.log_metrics(child, {key.removeprefix("fold_"): value for key, value in figures.items()})
        tracker.end_run(child)

    return log


def _keep(tracker: Tracker, run_id: str, folder: Path, result: ValidationResult) -> None:
    """Store the predictions and figures beside the checkpoints and in the tracker."""
    pooled = result.pooled
    tracker.log_metrics(
        run_id,
        {
            "accuracy": pooled.accuracy.value,
            "accuracy_low": pooled.accuracy.low,
            "accuracy_high": pooled.accuracy.high,
            "train_gap": pooled.train_gap,
            "net_sharpe": pooled.net_sharpe.value,
            **{f"accuracy_{name}": metric.value for name, metric in pooled.baselines.items()},
        },
    )
    save_predictions(folder / "predictions.parquet", result.predictions)
    write_json(folder / "validation.json", result.model_dump(mode="json"))
    for name in ("predictions.parquet", "validation.json"):
        tracker.log_artifacts(run_id, folder / name)
