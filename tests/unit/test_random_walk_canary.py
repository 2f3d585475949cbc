"""The canary: nothing predicts a random walk, so whoever "predicts" it has seen the future.

Labels of 24 bars overlap. A shuffled split puts almost the same label on both sides of the cut, and a forest that knows
its neighbours by heart is then right three times out of four. The walk-forward must not be fooled.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ratchet.errors import LeakageError
from ratchet.evaluation.metrics import accuracy
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage
from ratchet.features.panel import Panel
from tests.panels import HOUR_NS, panel_of_returns, walk_returns

HORIZON = 24
LOOKBACKS = (24, 48, 72, 96, 144, 192)
WARM_UP = max(LOOKBACKS)
EMBARGO_NS = HORIZON * HOUR_NS

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
    from sklearn.model_selection import KFold  # noqa: PLC0415

    cuts = KFold(5, shuffle=True, random_state=0).split(panel.ts_ns)
    return [
        Fold(
            index=index,
            train=train,
            test=test,
            test_start_ns=int(panel.decision_ns[test].min()),
            test_end_ns=int(panel.decision_ns[test].max()),
            train_end_ns=int(panel.t1_ns[train].max()),
        )
        for index, (train, test) in enumerate(cuts)
    ]


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

    assert leaked > 0.65
    with pytest.raises(AssertionError):
        assert_nothing_is_predicted([leaked])


def test_shuffled_folds_are_refused_before_anything_is_fitted() -> None:
    """Validation checks every fold against its samples, so that shuffled folds never get as far as a score."""
    panel = random_walk_panel(0)

    for fold in shuffled(panel):
        with pytest.raises(LeakageError):
            refuse_leakage(fold, panel.decision_ns, panel.t1_ns, embargo_ns=EMBARGO_NS)
