"""T-REG-2: the power is cut right after a change was acknowledged."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from sqlite3 import Connection
from typing import Any
from unittest.mock import patch

from ratchet.data.sqlite import SqliteDatabase
from ratchet.errors import RatchetError
from ratchet.registry import FileRegistry
from tests.battery.registry import seed_style
from tests.battery.registry.disk import Disk, disk, reason_not_to_run
from tests.battery.registry.promises import broken, open_registry, prepare
from tests.unit.registry_promises import NAME, WHO, register

_MOST_PROBLEMS = 5
_SEED_MODEL = b"onnx" * 500


@dataclass
class Tally:
    """Cuts after one kind of change."""

    change: str
    n_cuts: int = 0
    n_lost: int = 0
    """Cuts after which an acknowledged change was not there."""
    n_corrupt: int = 0
    """Cuts after which a promise was broken, damaged files among them."""
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Trial:
    """A change, and what is found after the cut: whether it was lost, and what is broken."""

    prepare: Callable[[Path], None]
    change: Callable[[Path], str]
    look: Callable[[Path, str], tuple[bool, list[str]]]
    mutation: Callable[[], AbstractContextManager[None]] = nullcontext


def run(folder: Path, *, n_cuts: int, n_mutant_cuts: int) -> dict[str, Any]:
    """Cut the power after each of `n_cuts` registrations and as many promotions, and after changes of mutants.

    Args:
        folder: where images and mounts are; not in a folder that others list.
        n_cuts: of each change.
        n_mutant_cuts: of each mutant.
    """
    reason = reason_not_to_run(folder)
    if reason is not None:
        return {"status": "not run", "reason": reason}
    tallies = [_cut(folder / name, name, trial, n_cuts) for name, trial in TRIALS.items()]
    mutants = [_cut(folder / name, name, trial, n_mutant_cuts) for name, trial in MUTANTS.items()]
    is_sound = all(tally.n_cuts > 0 == tally.n_lost + tally.n_corrupt for tally in tallies)
    is_sharp = all(mutant.n_lost + mutant.n_corrupt > 0 for mutant in mutants)
    return {
        "status": "passed" if is_sound and is_sharp else "failed",
        "cuts": sum(tally.n_cuts for tally in tallies),
        "lost": sum(tally.n_lost for tally in tallies),
        "corrupt": sum(tally.n_corrupt for tally in tallies),
        "changes": [asdict(tally) for tally in tallies],
        "mutants": [asdict(mutant) for mutant in mutants],
    }


def _cut(folder: Path, name: str, trial: Trial, n_cuts: int) -> Tally:
    """Cut again and again; the registry lives on from cut to cut, until one breaks it and it starts anew."""
    tally = Tally(name)
    with disk(folder) as made:
        root = made.root / "registry"
        trial.prepare(root)
        made.keep()
        for _ in range(n_cuts):
            acknowledged = _changed_and_cut(made, root, trial)
            made.unmount()
            made.mount()
            is_lost, found = trial.look(root, acknowledged)
            tally.n_cuts += 1
            tally.n_lost += is_lost
            tally.n_corrupt += bool(found)
            if is_lost or found:
                problem = f"{acknowledged} {'was lost' if is_lost else 'is there'}; {'; '.join(found)}"
                problem = problem.replace(f"{root}/", "")[:600]
                tally.problems += [problem][: _MOST_PROBLEMS - len(tally.problems)]
                made.reset()
    return tally


def _changed_and_cut(made: Disk, root: Path, trial: Trial) -> str:
    """Change the registry in a forked child, which acknowledges and cuts the power in the next breath."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            with trial.mutation():
                os.write(writing, trial.change(root).encode())
                made.cut()
            status = 0
        except BaseException as error:  # noqa: BLE001 - the child must not return into the parent's code
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            sys.stderr.flush()
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as acknowledgement:
        said = acknowledgement.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status != 0 or not said:
        raise RuntimeError(f"the change failed before the cut, exit status {status}")
    return said


def _register(root: Path) -> str:
    registry = open_registry(root)
    register(registry)
    return _last(registry)


def _promote(root: Path) -> str:
    registry = open_registry(root)
    live = registry.get_model(NAME, "production").version
    number = "v1.2.0" if live == "v1.1.0" else "v1.1.0"
    registry.set_production_model(NAME, number, **WHO)
    return _last(registry)


def _last(registry: FileRegistry) -> str:
    last = registry.history()[-1]
    return json.dumps([last.epoch, last.kind, last.version])


def _look(root: Path, acknowledged: str) -> tuple[bool, list[str]]:
    found = broken(root)
    epoch, kind, version = json.loads(acknowledged)
    try:
        with open_registry(root) as registry:
            kept = {event.epoch: (event.kind, event.version) for event in registry.history()}
            is_there = kept.get(epoch) == (kind, version) and max(kept) == epoch
            if kind == "promote":
                is_there = is_there and registry.get_model(NAME, "production").version == version
    except RatchetError as error:
        return True, [*found, str(error)]
    return not is_there, found


def _seed_promote(root: Path) -> str:
    seed_style.promote(root, "v1.2.0")
    return "v1.2.0"


def _seed_look(root: Path, acknowledged: str) -> tuple[bool, list[str]]:
    try:
        is_lost = seed_style.live(root) != acknowledged
    except OSError:
        is_lost = True
    return is_lost, seed_style.broken(root)


def _seed_prepare(root: Path) -> None:
    seed_style.prepare(root)
    os.sync()


def _seed_register(root: Path) -> str:
    seed_style.register(root, "v1.3.0", _SEED_MODEL)
    return "v1.3.0"


def _seed_look_for_files(root: Path, acknowledged: str) -> tuple[bool, list[str]]:
    model = root / acknowledged / "model.onnx"
    if not model.exists():
        return True, []
    return False, [] if model.read_bytes() == _SEED_MODEL else [f"model.onnx has {model.stat().st_size} bytes"]


@contextmanager
def no_fsync_of_files() -> Iterator[None]:
    """The mutant: files are written and renamed, and nobody syncs them; the database still syncs its own."""
    with patch.object(os, "fsync", lambda descriptor: None):
        yield


@contextmanager
def commits_of_normal_mode() -> Iterator[None]:
    """The mutant: WAL with `synchronous=NORMAL`, whose commits wait for no disk, nor does the link."""
    connect = SqliteDatabase._connect

    def hasty(self: SqliteDatabase) -> Connection:
        connection = connect(self)
        connection.execute("PRAGMA synchronous = NORMAL")
        return connection

    with patch.object(SqliteDatabase, "_connect", hasty):
        yield


TRIALS = {"register": Trial(prepare, _register, _look), "promote": Trial(prepare, _promote, _look)}
MUTANTS = {
    "register without fsync": Trial(prepare, _register, _look, no_fsync_of_files),
    "promote, synchronous=NORMAL": Trial(prepare, _promote, _look, commits_of_normal_mode),
    "seed-style register": Trial(_seed_prepare, _seed_register, _seed_look_for_files),
    "seed-style promote": Trial(_seed_prepare, _seed_promote, _seed_look),
}
