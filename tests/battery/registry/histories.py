"""Whether what racing processes were told fits one serial history: linearizability, by the registry's own epochs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from ratchet.registry import RegistryEvent
from tests.battery.registry.rules import Effect, RefusalError, Rules, Step


@dataclass(frozen=True)
class Call:
    """One call of one process: what was asked, what was told, and the epochs before and after."""

    key: str
    """Unique; it went into the journal as the reason."""
    step: Step
    outcome: str
    version: str | None
    started_at: int
    ended_at: int


@dataclass
class Verdict:
    """What the calls came to; `problems` is empty where one serial history explains them all."""

    outcomes: Counter[str] = field(default_factory=Counter)
    n_events: int = 0
    n_unexplained: int = 0
    problems: list[str] = field(default_factory=list)


def judge(calls: Sequence[Call], events: Sequence[RegistryEvent], models: dict[str, Rules], epoch: int) -> Verdict:
    """Replay the journal by the rules and fit every call into it.

    Args:
        calls: of all processes, in any order.
        events: the journal from `epoch + 1` on.
        models: the state at `epoch`, by name; it is carried on to the end.
        epoch: where the calls started.
    """
    verdict = Verdict(Counter(call.outcome for call in calls), len(events))
    by_key = {call.key: call for call in calls}
    counts = Counter(event.reason for event in events)
    verdict.problems += [f"{key} stands {n} times in the journal" for key, n in counts.items() if n > 1]
    verdict.problems += [f"{call} is no outcome" for call in calls if call.outcome not in {"done", "refused"}]
    silent = [call for call in calls if call.outcome in {"done", "refused"} and call.key not in counts]
    silent = _unexplained(silent, models, epoch)
    for event in events:
        verdict.problems += _misfits(event, by_key.get(event.reason), models)
        effect = _effect_of(event)
        call = by_key.get(event.reason)
        models[event.name].apply(effect, event.epoch, call.step.verdict if call else None)
        silent = _unexplained(silent, models, event.epoch)
    verdict.n_unexplained = len(silent)
    verdict.problems += [f"no moment explains {call}" for call in silent]
    return verdict


def _misfits(event: RegistryEvent, call: Call | None, models: dict[str, Rules]) -> list[str]:
    """Return how an event differs from what its call was told, and from what the rules make of it just then."""
    if call is None:
        return [f"epoch {event.epoch} was written by nobody: {event.reason}"]
    found = []
    if call.outcome != "done" or call.version not in {None, event.version}:
        found.append(f"epoch {event.epoch} is {event.kind} {event.version}, told: {call}")
    if not call.started_at < event.epoch <= call.ended_at:
        found.append(f"epoch {event.epoch} lies outside its call: {call}")
    try:
        effects = models[event.name].decide(call.step, event.epoch - 1)
    except RefusalError as refusal:
        return [*found, f"epoch {event.epoch} should have been refused, {refusal}: {call}"]
    if effects != [_effect_of(event)]:
        found.append(f"epoch {event.epoch} is {_effect_of(event)}, the rules say {effects}")
    return found


def _unexplained(silent: list[Call], models: dict[str, Rules], epoch: int) -> list[Call]:
    """Return the calls without an event that the state at this epoch does not explain."""
    return [
        call for call in silent if not (call.started_at <= epoch <= call.ended_at and _explains(models, call, epoch))
    ]


def _explains(models: dict[str, Rules], call: Call, epoch: int) -> bool:
    if call.step.kind == "recover":
        return call.outcome == "done"
    try:
        effects = models[call.step.name].decide(call.step, epoch)
    except RefusalError:
        return call.outcome == "refused"
    return call.outcome == "done" and effects == []


def _effect_of(event: RegistryEvent) -> Effect:
    return Effect(event.kind, event.version, event.previous, event.pointer)
