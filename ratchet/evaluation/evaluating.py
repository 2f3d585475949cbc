"""From out-of-sample predictions to everything that is said about a model."""

from __future__ import annotations

from dataclasses import replace

from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import LeakReport, PathResult, SelectionReport
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.scores import score
from ratchet.evaluation.slices import slice_accuracy
from ratchet.evaluation.trading import trade
from ratchet.evaluation.validation import ValidationResult
from ratchet.settings import CostSettings


def evaluate(
    validation: ValidationResult,
    rows: Predictions,
    *,
    costs: CostSettings,
    dataset_digest: str,
    seed: int,
    min_edge: float = 0.0,
    selection: SelectionReport | None = None,
    leaks: LeakReport | None = None,
    paths: PathResult | None = None,
) -> EvaluationReport:
    """Score, trade and slice the pooled out-of-sample rows, and put what else is known beside them.

    Args:
        validation: the walk-forward that gave the rows.
        rows: its out-of-sample predictions, with those of the baselines.
        costs: of trading.
        dataset_digest: of the data that were validated.
        seed: of every bootstrap.
        min_edge: least |p_up - 0.5| that is traded.
        selection: what the number of trials explains.
        leaks: what the probes found.
        paths: a combinatorial validation of the same panel.

    Raises:
        InputError: no row moved beyond the cost band.
    """
    return EvaluationReport(
        validation=validation,
        scores=score(rows, seed=seed),
        trading=trade(rows, costs, min_edge=min_edge, seed=seed),
        baselines={name: score(replace(rows, p_up=p_up), seed=seed) for name, p_up in rows.baselines.items()},
        selection=selection,
        slices=slice_accuracy(rows, seed=seed),
        paths=paths,
        leaks=leaks,
        dataset_digest=dataset_digest,
        symbols=tuple(sorted(set(map(str, rows.symbol)))),
        timeframe=rows.timeframe,
        horizon=rows.horizon,
        start_ns=int(rows.decision_ns.min()),
        end_ns=int(rows.t1_ns.max()),
    )
