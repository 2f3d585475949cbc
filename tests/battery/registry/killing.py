"""T-REG-1: one operation in a process of its own, killed at every system call that would change the disk."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ratchet.registry import FileRegistry
from tests.battery.registry import seed_style
from tests.battery.registry.promises import broken, open_registry, prepare
from tests.battery.registry.tracing import Act, Ending, Point, reason_not_to_run, traced
from tests.unit.registry_crashes import make_a_mess
from tests.unit.registry_promises import FILES, NAME, WHO, register

_MOST_PROBLEMS = 10


def row_before_files(registry: FileRegistry) -> None:
    """The mutant: the version is committed before its files have their place."""
    files = {name: content for name, content in FILES.items() if isinstance(content, bytes)}
    with registry._files.staged(NAME, files) as (staged, digest):
        with registry._change(NAME, "mutant", "row first") as change:
            number = change.next_number()
            change.register(number, digest, metadata="{}", metrics="{}", gate=None)
        registry._files.seal(staged, NAME, number)


def promote_in_two_commits(registry: FileRegistry) -> None:
    """The mutant: one commit takes the old version out of production, the next one puts the new version in."""
    with registry._change(NAME, "mutant", "old one out") as change:
        live = change.target("v1.1.0")
        change.rows.move(live, "archived")
    with registry._change(NAME, "mutant", "new one in") as change:
        target = change.target("v1.2.0")
        change.rows.move(target, "production")
        change._record("promote", target, live.version)
        change.rows.succession(NAME).push(live.version)
    registry.recover()


CHANGES: dict[str, Callable[[FileRegistry], object]] = {
    "register": register,
    "stage": lambda registry: registry.set_staging_model(NAME, "v1.4.0", **WHO),
    "promote": lambda registry: registry.set_production_model(NAME, "v1.2.0", **WHO),
    "rollback": lambda registry: registry.rollback_to_previous(NAME, **WHO),
    "retire": lambda registry: registry.retire_model(NAME, "v1.4.0", **WHO),
    "withdraw": lambda registry: registry.withdraw_model(NAME, "v1.1.0", **WHO),
    "prune": lambda registry: registry.prune_models(NAME, keep=1, **WHO),
    "set-pointer": lambda registry: registry.set_pointer(NAME, "challenger", "v1.4.0", **WHO),
}
MUTANTS: dict[str, Callable[[FileRegistry], object]] = {
    "two commits": promote_in_two_commits,
    "row before files": row_before_files,
}
OPENINGS: dict[str, Callable[[Path], None]] = {"create": lambda root: None, "recover": make_a_mess}
Event = tuple[int, str, str]


@dataclass
class Tally:
    """An operation, killed again and again."""

    operation: str
    n_calls: int = 0
    """Calls that change the disk, when nobody kills it."""
    n_points: int = 0
    n_killed: int = 0
    n_acknowledged: int = 0
    """Kills after the process had said that it was done; nothing of it may be lost."""
    n_new: int = 0
    """Kills after which all of the change was there; after the others it was not, or so many of several commits."""
    n_breaks: int = 0
    """Kills after which a promise was broken."""
    problems: list[str] = field(default_factory=list)


def run(folder: Path, *, every: int, operations: list[str] | None = None) -> dict[str, Any]:
    """Kill each operation at every `every`-th of its calls, and mutants at all of theirs.

    Args:
        folder: where registries are made; memory will do, for SIGKILL takes nothing from the kernel.
        every: 1 for all points and all mutants; otherwise there is the seed-style mutant only.
        operations: names from `CHANGES` and `OPENINGS`; None for all.
    """
    reason = reason_not_to_run(folder)
    if reason is not None:
        return {"status": "not run", "reason": reason}
    chosen = operations or [*CHANGES, *OPENINGS]
    tallies = [_kill(folder / name, name, every) for name in chosen]
    mutants = [_kill_seed_style(folder / "seed-style")]
    if every == 1:
        mutants += [_kill(folder / name, name, every) for name in MUTANTS]
    return {
        "status": "passed" if _is_passed(tallies, mutants) else "failed",
        "points": sum(tally.n_points for tally in tallies),
        "breaks": sum(tally.n_breaks for tally in tallies),
        "operations": [asdict(tally) for tally in tallies],
        "mutants": [asdict(tally) for tally in mutants],
    }


def _is_passed(tallies: list[Tally], mutants: list[Tally]) -> bool:
    is_sound = all(not tally.problems and 0 < tally.n_killed == tally.n_points for tally in tallies)
    return is_sound and all(mutant.n_breaks > 0 for mutant in mutants)


def _kill(folder: Path, name: str, every: int) -> Tally:
    """Kill one operation of the real registry, or of a mutant of it."""
    base = folder / "base"
    folder.mkdir()
    OPENINGS.get(name, prepare)(base)
    tally, whole, first = Tally(name), folder / "whole", folder / "first"
    _warm_up(folder, base, name)
    _copy(base, first)
    _copy(base, whole)
    ending, points = traced(partial(_opened, whole, name), folder / "log")
    found = broken(whole)
    after = _events(whole)
    tally.problems = [*found, *_misfits(ending, after, after)]
    tally.n_calls, n_seen = len(points), len(_events(first))
    for index in range(0, len(points), every):
        root = folder / f"{index:04d}"
        _copy(base, root)
        ending, _ = traced(partial(_opened, root, name), folder / "log", kill_at=points[index])
        found = broken(root)  # before anybody else opens it
        history = _events(root)
        found += _misfits(ending, history, after)
        if len(history) < n_seen:
            found.append("killed earlier, more of it was there")
        n_seen = len(history)
        tally.n_new += history == after
        _count(tally, points[index], ending, found, folder)
        shutil.rmtree(root)
    return tally


def _misfits(ending: Ending, history: list[Event], after: list[Event]) -> list[str]:
    found = []
    if history != after[: len(history)]:
        found.append(f"the history is {history}, which is no part of {after}")
    if ending.acknowledged and json.loads(ending.acknowledged) != [list(event) for event in history]:
        found.append(f"acknowledged {ending.acknowledged}, kept {history}")
    return found


def _kill_seed_style(folder: Path) -> Tally:
    folder.mkdir()
    base, whole = folder / "base", folder / "whole"
    seed_style.prepare(base)
    shutil.copytree(base, whole)
    tally = Tally("seed-style promote")
    _, points = traced(partial(_seed_style, whole), folder / "log")
    tally.n_calls = len(points)
    for index, point in enumerate(points):
        root = folder / f"{index:04d}"
        shutil.copytree(base, root)
        ending, _ = traced(partial(_seed_style, root), folder / "log", kill_at=point)
        _count(tally, point, ending, seed_style.broken(root), folder)
    return tally


def _seed_style(root: Path) -> Act:
    def act(acknowledge: Callable[[str], None]) -> None:
        seed_style.promote(root, "v1.2.0")
        acknowledge("promoted")

    return act


def _opened(root: Path, name: str) -> Act:
    """Open the registry before strace looks, unless opening it is what is tested."""
    change = CHANGES.get(name) or MUTANTS.get(name)
    registry = None if change is None else open_registry(root)

    def act(acknowledge: Callable[[str], None]) -> None:
        opened = registry or open_registry(root)
        if change is not None:
            change(opened)
        acknowledge(json.dumps(_told(opened)))
        opened.close()

    return act


def _warm_up(folder: Path, base: Path, name: str) -> None:
    """Do it once here, so that no child's first calls are those that import a module."""
    root = folder / "warm"
    _copy(base, root)
    with open_registry(root) as registry:
        (CHANGES.get(name) or MUTANTS.get(name) or FileRegistry.recover)(registry)


def _events(root: Path) -> list[Event]:
    if not (root / "registry.sqlite").exists():
        return []
    with open_registry(root) as registry:
        return _told(registry)


def _told(registry: FileRegistry) -> list[Event]:
    return [(event.epoch, event.kind, event.version) for event in registry.history()]


def _count(tally: Tally, point: Point, ending: Ending, found: list[str], folder: Path) -> None:
    tally.n_points += 1
    tally.n_killed += ending.was_killed
    tally.n_acknowledged += bool(ending.acknowledged)
    if found:
        tally.n_breaks += 1
        problem = f"killed at {point.label}: {'; '.join(found)}".replace(f"{folder}/", "")
        tally.problems += [problem][: _MOST_PROBLEMS - len(tally.problems)]


def _copy(base: Path, root: Path) -> None:
    if base.exists():
        shutil.copytree(base, root, symlinks=True)
