"""Steps: drawn at random, and asked of a real registry."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ratchet.errors import ArtifactError, BusyError, NotFoundError, RatchetError, RegistryConflictError
from ratchet.registry import ModelVersion, TransactionalRegistry
from ratchet.testing.gate import gate_report
from tests.battery.registry.rules import Rules, Step

POINTERS = ("challenger", "experiment-1", "experiment-2")
_MODEL = b"onnx"
_VERDICTS = ("approve",) * 9 + ("inconclusive", "reject", None)
_WEIGHTS = {
    "register": 4,
    "promote": 18,
    "stage": 9,
    "rollback": 8,
    "withdraw": 4,
    "retire": 2,
    "point": 7,
    "release": 3,
    "prune": 1,
    "read": 14,
    "look": 14,
    "recover": 2,
    "reopen": 1,
}
_KINDS, _ODDS = list(_WEIGHTS), list(_WEIGHTS.values())
_CHANCE_OF_LEAVING = 0.85
"""How often a version is drawn from the newest eight, so that old ones are left to retention."""


def draw_step(rng: random.Random, names: Sequence[str], models: dict[str, Rules], epoch: int) -> Step:
    """Draw a step about one of the models as they are now."""
    name = rng.choice(names)
    rules = models[name]
    kind = rng.choices(_KINDS, _ODDS)[0] if rules.versions else rng.choice(("register", "rollback", "register"))
    return Step(
        kind,
        name,
        version=_draw_version(rng, rules),
        pointer=rng.choice(POINTERS),
        keep=rng.choice((4, 12, 30)),
        expected_epoch=_draw_epoch(rng, rules, epoch),
        verdict=rng.choice(_VERDICTS),
    )


def perform(registry: TransactionalRegistry, step: Step, *, actor: str, reason: str) -> str | None:
    """Ask a registry for a step; return the version that it answers with, if any."""
    who: Any = {"actor": actor, "reason": reason}
    at = {**who, "expected_epoch": step.expected_epoch}
    name, version = step.name, step.version
    calls: dict[str, Callable[[], object]] = {
        "register": lambda: registry.register_model(name, _candidate(step.verdict), {}, {}, **who),
        "stage": lambda: registry.set_staging_model(name, version, **at),
        "promote": lambda: registry.set_production_model(name, version, **at),
        "rollback": lambda: registry.rollback_to_previous(name, **at),
        "withdraw": lambda: registry.withdraw_model(name, version, **at),
        "retire": lambda: registry.retire_model(name, version, **who),
        "point": lambda: registry.set_pointer(name, step.pointer, version, **who),
        "release": lambda: registry.release_pointer(name, step.pointer, **who),
        "prune": lambda: registry.prune_models(name, keep=step.keep, **who),
        "recover": registry.recover,
    }
    answer = calls[step.kind]()
    return answer.version if isinstance(answer, ModelVersion) else None


def outcome_of(error: RatchetError) -> str:
    """Return one word for how a registry refused."""
    for kind, word in ((RegistryConflictError, "refused"), (BusyError, "locked"), (NotFoundError, "missing")):
        if isinstance(error, kind):
            return word
    return "damaged" if isinstance(error, ArtifactError) else type(error).__name__


def _candidate(verdict: str | None) -> dict[str, Path | bytes]:
    files: dict[str, Path | bytes] = {"model.onnx": _MODEL}
    return files if verdict is None else {**files, "gate.json": gate_report(_MODEL, verdict)}


def _draw_version(rng: random.Random, rules: Rules) -> str:
    numbers = list(rules.versions)
    if not numbers or rng.random() < 0.01:
        return "v9.0.0"
    return rng.choice(numbers[-8:] if rng.random() < _CHANCE_OF_LEAVING else numbers)


def _draw_epoch(rng: random.Random, rules: Rules, epoch: int) -> int | None:
    chance = rng.random()
    if chance < 0.8:
        return None
    if chance < 0.9:
        return epoch
    return max(0, rules.moved_at + rng.randint(-2, 2)) if chance < 0.99 else epoch + 1
