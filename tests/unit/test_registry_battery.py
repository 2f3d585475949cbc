"""The registry's battery in small, and its rules under Hypothesis.

`python -m tests.battery.registry all --full` is the whole. `RATCHET_REGISTRY_LIVES` sets how many short lives
Hypothesis tries (default 12) and `RATCHET_REGISTRY_STEPS` how long they are (default 25).
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.battery.registry.rules import Step
from tests.battery.registry.session import NAMES, Session

_LIVES = int(os.environ.get("RATCHET_REGISTRY_LIVES", "12"))
_STEPS = int(os.environ.get("RATCHET_REGISTRY_STEPS", "25"))
_MEMORY = Path("/dev/shm")  # noqa: S108
_names = st.sampled_from(NAMES[:2])
_numbers = st.integers(0, 2).map("v1.{}.0".format)
_pointers = st.sampled_from(["challenger", "experiment-1"])
_verdicts = st.sampled_from(["approve", "approve", "approve", "inconclusive", "reject", None])
_epochs = st.none() | st.integers(0, 12)


def battery(test: str, folder: Path) -> dict[str, Any]:
    """Run one test of the battery in a process of its own and return its figures; skip where it could not run."""
    out = folder / "figures.json"
    command = [sys.executable, "-m", "tests.battery.registry", test, "--seed", "7", "--out", str(out)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=300
    )
    assert out.exists(), done.stderr
    figures: dict[str, Any] = json.loads(out.read_text())[test]
    if figures["status"] == "not run":
        assert done.returncode == 2
        pytest.skip(f"NOT RUN: {figures['reason']}")
    assert done.returncode == 0, f"{done.stderr}\n{json.dumps(figures, indent=1)}"
    return figures


def test_a_change_killed_at_its_system_calls_breaks_no_promise(tmp_path: Path) -> None:
    """T-REG-1 at every seventh call of a promotion and a registration; the seed-style promotion breaks."""
    figures = battery("t-reg-1", tmp_path)
    assert figures["points"] >= 12
    assert figures["breaks"] == 0
    assert [mutant["n_breaks"] >= 4 for mutant in figures["mutants"]] == [True]


def test_a_power_cut_takes_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """T-REG-2 in four cuts; registries that do not sync lose or corrupt what they acknowledged."""
    figures = battery("t-reg-2", tmp_path)
    assert (figures["cuts"], figures["lost"], figures["corrupt"]) == (4, 0, 0)
    assert all(mutant["n_lost"] + mutant["n_corrupt"] > 0 for mutant in figures["mutants"])


def test_a_random_life_with_crashes_follows_the_rules(tmp_path: Path) -> None:
    """T-REG-3 in 600 steps; each mutant is found out within as many."""
    figures = battery("t-reg-3", tmp_path)
    assert (figures["steps"], figures["violations"]) == (600, 0)
    assert figures["crashes"] > 10
    assert all(len(mutant["violations"]) == 1 for mutant in figures["mutants"].values())


def test_eight_racing_processes_are_told_one_serial_history(tmp_path: Path) -> None:
    """T-REG-4 with 64 calls over each engine; deferred transactions find the database locked."""
    figures = battery("t-reg-4", tmp_path)
    for engine in ("sqlite", "postgres"):
        if figures[engine]["status"] != "not run":
            assert (figures[engine]["calls"], figures[engine]["locked"], figures[engine]["unexplained"]) == (64, 0, 0)
            assert figures[engine]["events"] > 10
    assert figures["mutants"]["BEGIN DEFERRED"]["locked"] > 0


class RegistryLife(RuleBasedStateMachine):
    """Steps that Hypothesis chooses, some of which it lets be cut short by a crash."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self.session = Session(Path(self._folder.name) / "models", random.Random(0))  # noqa: S311
        for name in NAMES[:2] * 3:
            self.session.step(Step("register", name, verdict="approve"))

    def teardown(self) -> None:
        self.session.close()
        self._folder.cleanup()

    @rule(name=_names, verdict=_verdicts, crash=st.booleans())
    def register(self, name: str, verdict: str | None, crash: bool) -> None:
        self.session.step(Step("register", name, verdict=verdict), is_cut_short=crash)

    @rule(
        kind=st.sampled_from(["stage", "promote", "promote", "rollback", "withdraw"]),
        name=_names,
        version=_numbers,
        expected_epoch=_epochs,
        crash=st.booleans(),
    )
    def move(self, kind: str, name: str, version: str, expected_epoch: int | None, crash: bool) -> None:
        self.session.step(Step(kind, name, version, expected_epoch=expected_epoch), is_cut_short=crash)

    @rule(name=_names, version=_numbers, crash=st.booleans())
    def retire(self, name: str, version: str, crash: bool) -> None:
        self.session.step(Step("retire", name, version), is_cut_short=crash)

    @rule(kind=st.sampled_from(["point", "release"]), name=_names, version=_numbers, pointer=_pointers)
    def point(self, kind: str, name: str, version: str, pointer: str) -> None:
        self.session.step(Step(kind, name, version, pointer))

    @rule(name=_names, keep=st.integers(1, 3), crash=st.booleans())
    def prune(self, name: str, keep: int, crash: bool) -> None:
        self.session.step(Step("prune", name, keep=keep), is_cut_short=crash)

    @rule(kind=st.sampled_from(["reopen", "recover", "read"]), name=_names)
    def look(self, kind: str, name: str) -> None:
        self.session.step(Step(kind, name))

    @invariant()
    def everything_is_as_the_rules_say(self) -> None:
        self.session.check_all()


TestRegistryLife = RegistryLife.TestCase
TestRegistryLife.settings = settings(
    max_examples=_LIVES,
    stateful_step_count=_STEPS,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
