"""Truncate and recompute: a feature that changes when later bars are taken away has seen them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from ratchet.evaluation.probes.differences import Differences
from ratchet.evaluation.probes.histories import (
    Histories,
    draw_times,
    foreign_candles,
    parts_of,
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


def truncation(
    candles: pd.DataFrame,
    feature_set: FeatureSet,
    panel: Panel,
    *,
    timeframe: Timeframe,
    market: Iterable[FeatureEvent] = (),
    n_points: int = 8,
    seed: int,
) -> Probe:
    """Compute windows again from what was there at the decision, and compare with those that training used.

    At each of `n_points` bars drawn by `seed`, all symbols and the market are cut there, and the windows of all samples
    of that bar are compared bit for bit: the same arithmetic on the same bars leaves no rounding. Features with a
    finite window are computed from the bars that they may rest on, the others from the whole past. (The look-ahead
    analysis of freqtrade compares signals in this way.)

    Args:
        candles: those that the panel was built from.
        feature_set: the panel's.
        panel: what the model is trained on.
        timeframe: of the bars.
        market: books, trades and derivatives in the order of their arrival, as given to `build_panel`.
        n_points: at how many bars.
        seed: of the draw.

    Raises:
        InputError: the candles or the features are not the panel's.
    """
    require_same_features(panel, feature_set)
    histories = Histories(candles, timeframe, market)
    found = Differences(panel.feature_names, np.zeros(len(panel.feature_names)))
    for ts_ns in draw_times(panel, n_points, seed):
        _compare(histories, feature_set, panel, ts_ns, found)
    reason = (
        f"Without later bars these features are others: {found.named()}; compute them from bars up to the decision."
        if found.n_features
        else f"{len(panel.feature_names)} features are the same to the bit without later bars."
    )
    return Probe(
        name="truncation",
        status="failed" if found.n_features else "passed",
        value=float(found.n_features),
        low=0.0,
        high=0.0,
        n=found.n_rows,
        reason=reason,
    )


def _compare(histories: Histories, feature_set: FeatureSet, panel: Panel, ts_ns: int, found: Differences) -> None:
    again = [(part, histories.rows(part.features, ts_ns, part.n_bars)) for part in parts_of(feature_set, panel.window)]
    for symbol, end in samples_at(panel, ts_ns):
        times = panel.row_ts_ns[end + 1 - panel.window : end + 1]
        values = np.empty((panel.window, len(panel.feature_names)), dtype=np.float32)
        for part, computed in again:
            known = computed.get(symbol)
            if known is None or not np.array_equal(known[0][-panel.window :], times):
                raise foreign_candles(symbol)
            values[:, part.columns] = known[1][-panel.window :]
        found.take(symbol, times, panel.features[end + 1 - panel.window : end + 1], values)
