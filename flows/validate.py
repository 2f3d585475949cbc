"""Validation: everything that is known about a kind of model before anything is decided about it.

Started by `ratchet validate`. Trains and judges as a retraining does, counts as a trial, and registers nothing.
"""

from __future__ import annotations

from prefect import flow

from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.turn import RetrainRequest, TrainingRef
from tasks.collect import collect_market_data
from tasks.evidence import gather_evidence
from tasks.features import build_training_panel
from tasks.lease import retraining_lease
from tasks.train import train_walk_forward
from tasks.validate import validate_dataset


@flow(name="validate", flow_run_name="validate {source} {timeframe}")
def validate(
    source: str = "simulated://",
    symbols: list[str] | None = None,
    timeframe: str = "1h",
    horizon: int = 1,
    model: str | None = None,
    preset: str = "small",
    features: str = "base",
    n_splits: int = 5,
    scheme: str = "expanding",
    calendar: str | None = None,
    reason: str = "manual",
    combinatorial: bool = False,
) -> tuple[EvaluationReport, TrainingRef]:
    """Collect, validate, train and judge out of sample; return the evidence and where it lies."""
    request = RetrainRequest.create(
        source=source,
        symbols=symbols,
        timeframe=timeframe,
        horizon=horizon,
        model=model,
        preset=preset,
        features=features,
        n_splits=n_splits,
        scheme=scheme,
        calendar=calendar,
        reason=reason,
    )
    with retraining_lease():
        raw = collect_market_data(request)
        dataset = validate_dataset(raw, is_live=request.is_live)
        panel = build_training_panel(dataset, request, is_for_production=False)
        training = train_walk_forward(panel, dataset, request)
        evidence = gather_evidence(panel, dataset, training, request, kind="validation", combinatorial=combinatorial)
    return evidence, training
