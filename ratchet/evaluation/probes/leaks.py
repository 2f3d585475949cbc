"""All leak probes in one report, as a retraining runs them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ratchet.evaluation.probes.learners import baseline_fit
from ratchet.evaluation.probes.random_walk import random_walk_canary
from ratchet.evaluation.probes.shuffled_labels import Splitter, shuffled_labels
from ratchet.evaluation.probes.truncation import truncation
from ratchet.evaluation.probes.warm_up import warm_up
from ratchet.evaluation.records import LeakReport
from ratchet.evaluation.validation import Fit
from ratchet.features.sets import FeatureSet
from ratchet.market.symbols import Timeframe

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.features.panel import Panel
    from ratchet.features.streaming.events import FeatureEvent


def find_leaks(
    candles: pd.DataFrame,
    feature_set: FeatureSet,
    panel: Panel,
    walk_forward: Splitter,
    *,
    timeframe: Timeframe,
    market: Iterable[FeatureEvent] = (),
    fit: Fit | None = None,
    with_canary: bool = False,
    n_points: int = 8,
    seed: int,
) -> LeakReport:
    """Look for leaks in the features, in their warm-up and in the splits; the same seed finds the same.

    Args:
        candles: those that the panel was built from.
        feature_set: the panel's.
        panel: what the model is trained on.
        walk_forward: the splits that it is judged on.
        timeframe: of the bars.
        market: as given to `build_panel`.
        fit: what predicts the shuffled labels; default gradient boosting.
        with_canary: also let the pipeline predict a random walk, for sets that need candles only.
        n_points: at how many bars features are computed again.
        seed: of all that is drawn.

    Raises:
        InputError: candles, features and panel do not belong together, or the history is too short for the folds.
        CandidateRejectedError: `fit` answered something that is not a probability per sample.
    """
    learner = fit or baseline_fit(seed=seed)
    events = tuple(market)
    probes = [
        truncation(candles, feature_set, panel, timeframe=timeframe, market=events, n_points=n_points, seed=seed),
        warm_up(candles, feature_set, panel, timeframe=timeframe, market=events, n_points=n_points, seed=seed),
        shuffled_labels(panel, learner, walk_forward, seed=seed),
    ]
    if with_canary:
        canary = random_walk_canary(
            feature_set, timeframe=timeframe, horizon=panel.horizon, learner=baseline_fit(seed=seed), seed=seed
        )
        probes.append(canary)
    return LeakReport(probes=tuple(probes), seed=seed)
