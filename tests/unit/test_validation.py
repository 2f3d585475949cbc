"""Walk-forward validation of models whose quality is known beforehand."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.errors import CandidateRejectedError, InputError
from ratchet.evaluation.validation import FoldResult, Predictor, ValidationResult, walk_forward_validation
from ratchet.evaluation.walk_forward import Fold
from ratchet.features.panel import Panel
from ratchet.market.symbols import Timeframe
from ratchet.settings import CostSettings
from tests.panels import HOUR_NS, signal_panel

HOUR = Timeframe.parse("1h")
PANEL = signal_panel(n_symbols=2, n_bars=360, strength=0.5)


def knows_the_signal(panel: Panel, fold: Fold) -> Predictor:
    """A model that reads the planted feature: right with probability Phi(0.5) = 69.1 %."""

    def predict(seen: Panel, index: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.where(seen.features[seen.end_row[index], 0] > 0, 0.7, 0.3)

    return predict


def learns_by_heart(panel: Panel, fold: Fold) -> Predictor:
    """A model that knows its training labels and guesses the rest."""
    known = np.zeros(len(panel))
    known[fold.train] = panel.label[fold.train]
    guess = np.random.default_rng(0).uniform(-0.1, 0.1, len(panel))

    def predict(seen: Panel, index: NDArray[np.int64]) -> NDArray[np.float64]:
        return 0.5 + np.where(known[index] != 0, 0.4 * known[index], guess[index])

    return predict


def validate(
    fit: Callable[[Panel, Fold], Predictor], panel: Panel = PANEL, on_fold: Callable[[FoldResult], None] | None = None
) -> ValidationResult:
    return walk_forward_validation(
        panel,
        fit,
        n_splits=3,
        embargo_ns=2 * HOUR_NS,
        costs=CostSettings(),
        timeframe=HOUR,
        seed=1,
        bayes_accuracy=lambda index: 0.691,
        on_fold=on_fold,
    )


@pytest.fixture(scope="module")
def informed() -> ValidationResult:
    return validate(knows_the_signal)


def test_the_accuracy_of_a_model_of_known_quality_is_found(informed: ValidationResult) -> None:
    """The pooled interval holds the true 69.1 %, the model beats the naive rules, and has no training gap."""
    pooled = informed.pooled

    assert pooled.accuracy.low < 0.691 < pooled.accuracy.high
    assert pooled.gain_over["majority"].low > 0.0
    assert pooled.gain_over["last_sign"].low > 0.0
    assert abs(pooled.train_gap) < 0.06
    assert pooled.net_sharpe.low > 0.0
    assert pooled.bayes_accuracy == pytest.approx(0.691)


def test_folds_and_pooled_figures_describe_the_same_predictions(informed: ValidationResult) -> None:
    """Counts add up, folds follow in time, and pooled accuracy is the mean of the folds' weighted by their moves."""
    folds, pooled = informed.folds, informed.pooled

    assert [fold.index for fold in folds] == [0, 1, 2]
    assert sum(fold.n_test for fold in folds) == pooled.n_test == len(informed.predictions)
    assert all(fold.train_end_ns + 2 * HOUR_NS <= fold.test_start_ns <= fold.test_end_ns for fold in folds)
    weighted = sum(fold.accuracy.value * fold.n_moves for fold in folds) / pooled.n_moves
    assert pooled.accuracy.value == pytest.approx(weighted)
    assert set(folds[0].baselines) == {"majority", "last_sign", "logistic", "gradient_boosting"}


def test_the_result_goes_through_json_without_its_predictions(informed: ValidationResult) -> None:
    """The figures read back equal; the predictions live in their own file, and asking for them says so."""
    again = ValidationResult.model_validate_json(informed.model_dump_json())

    assert (again.folds, again.pooled) == (informed.folds, informed.pooled)
    with pytest.raises(InputError, match="load_predictions"):
        _ = again.predictions


def test_a_model_that_knows_its_training_labels_shows_a_gap_and_no_skill() -> None:
    """Learning by heart is 100 % in training and a coin out of sample: the test rows were never trained on."""
    pooled = validate(learns_by_heart).pooled

    assert pooled.train_accuracy == 1.0
    assert pooled.accuracy.low < 0.5 < pooled.accuracy.high
    assert pooled.train_gap > 0.4


def test_every_fold_is_reported_when_it_is_ready() -> None:
    """The callback sees each fold once, in order, before the next one is fitted."""
    events: list[str] = []

    def fit(panel: Panel, fold: Fold) -> Predictor:
        events.append(f"fit {fold.index}")
        return knows_the_signal(panel, fold)

    validate(fit, on_fold=lambda result: events.append(f"done {result.index}"))
    assert events == ["fit 0", "done 0", "fit 1", "done 1", "fit 2", "done 2"]


def test_a_model_that_answers_nonsense_is_rejected() -> None:
    """A model that answers NaN does not get a score."""
    with pytest.raises(CandidateRejectedError, match="not probabilities"):
        validate(lambda panel, fold: lambda seen, index: np.full(len(index), np.nan))


def test_a_panel_of_another_bar_length_is_refused() -> None:
    """The timeframe that annualises must be the panel's own."""
    with pytest.raises(InputError, match="bars are 1h, not 5m"):
        walk_forward_validation(
            PANEL, knows_the_signal, embargo_ns=0, costs=CostSettings(), timeframe=Timeframe.parse("5m"), seed=0
        )
