"""The registry under SIGKILL, failing disks and racing processes: old or new, never something in between.

The processes live in `registry_crashes.py` and `registry_races.py`, the promises in `registry_promises.py`. Three
mutants (two commits instead of one; the row before the files; files deleted before the commit that says so) go through
the same battery and must be caught, as must a writer that does not take the lock when it begins.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.unit.registry_promises import NAME, open_registry, problems

CHANGES = ("register", "stage", "promote", "rollback", "withdraw", "retire", "point", "prune")
OPENINGS = ("create", "recover", "upgrade")
MUTANTS = ("mutant-promote", "mutant-register", "mutant-prune")


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: SIGKILL does not lose what the kernel holds, so disks only cost time."""
    shared = Path("/dev/shm")  # noqa: S108
    with TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def killed(memory: Path) -> dict[str, dict[str, Any]]:
    """Remains of every operation, killed at each of its points."""
    return child("kill", memory / "kill", *CHANGES, *OPENINGS, *MUTANTS)


def child(mode: str, folder: Path, *arguments: object) -> dict[str, Any]:
    script = "registry_races" if mode in {"found", "race", "storm"} else "registry_crashes"
    command = [sys.executable, "-m", f"tests.unit.{script}", mode, str(folder), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=300
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def remains(memory: Path, operation: str, labels: list[str]) -> list[tuple[str, Path]]:
    return [(f"{index} ({label})", memory / "kill" / operation / f"{index:03d}") for index, label in enumerate(labels)]


def state(root: Path) -> list[object]:
    with open_registry(root) as registry:
        versions = [
            (version.version, version.stage, version.is_retired, version.is_pruned)
            for version in registry.list_models(NAME)
        ]
        return [*versions, registry.pointers(NAME)]


@pytest.mark.parametrize("operation", CHANGES)
def test_a_change_that_is_killed_happened_or_did_not(
    killed: dict[str, dict[str, Any]], memory: Path, operation: str
) -> None:
    """Killed at any point, a change leaves the old or the new state, the new one exactly from its commit on."""
    labels = killed[operation]["labels"]
    assert killed[operation]["killed"] == len(labels) >= 9
    before, after = state(memory / "kill" / operation / "base"), state(memory / "kill" / operation / "trial")
    assert before != after
    committed = labels.index("after COMMIT")
    for index, (point, root) in enumerate(remains(memory, operation, labels)):
        assert problems(root) == [], point
        assert state(root) == (after if index >= committed else before), point


@pytest.mark.parametrize("operation", OPENINGS)
def test_opening_that_is_killed_can_be_done_again(
    killed: dict[str, dict[str, Any]], memory: Path, operation: str
) -> None:
    """Killed while it is made or recovered, a registry opens the next time with every promise kept."""
    labels = killed[operation]["labels"]
    assert killed[operation]["killed"] == len(labels) > 20
    for point, root in remains(memory, operation, labels):
        assert problems(root) == [], point
        with open_registry(root) as registry:
            assert len(registry.list_models()) == (0 if operation == "create" else 4), point


@pytest.mark.parametrize("operation", MUTANTS)
def test_the_battery_catches_its_mutants(killed: dict[str, dict[str, Any]], memory: Path, operation: str) -> None:
    """The same checks find broken promises where a change is not one commit."""
    found = [problems(root) for _, root in remains(memory, operation, killed[operation]["labels"])]
    assert sum(bool(problem) for problem in found) >= 3


def test_a_failing_disk_loses_nothing(memory: Path) -> None:
    """Each call to the file system fails once with EIO: the error is the library's, and every promise is kept."""
    for operation, result in child("fail", memory / "fail", "register", "promote", "rollback", "recover").items():
        assert result["broken"] == [], operation
        assert set(result["outcomes"]) <= {"done", "UnavailableError"}, operation
        assert sum(result["outcomes"].values()) >= 3, operation


def test_acknowledged_changes_survive_random_kills(memory: Path) -> None:
    """A busy writer is killed 20 times at random moments; no acknowledged change is lost, nothing is broken."""
    seed = 11
    result = child("churn", memory / "churn", 20, seed)
    assert (result["lost"], result["broken"]) == (0, []), f"seed {seed}"
    assert result["acknowledged"] > 10


def test_four_processes_can_open_a_new_registry_at_once(memory: Path) -> None:
    """Whoever comes first makes the tables; all open it, and each registers a version with a number of its own."""
    result = child("found", memory / "found", 4, 5)
    assert result["outcomes"] == ["done"] * 20
    assert result["numbers"] == [["v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0"]] * 5
    assert result["broken"] == []


def test_of_four_processes_that_decided_on_one_state_one_wins(memory: Path) -> None:
    """Compare and set: in every round one process promotes, three get the conflict, none finds the database locked."""
    result = child("race", memory / "race", 4, 8)
    assert [sorted(outcomes) for outcomes in result["rounds"]] == [["done", "refused", "refused", "refused"]] * 8
    assert (result["promotions"], result["broken"]) == (8, [])


def test_four_processes_promote_at_once_without_a_lock_error(memory: Path) -> None:
    """100 promotions by four processes all succeed, and every look in between finds exactly one in production."""
    result = child("storm", memory / "storm", 4, 25, "BEGIN IMMEDIATE")
    assert result["outcomes"] == ["done"] * 100
    assert 4 <= result["promotions"] <= 100
    assert result["broken"] == []


def test_without_the_write_lock_the_storm_finds_the_database_locked(memory: Path) -> None:
    """The mutant that begins its transactions without the write lock fails the same storm."""
    result = child("storm", memory / "mutant", 4, 3, "BEGIN")
    assert "locked" in result["outcomes"]
