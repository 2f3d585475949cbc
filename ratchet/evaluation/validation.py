"""Walk-forward validation: fit on each fold's past, judge on its future, keep every out-of-sample prediction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, PrivateAttr

from ratchet.errors import InputError
from ratchet.evaluation.baselines import baseline_probabilities
from ratchet.evaluation.metrics import (
    Metric,
    accuracy,
    accuracy_gain,
    hit_interval,
    sharpe_interval,
    to_metric,
)
from ratchet.evaluation.predictions import Predictions, checked_probabilities, concatenate, predictions_of
from ratchet.evaluation.trading import traded_returns
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage
from ratchet.market.symbols import Timeframe
from ratchet.settings import CostSettings

if TYPE_CHECKING:
    from ratchet.features.panel import Panel

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_MAX_TRAIN_SCORED = 20_000
"""How many training samples, evenly spaced, are predicted again for the training accuracy."""


class FoldResult(BaseModel):
    """One fold's figures; accuracies are shares, times ns UTC; `baselines` holds their accuracies."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    index: int
    n_train: int
    n_test: int
    n_moves: int
    train_end_ns: int
    test_start_ns: int
    test_end_ns: int
    train_accuracy: float
    accuracy: Metric
    net_sharpe: Metric
    baselines: dict[str, float]
    bayes_accuracy: float | None = None


class PooledResult(BaseModel):
    """Figures over all folds' out-of-sample rows.

    `train_gap` is training accuracy minus out-of-sample accuracy, folds weighted by their test moves; `gain_over` is
    the paired gain in accuracy over each baseline.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_test: int
    n_moves: int
    train_accuracy: float
    train_gap: float
    accuracy: Metric
    net_sharpe: Metric
    baselines: dict[str, Metric]
    gain_over: dict[str, Metric]
    bayes_accuracy: float | None = None


class ValidationResult(BaseModel):
    """Figures per fold and pooled, which go into JSON, and the out-of-sample predictions behind them, which do not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    folds: tuple[FoldResult, ...]
    pooled: PooledResult
    _predictions: Predictions | None = PrivateAttr(default=None)

    @property
    def predictions(self) -> Predictions:
        """All folds' out-of-sample predictions, sorted by (ts_ns, symbol).

        Raises:
            InputError: the result was read from JSON; load the predictions from their own file.
        """
        if self._predictions is None:
            raise InputError("a validation read from JSON has no predictions; use load_predictions on their file")
        return self._predictions


Predictor = Callable[["Panel", IntArray], FloatArray]
"""Answers p_up, float64 (index,), for samples of a panel."""

Fit = Callable[["Panel", Fold], Predictor]
"""Fits on `fold.train` alone and returns the predictor."""


def walk_forward_validation(
    panel: Panel,
    fit: Fit,
    *,
    n_splits: int = 5,
    embargo_ns: int,
    costs: CostSettings,
    timeframe: Timeframe,
    seed: int,
    min_edge: float = 0.0,
    scheme: Literal["expanding", "rolling"] = "expanding",
    window: Literal["week", "month", "quarter"] | None = None,
    bayes_accuracy: Callable[[IntArray], float] | None = None,
    on_fold: Callable[[FoldResult], None] | None = None,
) -> ValidationResult:
    """Fit and judge a model on purged walk-forward folds, beside the baselines on the same rows.

    Args:
        fit: called once per fold; must use `fold.train` only.
        embargo_ns: time between the last training label's end and the first test decision.
        seed: of the bootstrap and of the baselines.
        min_edge: least |p_up - 0.5| that the net Sharpe ratio trades.
        scheme: training windows that grow, or of equal length.
        window: test whole calendar periods instead of equal windows.
        bayes_accuracy: the best possible accuracy on given samples, where the market's law is known.
        on_fold: told each fold's figures when they are ready.

    Raises:
        InputError: the history is too short for the folds, or a fold has no move beyond the cost band.
        LeakageError: a fold's training labels reach into its test window.
        CandidateRejectedError: the model answered something that is not a probability per sample.
    """
    if timeframe.text != panel.timeframe:
        raise InputError(f"the panel's bars are {panel.timeframe}, not {timeframe.text}")
    splitter = PurgedWalkForward(n_splits=n_splits, embargo_ns=embargo_ns, scheme=scheme, window=window)
    judge = _Judge(costs=costs, timeframe=timeframe, seed=seed, min_edge=min_edge)
    folds: list[FoldResult] = []
    parts: list[Predictions] = []
    for fold in splitter.split(panel.decision_ns, panel.t1_ns):
        refuse_leakage(fold, panel.decision_ns, panel.t1_ns, embargo_ns=embargo_ns)
        predict = fit(panel, fold)
        parts.append(_predict_fold(panel, fold, predict, seed))
        bayes = None if bayes_accuracy is None else bayes_accuracy(fold.test)
        folds.append(judge.fold(fold, parts[-1], _train_accuracy(panel, fold, predict), bayes))
        if on_fold is not None:
            on_fold(folds[-1])
    return _result(folds, concatenate(parts), judge)


