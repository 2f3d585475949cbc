"""What the server says about itself."""

from __future__ import annotations

from ratchet.clock import iso_utc
from serving.schemas import Health, LoadFailure, ServedModel, ServedModels
from serving.table import Failure, ModelTable, Slot, Table


def served_models(table: Table) -> ServedModels:
    """Describe every loaded version and every one that could not be loaded."""
    return ServedModels(
        epoch=table.epoch,
        models=tuple(_model(slot) for slot in table.slots.values()),
        failures=tuple(_failure(table, failure) for failure in table.failures),
    )


def health(models: ModelTable, home: str) -> Health:
    """Compare what is served with what the registry wants served.

    Args:
        models: the loaded models.
        home: folder of the artefacts that the server works on.
    """
    served = served_models(models.current)
    problems = [f"{failure.model} {failure.version} ({failure.stage}): {failure.error}" for failure in served.failures]
    if models.registry_problem:
        problems.insert(0, f"registry: {models.registry_problem}")
    return Health(
        status="degraded" if problems else "ok",
        home=home,
        is_ready=any(model.stage == "production" for model in served.models),
        epoch=served.epoch,
        problems=tuple(problems),
        models=served.models,
        failures=served.failures,
    )


def _model(slot: Slot) -> ServedModel:
    model = slot.model
    return ServedModel(
        model=model.name,
        version=model.version,
        stage=slot.stage,
        digest=model.digest,
        schema_hash=model.schema_hash,
        feature_view=model.feature_view,
        symbols=model.symbols,
        window=model.window,
        n_features=model.n_features,
        timeframe=model.timeframe,
        horizon=model.horizon,
        since=iso_utc(slot.since_ns),
    )


def _failure(table: Table, failure: Failure) -> LoadFailure:
    kept = table.slots.get((failure.stage, failure.name))
    return LoadFailure(
        model=failure.name,
        version=failure.version,
        stage=failure.stage,
        error=failure.error,
        still_serving=kept.model.version if kept else None,
    )
