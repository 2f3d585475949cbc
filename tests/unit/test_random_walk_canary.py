"""The canary: nothing predicts a random walk, so whoever "predicts" it has seen the future.

Labels of 24 bars overlap. A shuffled split puts almost the same label on both sides of the cut, and a forest that knows
its neighbours by heart is then right three times out of four. The walk-forward must not be fooled.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest

from ratchet.errors import LeakageError
from ratchet.evaluation.metrics import accuracy
from ratchet.evaluation.probes.learners import baseline_fit
from ratchet.evaluation.probes.random_walk import random_walk_canary, random_walk_candles
from ratchet.evaluation.records import Probe
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage
from ratchet.features.panel import Panel
from ratchet.features.sets import FeatureSet
from ratchet.market.symbols import Timeframe
from tests.leaky_folds import ShuffledFolds
from tests.panels import HOUR_NS, panel_of_returns, walk_returns

HORIZON = 24
LOOKBACKS = (24, 48, 72, 96, 144, 192)
WARM_UP = max(LOOKBACKS)
EMBARGO_NS = HORIZON * HOUR_NS

IS_LONG = bool(os.environ.get("RATCHET_LONG_CANARY"))
"""Whether the pipeline is tried with all base features and a forest, which takes minutes."""

QUICK = ("log_return_15", "log_return_60", "close_to_close_60", "volume_z_60", "sma_ratio_50", "roc_30", "drawdown_60")

Split = Callable[[Panel], list[Fold]]


def random_walk_panel(seed: int) -> Panel:
    """Twelve independent walks of 1,000 samples, seen through their returns over the last 24 to 192 bars."""
    returns = walk_returns(12, 1000 + WARM_UP + HORIZON, seed)
    path = np.cumsum(np.pad(returns, ((0, 0), (WARM_UP, 0))), axis=1)
    features = np.stack([path[:, WARM_UP:] - path[:, WARM_UP - k : -k] for k in LOOKBACKS], axis=2)
    return panel_of_returns(returns, features, horizon=HORIZON, warm_up=WARM_UP)


def purged(panel: Panel) -> list[Fold]:
    return PurgedWalkForward(n_splits=5, embargo_ns=EMBARGO_NS).split(panel.decision_ns, panel.t1_ns)


def shuffled(panel: Panel) -> list[Fold]:
    return ShuffledFolds(5).split(panel.ts_ns, panel.t1_ns)


def forest_accuracy(panel: Panel, split: Split) -> float:
    """Out-of-sample accuracy of a random forest, pooled over the folds."""
    from sklearn.ensemble import RandomForestClassifier  # noqa: PLC0415

    seen = panel.features[panel.end_row]
    label, answer = [], []
    for fold in split(panel):
        forest = RandomForestClassifier(25, max_features=2, max_samples=0.6, n_jobs=2, random_state=0)
        forest.fit(seen[fold.train], panel.label[fold.train] > 0)
        label.append(panel.label[fold.test])
        answer.append(forest.predict_proba(seen[fold.test])[:, 1])
    return accuracy(np.concatenate(label), np.concatenate(answer))


def assert_nothing_is_predicted(accuracies: list[float]) -> None:
    assert np.mean(accuracies) == pytest.approx(0.50, abs=0.03)


def test_purged_walk_forward_cannot_predict_a_random_walk() -> None:
    """The walk-forward scores 50 +- 3 % where there is nothing to know."""
    assert_nothing_is_predicted([forest_accuracy(random_walk_panel(seed), purged) for seed in range(3)])


def test_the_canary_dies_when_shuffled_folds_are_swapped_in() -> None:
    """The same forest scores about 75 % with shuffled folds, so the canary's assertion fails: it can see a leak."""
    leaked = forest_accuracy(random_walk_panel(0), shuffled)

    assert leaked == pytest.approx(0.736, abs=0.03)
    with pytest.raises(AssertionError):
        assert_nothing_is_predicted([leaked])


def test_shuffled_folds_are_refused_before_anything_is_fitted() -> None:
    """Validation checks every fold against its samples, so that shuffled folds never get as far as a score."""
    panel = random_walk_panel(0)

    for fold in shuffled(panel):
        with pytest.raises(LeakageError):
            refuse_leakage(fold, panel.decision_ns, panel.t1_ns, embargo_ns=EMBARGO_NS)


def pipeline_canary(walk_forward: ShuffledFolds | None) -> Probe:
    """The probe that `ratchet check leaks` runs: candles, the feature kernel, labels, folds."""
    base = FeatureSet.base()
    quick = FeatureSet("quick", tuple(item for item in base.definitions if item.name in QUICK))
    return random_walk_canary(
        base if IS_LONG else quick,
        timeframe=Timeframe.parse("1h"),
        horizon=HORIZON,
        learner=baseline_fit("random_forest" if IS_LONG else "gradient_boosting"),
        n_symbols=12,
        n_bars=2_200 if IS_LONG else 3_000,
        seed=0,
        walk_forward=walk_forward,
    )


def test_the_real_pipeline_cannot_predict_a_random_walk() -> None:
    """From candles through the feature kernel and purged folds to an accuracy of 50 +- 3 %."""
    probe = pipeline_canary(None)

    assert (probe.status, probe.low, probe.high) == ("passed", 0.47, 0.53)
    assert probe.value == pytest.approx(0.50, abs=0.03)


def test_the_real_pipeline_is_caught_with_shuffled_folds() -> None:
    """The probe fails; the forest on all base features is right three times out of four."""
    probe = pipeline_canary(ShuffledFolds())

    assert probe.status == "failed"
    assert probe.value is not None
    assert probe.value == pytest.approx(0.736, abs=0.03) if IS_LONG else probe.value > 0.56


def test_random_walk_candles_are_whole_and_without_drift_or_memory() -> None:
    """High and low enclose the bar, a bar opens at the last close, ups are as many as downs and tell nothing."""
    candles = random_walk_candles(Timeframe.parse("1h"), n_symbols=4, n_bars=5_000, seed=0)
    opening, close = (candles[name].to_numpy().reshape(4, -1) for name in ("open", "close"))
    step = np.log(close / opening)

    assert (candles["high"] >= candles[["open", "close"]].max(axis=1)).all()
    assert (candles["low"] <= candles[["open", "close"]].min(axis=1)).all()
    np.testing.assert_array_equal(opening[:, 1:], close[:, :-1])
    assert (step > 0).mean() == pytest.approx(0.5, abs=0.015)
    assert abs(np.corrcoef(step[:, 1:].ravel(), step[:, :-1].ravel())[0, 1]) < 0.03
    assert np.abs(np.corrcoef(step) - np.eye(4)).max() < 0.06
