"""T-REG-3: long random lives of three models, five steps in a hundred cut short by a crash."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import patch

from ratchet.registry import FileRegistry
from ratchet.registry import change as change_module
from ratchet.registry.base import EventKind, ModelVersion
from ratchet.registry.change import Change
from ratchet.registry.transactional import TransactionalRegistry
from tests.battery.registry.promises import open_registry
from tests.battery.registry.session import NAMES, Session, session
from tests.battery.registry.steps import draw_step

_CUT_SHORT = 0.08
"""Crashes strike changes only, which are two steps in three."""
_FULL_CHECK_EVERY = 1_000
_VERIFY_EVERY = 10_000


def run(folder: Path, *, seeds: list[int], n_steps: int) -> Iterator[dict[str, Any]]:
    """Live one life for each mutant, which must be found out, then one for each seed; yield figures after each seed.

    Args:
        folder: where registries are made, in memory.
        seeds: one life each.
        n_steps: the length of a life; a mutant's ends where it is found out.
    """
    mutants = {name: live(folder / name, seeds[0], n_steps, mutant) for name, mutant in MUTANTS.items()}
    are_caught = all(life["violations"] for life in mutants.values())
    lives: list[dict[str, Any]] = []
    for seed in seeds:
        lives.append(live(folder / str(seed), seed, n_steps))
        is_sound = are_caught and not any(life["violations"] for life in lives)
        yield {
            "status": "failed" if not is_sound else "passed" if len(lives) == len(seeds) else "incomplete",
            "lives_asked_for": len(seeds),
            "steps": sum(life["steps"] for life in lives),
            "crashes": sum(life["crashes"] for life in lives),
            "violations": sum(len(life["violations"]) for life in lives),
            "lives": lives,
            "mutants": mutants,
        }


def live(root: Path, seed: int, n_steps: int, mutant: Callable[[Path], Any] | None = None) -> dict[str, Any]:
    """Take steps until the last or until a violation; the same seed gives the same life."""
    rng = random.Random(seed)  # noqa: S311 - a test's choice of steps
    kinds: Counter[str] = Counter()
    violations: list[str] = []
    started_s, cpu_s = time.perf_counter(), time.process_time()
    with mutant(root) if mutant else nullcontext(), session(root, rng) as playing:
        try:
            for number in range(1, n_steps + 1):
                _take(playing, rng, kinds)
                if number % _FULL_CHECK_EVERY == 0:
                    playing.check_all()
                if number % _VERIFY_EVERY == 0 or number == n_steps:
                    playing.verify_history()
        except Exception as error:  # noqa: BLE001 - whatever gets this far was not to happen
            violations.append(f"seed {seed}, step {kinds.total()}: {type(error).__name__}: {error}"[:600])
        n_versions = sum(len(rules.versions) for rules in playing.models.values())
        seconds = time.perf_counter() - started_s
        return {
            "seed": seed,
            "steps": kinds.total(),
            "crashes": playing.n_crashes,
            "events": playing.epoch,
            "versions": n_versions,
            "kinds": dict(kinds),
            "violations": violations,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(time.process_time() - cpu_s, 1),
            "steps_per_second": round(kinds.total() / seconds),
        }


def _take(playing: Session, rng: random.Random, kinds: Counter[str]) -> None:
    step = draw_step(rng, NAMES, playing.models, playing.epoch)
    kinds[step.kind] += 1
    playing.step(step, is_cut_short=rng.random() < _CUT_SHORT)


@contextmanager
def promoting_the_retired(_: Path) -> Iterator[None]:
    """The mutant: a version that is retired, or whose files are gone, may be promoted."""
    promote = Change.promote

    def lax(self: Change, version: str, expected_epoch: int | None) -> ModelVersion:
        with patch.object(change_module, "_refuse_gone", lambda version: None):
            return promote(self, version, expected_epoch)

    with patch.object(Change, "promote", lax):
        yield


@contextmanager
def two_in_production(root: Path) -> Iterator[None]:
    """The mutant: promotion forgets the version that was there, and the database does not mind."""
    with open_registry(root) as registry, registry._database.write() as connection:
        connection.exec_driver_sql("DROP INDEX one_production_per_name")
    replace = Change._replace

    def forgetful(self: Change, target: ModelVersion, kind: EventKind) -> ModelVersion:
        if kind != "promote":
            return replace(self, target, kind)
        self.rows.move(target, "production")
        self._record(kind, target)
        return self.target(target.version)

    with patch.object(Change, "_replace", forgetful):
        yield


@contextmanager
def no_recovery(_: Path) -> Iterator[None]:
    """The mutant that only a crash betrays: opening does not rebuild what is derived."""
    original = TransactionalRegistry._open_for_writing

    def created_only(self: FileRegistry) -> None:
        if not self._database.is_current():
            original(self)

    with patch.object(TransactionalRegistry, "_open_for_writing", created_only):
        yield


MUTANTS: dict[str, Callable[[Path], AbstractContextManager[None]]] = {
    "promotes the retired": promoting_the_retired,
    "two in production": two_in_production,
    "no recovery": no_recovery,
}
