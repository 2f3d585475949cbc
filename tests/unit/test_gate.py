"""The gate: what it approves, what it rejects, what it leaves open, and how often it errs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ratchet.errors import ArtifactError, InputError, LeakageError
from ratchet.evaluation.comparison import compare_with_production
from ratchet.evaluation.criteria import Criterion, InfraReport
from ratchet.evaluation.gate import (
    Evidence,
    GateReport,
    approve_for_deployment,
    judge,
    validate_metrics_threshold,
)
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.metrics import Metric, accuracy
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import LeakReport, Probe, SelectionReport
from ratchet.settings import CostSettings
from tests.panels import HOUR_NS, START_NS, rival_predictions, with_baselines

POLICY = GatePolicy(n_resamples=500)
QUICK = GatePolicy(n_resamples=150)
FAST = LatencyReport(p50_ms=0.4, p99_ms=0.9, p99_upper_ms=1.1, n=500)
EMBARGO_NS = 24 * HOUR_NS
CLEAN = LeakReport(
    probes=(
        Probe(name="truncation", status="passed", value=0.0, low=None, high=0.0, n=9, reason="Nothing differs."),
        Probe(name="shuffled_labels", status="passed", value=0.5, low=0.47, high=0.53, n=900, reason="No skill."),
    ),
    seed=1,
)
LEAKING = LeakReport(
    probes=(
        *CLEAN.probes,
        Probe(name="warm_up", status="failed", value=1.0, low=None, high=0.0, n=9, reason="rsi_14 differs by 0.3."),
    ),
    seed=1,
)
SHORT = LeakReport(
    probes=(
        CLEAN.probes[0],
        CLEAN.probes[1].model_copy(update={"status": "skipped", "reason": "Too short a history."}),
    ),
    seed=1,
)
ANSWERS = InfraReport(is_loaded=True, golden_gap=2e-7)
CLEAR_GAIN = Metric(value=0.04, low=0.03, high=0.05)
GAINS = dict.fromkeys(("majority", "last_sign", "logistic", "gradient_boosting"), CLEAR_GAIN)
DECENT, WEAK = 0.25, 0.06  # skills of a model that is right 57.8 % and 51.9 % of the time


def evidence(challenger: Predictions, champion: Predictions | None, **changes: Any) -> Evidence:
    """Evidence in which only the predictions can decide: fast, no training gap, trained long before the window."""
    trained = challenger.decision_ns.min() - EMBARGO_NS if len(challenger) else 0
    usual: dict[str, Any] = {
        "challenger_train_end_ns": trained,
        "champion_train_end_ns": None if champion is None else trained,
        "champion_name": None if champion is None else "v1.0.0",
        "latency": FAST,
        "train_gap": 0.01,
        "costs": CostSettings(fee_bps=1.0, half_spread_bps=0.0, slippage_bps=0.0),
        "embargo_ns": EMBARGO_NS,
        "seed": 5,
        "model": "btc",
        "judged": "d" * 64,
        "model_digest": "a" * 64,
        "issued_ns": START_NS,
        "gain_over": GAINS,
        "leaks": CLEAN,
        "infra": ANSWERS,
    }
    return Evidence(challenger=challenger, champion=champion, **{**usual, **changes})


def criterion(report: GateReport, name: str) -> Criterion:
    return {found.name: found for found in report.criteria}[name]


BETTER, WORSE = rival_predictions((DECENT, WEAK), n_times=1500, horizon=1, seed=1, n_symbols=2)


@pytest.fixture(scope="module")
def approved() -> GateReport:
    return judge(evidence(BETTER, WORSE), POLICY)


def test_six_points_more_on_three_thousand_moves_are_approved(approved: GateReport) -> None:
    """A challenger that is right 57.8 % of the time against 51.9 % passes every criterion."""
    assert approved.verdict == "approve"
    assert {found.status for found in approved.criteria} == {"passed"}
    assert criterion(approved, "accuracy_gain").value > 0.04
    assert approve_for_deployment(approved)


def test_the_record_names_the_window_the_amount_of_data_and_the_predictions(approved: GateReport) -> None:
    """The report says what was judged, by whose predictions, and against whom."""
    assert (approved.n, approved.n_times, approved.champion) == (3000, 1500, "v1.0.0")
    assert approved.n_blocks == pytest.approx(1500 / 12)
    assert approved.window.start_ns == START_NS + HOUR_NS
    assert approved.window.end_ns == START_NS + 1501 * HOUR_NS
    assert approved.evidence == {"challenger": BETTER.digest, "champion": WORSE.digest}


def test_every_criterion_gives_its_reason_with_figures(approved: GateReport) -> None:
    """Each reason is one sentence with the value, the bounds and the threshold that decided."""
    gained = criterion(approved, "accuracy_gain")
    assert gained.low is not None
    assert gained.high is not None
    for figure in (gained.value, gained.low, gained.high):
        assert f"{100 * figure:+.1f}" in gained.reason
    assert "of 3,000 moves against the champion's" in gained.reason
    assert "needed +2.0 and p < 0.05" in gained.reason
    assert "the limit is 5 ms" in criterion(approved, "latency_p99").reason
    assert "must stay below +5.0" in criterion(approved, "train_gap").reason
    assert "bounds" in criterion(approved, "net_sharpe").reason
    assert all(found.reason.endswith(".") for found in approved.criteria)
    assert approved.summary.startswith("approve: Right on ")


def test_the_report_is_sealed_and_survives_json(approved: GateReport) -> None:
    """Reading the JSON gives the same sealed report; a changed verdict breaks the seal and is not deployed."""
    again = GateReport.model_validate_json(approved.model_dump_json())
    assert again == approved
    assert again.is_sealed

    forged = judge(evidence(WORSE, BETTER), POLICY).model_copy(update={"verdict": "approve"})
    with pytest.raises(ArtifactError, match="altered"):
        approve_for_deployment(forged)


def test_the_same_evidence_gives_the_same_report(approved: GateReport) -> None:
    """The verdict is a function of evidence, policy and seed."""
    assert judge(evidence(BETTER, WORSE), POLICY) == approved


def test_a_worse_challenger_is_rejected() -> None:
    """Six points less rule the needed gain out, and the Sharpe ratio fails too."""
    report = judge(evidence(WORSE, BETTER), POLICY)

    assert report.verdict == "reject"
    assert criterion(report, "accuracy_gain").status == "failed"
    assert criterion(report, "net_sharpe").status == "failed"
    assert "the needed gain is ruled out" in report.summary
    assert not approve_for_deployment(report)


def test_a_better_challenger_on_little_data_stays_open() -> None:
    """The same six points on sixty moves could be luck: inconclusive, and the reason says why."""
    report = judge(evidence(*rival_predictions((DECENT, WEAK), n_times=60, horizon=1, seed=1)), POLICY)

    assert criterion(report, "accuracy_gain").status == "inconclusive"
    assert report.verdict == "inconclusive"
    assert not approve_for_deployment(report)


def test_a_handful_of_independent_stretches_decides_nothing() -> None:
    """Labels of 24 hours in 300 hours are about six independent stretches, however many rows there are."""
    rivals = rival_predictions((2.0, 0.0), n_times=300, horizon=24, seed=1, n_symbols=4)
    found = criterion(judge(evidence(*rivals), POLICY), "accuracy_gain")

    assert found.value > 0.2
    assert found.status == "inconclusive"
    assert "only 6.2 independent stretches" in found.reason


def test_a_challenger_equal_to_the_champion_is_rejected_once_the_gain_is_ruled_out() -> None:
    """With no difference and plenty of data, two points more are ruled out: the ratchet does not turn."""
    report = judge(evidence(BETTER, BETTER), POLICY)

    assert criterion(report, "accuracy_gain").status == "failed"
    assert criterion(report, "net_sharpe").status == "passed"
    assert report.verdict == "reject"


def approval_rates(n_worlds: int, **world: int) -> tuple[float, float]:
    """How often equally good models are approved, and how often the bare estimate reaches two points."""
    approved, bare = 0, 0
    for seed in range(n_worlds):
        report = judge(evidence(*rival_predictions((0.2, 0.2), seed=seed, **world), seed=seed), QUICK)
        approved += report.verdict == "approve"
        bare += criterion(report, "accuracy_gain").value >= 0.02
    return approved / n_worlds, bare / n_worlds


def test_without_a_true_difference_few_are_approved_although_labels_overlap() -> None:
    """On 400 hours with labels of 12 hours, where +2 points alone would approve every fourth, 5 % are at most."""
    n_worlds = 150
    approved, bare = approval_rates(n_worlds, n_times=400, horizon=12)

    assert approved <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / n_worlds)  # the level, and the error of this simulation
    assert bare > 0.2


def test_without_a_true_difference_hardly_any_is_approved_on_more_data() -> None:
    """With three symbols even the luckiest two points are rare, and the gate stays far below its 5 %."""
    approved, _ = approval_rates(60, n_times=500, horizon=4, n_symbols=3)

    assert approved <= 0.05


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"latency": FAST.model_copy(update={"p99_ms": 6.0, "p99_upper_ms": 7.0})}, "latency_p99"),
        ({"train_gap": 0.07}, "train_gap"),
        ({"costs": CostSettings(fee_bps=500.0)}, "net_sharpe"),
    ],
)
def test_each_other_criterion_alone_can_reject(changes: dict[str, Any], failed: str) -> None:
    """A model that is six points better is rejected for latency, training gap or Sharpe ratio alone."""
    # Ruinous costs hurt both, so the Sharpe ratio is compared with that of a champion that never trades again.
    champion = WORSE.with_p_up(np.full(len(WORSE), 0.51)) if failed == "net_sharpe" else WORSE
    report = judge(evidence(BETTER, champion, **changes), POLICY)

    assert [found.name for found in report.criteria if found.status == "failed"] == [failed]
    assert report.verdict == "reject"


def test_a_latency_that_is_not_proven_to_be_low_stays_open() -> None:
    """An estimate below the limit with a bound above it is inconclusive."""
    slow_tail = FAST.model_copy(update={"p99_upper_ms": 5.2})
    latency, gap = validate_metrics_threshold(evidence(BETTER, WORSE, latency=slow_tail), POLICY)

    assert latency.status == "inconclusive"
    assert gap.status == "passed"
    assert judge(evidence(BETTER, WORSE, latency=slow_tail), POLICY).verdict == "inconclusive"


def test_the_policies_differ_in_how_much_they_ask() -> None:
    """A gain of about five points whose lower bound is between 0 and 2: point and significant pass, strict does not."""
    rivals = rival_predictions((0.25, 0.08), n_times=400, horizon=1, seed=2, n_symbols=2, alike=0.5)
    found = {
        name: criterion(judge(evidence(*rivals), GatePolicy(policy=name, n_resamples=500)), "accuracy_gain")
        for name in ("point", "significant", "strict")
    }
    low = found["strict"].low

    assert low is not None
    assert 0.0 < low < 0.02 < found["strict"].value
    assert {name: result.status for name, result in found.items()} == {
        "point": "passed",
        "significant": "passed",
        "strict": "inconclusive",
    }


@pytest.mark.parametrize("role", ["challenger", "champion"])
def test_a_model_trained_into_the_window_or_its_embargo_is_refused(role: str) -> None:
    """One nanosecond inside the embargo is a leak, and the message names the role and both times."""
    allowed = BETTER.decision_ns.min() - EMBARGO_NS
    judge(evidence(BETTER, WORSE, **{f"{role}_train_end_ns": allowed}), QUICK)

    with pytest.raises(LeakageError, match=f"the {role} was trained on labels up to 2023-12-31T01:00:00Z"):
        judge(evidence(BETTER, WORSE, **{f"{role}_train_end_ns": allowed + 1}), QUICK)


def test_a_champion_without_a_known_training_end_is_refused() -> None:
    """What cannot be shown to be out of sample is not compared."""
    with pytest.raises(InputError, match="train_end is unknown"):
        judge(evidence(BETTER, WORSE, champion_train_end_ns=None), QUICK)


def test_models_judged_on_different_rows_are_not_compared() -> None:
    """Pairs need the same rows."""
    with pytest.raises(InputError, match="different rows"):
        judge(evidence(BETTER, WORSE.take(np.arange(100))), QUICK)


def test_without_predictions_or_with_a_gap_that_is_no_number_there_is_no_verdict() -> None:
    """Empty windows and broken figures are refused, never approved."""
    with pytest.raises(InputError, match="no predictions"):
        judge(evidence(BETTER.take(np.arange(0)), None), QUICK)
    with pytest.raises(InputError, match="not a number"):
        judge(evidence(BETTER, WORSE, train_gap=float("nan")), QUICK)


def test_a_first_model_must_beat_the_better_naive_rule_significantly() -> None:
    """With nothing in production, a decent model passes and is compared with the better of the two rules."""
    report = judge(evidence(with_baselines(BETTER), None), POLICY)
    found = criterion(report, "accuracy_over_baseline")
    rules = {name: accuracy(BETTER.label, p_up) for name, p_up in with_baselines(BETTER).baselines.items()}

    assert report.verdict == "approve"
    assert report.champion is None
    assert f"the better naive rule, {max(rules, key=lambda name: rules[name])}:" in found.reason
    assert found.value == pytest.approx(accuracy(BETTER.label, BETTER.p_up) - max(rules.values()))


def test_a_first_model_as_good_as_a_naive_rule_is_not_approved() -> None:
    """A model that is no better than the rules stays open or fails; one that is worse fails."""
    rules = with_baselines(BETTER)
    equal = judge(evidence(rules.with_p_up(rules.baselines["majority"]), None), POLICY)
    worse = judge(evidence(rules.with_p_up(1.0 - BETTER.p_up), None), POLICY)

    assert criterion(equal, "accuracy_over_baseline").status != "passed"
    assert equal.verdict != "approve"
    assert criterion(worse, "accuracy_over_baseline").status == "failed"
    assert criterion(worse, "net_sharpe").status == "failed"
    assert worse.verdict == "reject"


def test_a_first_model_that_loses_after_costs_is_rejected() -> None:
    """Being right is not enough: at 40 bps a side the same predictions lose money."""
    report = judge(evidence(with_baselines(BETTER), None, costs=CostSettings(fee_bps=40.0)), POLICY)

    assert criterion(report, "accuracy_over_baseline").status == "passed"
    assert criterion(report, "net_sharpe").status == "failed"
    assert report.verdict == "reject"


def test_a_first_model_without_baselines_is_refused() -> None:
    """Nothing to compare with is an error, not an approval."""
    with pytest.raises(InputError, match="lack the baselines majority, last_sign"):
        judge(evidence(BETTER, None), QUICK)


def test_a_sharpe_ratio_short_by_less_than_the_tolerance_stays_open() -> None:
    """Within the tolerance the Sharpe criterion neither passes nor fails."""
    champion = replace(WORSE, p_up=BETTER.p_up)
    p_up = BETTER.p_up.copy()
    found = compare_with_production(BETTER, champion, costs=CostSettings(fee_bps=1.0), seed=0, n_resamples=100)
    assert found.sharpe_difference.value == 0.0

    p_up[0] = 1.0 - p_up[0]  # one decision turned round costs or earns next to nothing
    turned = champion.with_p_up(p_up)
    one_way = criterion(judge(evidence(champion, turned), QUICK), "net_sharpe")
    other_way = criterion(judge(evidence(turned, champion), QUICK), "net_sharpe")
    assert {one_way.status, other_way.status} == {"passed", "inconclusive"}


def test_one_lucky_window_does_not_outweigh_a_losing_walk_forward() -> None:
    """A model that loses money over all test windows together is rejected, whatever the last window says."""
    losing = judge(evidence(BETTER, WORSE, walk_forward_sharpe=Metric(value=-1.9, low=-3.2, high=-0.4)), POLICY)
    unclear = judge(evidence(BETTER, WORSE, walk_forward_sharpe=Metric(value=-0.5, low=-3.0, high=2.0)), POLICY)
    earning = judge(evidence(BETTER, WORSE, walk_forward_sharpe=Metric(value=1.5, low=0.2, high=2.8)), POLICY)
    assert [report.verdict for report in (losing, unclear, earning)] == ["reject", "inconclusive", "approve"]
    assert "over all test windows" in criterion(losing, "walk_forward_sharpe").reason


def test_the_report_is_about_one_model_file(approved: GateReport) -> None:
    """The seal covers the digest of the model file, so a report cannot be passed on to another model."""
    assert approved.model_digest == "a" * 64
    assert not approved.model_copy(update={"model_digest": "b" * 64}).is_sealed


@pytest.mark.parametrize(
    ("changes", "name", "verdict", "text"),
    [
        ({"leaks": LEAKING}, "leak_probes", "reject", "rsi_14 differs by 0.3"),
        ({"leaks": None}, "leak_probes", "inconclusive", "did not run"),
        ({"leaks": LeakReport(probes=(), seed=1)}, "leak_probes", "inconclusive", "did not run"),
        ({"leaks": SHORT}, "leak_probes", "inconclusive", "could run: Too short a history."),
        ({"infra": InfraReport(is_loaded=False, golden_gap=None, error="no kernel")}, "infra", "reject", "no kernel"),
        ({"infra": None}, "infra", "inconclusive", "not tried"),
        ({"latency": None}, "latency_p99", "inconclusive", "not measured"),
        (
            {"gain_over": GAINS | {"logistic": Metric(value=-0.04, low=-0.05, high=-0.03)}},
            "beats_logistic",
            "reject",
            "-4.0 points against logistic",
        ),
        (
            {"gain_over": GAINS | {"majority": Metric(value=0.01, low=-0.01, high=0.03)}},
            "beats_majority",
            "inconclusive",
            "it has to be better",
        ),
        ({"gain_over": {}}, "beats_majority", "inconclusive", "no prediction of the baseline majority"),
    ],
)
def test_figures_that_cannot_be_believed_do_not_ship(
    changes: dict[str, Any], name: str, verdict: str, text: str
) -> None:
    """A leak, an artifact that does not answer, a baseline that is better: each alone stops a model that wins."""
    report = judge(evidence(BETTER, WORSE, **changes), QUICK)
    assert report.verdict == verdict
    assert criterion(report, name).status != "passed"
    assert text in criterion(report, name).reason


def test_a_baseline_may_be_equal_where_the_policy_says_not_worse() -> None:
    """An equal logistic regression stops nothing by default, and leaves the verdict open if it has to be beaten."""
    equal = GAINS | {"logistic": Metric(value=-0.002, low=-0.012, high=0.008)}
    assert judge(evidence(BETTER, WORSE, gain_over=equal), QUICK).verdict == "approve"
    demanding = QUICK.model_copy(update={"baselines": {"logistic": "better"}})
    assert judge(evidence(BETTER, WORSE, gain_over=equal), demanding).verdict == "inconclusive"


def test_a_model_that_is_better_on_the_whole_may_not_lose_a_symbol() -> None:
    """A challenger that wins everywhere but on one symbol, where it is clearly worse, is rejected for that symbol."""
    loser = BETTER.symbol == BETTER.symbol[0]
    mixed = BETTER.with_p_up(np.where(loser, 1.0 - BETTER.p_up, np.where(BETTER.label > 0, 0.9, 0.1)))
    report = judge(evidence(mixed, WORSE), QUICK)
    found = criterion(report, "slices")
    assert criterion(report, "accuracy_gain").status == "passed"
    assert found.status == "failed"
    assert f"symbol {BETTER.symbol[0]}" in found.reason
    anyway = QUICK.model_copy(update={"slices": ("hour",)})
    assert criterion(judge(evidence(mixed, WORSE), anyway), "slices").status == "passed"


def test_the_number_of_trials_decides_where_the_policy_says_so() -> None:
    """A deflated Sharpe ratio and a probability of overfitting are reported, and judged on request."""
    lucky = SelectionReport(
        n_trials=40,
        n_same_data=1,
        effective_trials=31.0,
        expected_best_sharpe=1.9,
        deflated_sharpe=0.62,
        pbo=0.55,
        pbo_trials=40,
    )
    assert judge(evidence(BETTER, WORSE, selection=lucky), QUICK).verdict == "approve"
    asked = QUICK.model_copy(update={"min_deflated_sharpe": 0.95, "max_pbo": 0.5})
    report = judge(evidence(BETTER, WORSE, selection=lucky), asked)
    assert report.verdict == "reject"
    assert "over 40 trials is 0.620; needed at least 0.95" in criterion(report, "deflated_sharpe").reason
    assert criterion(report, "pbo").status == "failed"
    assert judge(evidence(BETTER, WORSE), asked).verdict == "inconclusive"


def test_a_relative_gain_is_measured_by_the_champions_accuracy() -> None:
    """Two percent of the champion's accuracy is about one point."""
    report = judge(evidence(BETTER, WORSE), QUICK.model_copy(update={"accuracy_gain_unit": "relative"}))
    found = criterion(report, "accuracy_gain")
    assert found.threshold == pytest.approx(0.02 * accuracy(WORSE.label, WORSE.p_up))


