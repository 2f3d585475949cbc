"""What live models are fed with: their candles, the rows of their features now and in training."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import Clock
from ratchet.data.history import CandleHistory, SeriesKey, venue_name
from ratchet.errors import ArtifactError, ConfigurationError, InputError, NotFoundError
from ratchet.evaluation.turn import RetrainRequest
from ratchet.exchanges.factory import open_exchange
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import FeatureEvent
from ratchet.features.streaming.recorded import recorded_market
from ratchet.market import Timeframe
from ratchet.registry.base import ModelVersion
from ratchet.registry.factory import open_registry
from ratchet.settings import Settings

_LIVE = {"production", "staging"}


@dataclass(frozen=True, slots=True, eq=False)
class TrainingRows:
    """The feature rows that a model was trained on: float32 (row, feature), with their names."""

    values: NDArray[np.float32]
    names: tuple[str, ...]


def list_live(settings: Settings, clock: Clock, model: str | None = None) -> list[ModelVersion]:
    """Return the versions in production and staging, of one model or of all."""
    with open_registry(settings, clock, read_only=True) as registry:
        return [version for version in registry.list_models(model) if version.stage in _LIVE]


def find_live(settings: Settings, clock: Clock, model: str | None = None) -> ModelVersion:
    """Return the version in production, of `model` or of the only one there is.

    Raises:
        NotFoundError: there is none.
        InputError: there are several, and none was named.
    """
    found = [version for version in list_live(settings, clock, model) if version.stage == "production"]
    if not found:
        raise NotFoundError(f"{model or 'no model'} is in production; see `ratchet registry list`")
    if len(found) > 1:
        raise InputError(f"{', '.join(version.name for version in found)} are in production; name one with --model")
    return found[0]


def request_of(version: ModelVersion) -> RetrainRequest:
    """Return what the version's training was asked for."""
    return RetrainRequest.model_validate(version.metadata["request"])


def features_of(version: ModelVersion) -> FeatureSet:
    """Return the feature set of a version as this release computes it.

    Raises:
        ConfigurationError: the definitions have changed since it was trained.
    """
    features = FeatureSet.named(request_of(version).features)
    trained = str(version.metadata["schema_hash"])
    if trained != features.schema_hash:
        raise ConfigurationError(
            f"{version.name} {version.version} was trained on another version of the feature set {features.name!r} "
            f"({trained[:12]}, this release has {features.schema_hash[:12]}); retrain it, or keep a process of the "
            "older release running for it"
        )
    return features


def live_candles(settings: Settings, clock: Clock, version: ModelVersion) -> pd.DataFrame:
    """Return all bars of a version's symbols that are known now, `CANDLE_COLUMNS` and `known_ns`.

    Raises:
        InputError: the version was trained on files, which do not go on, or the history has no such bar.
    """
    request = request_of(version)
    if request.source_kind == "files":
        raise InputError(f"{version.name} {version.version} was trained on files, which do not go on")
    exchange = open_exchange(request.source, clock=clock)
    venue = venue_name(exchange.name)
    asyncio.run(exchange.close())
    keys = [SeriesKey(venue, symbol, request.timeframe) for symbol in symbols_of(version)]
    with closing(CandleHistory(settings.history_root, clock, read_only=True)) as history:
        candles = history.candles(keys, as_of_ns=clock.now_ns())
    if candles.empty:
        raise InputError(f"the history has no {request.timeframe} bar of {venue}; `ratchet data collect` fetches them")
    return candles


def recorded_for(
    settings: Settings, request: RetrainRequest, features: FeatureSet, candles: pd.DataFrame
) -> Iterator[FeatureEvent]:
    """Yield the books and trades recorded of a venue in the time of the candles, where the features need them.

    Raises:
        ArtifactError: a recording was altered.
    """
    if features.sources <= {"bars", "universe"} or not request.is_live:
        return
    start_ns, end_ns = int(candles["ts_event_ns"].min()), int(candles["ts_event_ns"].max())
    symbols = sorted(map(str, candles["symbol"].unique()))
    end_ns += Timeframe.parse(request.timeframe).ns
    yield from recorded_market(settings.recordings_root, request.market, symbols, start_ns, end_ns)


def symbols_of(version: ModelVersion) -> Sequence[str]:
    """Return the symbols that a version was trained on."""
    return [str(symbol) for symbol in version.metadata["symbols"]]


def training_rows(settings: Settings, version: ModelVersion) -> TrainingRows:
    """Return the rows of a version's training panel up to the end of its training.

    Raises:
        ArtifactError: the panel is gone or was altered.
    """
    digest = str(version.metadata["panel_digest"])
    panel: Panel = load_panel(PanelRef(uri=str(settings.root / "panels" / digest[:16]), digest=digest))
    rows = panel.features[panel.row_ts_ns < int(version.metadata["train_end_ns"])]
    complete = rows[np.isfinite(rows).all(axis=1)]
    if not len(complete):
        raise ArtifactError(f"panel {digest[:16]} has no row before the end of training")
    return TrainingRows(complete, panel.feature_names)
