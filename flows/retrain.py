"""The loop: from candles to a gated, served model.

Started by the Sunday cron, by an event, from the Prefect UI, or by `ratchet run`. Produces one registered version with
its gate report and, if the gate approves, a new production version. It never promotes without an approval, and a
second run on the same data resumes the first one's training instead of repeating it.
"""

from __future__ import annotations

from prefect import flow

from ratchet.evaluation.turn import RetrainRequest, TurnReport
from tasks.catalog import show_in_catalog
from tasks.collect import collect_market_data
from tasks.evaluate import judge_candidate
from tasks.evidence import gather_evidence
from tasks.features import build_training_panel, materialize_windows
from tasks.lease import retraining_lease
from tasks.optimize import export_candidate
from tasks.register import register_candidate
from tasks.report import publish_report
from tasks.rollout import roll_out
from tasks.train import train_walk_forward
from tasks.validate import validate_dataset


@flow(name="retrain", flow_run_name="retrain {source} {timeframe}")
def retrain(
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
    event_id: str = "",
) -> TurnReport:
    """Collect, validate, train, compress, judge, register and, if approved, roll out; return the report."""
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
        event_id=event_id,
    )
    with retraining_lease():
        raw = collect_market_data(request)
        dataset = validate_dataset(raw, is_live=request.is_live)
        panel = build_training_panel(dataset, request)
        training = train_walk_forward(panel, dataset, request)
        evaluation = gather_evidence(panel, dataset, training, request)
        candidate = export_candidate(panel, training, request)
        gate = judge_candidate(panel, dataset, training, evaluation, candidate, request)
        version = register_candidate(panel, raw, dataset, training, evaluation, candidate, gate, request)
        materialize_windows(dataset, request)
        rollout = roll_out(version, gate, request)
        show_in_catalog()
        return publish_report(raw, dataset, training, candidate, gate, version, rollout, request)
