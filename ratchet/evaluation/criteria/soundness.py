"""Can the figures be believed: no leak, no slice that pays for the others, an artifact that answers, not just luck?"""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from ratchet.evaluation.criteria.criterion import Criterion, Status, points
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.policy import GatePolicy
from ratchet.evaluation.records import LeakReport, SelectionReport, Slice

_NORMAL_95 = 1.959964


class InfraReport(BaseModel):
    """Whether the artifact loaded in a process like the server's and gave the golden answers there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    is_loaded: bool
    golden_gap: float | None = Field(description="Largest difference from a golden answer; None if it did not answer.")
    error: str | None = None


def leak_criterion(leaks: LeakReport | None) -> Criterion:
    """Ask whether every leak probe ran and found nothing."""
    if leaks is None or not leaks.probes:
        return _plain("leak_probes", "inconclusive", "The leak probes did not run, so a leak is not ruled out.")
    failed = [probe for probe in leaks.probes if probe.status == "failed"]
    if failed:
        return _plain("leak_probes", "failed", " ".join(probe.reason for probe in failed), len(failed))
    skipped = [probe for probe in leaks.probes if probe.status == "skipped"]
    if skipped:
        reasons = " ".join(probe.reason for probe in skipped)
        return _plain("leak_probes", "inconclusive", f"Not every leak probe could run: {reasons}")
    names = ", ".join(probe.name.replace("_", " ") for probe in leaks.probes)
    return _plain("leak_probes", "passed", f"No leak was found: {names}.")


def infra_criterion(infra: InfraReport | None) -> Criterion:
    """Ask whether the artifact answers in a process like the server's."""
    if infra is None:
        return _plain("infra", "inconclusive", "The artifact was not tried in a process like the server's.")
    if infra.error is not None or not infra.is_loaded:
        return _plain("infra", "failed", f"In a process like the server's: {infra.error or 'not loaded'}.", 1.0)
    gap = infra.golden_gap or 0.0
    reason = f"It loads in a process like the server's and gives the golden answers, the largest difference {gap:.1e}."
    return _plain("infra", "passed", reason, gap)


def slice_criterion(slices: Sequence[Slice], policy: GatePolicy) -> Criterion:
    """Ask whether the challenger loses a slice: by more than allowed, and significantly over all slices together.

    The level is shared among the slices (Bonferroni), since with twenty symbols one is lost by chance every time.
    """
    judged = [part for part in slices if part.kind in policy.slices and part.gain_over_champion is not None]
    if not judged:
        return _plain("slices", "passed", "There is no champion, or no slice with enough moves, to lose against.")
    gains = {f"{part.kind} {part.name}": part.gain_over_champion for part in judged if part.gain_over_champion}
    worst = min(gains, key=lambda name: gains[name].value)
    lost = [name for name, gain in gains.items() if _is_lost(gain, policy, len(gains))]
    found = gains[worst]
    reason = (
        f"Of {len(gains)} slices the worst is {worst}: {points(found.value)} points against the champion, 95% interval "
        f"{points(found.low)} to {points(found.high)}; "
        + (f"lost significantly: {', '.join(lost)}." if lost else "none is lost significantly.")
    )
    return Criterion(
        name="slices",
        status="failed" if lost else "passed",
        value=found.value,
        threshold=-policy.max_slice_loss,
        low=found.low,
        high=found.high,
        reason=reason,
    )


def selection_criteria(selection: SelectionReport | None, policy: GatePolicy) -> tuple[Criterion, ...]:
    """Ask, where the policy does, whether the result survives the number of trials that it took."""
    found = []
    if policy.min_deflated_sharpe is not None:
        value = None if selection is None else selection.deflated_sharpe
        found.append(_limited("deflated_sharpe", value, policy.min_deflated_sharpe, selection, is_least=True))
    if policy.max_pbo is not None:
        value = None if selection is None else selection.pbo
        found.append(_limited("pbo", value, policy.max_pbo, selection, is_least=False))
    return tuple(found)


def _limited(
    name: str, value: float | None, limit: float, selection: SelectionReport | None, *, is_least: bool
) -> Criterion:
    title = {"deflated_sharpe": "deflated Sharpe ratio", "pbo": "probability of backtest overfitting"}[name]
    bound = "at least" if is_least else "at most"
    n_trials = 0 if selection is None else selection.n_trials
    if value is None:
        reason = f"The {title} of {n_trials} trials cannot be estimated yet; needed {bound} {limit:g}."
        status: Status = "inconclusive"
    else:
        status = "passed" if (value >= limit if is_least else value <= limit) else "failed"
        reason = f"The {title} over {n_trials} trials is {value:.3f}; needed {bound} {limit:g}."
    return Criterion(name=name, status=status, value=value or 0.0, threshold=limit, low=None, high=None, reason=reason)


def _is_lost(gain: Metric, policy: GatePolicy, n_slices: int) -> bool:
    from scipy.special import ndtri  # noqa: PLC0415 - scipy is slow to import

    error = (gain.high - gain.low) / (2 * _NORMAL_95)
    quantile = -float(ndtri(policy.alpha / n_slices))
    return gain.value < -policy.max_slice_loss and gain.value + quantile * error < 0.0


def _plain(name: str, status: Status, reason: str, value: float = 0.0) -> Criterion:
    return Criterion(name=name, status=status, value=value, threshold=0.0, low=None, high=None, reason=reason)