@dataclass(frozen=True, slots=True)
class _Judge:
    """Turns predictions into figures, the same way per fold and pooled."""

    costs: CostSettings
    timeframe: Timeframe
    seed: int
    min_edge: float

    def fold(self, fold: Fold, part: Predictions, train_accuracy: float, bayes: float | None) -> FoldResult:
        return FoldResult(
            index=fold.index,
            n_train=len(fold.train),
            n_test=len(part),
            n_moves=_n_moves(part),
            train_end_ns=fold.train_end_ns,
            test_start_ns=fold.test_start_ns,
            test_end_ns=fold.test_end_ns,
            train_accuracy=train_accuracy,
            accuracy=self._accuracy(part, part.p_up),
            net_sharpe=self._net_sharpe(part),
            baselines={name: accuracy(part.label, p_up) for name, p_up in part.baselines.items()},
            bayes_accuracy=bayes,
        )

    def pooled(self, folds: list[FoldResult], predictions: Predictions) -> PooledResult:
        moves = np.array([fold.n_moves for fold in folds])
        train_accuracy = float(np.average([fold.train_accuracy for fold in folds], weights=moves))
        pooled_accuracy = self._accuracy(predictions, predictions.p_up)
        bayes = [fold.bayes_accuracy for fold in folds if fold.bayes_accuracy is not None]
        return PooledResult(
            n_test=len(predictions),
            n_moves=int(moves.sum()),
            train_accuracy=train_accuracy,
            train_gap=train_accuracy - pooled_accuracy.value,
            accuracy=pooled_accuracy,
            net_sharpe=self._net_sharpe(predictions),
            baselines={name: self._accuracy(predictions, p_up) for name, p_up in predictions.baselines.items()},
            gain_over=self._gains(predictions, predictions.baselines),
            bayes_accuracy=float(np.average(bayes, weights=moves)) if len(bayes) == len(folds) else None,
        )

    def _accuracy(self, rows: Predictions, p_up: FloatArray) -> Metric:
        return hit_interval(rows.ts_ns, rows.label, p_up, horizon=rows.horizon, seed=self.seed)

    def _gains(self, rows: Predictions, baselines: Mapping[str, FloatArray]) -> dict[str, Metric]:
        return {
            name: to_metric(
                accuracy_gain(rows.ts_ns, rows.label, rows.p_up, p_up, horizon=rows.horizon, seed=self.seed)
            )
            for name, p_up in baselines.items()
        }

    def _net_sharpe(self, rows: Predictions) -> Metric:
        net = traded_returns(rows, self.costs, min_edge=self.min_edge)
        per_year = self.timeframe.bars_per_year
        return sharpe_interval(net.value, bars_per_year=per_year, horizon=rows.horizon, seed=self.seed)


def _result(folds: list[FoldResult], predictions: Predictions, judge: _Judge) -> ValidationResult:
    result = ValidationResult(folds=tuple(folds), pooled=judge.pooled(folds, predictions))
    result._predictions = predictions
    return result


def _predict_fold(panel: Panel, fold: Fold, predict: Predictor, seed: int) -> Predictions:
    baselines = baseline_probabilities(panel, fold.train, fold.test, seed=seed)
    return predictions_of(panel, fold.test, predict(panel, fold.test), fold=fold.index, baselines=baselines)


def _train_accuracy(panel: Panel, fold: Fold, predict: Predictor) -> float:
    moved = fold.train[panel.label[fold.train] != 0]
    scored = moved[np.linspace(0, len(moved) - 1, min(len(moved), _MAX_TRAIN_SCORED)).astype(np.int64)]
    return accuracy(panel.label[scored], checked_probabilities(predict(panel, scored), len(scored)))


def _n_moves(rows: Predictions) -> int:
    return int(np.count_nonzero(rows.label))
