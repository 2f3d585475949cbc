"""Processes that the registry's crash tests kill and starve; run as `python -m tests.unit.registry_crashes`.

Each mode prints one JSON object. Children are forked from a process that has no registry open, act, and die by
SIGKILL at a point that the parent chose. Points are counted by wrapping what the library calls to change the disk:
functions of `os` and `io.open`, and SQL statements and commits of SQLAlchemy.
"""

from __future__ import annotations

import errno
import io
import json
import os
import random
import select
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from ratchet.errors import RatchetError, RegistryConflictError
from ratchet.registry import FileRegistry
from tests.unit.registry_promises import NAME, WHO, open_registry, prepare, problems, register
from tests.unit.registry_schema_1 import downgrade

_OPEN_WITHIN_S = 30
_OS_CALLS = ("fsync", "mkdir", "rename", "replace", "rmdir", "symlink", "unlink", "link", "truncate", "open")


def make_a_mess(root: Path) -> None:
    """What crashes leave behind, for `recover` to be interrupted at."""
    prepare(root)
    orphan = root / NAME / "v1.4.0"
    orphan.mkdir()
    (orphan / "model.onnx").write_bytes(b"orphan")
    for leftover in (root / ".staging" / "btc-1", root / ".staging" / "btc-2"):
        leftover.mkdir()
        (leftover / "model.onnx").write_bytes(b"half")
    link = root / NAME / "production"
    link.unlink()
    link.symlink_to("v1.0.0")
    (root / NAME / ".production.0.tmp").symlink_to("v1.0.0")


def prepare_retention(root: Path) -> None:
    """One version more, so that v1.3.0 is the one that retention deletes."""
    prepare(root)
    with open_registry(root) as registry:
        register(registry)


def prepare_upgrade(root: Path) -> None:
    """The tables of the first release."""
    prepare(root)
    downgrade(root)


def delete_before_commit(registry: FileRegistry) -> None:
    """The mutant: files are deleted while the version still is to be kept."""
    with registry._change(NAME, "mutant", "files first") as change:
        registry._files.remove(NAME, "v1.3.0")
        change.prune(1)


def demote_then_promote(registry: FileRegistry) -> None:
    """The mutant: two commits and a link that is removed before it is set."""
    root = Path(registry.get_model(NAME).folder).parents[1]
    for statement in (
        "UPDATE versions SET stage = 'archived' WHERE stage = 'production'",
        "UPDATE versions SET stage = 'production' WHERE version = 'v1.2.0'",
    ):
        with registry._database.write() as connection:
            connection.exec_driver_sql(statement)
    (root / NAME / "production").unlink()
    (root / NAME / "production").symlink_to("v1.2.0")


def row_before_files(registry: FileRegistry) -> None:
    """The mutant: the version is committed before its files are written."""
    with registry._change(NAME, "mutant", "row first") as change:
        version = change.register("v1.4.0", "0" * 64, metadata="{}", metrics="{}", gate=None)
    Path(version.folder).mkdir()
    (Path(version.folder) / "model.onnx").write_bytes(b"onnx")


OPERATIONS: dict[str, tuple[Callable[[Path], None], Callable[[FileRegistry], object]]] = {
    "create": (lambda root: None, lambda registry: None),
    "recover": (make_a_mess, lambda registry: None),
    "register": (prepare, register),
    "stage": (prepare, lambda registry: registry.set_staging_model(NAME, "v1.3.0", **WHO)),
    "promote": (prepare, lambda registry: registry.set_production_model(NAME, "v1.2.0", **WHO)),
    "rollback": (prepare, lambda registry: registry.rollback_to_previous(NAME, **WHO)),
    "withdraw": (prepare, lambda registry: registry.withdraw_model(NAME, "v1.2.0", **WHO)),
    "retire": (prepare, lambda registry: registry.retire_model(NAME, "v1.3.0", **WHO)),
    "upgrade": (prepare_upgrade, lambda registry: None),
    "point": (prepare, lambda registry: registry.set_pointer(NAME, "challenger", "v1.3.0", **WHO)),
    "prune": (prepare_retention, lambda registry: registry.prune_models(NAME, keep=1, **WHO)),
    "mutant-prune": (prepare_retention, delete_before_commit),
    "mutant-promote": (prepare, demote_then_promote),
    "mutant-register": (prepare, row_before_files),
}
WHILE_OPENING = {"create", "recover", "upgrade"}


