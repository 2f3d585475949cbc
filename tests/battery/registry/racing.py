"""T-REG-4: eight processes at once change one registry; one serial history must explain what each was told."""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest

from ratchet.data import sqlite
from ratchet.errors import RatchetError
from ratchet.registry import FileRegistry
from ratchet.registry.change import Change
from tests.battery.registry.histories import Call, judge
from tests.battery.registry.promises import broken, open_registry
from tests.battery.registry.rules import Rules, Step
from tests.battery.registry.steps import outcome_of, perform
from tests.postgres_server import postgres_server
from tests.unit.registry_promises import NAME

Act = Callable[[], list[dict[str, Any]]]
_MOST_PROBLEMS = 10
_N_VERSIONS = 6
_KINDS = ("promote",) * 8 + ("rollback",) * 5 + ("stage",) * 2 + ("register",) * 2 + ("retire", "recover")


def run(folder: Path, *, seed: int, n_processes: int, n_calls: int) -> dict[str, Any]:
    """Race over SQLite, over Postgres where it is installed, and over SQLite with what must be found out.

    Args:
        folder: where registries are made.
        seed: of what the processes ask for; when they ask is up to the machine.
        n_processes: at once.
        n_calls: of each process.
    """
    arguments: Any = {"seed": seed, "n_processes": n_processes, "n_calls": n_calls}
    engines = {"sqlite": race(folder / "sqlite", **arguments), "postgres": _race_over_postgres(folder, arguments)}
    with patch.object(sqlite, "_WRITE", "BEGIN DEFERRED"):
        deferred = race(folder / "deferred", **arguments)
    with patch.object(Change, "_refuse_if_moved", lambda change, expected_epoch: None):
        heedless = race(folder / "heedless", **arguments)
    is_sharp = deferred["locked"] > 0 and heedless["problems"] > 0
    is_sound = all(engine["status"] != "failed" for engine in engines.values())
    return {
        "status": "passed" if is_sound and is_sharp else "failed",
        **engines,
        "mutants": {"BEGIN DEFERRED": deferred, "no compare and set": heedless},
    }


def race(root: Path, *, seed: int, n_processes: int, n_calls: int, url: str | None = None) -> dict[str, Any]:
    """Let processes change one registry as fast as they can, and judge what they were told."""
    models, epoch = _prepared(root, url)
    started_s = time.perf_counter()
    acts: list[Act] = [partial(_call_often, root, url, index, seed, n_calls) for index in range(n_processes)]
    lines = _in_processes(acts, root.with_suffix(".calls"))
    seconds = time.perf_counter() - started_s
    calls = [Call(**{**line, "step": Step(*line["step"])}) for line in lines if "key" in line]
    seen = [line["seen"] for line in lines if "seen" in line]
    with open_registry(root, url) as registry:
        events = registry.history()[epoch:]
    verdict = judge(calls, events, models, epoch)
    problems = [*seen, *verdict.problems, *broken(root, url)]
    if len(calls) != n_processes * n_calls:
        problems.append(f"{len(calls)} calls of {n_processes * n_calls} were told")
    return {
        "status": "failed" if problems else "passed",
        "calls": len(calls),
        "outcomes": dict(verdict.outcomes),
        "locked": verdict.outcomes["locked"],
        "with_expected_epoch": sum(call.step.expected_epoch is not None for call in calls),
        "events": verdict.n_events,
        "unexplained": verdict.n_unexplained,
        "seconds": round(seconds, 1),
        "problems": len(problems),
        "first_problems": [problem[:400] for problem in problems[:_MOST_PROBLEMS]],
    }


def _race_over_postgres(folder: Path, arguments: Any) -> dict[str, Any]:
    try:
        with postgres_server() as server:
            return race(folder / "postgres", **arguments, url=server.fresh_url())
    except pytest.skip.Exception as skipped:
        return {"status": "not run", "reason": str(skipped)}


def _prepared(root: Path, url: str | None) -> tuple[dict[str, Rules], int]:
    models = {NAME: Rules()}
    steps = [Step("register", NAME, verdict="approve")] * _N_VERSIONS
    steps += [Step("promote", NAME, "v1.0.0"), Step("promote", NAME, "v1.1.0")]
    with open_registry(root, url) as registry:
        for epoch, step in enumerate(steps):
            for effect in models[NAME].decide(step, epoch):
                models[NAME].apply(effect, epoch + 1, step.verdict)
            perform(registry, step, actor="battery", reason="to begin with")
        return models, registry.epoch()


def _call_often(root: Path, url: str | None, index: int, seed: int, n_calls: int) -> list[dict[str, Any]]:
    rng = random.Random(f"{seed}/{index}")  # noqa: S311 - a test's choice of steps
    lines: list[dict[str, Any]] = []
    with open_registry(root, url) as registry:
        for number in range(n_calls):
            lines.append(_call(registry, rng, f"{index}-{number}"))
            live = [version.version for version in registry.list_models(NAME) if version.stage == "production"]
            if len(live) != 1:
                lines.append({"seen": f"{len(live)} versions in production"})
    return lines


def _call(registry: FileRegistry, rng: random.Random, key: str) -> dict[str, Any]:
    """Look, decide, and ask; half of the decisions hold only if nobody moved since the look."""
    before = registry.epoch()
    numbers = [version.version for version in registry.list_models(NAME)]
    step = Step(
        rng.choice(_KINDS),
        NAME,
        version=rng.choice(numbers[-_N_VERSIONS:]),
        expected_epoch=before if rng.random() < 0.5 else None,
        verdict="approve",
    )
    version = None
    try:
        version = perform(registry, step, actor="battery", reason=key)
        outcome = "done"
    except RatchetError as error:
        outcome = outcome_of(error)
    return {
        "key": key,
        "step": step,
        "outcome": outcome,
        "version": version,
        "started_at": before,
        "ended_at": registry.epoch(),
    }


def _in_processes(acts: list[Act], folder: Path) -> list[dict[str, Any]]:
    """Run each act in a forked child, all at once, and return all lines that they return."""
    folder.mkdir()
    going, go = os.pipe()
    children = []
    for index, act in enumerate(acts):
        child = os.fork()
        if child == 0:
            os.close(go)
            _be_the_child(act, folder / str(index), going)
        children.append(child)
    os.close(going)
    os.close(go)  # the end of the pipe is the starting shot
    for child in children:
        os.waitpid(child, 0)
    return [json.loads(line) for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


def _be_the_child(act: Act, path: Path, going: int) -> None:
    try:
        os.read(going, 1)
        path.write_text("".join(f"{json.dumps(line)}\n" for line in act()))
    except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(0)
