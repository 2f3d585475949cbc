"""The gate: no challenger passes unless it is shown to be better, on data that neither model was trained on."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.clock import iso_utc
from ratchet.errors import ArtifactError, InputError, LeakageError
from ratchet.evaluation.baselines import NAIVE_BASELINES
from ratchet.evaluation.bootstrap import FloatArray, Resampled, block_length
from ratchet.evaluation.criteria import (
    Criterion,
    GatePolicy,
    accuracy_gain_criterion,
    accuracy_over_baseline_criterion,
    latency_criterion,
    net_sharpe_criterion,
    train_gap_criterion,
    walk_forward_sharpe_criterion,
)
from ratchet.evaluation.latency import LatencyReport
from ratchet.evaluation.metrics import Metric, accuracy, accuracy_gain, net_returns, sharpe, sharpe_difference
from ratchet.evaluation.predictions import Predictions, require_same_rows
from ratchet.market.symbols import Timeframe
from ratchet.settings import CostSettings


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Evidence:
    """What the gate judges.

    `challenger` and `champion` are predictions of the same rows; `champion` is None when nothing is in production, and
    then `challenger.baselines` must hold the naive baselines. `..._train_end_ns` is the end of the latest label that a
    model was trained on. `train_gap` is training minus out-of-sample accuracy, a share.
    `walk_forward_sharpe` is the net Sharpe ratio of the challenger's kind over all test windows of its walk-forward.
    """

    challenger: Predictions
    challenger_train_end_ns: int
    latency: LatencyReport
    train_gap: float
    costs: CostSettings
    embargo_ns: int
    seed: int
    walk_forward_sharpe: Metric | None = None
    champion: Predictions | None = None
    champion_train_end_ns: int | None = None
    champion_name: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Two models on the same rows: accuracies, net Sharpe ratios, and the paired differences with their errors."""

    n_moves: int
    accuracy: float
    champion_accuracy: float
    accuracy_gain: Resampled
    net_sharpe: float
    champion_net_sharpe: float
    sharpe_difference: Resampled


class Window(BaseModel):
    """The window of judgement: first decision and last label end, ns UTC."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start_ns: int
    end_ns: int


class GateReport(BaseModel):
    """The gate's decision and all that led to it; `digest` seals the content.

    `n` is the number of moves that were judged, `n_times` the number of moments, `n_blocks` about how many independent
    stretches of time they are; `evidence` names the predictions by their digests.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Literal["approve", "reject", "inconclusive"]
    criteria: tuple[Criterion, ...]
    champion: str | None
    window: Window
    n: int
    n_times: int
    n_blocks: float
    policy: GatePolicy
    evidence: dict[str, str]
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
        return self.digest == _content_digest(self)

    def sealed(self) -> Self:
        """Return the report with its digest."""
        return self.model_copy(update={"digest": _content_digest(self)})


def judge(evidence: Evidence, policy: GatePolicy) -> GateReport:
    """Decide about a challenger.

    Approved if every criterion passes, rejected if one fails, inconclusive otherwise: then nothing ships either.

    Raises:
        LeakageError: one of the models was trained on labels that reach into the window, or into its embargo.
        InputError: the models were judged on different rows, nothing moved, or a first model comes without baselines.
    """
    _refuse_unusable(evidence)
    _refuse_trained_on_window(evidence)
    rows, champion = evidence.challenger, evidence.champion
    compared = (
        _against_naive_rules(evidence, policy) if champion is None else _against_champion(evidence, champion, policy)
    )
    earned = evidence.walk_forward_sharpe
    steady = () if earned is None else (walk_forward_sharpe_criterion(earned),)
    criteria = (*compared, *steady, *validate_metrics_threshold(evidence, policy))
    n_times = len(np.unique(rows.ts_ns))
    return GateReport(
        verdict=_verdict(criteria),
        criteria=criteria,
        champion=evidence.champion_name,
        window=Window(start_ns=int(rows.decision_ns.min()), end_ns=int(rows.t1_ns.max())),
        n=_n_moves(rows),
        n_times=n_times,
        n_blocks=n_times / block_length(n_times, rows.horizon),
        policy=policy,
        evidence={"challenger": rows.digest} | ({"champion": champion.digest} if champion is not None else {}),
    ).sealed()


