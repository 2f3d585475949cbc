"""The network finds a planted signal, and finds nothing where there is none."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from models.training.recipes import recipe_by_name
from models.training.trainer import fit_fold, predict
from ratchet.evaluation.turn import RetrainRequest
from ratchet.evaluation.validation import Predictor, ValidationResult, walk_forward_validation
from ratchet.evaluation.walk_forward import Fold
from ratchet.exchanges.simulated import SimulatedMarket, SimulatedMarketConfig
from ratchet.features.panel import Panel, build_panel
from ratchet.features.sets import FeatureSet
from ratchet.settings import CostSettings
from tasks.champion import walk_forward_of

pytestmark = pytest.mark.slow
COSTS = CostSettings()


@cache
def _market(*, has_signal: bool) -> SimulatedMarket:
    return SimulatedMarket(SimulatedMarketConfig(seed=11, has_signal=has_signal))


def _validate(market: SimulatedMarket, folder: Path) -> ValidationResult:
    recipe = recipe_by_name("small")
    panel = build_panel(
        market.candles(),
        FeatureSet.base(),
        timeframe=market.config.bar,
        horizon=1,
        window=recipe.window,
        round_trip_bps=COSTS.round_trip_bps,
    )

    def fit(panel: Panel, fold: Fold) -> Predictor:
        trained = fit_fold(panel, fold, recipe, folder / f"fold-{fold.index}", None)
        return lambda panel, index: predict(trained, panel, index)

    symbols = [panel.symbols[position] for position in panel.symbol_id]
    return walk_forward_validation(
        panel,
        fit,
        n_splits=3,
        embargo_ns=walk_forward_of(panel, RetrainRequest()).embargo_ns,
        costs=COSTS,
        timeframe=market.config.bar,
        seed=1,
        bayes_accuracy=lambda index: market.bayes_accuracy(
            [symbols[position] for position in index], panel.ts_ns[index], panel.band[index]
        ),
    )


def test_the_network_goes_nine_tenths_of_the_way_to_the_best_possible(tmp_path: Path) -> None:
    """Out of sample, the network covers 90 % of the distance from majority to the simulator's Bayes accuracy."""
    pooled = _validate(_market(has_signal=True), tmp_path).pooled
    assert pooled.bayes_accuracy is not None
    majority = pooled.baselines["majority"].value
    way = (pooled.accuracy.value - majority) / (pooled.bayes_accuracy - majority)
    assert way >= 0.9, (pooled.accuracy, majority, pooled.bayes_accuracy)
    assert pooled.accuracy.value <= pooled.bayes_accuracy + 0.02, "better than possible: something leaks"


def test_without_a_signal_the_network_is_no_better_than_the_majority(tmp_path: Path) -> None:
    """Where nothing can be known, the interval of the out-of-sample accuracy covers the majority baseline."""
    pooled = _validate(_market(has_signal=False), tmp_path).pooled
    assert pooled.bayes_accuracy == pytest.approx(0.5, abs=0.01)
    assert pooled.accuracy.low <= pooled.baselines["majority"].value <= pooled.accuracy.high
