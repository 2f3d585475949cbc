"""The warm-up: a feature that remembers where its history began has not been warmed up long enough."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.probes.differences import Differences
from ratchet.evaluation.probes.histories import (
    Histories,
    draw_times,
    foreign_candles,
    require_same_features,
    samples_at,
)
from ratchet.evaluation.records import Probe
from ratchet.features.sets import FeatureSet
from ratchet.market.symbols import Timeframe

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.features.panel import Panel
    from ratchet.features.streaming.events import FeatureEvent

FloatArray = NDArray[np.float64]

FINITE_TOLERANCE = 1e-6
"""Largest difference of a feature with a finite window, in its standard deviations."""

RECURSIVE_TOLERANCE = 0.15
"""Largest difference of a recursive feature, in its standard deviations.

After the warm-up that definitions declare, the seed weighs 5 %; it may lie three standard deviations off.
"""

_MOST_ROWS = 20_000  # so many rows tell a standard deviation well enough


def warm_up(
    candles: pd.DataFrame,
    feature_set: FeatureSet,
    panel: Panel,
    *,
    timeframe: Timeframe,
    market: Iterable[FeatureEvent] = (),
    n_points: int = 8,
    seed: int,
    tolerance: float = FINITE_TOLERANCE,
    recursive_tolerance: float = RECURSIVE_TOLERANCE,
) -> Probe:
    """Compute rows again from a history that begins only the declared warm-up earlier, and compare.

    Where they differ, a model is served other features than it was trained on after each start from a short history.
    (The recursive analysis of freqtrade.) Skipped where no history is longer than the warm-up.

    Args:
        candles: those that the panel was built from.
        feature_set: the panel's.
        panel: what the model is trained on.
        timeframe: of the bars.
        market: as given to `build_panel`.
        n_points: at how many bars, drawn by `seed`, of all symbols.
        seed: of the draw.
        tolerance: for features with a finite window, in standard deviations of the feature.
        recursive_tolerance: for those that remember their first bar, likewise.

    Raises:
        InputError: the candles or the features are not the panel's.
    """
    require_same_features(panel, feature_set)
    histories = Histories(candles, timeframe, market)
    scale = _deviations(panel)
    is_recursive = np.array([item.is_recursive for item in feature_set.definitions])
    found = Differences(panel.feature_names, np.where(is_recursive, recursive_tolerance, tolerance) * scale)
    for ts_ns in draw_times(panel, n_points, seed):
        _compare(histories, feature_set.warmup_bars, feature_set, panel, ts_ns, found)
    if not found.n_rows:
        reason = (
            f"No symbol has more history than the warm-up of {feature_set.warmup_bars} bars where samples were drawn."
        )
        return Probe(name="warm_up", status="skipped", value=None, low=None, high=None, n=0, reason=reason)
    return Probe(
        name="warm_up",
        status="failed" if found.n_features else "passed",
        value=float(found.n_features),
        low=0.0,
        high=0.0,
        n=found.n_rows,
        reason=_reason(found, feature_set, found.largest / np.where(scale > 0.0, scale, 1.0), is_recursive),
    )


def _compare(
    histories: Histories, n_warm: int, features: FeatureSet, panel: Panel, ts_ns: int, found: Differences
) -> None:
    longer = [item for item in samples_at(panel, ts_ns) if histories.bars_before(item[0], ts_ns) > n_warm]
    if not longer:
        return
    again = histories.rows(features, ts_ns, n_warm + 1)
    for symbol, end in longer:
        known = again.get(symbol)
        if known is None or known[0][-1] != ts_ns:
            raise foreign_candles(symbol)
        found.take(symbol, known[0][-1:], panel.features[end : end + 1], known[1][-1:])


def _deviations(panel: Panel) -> FloatArray:
    """Return the standard deviation of each feature over samples, evenly spaced."""
    chosen = np.linspace(0, len(panel) - 1, min(len(panel), _MOST_ROWS)).astype(np.int64)
    deviations: FloatArray = panel.features[panel.end_row[chosen]].astype(np.float64).std(axis=0)
    return deviations


def _reason(found: Differences, features: FeatureSet, shares: FloatArray, is_recursive: NDArray[np.bool_]) -> str:
    if found.n_features:
        return (
            f"After a warm-up of {features.warmup_bars} bars these features are others: {found.named()}; declare a "
            "longer warm-up, or a formula without memory."
        )
    text = f"{len(features.names)} features are settled after a warm-up of {features.warmup_bars} bars"
    if not (is_recursive & (shares > 0.0)).any():
        return f"{text}."
    worst = int(np.argmax(np.where(is_recursive, shares, -1.0)))
    return f"{text}; {features.names[worst]} remembers its start most, by {shares[worst]:.2g} standard deviations."
