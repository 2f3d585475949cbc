"""Two models on the same rows: how much more often one is right, how much more it earns, and whether that is luck."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from ratchet.errors import InputError
from ratchet.evaluation.bootstrap import Resampled, block_length
from ratchet.evaluation.criteria import Criterion, accuracy_gain_criterion, net_sharpe_criterion, slice_criterion
from ratchet.evaluation.metrics import accuracy, accuracy_gain, hits, sharpe, sharpe_difference
from ratchet.evaluation.paired import HacTest, diebold_mariano, mcnemar, sharpe_difference_hac
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.predictions import Predictions, require_same_rows
from ratchet.evaluation.records import Slice
from ratchet.evaluation.slices import slice_accuracy
from ratchet.evaluation.trading import traded_returns
from ratchet.market.symbols import Timeframe
from ratchet.settings import CostSettings

Verdict = Literal["approve", "reject", "inconclusive"]


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


class SecondOpinions(BaseModel):
    """One-sided p-values of other tests of "no better", which decide nothing.

    `diebold_mariano` tests the paired hits by moments with a HAC variance, `sharpe_hac` the difference of the Sharpe
    ratios (Ledoit and Wolf), `mcnemar` the disagreements row by row: two-sided, and only where labels do not overlap.
    None where a test cannot be made, as where a model never trades.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    diebold_mariano: float | None
    sharpe_hac: float | None
    mcnemar: float | None


class ComparisonReport(BaseModel):
    """The paired comparison of two models on a window that neither was trained on.

    `n` counts the moves, `n_times` the moments, `n_blocks` about how many independent stretches they are; `rows` is the
    digest of the challenger's predictions, which hold the window.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    challenger: str
    champion: str
    verdict: Verdict
    criteria: tuple[Criterion, ...]
    window: Window
    n: int
    n_times: int
    n_blocks: float
    accuracy: float
    champion_accuracy: float
    net_sharpe: float
    champion_net_sharpe: float
    second_opinions: SecondOpinions
    slices: tuple[Slice, ...]
    policy: GatePolicy
    evidence: dict[str, str]


def compare_models(
    challenger: Predictions,
    champion: Predictions,
    *,
    names: tuple[str, str],
    costs: CostSettings,
    policy: GatePolicy,
    seed: int,
) -> ComparisonReport:
    """Compare two models as the gate would, without what only a candidate has: latency, probes, baselines.

    Args:
        challenger: predictions of the first model.
        champion: predictions of the second on the same rows.
        names: what the two are called.

    Raises:
        InputError: the predictions are of different rows, or nothing moved beyond the cost band.
    """
    found = compare_with_production(
        challenger, champion, costs=costs, seed=seed, min_edge=policy.min_edge, n_resamples=policy.n_resamples
    )
    slices = slice_accuracy(
        challenger, champion=champion, kinds=policy.slices, seed=seed, n_resamples=policy.n_resamples
    )
    criteria = (*paired_criteria(found, policy), slice_criterion(slices, policy))
    n_times = len(np.unique(challenger.ts_ns))
    return ComparisonReport(
        challenger=names[0],
        champion=names[1],
        verdict=verdict_of(criteria),
        criteria=criteria,
        window=Window(start_ns=int(challenger.decision_ns.min()), end_ns=int(challenger.t1_ns.max())),
        n=found.n_moves,
        n_times=n_times,
        n_blocks=n_times / block_length(n_times, challenger.horizon),
        accuracy=found.accuracy,
        champion_accuracy=found.champion_accuracy,
        net_sharpe=found.net_sharpe,
        champion_net_sharpe=found.champion_net_sharpe,
        second_opinions=_second_opinions(challenger, champion, costs, policy.min_edge),
        slices=slices,
        policy=policy,
        evidence={"challenger": challenger.digest, "champion": champion.digest},
    )


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
    own, other = (traded_returns(rows, costs, min_edge=min_edge).value for rows in (challenger, champion))
    sampling = draws(challenger, seed, n_resamples)
    return Comparison(
        n_moves=count_moves(challenger),
        accuracy=accuracy(challenger.label, challenger.p_up),
        champion_accuracy=accuracy(champion.label, champion.p_up),
        accuracy_gain=accuracy_gain(challenger.ts_ns, challenger.label, challenger.p_up, champion.p_up, **sampling),
        net_sharpe=sharpe(own, per_year),
        champion_net_sharpe=sharpe(other, per_year),
        sharpe_difference=sharpe_difference(own, other, bars_per_year=per_year, **sampling),
    )


def _second_opinions(
    challenger: Predictions, champion: Predictions, costs: CostSettings, min_edge: float
) -> SecondOpinions:
    moved = challenger.label != 0
    difference = hits(challenger.label, challenger.p_up)[moved] - hits(champion.label, champion.p_up)[moved]
    times, row = np.unique(challenger.ts_ns[moved], return_inverse=True)
    by_moment = np.bincount(row, weights=difference, minlength=len(times)) / np.bincount(row, minlength=len(times))
    own, other = (traded_returns(rows, costs, min_edge=min_edge).value for rows in (challenger, champion))
    only_own, only_other = int(np.count_nonzero(difference > 0)), int(np.count_nonzero(difference < 0))
    is_mcnemar_valid = challenger.horizon == 1 and only_own + only_other > 0
    return SecondOpinions(
        diebold_mariano=_p_value(lambda: diebold_mariano(by_moment, challenger.horizon)),
        sharpe_hac=_p_value(lambda: sharpe_difference_hac(own, other)),
        mcnemar=mcnemar(only_own, only_other).p_value if is_mcnemar_valid else None,
    )


def _p_value(test: Callable[[], HacTest]) -> float | None:
    try:
        return test().p_value
    except InputError:
        return None


def paired_criteria(found: Comparison, policy: GatePolicy) -> tuple[Criterion, Criterion]:
    """Judge the gain in accuracy and the difference of the net Sharpe ratios."""
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


def draws(rows: Predictions, seed: int, n_resamples: int) -> dict[str, int]:
    """Return how every bootstrap of these rows draws, so that all of them draw alike."""
    return {"horizon": rows.horizon, "seed": seed, "n_resamples": n_resamples}


def count_moves(rows: Predictions) -> int:
    """Return how many rows moved beyond the cost band."""
    return int(np.count_nonzero(rows.label))


def verdict_of(criteria: Sequence[Criterion]) -> Verdict:
    """Approve if every criterion passes, reject if one fails; otherwise nothing is shown."""
    statuses = {criterion.status for criterion in criteria}
    if "failed" in statuses:
        return "reject"
    return "approve" if statuses == {"passed"} else "inconclusive"
