"""Gather the evidence on a trained kind of model: scores, trading, slices, trials, and a search for leaks."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.data.atomic import write_bytes, write_json
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_candles
from ratchet.evaluation.card_html import card_html
from ratchet.evaluation.combinatorial import CombinatorialPurgedSplit, combinatorial_validation
from ratchet.evaluation.evaluating import evaluate
from ratchet.evaluation.policy import GatePolicy, load_policy
from ratchet.evaluation.predictions import Predictions, load_predictions
from ratchet.evaluation.probes.leaks import find_leaks
from ratchet.evaluation.probes.learners import baseline_fit
from ratchet.evaluation.records import LeakReport, PathResult, SelectionReport
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.report_text import validation_report
from ratchet.evaluation.trading import traded_returns
from ratchet.evaluation.trials import Trial, TrialKind, TrialStore, judge_selection
from ratchet.evaluation.turn import RetrainRequest, TrainingRef
from ratchet.features.panel import Panel, PanelRef, load_panel
from ratchet.features.sets import FeatureSet
from ratchet.market import Timeframe
from ratchet.rollout.live_features import recorded_for
from ratchet.settings import Settings, load_settings
from ratchet.tracking import LEAK_TAG, open_tracker
from tasks.champion import walk_forward_of
from tasks.narration import narrate
from tasks.pictures import draw_evidence, inline, keep_pictures

_SEED = 11
_N_GROUPS, _N_TEST_GROUPS = 6, 2


@task(name="evidence", cache_policy=NO_CACHE)
def gather_evidence(
    panel_ref: PanelRef,
    dataset: DatasetRef,
    training: TrainingRef,
    request: RetrainRequest,
    *,
    kind: TrialKind = "retrain",
    combinatorial: bool = False,
) -> EvaluationReport:
    """Count the trial, probe for leaks, judge the out-of-sample predictions, and publish what was found."""
    settings = load_settings()
    policy, panel = load_policy(settings.gate_policy), load_panel(panel_ref)
    rows = load_predictions(training.folder / "predictions.parquet")
    with narrate("evidence") as narration:
        evaluation = evaluate(
            training.validation,
            rows,
            costs=settings.costs,
            dataset_digest=dataset.digest,
            seed=_SEED,
            min_edge=policy.min_edge,
            selection=_count_trial(settings, policy, training, request, rows, kind),
            leaks=_probe(settings, panel, dataset, request),
            paths=_paths(panel, request) if combinatorial else None,
        )
        narration.conclude(_outcome(evaluation))
    _publish(settings, evaluation, rows, training, request)
    return evaluation


def evidence_folder(training: TrainingRef) -> Path:
    """Return where the report and the pictures of a training's evaluation lie."""
    return training.folder / "evidence"


def _count_trial(
    settings: Settings,
    policy: GatePolicy,
    training: TrainingRef,
    request: RetrainRequest,
    rows: Predictions,
    kind: TrialKind,
) -> SelectionReport:
    own = Trial.of(
        training.folder.name,
        request.model_name,
        kind,
        ts_ns=SystemClock().now_ns(),
        run_id=training.run_id,
        traded=traded_returns(rows, settings.costs, min_edge=policy.min_edge),
    )
    with TrialStore(settings.trials_path) as store:
        store.add(own)
        trials = store.all(request.model_name)
    return judge_selection(trials, own, bars_per_year=Timeframe.parse(rows.timeframe).bars_per_year)


def _probe(settings: Settings, panel: Panel, dataset: DatasetRef, request: RetrainRequest) -> LeakReport:
    candles, features = load_candles(dataset), FeatureSet.named(request.features)
    return find_leaks(
        candles[candles["symbol"].isin(panel.symbols)],
        features,
        panel,
        walk_forward_of(panel, request),
        timeframe=Timeframe.parse(request.timeframe),
        market=recorded_for(settings, request, features, candles),
        seed=_SEED,
    )


def _paths(panel: Panel, request: RetrainRequest) -> PathResult:
    splitter = CombinatorialPurgedSplit(
        n_groups=_N_GROUPS, n_test_groups=_N_TEST_GROUPS, embargo_ns=walk_forward_of(panel, request).embargo_ns
    )
    return combinatorial_validation(panel, baseline_fit("gradient_boosting", seed=_SEED), splitter)


def _outcome(evaluation: EvaluationReport) -> str:
    probes = evaluation.leaks.probes if evaluation.leaks else ()
    failed = [probe.name for probe in probes if probe.status == "failed"]
    n_passed = sum(probe.status == "passed" for probe in probes)
    found = f"LEAK found by {', '.join(failed)}" if failed else f"no leak found by {n_passed} probes"
    trials = evaluation.selection.n_trials if evaluation.selection else 0
    sharpe = evaluation.trading.net_sharpe
    return f"{found}; net Sharpe {sharpe.value:.1f} [{sharpe.low:.1f}, {sharpe.high:.1f}], trial {trials}"


def _publish(
    settings: Settings, evaluation: EvaluationReport, rows: Predictions, training: TrainingRef, request: RetrainRequest
) -> None:
    """Write the report and its pictures beside the training, into the tracker and into the Prefect UI."""
    folder, pictures = evidence_folder(training), draw_evidence(evaluation, rows, settings.costs)
    text = validation_report(f"Validation of {request.model_name}", evaluation)
    write_json(folder / "evaluation.json", evaluation.model_dump(mode="json"))
    write_bytes(folder / "validation.md", text.encode())
    write_bytes(folder / "validation.html", card_html(text, pictures).encode())
    keep_pictures(folder, pictures)
    with closing(open_tracker(settings, SystemClock(), {})) as tracker:
        tracker.log_metrics(training.run_id, _figures(evaluation))
        if evaluation.leaks is not None and evaluation.leaks.has_leak:
            tracker.log_params(training.run_id, {LEAK_TAG: "true"})
        tracker.log_artifacts(training.run_id, folder)
    shown = {name: pictures[name] for name in ("folds", "equity")}
    create_markdown_artifact(
        f"{text}\n\n{inline(shown)}", key="validation-report", description=f"Evidence on {request.model_name}"
    )


def _figures(evaluation: EvaluationReport) -> dict[str, float]:
    scores, trading, selection = evaluation.scores, evaluation.trading, evaluation.selection
    figures = {
        "balanced_accuracy": scores.balanced_accuracy.value,
        "log_loss": scores.log_loss.value,
        "brier": scores.brier.value,
        "calibration_error": scores.calibration_error,
        "information_coefficient": scores.information_coefficient.value,
        "gross_sharpe": trading.gross_sharpe.value,
        "turnover_per_bar": trading.turnover_per_bar,
        "max_drawdown": trading.max_drawdown,
        "probabilistic_sharpe": trading.probabilistic_sharpe,
    }
    if selection is not None:
        figures |= {"n_trials": float(selection.n_trials)}
        figures |= {} if selection.deflated_sharpe is None else {"deflated_sharpe": selection.deflated_sharpe}
        figures |= {} if selection.pbo is None else {"pbo": selection.pbo}
    return figures
