"""Keep the windows that live models read current, without training anything."""

from __future__ import annotations

from contextlib import closing

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.events import emit_event

from ratchet.clock import SystemClock
from ratchet.data.atomic import write_bytes
from ratchet.data.history import CollectionRequest
from ratchet.errors import NotFoundError
from ratchet.features.panel import latest_windows
from ratchet.features.store import open_online_store
from ratchet.market import Timeframe
from ratchet.registry.base import ModelVersion
from ratchet.rollout.live_features import features_of, list_live, live_candles, recorded_for, request_of, symbols_of
from ratchet.rollout.skew import audit_live_model
from ratchet.settings import load_settings
from tasks.narration import narrate


@task(name="live models", cache_policy=NO_CACHE)
def list_live_models(model: str | None = None) -> list[ModelVersion]:
    """Return the versions in production and staging whose market goes on, of one model or of all."""
    live = list_live(load_settings(), SystemClock(), model)
    return [version for version in live if request_of(version).source_kind != "files"]


@task(name="refresh windows", cache_policy=NO_CACHE)
def refresh_windows(version: ModelVersion) -> int:
    """Compute the newest windows of a model's symbols from the candle history; return how many symbols have one.

    Raises:
        InputError: the history has too few bars.
        ConfigurationError: the model was trained on features that this release computes differently.
    """
    settings, clock, request = load_settings(), SystemClock(), request_of(version)
    features, timeframe = features_of(version), Timeframe.parse(request.timeframe)
    with narrate("refresh") as narration:
        candles = live_candles(settings, clock, version)
        windows = latest_windows(
            candles,
            features,
            timeframe=timeframe,
            window=int(version.metadata["window"]),
            market=recorded_for(settings, request, features, candles),
        )
        with closing(open_online_store(settings.online_store_database_url)) as store:
            view = str(version.metadata["feature_view"])
            n_stored = store.write_windows(view, features.schema_hash, windows, timeframe.ns)
        narration.conclude(f"{version.name} {version.version}: {n_stored} of {len(symbols_of(version))} symbols")
    return n_stored


@task(name="audit features", cache_policy=NO_CACHE)
def audit_features(version: ModelVersion) -> bool:
    """Compare the features that a model's answers were given on with history; return whether they agree.

    The report is an artifact, the rate a metric in `run/skew-MODEL.prom`. Where they differ, the event
    `ratchet.features.skew` is emitted, which automations can turn into an alarm. A model that answered nothing yet
    agrees.
    """
    settings = load_settings()
    with narrate("audit") as narration:
        try:
            found = audit_live_model(settings, SystemClock(), version.name)
        except NotFoundError as error:
            narration.conclude(str(error))
            return True
        narration.conclude(f"{found.model}: {found.report.verdict}")
    rate = f'ratchet_feature_skew_rate{{model="{version.name}"}} {found.report.windows.value:.6g}\n'
    write_bytes(settings.root / "run" / f"skew-{version.name}.prom", rate.encode())
    key = f"skew-{version.name}".replace("_", "-").replace(".", "-")
    create_markdown_artifact(found.report.to_markdown(), key=key, description=f"Served features of {found.model}")
    if found.report.alarm:
        emit_event(
            "ratchet.features.skew",
            resource={"prefect.resource.id": f"ratchet.model.{version.name}"},
            payload={"version": version.version, "rate": found.report.windows.value},
        )
    return not found.report.alarm


def collection_for(version: ModelVersion) -> CollectionRequest:
    """Return the collection that brings a model's candles up to date."""
    request = request_of(version)
    return CollectionRequest(source=request.source, symbols=tuple(symbols_of(version)), timeframe=request.timeframe)