def test_strict_asks_for_the_bound_of_the_sharpe_difference() -> None:
    """With a few hundred hours no bound lies near the estimate: strict leaves the question open."""
    rivals = rival_predictions((0.25, 0.2), n_times=400, horizon=1, seed=2, n_symbols=2)
    usual = criterion(judge(evidence(*rivals), QUICK), "net_sharpe")
    strict = criterion(judge(evidence(*rivals), QUICK.model_copy(update={"policy": "strict"})), "net_sharpe")
    assert usual.value == strict.value
    if usual.status == "passed":
        assert strict.status == "inconclusive"
        assert "a shortfall of 0.5 is not ruled out" in strict.reason
    else:
        assert strict.status == usual.status


def test_every_try_on_the_same_data_makes_the_test_harder() -> None:
    """A gain that is significant at 5 % once is not after a hundred tries on the same bars."""
    rivals = rival_predictions((0.25, 0.1), n_times=300, horizon=1, seed=4, n_symbols=2)
    found = {}
    for n_tries in (1, 100):
        tries = SelectionReport(
            n_trials=n_tries,
            n_same_data=n_tries,
            effective_trials=1.0,
            expected_best_sharpe=0.0,
            deflated_sharpe=0.9,
            pbo=None,
            pbo_trials=1,
        )
        policy = GatePolicy(n_resamples=2000)
        report = judge(evidence(*rivals, selection=tries), policy)
        assert report.policy == policy
        found[n_tries] = criterion(report, "accuracy_gain")
    p_value = found[1].p_value
    assert p_value is not None
    assert 0.0005 < p_value < 0.05
    assert found[1].value == found[100].value
    assert (found[1].status, found[100].status) == ("passed", "inconclusive")
    assert "p < 0.0005" in found[100].reason
    assert "99.95% bounds" in found[100].reason
