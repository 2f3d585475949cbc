"""Processes that race for one registry; run as `python -m tests.unit.registry_races`.

Each mode prints one JSON object. All processes of a race are forked from one that has no registry open.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ratchet.data import sqlite
from ratchet.errors import BusyError, RatchetError, RegistryConflictError
from tests.unit.registry_promises import NAME, WHO, open_registry, prepare, problems, register


def race(folder: Path, n_processes: int, n_rounds: int) -> dict[str, Any]:
    """Let processes promote different versions from the same epoch, again and again."""
    root = folder / "race"
    with open_registry(root) as registry:
        for _ in range(n_processes + 1):
            register(registry)
    rounds = [_race_once(root, n_processes) for _ in range(n_rounds)]
    return {"rounds": rounds, "promotions": _n_promotions(root), "broken": problems(root)}


def storm(folder: Path, n_processes: int, n_promotions: int, begin: str) -> dict[str, Any]:
    """Let processes promote as fast as they can; each looks at the versions after every step.

    `begin` is what opens a writing transaction: "BEGIN IMMEDIATE", or the mutant "BEGIN".
    """
    sqlite._WRITE = begin
    root = folder / "storm"
    prepare(root)
    before = _n_promotions(root)
    outcomes = _in_processes([partial(_promote_often, root, index, n_promotions) for index in range(n_processes)])
    return {"outcomes": outcomes, "promotions": _n_promotions(root) - before, "broken": problems(root)}


def found(folder: Path, n_processes: int, n_rounds: int) -> dict[str, Any]:
    """Let processes open a registry that is not there yet, all at once, and register a version each."""
    outcomes: list[str] = []
    broken: list[str] = []
    numbers: list[list[str]] = []
    for index in range(n_rounds):
        root = folder / str(index)
        outcomes += _in_processes([partial(_open_at, root, time.time() + 0.1)] * n_processes)
        with open_registry(root) as registry:
            numbers.append([version.version for version in registry.list_models(NAME)])
            registry.set_production_model(NAME, "v1.0.0", **WHO)
        broken += problems(root)
    return {"outcomes": outcomes, "numbers": numbers, "broken": broken}


def _n_promotions(root: Path) -> int:
    with open_registry(root) as registry:
        return sum(item.kind == "promote" for item in registry.history())


def _race_once(root: Path, n_processes: int) -> list[str]:
    with open_registry(root) as registry:
        epoch = registry.epoch()
        numbers = [version.version for version in registry.list_models(NAME) if version.stage != "production"]
    gate = time.time() + 0.1
    return _in_processes([partial(_promote_at, root, number, epoch, gate) for number in numbers[:n_processes]])


def _in_processes(acts: list[Callable[[], list[str]]]) -> list[str]:
    """Run each function in a forked child at the same time and return all lines that they return."""
    reading, writing = os.pipe()
    children = []
    for act in acts:
        child = os.fork()
        if child == 0:
            try:
                os.write(writing, "".join(f"{line}\n" for line in act()).encode())
            finally:
                os._exit(0)
        children.append(child)
    os.close(writing)
    with os.fdopen(reading) as lines:
        found = lines.read().splitlines()
    for child in children:
        os.waitpid(child, 0)
    return found


def _promote_often(root: Path, index: int, n_promotions: int) -> list[str]:
    outcomes = []
    with open_registry(root) as registry:
        for step in range(n_promotions):
            number = f"v1.{(index + step) % 4}.0"
            outcomes.append(_outcome_of(partial(registry.set_production_model, NAME, number, **WHO)))
            live = [version.version for version in registry.list_models(NAME) if version.stage == "production"]
            outcomes += ["not exactly one in production"] if len(live) != 1 else []
    return outcomes


def _open_at(root: Path, gate: float) -> list[str]:
    def act() -> None:
        with open_registry(root) as registry:
            register(registry)

    _spin_until(gate)
    return [_outcome_of(act)]


def _spin_until(gate: float) -> None:
    while time.time() < gate:
        pass


def _promote_at(root: Path, number: str, epoch: int, gate: float) -> list[str]:
    with open_registry(root) as registry:
        _spin_until(gate)
        return [_outcome_of(partial(registry.set_production_model, NAME, number, **WHO, expected_epoch=epoch))]


def _outcome_of(change: Callable[[], object]) -> str:
    try:
        change()
    except RegistryConflictError:
        return "refused"
    except BusyError:
        return "locked"
    except RatchetError as error:
        return type(error).__name__
    return "done"


def main(arguments: list[str]) -> None:
    """Run the mode that the arguments name."""
    mode, folder, *rest = arguments
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    modes: dict[str, Callable[[], dict[str, Any]]] = {
        "found": lambda: found(root, int(rest[0]), int(rest[1])),
        "race": lambda: race(root, int(rest[0]), int(rest[1])),
        "storm": lambda: storm(root, int(rest[0]), int(rest[1]), rest[2]),
    }
    sys.stdout.write(json.dumps(modes[mode]()))


if __name__ == "__main__":
    main(sys.argv[1:])