def compare_with_production(
    challenger: Predictions,
    champion: Predictions,
    *,
    costs: CostSettings,
    seed: int,
    min_edge: float = 0.0,
    n_resamples: int = 2000,
) -> Comparison:
    """Compare two models row by row and bar by bar; differences are challenger minus champion.

    Raises:
        InputError: the predictions are of different rows, or nothing moved beyond the cost band.
    """
    require_same_rows(challenger, champion)
    per_year = Timeframe.parse(challenger.timeframe).bars_per_year
    own, other = _net_value(challenger, costs, min_edge), _net_value(champion, costs, min_edge)
    draws = _draws(challenger, seed, n_resamples)
    return Comparison(
        n_moves=_n_moves(challenger),
        accuracy=accuracy(challenger.label, challenger.p_up),
        champion_accuracy=accuracy(champion.label, champion.p_up),
        accuracy_gain=accuracy_gain(challenger.ts_ns, challenger.label, challenger.p_up, champion.p_up, **draws),
        net_sharpe=sharpe(own, per_year),
        champion_net_sharpe=sharpe(other, per_year),
        sharpe_difference=sharpe_difference(own, other, bars_per_year=per_year, **draws),
    )


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
    gained = accuracy_gain_criterion(
        found.accuracy_gain,
        own=found.accuracy,
        champion=found.champion_accuracy,
        n_moves=found.n_moves,
        policy=policy,
    )
    earned = net_sharpe_criterion(
        found.sharpe_difference, own=found.net_sharpe, champion=found.champion_net_sharpe, policy=policy
    )
    return gained, earned


def _against_naive_rules(evidence: Evidence, policy: GatePolicy) -> tuple[Criterion, Criterion]:
    rows = evidence.challenger
    missing = [name for name in NAIVE_BASELINES if name not in rows.baselines]
    if missing:
        raise InputError(f"nothing is in production, and the predictions lack the baselines {', '.join(missing)}")
    rule = max(NAIVE_BASELINES, key=lambda name: accuracy(rows.label, rows.baselines[name]))
    draws = _draws(rows, evidence.seed, policy.n_resamples)
    gained = accuracy_over_baseline_criterion(
        accuracy_gain(rows.ts_ns, rows.label, rows.p_up, rows.baselines[rule], **draws),
        own=accuracy(rows.label, rows.p_up),
        baseline=accuracy(rows.label, rows.baselines[rule]),
        baseline_name=rule,
        n_moves=_n_moves(rows),
        policy=policy,
    )
    net = _net_value(rows, evidence.costs, policy.min_edge)
    per_year = Timeframe.parse(rows.timeframe).bars_per_year
    over_nothing = sharpe_difference(net, np.zeros_like(net), bars_per_year=per_year, **draws)
    return gained, net_sharpe_criterion(over_nothing, own=over_nothing.value, champion=None, policy=policy)


def _draws(rows: Predictions, seed: int, n_resamples: int) -> dict[str, int]:
    return {"horizon": rows.horizon, "seed": seed, "n_resamples": n_resamples}


def _n_moves(rows: Predictions) -> int:
    return int(np.count_nonzero(rows.label))


def _net_value(rows: Predictions, costs: CostSettings, min_edge: float) -> FloatArray:
    return net_returns(
        rows.ts_ns,
        rows.symbol,
        rows.p_up,
        rows.bar_return,
        horizon=rows.horizon,
        timeframe_ns=Timeframe.parse(rows.timeframe).ns,
        one_side_bps=costs.one_side_bps,
        min_edge=min_edge,
    ).value


def _verdict(criteria: tuple[Criterion, ...]) -> Literal["approve", "reject", "inconclusive"]:
    statuses = {criterion.status for criterion in criteria}
    if "failed" in statuses:
        return "reject"
    return "approve" if statuses == {"passed"} else "inconclusive"


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


def _content_digest(report: GateReport) -> str:
    content: dict[str, Any] = report.model_dump(mode="json", exclude={"digest"})
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
