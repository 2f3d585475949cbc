"""A whole evaluation of a model on simulated prices, by the real functions; for the tests of reports and pictures."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.card import ModelCard, Question, Training
from ratchet.evaluation.gate import Evidence, GateReport, judge
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import LeakReport, PathResult, Probe, SelectionReport
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.scores import score
from ratchet.evaluation.slices import slice_accuracy
from ratchet.evaluation.trading import trade
from ratchet.evaluation.turn import DatasetSummary
from ratchet.evaluation.validation import Predictor, walk_forward_validation
from ratchet.evaluation.walk_forward import Fold
from ratchet.features.panel import Panel
from ratchet.market import Timeframe
from ratchet.settings import CostSettings
from tests.panels import HOUR_NS, START_NS, rival_predictions, signal_panel

COSTS = CostSettings()
SELECTION = SelectionReport(
    n_trials=37,
    n_same_data=1,
    effective_trials=12.5,
    expected_best_sharpe=2.31,
    deflated_sharpe=0.42,
    pbo=0.61,
    pbo_trials=9,
)
LEAKS = LeakReport(
    probes=(
        Probe(
            name="truncation",
            status="passed",
            value=0.0,
            low=None,
            high=0.0,
            n=40,
            reason="Rows of 40 times are equal.",
        ),
        Probe(name="random_walk", status="skipped", value=None, low=0.47, high=0.53, n=0, reason="Not asked for."),
    ),
    seed=1,
)


@functools.cache
def evaluated(strength: float = 0.3) -> EvaluationReport:
    """Validate a model that knows the planted signal of the given strength, and compute all that a report holds."""
    panel = signal_panel(2, 700, strength=strength)
    result = walk_forward_validation(
        panel, _fit, n_splits=3, embargo_ns=0, costs=COSTS, timeframe=Timeframe.parse("1h"), seed=1
    )
    rows = result.predictions
    return EvaluationReport(
        validation=result,
        scores=score(rows, seed=1, n_resamples=200),
        trading=trade(rows, COSTS, seed=1),
        baselines={name: score(rows.with_p_up(p_up), seed=1, n_resamples=200) for name, p_up in rows.baselines.items()},
        selection=SELECTION,
        slices=slice_accuracy(rows, champion=rows.with_p_up(rows.baselines["logistic"]), seed=1, n_resamples=200),
        paths=PathResult(n_groups=6, n_test_groups=2, n_splits=15, accuracies=(0.49, 0.52, 0.54, 0.51, 0.53)),
        leaks=LEAKS,
        dataset_digest="ab" * 32,
        symbols=panel.symbols,
        timeframe="1h",
        horizon=1,
        start_ns=START_NS,
        end_ns=START_NS + 700 * HOUR_NS,
    )


def _fit(panel: Panel, fold: Fold) -> Predictor:
    """A model that needs no training: it has seen the rule by which the signal was planted."""

    def predict(asked: Panel, index: NDArray[np.int64]) -> NDArray[np.float64]:
        signal = asked.features[asked.end_row[index], 0].astype(np.float64)
        return np.asarray(1.0 / (1.0 + np.exp(-signal)), dtype=np.float64)

    return predict


@functools.cache
def gated(*, is_better: bool = True) -> GateReport:
    """Let the real gate judge a model that is right more often than its champion, or less often."""
    better, worse = rival_predictions((0.3, 0.05), n_times=900, horizon=4, seed=2)
    challenger, champion = (better, worse) if is_better else (worse, better)
    return judge(_evidence(challenger, champion), GatePolicy(min_deflated_sharpe=0.9, n_resamples=400))


def _evidence(challenger: Predictions, champion: Predictions) -> Evidence:
    return Evidence(
        challenger=challenger,
        challenger_train_end_ns=START_NS - 48 * HOUR_NS,
        latency=LatencyReport(p50_ms=0.31, p99_ms=0.82, p99_upper_ms=1.13, n=1_000),
        train_gap=0.021,
        costs=COSTS,
        embargo_ns=HOUR_NS,
        seed=1,
        model="simulated-1h",
        judged="d" * 64,
        model_digest="cd" * 32,
        issued_ns=START_NS,
        leaks=LEAKS,
        champion=champion,
        champion_train_end_ns=START_NS - 48 * HOUR_NS,
        champion_name="v1.0.0",
    )


def made_card(name: str = "simulated-1h", strength: float = 0.3) -> ModelCard:
    """The card of a model with real figures."""
    found = evaluated(strength)
    return ModelCard(
        name=name,
        version="v1.2.0",
        created_ns=START_NS,
        digest="cd" * 32,
        question=Question(symbols=found.symbols, timeframe="1h", horizon=1),
        training=Training(
            network="hybrid CNN-LSTM",
            recipe={"epochs": 12, "dropout": 0.1},
            feature_set="base",
            n_features=4,
            window=1,
            train_end_ns=START_NS + 500 * HOUR_NS,
            seeds=(7, 8),
            code_commit="0123abcd",
        ),
        data=DatasetSummary(
            digest=found.dataset_digest,
            source="simulated://",
            symbols=found.symbols,
            n_rows=1_400,
            n_quarantined=3,
            start_ns=found.start_ns,
            end_ns=found.end_ns,
        ),
        scores=found.scores,
        trading=found.trading,
        selection=found.selection,
        baselines=found.validation.pooled.baselines,
        gain_over=found.validation.pooled.gain_over,
        slices=found.slices,
        leaks=found.leaks,
        gate=gated(),
        latency=LatencyReport(p50_ms=0.31, p99_ms=0.82, p99_upper_ms=1.13, n=1_000),
        size_bytes=98_304,
        run_id="run-17",
        parent_version="v1.0.0",
    )
