"""What the feature commands gather: who uses a feature, how the features of a live model are, and pictures of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import Clock
from ratchet.data.atomic import write_bytes
from ratchet.errors import InputError, NotFoundError
from ratchet.features.audit.health import FeatureBaseline, FeatureHealth, check_features, describe_features
from ratchet.features.audit.usage import UsageReport, model_use, report_usage
from ratchet.features.panel import feature_rows
from ratchet.features.pictures import feature_picture, overview_picture
from ratchet.features.sets import CATALOGUE, DEFINITIONS, FeatureSet
from ratchet.market import Timeframe
from ratchet.registry.factory import open_registry
from ratchet.rollout.live_features import (
    features_of,
    find_live,
    live_candles,
    recorded_for,
    request_of,
    training_rows,
)
from ratchet.settings import Settings

_FRESH_BARS = 3
"""A newest row that is older than this many bars is stale: one to close, one to be collected, one to spare."""


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """A live model's features now, beside its training.

    `health` is of all symbols; `values` float32 (row, feature) at `ts_ns` int64 (row,) are those of one, for pictures.
    """

    model: str
    baseline: FeatureBaseline
    health: FeatureHealth
    symbol: str
    ts_ns: NDArray[np.int64]
    values: NDArray[np.float32]


def usage(settings: Settings, clock: Clock) -> UsageReport:
    """Return which registered models use which features; models that are archived do not count."""
    with open_registry(settings, clock, read_only=True) as registry:
        versions = [version for version in registry.list_models() if version.stage != "archived"]
    uses = [model_use(item.name, item.version, item.stage, item.metadata) for item in versions]
    schemas = {FeatureSet.named(name).schema_hash: name for name in DEFINITIONS}
    return report_usage(CATALOGUE, schemas, uses)


def examine(settings: Settings, clock: Clock, model: str | None, *, n_bars: int, symbol: str | None = None) -> Examined:
    """Compute the newest `n_bars` of each symbol of a live model, or of one, and compare them with its training.

    Raises:
        NotFoundError, InputError: no model, or no bars of it.
        ArtifactError: its training panel is gone.
        ConfigurationError: its features are computed differently by this release.
    """
    version = find_live(settings, clock, model)
    features, timeframe = features_of(version), Timeframe.parse(request_of(version).timeframe)
    training = training_rows(settings, version)
    baseline = describe_features(training.values, training.names)
    candles = live_candles(settings, clock, version)
    market = recorded_for(settings, request_of(version), features, candles)
    computed = feature_rows(candles, features, timeframe=timeframe, market=market)
    wanted = [(bars, values) for bars, values in computed if symbol in {None, bars.symbol}]
    if not wanted:
        raise InputError(f"{version.name} {version.version} has no symbol {symbol}; see `ratchet registry show`")
    newest = [(bars.ts_ns[-n_bars:] + timeframe.ns, values[-n_bars:]) for bars, values in wanted]
    ts_ns, values = (np.concatenate(parts) for parts in zip(*newest, strict=True))
    order = np.argsort(ts_ns, kind="stable")
    health = check_features(
        baseline,
        values[order],
        newest_ns=int(ts_ns.max()),
        now_ns=clock.now_ns(),
        ttl_ns=_FRESH_BARS * timeframe.ns,
    )
    return Examined(f"{version.name} {version.version}", baseline, health, wanted[0][0].symbol, *newest[0])


def draw_feature(settings: Settings, clock: Clock, name: str, model: str | None, path: Path) -> None:
    """Draw one feature of a live model, now beside training.

    Raises:
        NotFoundError: the model does not use the feature.
    """
    examined = examine(settings, clock, model, n_bars=500)
    names = [profile.name for profile in examined.baseline.features]
    if name not in names:
        raise NotFoundError(f"{examined.model} does not use {name}")
    write_bytes(path, _picture(examined, names.index(name)))


def draw_all(examined: Examined, folder: Path) -> int:
    """Draw an overview and every feature into a folder; return how many pictures.

    Raises:
        InputError: the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: {error.strerror}; name another folder") from error
    title = f"{examined.model}: features now beside training"
    write_bytes(folder / "overview.png", overview_picture(examined.health, title=title))
    for column, profile in enumerate(examined.baseline.features):
        write_bytes(folder / f"{profile.name}.png", _picture(examined, column))
    return len(examined.baseline.features) + 1


def _picture(examined: Examined, column: int) -> bytes:
    profile, condition = examined.baseline.features[column], examined.health.features[column]
    title = f"{profile.name} of {examined.symbol}, {examined.model}"
    return feature_picture(profile, condition, examined.ts_ns, examined.values[:, column], title=title)