@contextmanager
def points(at: Callable[[str], None]) -> Iterator[None]:
    """Call `at` with a label before every change of the disk, and after every commit."""
    originals = {name: getattr(os, name) for name in _OS_CALLS}
    original_open: Any = io.open
    original_commit: Any = SQLiteDialect.do_commit

    def counted(name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            if name != "open" or (len(args) > 1 and args[1] & os.O_CREAT):
                at(f"os.{name}")
            return originals[name](*args, **kwargs)

        return call

    def opened(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if mode[0] in "wxa":
            at("open for writing")
        return original_open(file, mode, *args, **kwargs)

    def committed(dialect: Any, connection: Any) -> None:
        at("COMMIT")
        original_commit(dialect, connection)
        at("after COMMIT")

    def executed(_: Any, __: Any, statement: str, *rest: Any) -> None:
        at(statement.split("\n", 1)[0][:60])

    for name in _OS_CALLS:
        setattr(os, name, counted(name))
    setattr(io, "open", opened)  # noqa: B010 - io.open is what pathlib calls
    setattr(SQLiteDialect, "do_commit", committed)  # noqa: B010
    event.listen(Engine, "before_cursor_execute", executed)
    try:
        yield
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
        setattr(io, "open", original_open)  # noqa: B010
        setattr(SQLiteDialect, "do_commit", original_commit)  # noqa: B010
        event.remove(Engine, "before_cursor_execute", executed)


def run(root: Path, operation: str, at: Callable[[str], None]) -> None:
    """Run an operation whose points call `at`; opening is part of it for those that test opening."""
    _, act = OPERATIONS[operation]
    if operation in WHILE_OPENING:
        with points(at), open_registry(root) as registry:
            act(registry)
        return
    with open_registry(root) as registry, points(at):
        act(registry)


def forked(act: Callable[[], None]) -> int:
    """Run in a forked child and return how it ended: 0, 1 for an error, or minus the signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def labels_of(root: Path, operation: str) -> list[str]:
    """Run an operation to its end and return the labels of its points."""
    seen: list[str] = []
    path = root.with_suffix(".labels")

    def act() -> None:
        run(root, operation, seen.append)
        path.write_text(json.dumps(seen))

    if forked(act) != 0:
        raise SystemExit(f"{operation} fails even undisturbed")
    labels: list[str] = json.loads(path.read_text())
    return labels


def kill_at_every_point(folder: Path, operation: str) -> dict[str, Any]:
    """Kill `operation` before each of its points; leave the remains in `folder/<point>`."""
    base, labels = _prepared(folder, operation)
    killed = 0
    for index in range(len(labels)):
        root = folder / f"{index:03d}"
        _copy(base, root)
        killed += forked(partial(run, root, operation, _killer(index))) == -signal.SIGKILL
    return {"labels": labels, "killed": killed}


def fail_at_every_point(folder: Path, operation: str) -> dict[str, Any]:
    """Let each file system call of `operation` fail with EIO; tell how it ended and what is broken after it."""
    base, labels = _prepared(folder, operation)
    outcomes: dict[str, int] = {}
    broken: list[str] = []
    for index, label in enumerate(labels):
        if not label.startswith(("os.", "open")):
            continue
        root = folder / f"{index:03d}"
        _copy(base, root)
        outcome = _outcome(root, operation, index)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
        broken += [f"{label}, {outcome}: {problem}" for problem in problems(root)]
    return {"outcomes": outcomes, "broken": broken}


def churn(folder: Path, n_kills: int, seed: int) -> dict[str, Any]:
    """Kill a busy writer `n_kills` times at random moments; every change that it acknowledged must be there."""
    rng = random.Random(seed)  # noqa: S311 - a test's choice of moments
    root = folder / "churn"
    prepare(root)
    acknowledged, lost, broken = 0, 0, []
    for _ in range(n_kills):
        acks = _killed_while_busy(root, rng)
        broken += problems(root)
        with open_registry(root) as registry:
            kept = {item.epoch: f"{item.kind} {item.version}" for item in registry.history()}
        acknowledged += len(acks)
        lost += sum(kept.get(epoch) != what for epoch, what in acks)
    return {"acknowledged": acknowledged, "lost": lost, "broken": broken, "epoch": max(kept)}


def _prepared(folder: Path, operation: str) -> tuple[Path, list[str]]:
    setup, _ = OPERATIONS[operation]
    folder.mkdir(parents=True)
    base, trial = folder / "base", folder / "trial"
    setup(base)
    _copy(base, trial)
    return base, labels_of(trial, operation)


def _copy(base: Path, root: Path) -> None:
    if base.exists():
        shutil.copytree(base, root, symlinks=True)


def _killer(index: int) -> Callable[[str], None]:
    remaining = iter(range(index, -1, -1))

    def at(_: str) -> None:
        if next(remaining) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return at


def _outcome(root: Path, operation: str, index: int) -> str:
    count = iter(range(1_000_000))
    path = root.with_suffix(".outcome")

    def at(_: str) -> None:
        if next(count) == index:
            raise OSError(errno.EIO, "Input/output error", "injected")

    def act() -> None:
        outcome = "done"
        try:
            run(root, operation, at)
        except RatchetError as error:
            outcome = type(error).__name__
        path.write_text(outcome)

    forked(act)
    return path.read_text() if path.exists() else "an error of another kind"


def _killed_while_busy(root: Path, rng: random.Random) -> list[tuple[int, str]]:
    reading, writing = os.pipe()
    # Most die at work, however slow the machine is; some while they open the registry.
    seed, delay_s, is_at_work = rng.random(), rng.uniform(0.03, 0.25), rng.random() < 0.8
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            _stay_busy(root, random.Random(seed), writing)  # noqa: S311
        finally:
            os._exit(1)
    os.close(writing)
    if is_at_work:
        select.select([reading], [], [], _OPEN_WITHIN_S)
    time.sleep(delay_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with os.fdopen(reading) as lines:
        pairs = [line.rstrip("\n").split(" ", 1) for line in lines if line.endswith("\n")]
    return [(int(epoch), what) for epoch, what in pairs]


def _stay_busy(root: Path, rng: random.Random, writing: int) -> None:
    registry = open_registry(root)
    while True:
        numbers = [version.version for version in registry.list_models(NAME)]
        try:
            match rng.choice(("register", "promote", "promote", "rollback")):
                case "register":
                    register(registry)
                case "promote":
                    registry.set_production_model(NAME, rng.choice(numbers), **WHO)
                case _:
                    registry.rollback_to_previous(NAME, **WHO)
        except RegistryConflictError:
            continue
        last = registry.history(NAME)[-1]
        os.write(writing, f"{last.epoch} {last.kind} {last.version}\n".encode())


def main(arguments: list[str]) -> None:
    """Run the mode that the arguments name."""
    mode, folder, *rest = arguments
    root = Path(folder)
    root.mkdir(parents=True, exist_ok=True)
    modes: dict[str, Callable[[], dict[str, Any]]] = {
        "kill": lambda: {operation: kill_at_every_point(root / operation, operation) for operation in rest},
        "fail": lambda: {operation: fail_at_every_point(root / operation, operation) for operation in rest},
        "churn": lambda: churn(root, int(rest[0]), int(rest[1])),
    }
    sys.stdout.write(json.dumps(modes[mode]()))


if __name__ == "__main__":
    main(sys.argv[1:])
