"""The gate: no challenger passes unless it is shown to be better, on data that neither model was trained on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.clock import iso_utc
from ratchet.data.seal import seal_digest
from ratchet.errors import ArtifactError, InputError, LeakageError
from ratchet.evaluation.baselines import NAIVE_BASELINES
from ratchet.evaluation.bootstrap import block_length
from ratchet.evaluation.comparison import (
    Window,
    compare_with_production,
    count_moves,
    draws,
    paired_criteria,
    verdict_of,
)
from ratchet.evaluation.criteria import (
    Criterion,
    InfraReport,
    accuracy_over_baseline_criterion,
    baseline_criteria,
    infra_criterion,
    latency_criterion,
    leak_criterion,
    net_sharpe_criterion,
    selection_criteria,
    slice_criterion,
    train_gap_criterion,
    walk_forward_sharpe_criterion,
)
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.metrics import Metric, accuracy, accuracy_gain, sharpe_difference
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import LeakReport, SelectionReport, Slice
from ratchet.evaluation.slices import slice_accuracy
from ratchet.evaluation.trading import traded_returns
from ratchet.market.symbols import Timeframe
from ratchet.settings import CostSettings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """What the gate judges.

    `challenger` and `champion` are predictions of the same rows; `champion` is None when nothing is in production, and
    then `challenger.baselines` must hold the naive baselines. `..._train_end_ns` is the end of the latest label that a
    model was trained on. `train_gap` is training minus out-of-sample accuracy, a share.
    `model` is the name under which the challenger would be registered, `judged` the digest of the metadata that say
    what it answers and what it was trained on, `model_digest` the SHA-256 of the artifact that gave the predictions;
    the report speaks of these alone. `walk_forward_sharpe` is the net Sharpe ratio of the challenger's kind over all
    test windows of its walk-forward, `gain_over` its paired gain in accuracy over each baseline there. What the policy
    does not ask for may be None.
    """

    challenger: Predictions
    challenger_train_end_ns: int
    latency: LatencyReport | None
    train_gap: float
    costs: CostSettings
    embargo_ns: int
    seed: int
    model: str
    model_digest: str
    judged: str
    issued_ns: int
    walk_forward_sharpe: Metric | None = None
    gain_over: dict[str, Metric] | None = None
    leaks: LeakReport | None = None
    infra: InfraReport | None = None
    selection: SelectionReport | None = None
    champion: Predictions | None = None
    champion_train_end_ns: int | None = None
    champion_name: str | None = None


class GateReport(BaseModel):
    """The gate's decision and all that led to it; `digest` seals the content.

    `model_digest` is the SHA-256 of the one model file that the report is about, `model` the name and `judged` the
    digest of the metadata that it was judged under; the registry accepts it for no other. `champion` was in production.
    `n` is the number of moves that were judged, `n_times` the number of moments, `n_blocks` about how many independent
    stretches of time they are; `evidence` names the predictions by their digests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["approve", "reject", "inconclusive"]
    model: str
    model_digest: str
    judged: str
    issued_ns: int
    criteria: tuple[Criterion, ...]
    champion: str | None
    window: Window
    n: int
    n_times: int
    n_blocks: float
    policy: GatePolicy
    evidence: dict[str, str]
    slices: tuple[Slice, ...] = ()
    leaks: LeakReport | None = None
    selection: SelectionReport | None = None
    digest: str = ""

    @property
    def summary(self) -> str:
        """One line: the verdict and the reasons that decided it."""
        decisive = [c for c in self.criteria if c.status == "failed"] or [
            c for c in self.criteria if c.status != "passed"
        ]
        return f"{self.verdict}: " + " ".join(c.reason for c in decisive or self.criteria)

    @property
    def is_sealed(self) -> bool:
        """Whether the content is still what was sealed."""
        return self.digest == seal_digest(self.model_dump(mode="json"))

    def sealed(self) -> Self:
        """Return the report with its digest."""
        return self.model_copy(update={"digest": seal_digest(self.model_dump(mode="json"))})


def judge(evidence: Evidence, policy: GatePolicy) -> GateReport:
    """Decide about a challenger.

    Approved if every criterion passes, rejected if one fails, inconclusive otherwise: then nothing ships either.

    Raises:
        LeakageError: one of the models was trained on labels that reach into the window, or into its embargo.
        InputError: the models were judged on different rows, nothing moved, or a first model comes without baselines.
    """
    _refuse_unusable(evidence)
    asked, policy = policy, shared_level(policy, evidence.selection)
    _refuse_trained_on_window(evidence)
    rows, champion = evidence.challenger, evidence.champion
    compared = (
        _against_naive_rules(evidence, policy) if champion is None else _against_champion(evidence, champion, policy)
    )
    slices = slice_accuracy(
        rows, champion=champion, kinds=policy.slices, seed=evidence.seed, n_resamples=policy.n_resamples
    )
    earned = evidence.walk_forward_sharpe
    criteria = (
        *compared,
        *(() if earned is None else (walk_forward_sharpe_criterion(earned),)),
        *validate_metrics_threshold(evidence, policy),
        *baseline_criteria(evidence.gain_over or {}, policy),
        slice_criterion(slices, policy),
        *selection_criteria(evidence.selection, policy),
        *((leak_criterion(evidence.leaks),) if policy.require_probes else ()),
        *((infra_criterion(evidence.infra),) if policy.require_infra_check else ()),
    )
    n_times = len(np.unique(rows.ts_ns))
    return GateReport(
        verdict=verdict_of(criteria),
        model=evidence.model,
        model_digest=evidence.model_digest,
        judged=evidence.judged,
        issued_ns=evidence.issued_ns,
        criteria=criteria,
        champion=evidence.champion_name,
        window=Window(start_ns=int(rows.decision_ns.min()), end_ns=int(rows.t1_ns.max())),
        n=count_moves(rows),
        n_times=n_times,
        n_blocks=n_times / block_length(n_times, rows.horizon),
        policy=asked,
        evidence={"challenger": rows.digest} | ({"champion": champion.digest} if champion is not None else {}),
        slices=slices,
        leaks=evidence.leaks,
        selection=evidence.selection,
    ).sealed()


