"""The single criteria of the gate: each is passed, failed or inconclusive, and says why in one sentence."""

from ratchet.evaluation.criteria.baselines import baseline_criteria
from ratchet.evaluation.criteria.criterion import Criterion, Status
from ratchet.evaluation.criteria.gains import (
    accuracy_gain_criterion,
    accuracy_over_baseline_criterion,
    net_sharpe_criterion,
    walk_forward_sharpe_criterion,
)
from ratchet.evaluation.criteria.limits import latency_criterion, train_gap_criterion
from ratchet.evaluation.criteria.soundness import (
    InfraReport,
    infra_criterion,
    leak_criterion,
    selection_criteria,
    slice_criterion,
)

__all__ = [
    "Criterion",
    "InfraReport",
    "Status",
    "accuracy_gain_criterion",
    "accuracy_over_baseline_criterion",
    "baseline_criteria",
    "infra_criterion",
    "latency_criterion",
    "leak_criterion",
    "net_sharpe_criterion",
    "selection_criteria",
    "slice_criterion",
    "train_gap_criterion",
    "walk_forward_sharpe_criterion",
]
