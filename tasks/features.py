"""Turn a dataset into a training panel, and publish the latest windows for serving."""

from __future__ import annotations

from contextlib import closing

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from models.training.recipes import recipe_by_name
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_candles
from ratchet.evaluation.turn import RetrainRequest
from ratchet.features.panel import PanelRef, build_panel, latest_windows, save_panel
from ratchet.features.sets import FeatureSet
from ratchet.features.store import open_online_store
from ratchet.market import Timeframe
from ratchet.rollout.live_features import recorded_for
from ratchet.settings import load_settings
from tasks.champion import refuse_hopeless, refuse_short
from tasks.narration import narrate


@task(name="features", cache_policy=NO_CACHE)
def build_training_panel(dataset: DatasetRef, request: RetrainRequest, *, is_for_production: bool = True) -> PanelRef:
    """Compute features and labels of all symbols; samples that span a gap are left out.

    A panel for production is refused where no model trained on it could be compared with the one there.
    """
    settings, features, recipe = load_settings(), FeatureSet.named(request.features), recipe_by_name(request.preset)
    with narrate("features") as narration:
        candles = load_candles(dataset)
        short = too_short(candles, features.warmup_bars + recipe.window + request.horizon, request)
        panel = build_panel(
            candles[~candles["symbol"].isin(short)],
            features,
            timeframe=Timeframe.parse(request.timeframe),
            horizon=request.horizon,
            window=recipe.window,
            round_trip_bps=settings.costs.round_trip_bps,
            market=recorded_for(settings, request, features, candles),
        )
        left_out = f"; left out, too short: {', '.join(short)}" if short else ""
        narration.conclude(
            f"{len(panel):,} samples of {len(panel.feature_names)} features x {panel.window} bars{left_out}"
        )
    refuse_short(panel, request)
    if is_for_production:
        refuse_hopeless(settings, panel, request)
    return save_panel(settings.root / "panels", panel)


def too_short(candles: pd.DataFrame, n_needed: int, request: RetrainRequest) -> list[str]:
    """Return symbols without enough history, unless they were asked for or nothing would be left."""
    n_bars = candles.groupby("symbol").size()
    short = sorted(map(str, n_bars.index[n_bars < n_needed]))
    return [] if request.symbols or len(short) == len(n_bars) else short


@task(name="materialize", cache_policy=NO_CACHE)
def materialize_windows(dataset: DatasetRef, request: RetrainRequest) -> int:
    """Write each symbol's latest window to the online store and return how many symbols have one."""
    settings = load_settings()
    timeframe = Timeframe.parse(request.timeframe)
    features, window = FeatureSet.named(request.features), recipe_by_name(request.preset).window
    candles = load_candles(dataset)
    short = too_short(candles, features.warmup_bars + window + request.horizon, request)
    windows = latest_windows(
        candles[~candles["symbol"].isin(short)],
        features,
        timeframe=timeframe,
        window=window,
        market=recorded_for(settings, request, features, candles),
    )
    with closing(open_online_store(settings.online_store_database_url)) as store:
        view = request.feature_view(features.schema_hash, window)
        store.write_windows(view, features.schema_hash, windows, timeframe.ns)
    return len(windows)