def shared_level(policy: GatePolicy, selection: SelectionReport | None) -> GatePolicy:
    """Return the policy with its level divided among the tries on the same data (Bonferroni).

    Whoever tries ten recipes on one dataset has ten chances to be lucky, and each is tested ten times as hard.
    """
    n_tries = 1 if selection is None else max(selection.n_same_data, 1)
    return policy.model_copy(update={"alpha": policy.alpha / n_tries})


def validate_metrics_threshold(evidence: Evidence, policy: GatePolicy) -> tuple[Criterion, ...]:
    """Judge what has a fixed limit and needs no champion: latency and the gap between training and validation."""
    return latency_criterion(evidence.latency, policy), train_gap_criterion(evidence.train_gap, policy)


def approve_for_deployment(report: GateReport) -> bool:
    """Return whether a report lets its model into production.

    Raises:
        ArtifactError: the report was altered after the gate wrote it.
    """
    if not report.is_sealed:
        raise ArtifactError("the gate report does not match its digest: it was altered; judge the model again")
    if report.verdict != verdict_of(report.criteria):
        raise ArtifactError(f"the gate report says {report.verdict}, which its criteria do not come to; judge again")
    return report.verdict == "approve"


def _against_champion(evidence: Evidence, champion: Predictions, policy: GatePolicy) -> tuple[Criterion, Criterion]:
    found = compare_with_production(
        evidence.challenger,
        champion,
        costs=evidence.costs,
        seed=evidence.seed,
        min_edge=policy.min_edge,
        n_resamples=policy.n_resamples,
    )
    return paired_criteria(found, policy)


def _against_naive_rules(evidence: Evidence, policy: GatePolicy) -> tuple[Criterion, Criterion]:
    rows = evidence.challenger
    missing = [name for name in NAIVE_BASELINES if name not in rows.baselines]
    if missing:
        raise InputError(f"nothing is in production, and the predictions lack the baselines {', '.join(missing)}")
    rule = max(NAIVE_BASELINES, key=lambda name: accuracy(rows.label, rows.baselines[name]))
    sampling = draws(rows, evidence.seed, policy.n_resamples)
    gained = accuracy_over_baseline_criterion(
        accuracy_gain(rows.ts_ns, rows.label, rows.p_up, rows.baselines[rule], **sampling),
        own=accuracy(rows.label, rows.p_up),
        baseline=accuracy(rows.label, rows.baselines[rule]),
        baseline_name=rule,
        n_moves=count_moves(rows),
        policy=policy,
    )
    net = traded_returns(rows, evidence.costs, min_edge=policy.min_edge).value
    per_year = Timeframe.parse(rows.timeframe).bars_per_year
    over_nothing = sharpe_difference(net, np.zeros_like(net), bars_per_year=per_year, **sampling)
    return gained, net_sharpe_criterion(over_nothing, own=over_nothing.value, champion=None, policy=policy)


def _refuse_unusable(evidence: Evidence) -> None:
    if not len(evidence.challenger):
        raise InputError("the window of judgement holds no predictions")
    if not math.isfinite(evidence.train_gap):
        raise InputError(f"the gap between training and out-of-sample accuracy is {evidence.train_gap}, not a number")
    if evidence.champion is not None and evidence.champion_train_end_ns is None:
        raise InputError("the champion's train_end is unknown, so nothing shows that it was not trained on the window")


def _refuse_trained_on_window(evidence: Evidence) -> None:
    start_ns = int(evidence.challenger.decision_ns.min())
    ends = {"challenger": evidence.challenger_train_end_ns, "champion": evidence.champion_train_end_ns}
    for role, train_end_ns in ends.items():
        if train_end_ns is not None and train_end_ns + evidence.embargo_ns > start_ns:
            raise LeakageError(
                f"the {role} was trained on labels up to {iso_utc(train_end_ns)}, but with an embargo of "
                f"{evidence.embargo_ns / 1e9:g} s the window of judgement starts too early, at {iso_utc(start_ns)}; "
                "judge both on a later window"
            )
