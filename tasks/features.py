"""Turn a dataset into a training panel, and publish the latest windows for serving."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE

from models.training.recipes import recipe_by_name
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_candles
from ratchet.evaluation.turn import RetrainRequest
from ratchet.features.kernel import FeatureSet
from ratchet.features.panel import PanelRef, build_panel, latest_windows, save_panel
from ratchet.features.store.online import SqliteOnlineStore
from ratchet.market import Timeframe
from ratchet.settings import load_settings
from tasks.narration import narrate


@task(name="features", cache_policy=NO_CACHE)
def build_training_panel(dataset: DatasetRef, request: RetrainRequest) -> PanelRef:
    """Compute features and labels of all symbols; samples that span a gap are left out."""
    settings = load_settings()
    with narrate("features") as narration:
        panel = build_panel(
            load_candles(dataset),
            FeatureSet.base(),
            timeframe=Timeframe.parse(request.timeframe),
            horizon=request.horizon,
            window=recipe_by_name(request.preset).window,
            round_trip_bps=settings.costs.round_trip_bps,
        )
        narration.conclude(f"{len(panel):,} samples of {len(panel.feature_names)} features x {panel.window} bars")
        return save_panel(settings.root, panel)


@task(name="materialize", cache_policy=NO_CACHE)
def materialize_windows(dataset: DatasetRef, request: RetrainRequest) -> int:
    """Write each symbol's latest window to the online store and return how many symbols have one."""
    settings = load_settings()
    timeframe = Timeframe.parse(request.timeframe)
    features, window = FeatureSet.base(), recipe_by_name(request.preset).window
    windows = latest_windows(load_candles(dataset), features, timeframe=timeframe, window=window)
    store = SqliteOnlineStore(settings.online_store_database_url)
    store.write_windows(request.feature_view(features.schema_hash, window), features.schema_hash, windows, timeframe.ns)
    return len(windows)
