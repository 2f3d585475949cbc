"""Random changes of the registry against the state machine in its simplest form."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import RegistryConflictError
from ratchet.registry import FileRegistry, production_at, timeline
from ratchet.testing.gate import gate_report

WHO: Any = {"actor": "test", "reason": "to see"}
_KEEP = 5
_KINDS = {
    "register": 3,
    "stage": 3,
    "promote": 12,
    "rollback": 6,
    "withdraw": 5,
    "retire": 2,
    "point": 2,
    "release": 2,
    "prune": 1,
}


def test_random_changes_agree_with_a_model_of_the_rules(tmp_path: Path) -> None:
    """Random changes of two models end where a few lines of plain Python say, with reopening in between.

    RATCHET_REGISTRY_OPERATIONS sets how many (400), RATCHET_REGISTRY_SEED the first of their seeds.
    """
    n_operations = int(os.environ.get("RATCHET_REGISTRY_OPERATIONS", "400"))
    seed = int(os.environ.get("RATCHET_REGISTRY_SEED", "20240229"))
    rng = random.Random(seed)  # noqa: S311 - a test's choice of steps
    expected = {name: _Rules() for name in ("btc", "eth")}
    registry = _open(tmp_path)
    every = max(19, n_operations // 100)
    for step in range(n_operations):
        if step % 57 == 0:
            registry.close()
            registry = _open(tmp_path)
        name = rng.choice(list(expected))
        _change(registry, name, expected[name], rng)
        assert registry.pointers(name) == expected[name].pointed(), f"seed {seed}, step {step}"
        if step % every == 0:
            _check_everything(registry, expected, f"seed {seed}, step {step}")
    _check_everything(registry, expected, f"seed {seed}, at the end")
    for name, rules in expected.items():
        link = tmp_path / name / "production"
        assert (link.readlink().name if link.is_symlink() else None) == rules.holder("production")
    registry.close()


def _check_everything(registry: FileRegistry, expected: dict[str, _Rules], where: str) -> None:
    """Compare versions with the rules, and what the tables keep with what the history tells."""
    for name, rules in expected.items():
        versions = registry.list_models(name)
        assert {version.version: version.stage for version in versions} == rules.stages, where
        assert {version.version for version in versions if version.is_retired} == rules.retired, where
        assert {version.version for version in versions if version.is_pruned} == rules.pruned, where
        events = registry.history(name)
        assert timeline.succession(events).current == rules.holder("production"), where
        assert timeline.rollback_target(events) == registry.pointers(name).get("previous"), where
        assert production_at(events, 7) == rules.holder("production"), where
        with registry._rows() as rows:
            assert rows is not None
            kept = rows.succession(name).all()
        assert kept == timeline.succession(events).earlier, where
    assert registry.verify_history() == registry.epoch() == sum(rules.n_events for rules in expected.values()), where


class _Rules:
    """The state machine in its simplest form."""

    def __init__(self) -> None:
        self.stages: dict[str, str] = {}
        self.retired: set[str] = set()
        self.pruned: set[str] = set()
        self.pointers: dict[str, str] = {}
        self.earlier: list[str] = []
        self.n_events = 0

    def pointed(self) -> dict[str, str]:
        found = {
            "production": self.holder("production"),
            "staging": self.holder("staging"),
            "previous": self.previous(),
        }
        return self.pointers | {pointer: version for pointer, version in found.items() if version is not None}

    def holder(self, stage: str) -> str | None:
        return next((version for version, held in self.stages.items() if held == stage), None)

    def previous(self) -> str | None:
        gone = {*self.retired, *self.pruned, self.holder("production")}
        return next((version for version in reversed(self.earlier) if version not in gone), None)

    def put(self, version: str, stage: str) -> None:
        holder = self.holder(stage)
        if holder is not None:
            self.stages[holder] = "archived"
        self.stages[version] = stage

    def apply(self, kind: str, version: str) -> bool:
        """Change the state if the rules allow it; tell whether they do."""
        before = (dict(self.stages), set(self.retired), dict(self.pointers))
        allowed = getattr(self, f"_{kind}")(version)
        self.n_events += (self.stages, self.retired, self.pointers) != before
        return bool(allowed)

    def _register(self, _: str) -> bool:
        self.stages[f"v1.{len(self.stages)}.0"] = "none"
        return True

    def _stage(self, version: str) -> bool:
        if version in self.retired | self.pruned or self.stages[version] == "production":
            return False
        if self.stages[version] != "staging":
            self.put(version, "staging")
        return True

    def _promote(self, version: str) -> bool:
        if version in self.retired | self.pruned:
            return False
        live = self.holder("production")
        if live != version:
            self.earlier += [live] if live else []
            self.put(version, "production")
        return True

    def _rollback(self, _: str) -> bool:
        target = self.previous()
        if target is None:
            return False
        while self.earlier.pop() != target:
            pass
        self.put(target, "production")
        return True

    def _withdraw(self, version: str) -> bool:
        if self.stages[version] == "none":
            return False
        if self.stages[version] == "production":
            while self.earlier and self.earlier[-1] in {version, *self.retired, *self.pruned}:
                self.earlier.pop()
        self.stages[version] = "archived"
        return True

    def _retire(self, version: str) -> bool:
        if version not in self.retired and (
            self.stages[version] in {"production", "staging"}
            or version == self.previous()
            or version in self.pointers.values()
        ):
            return False
        self.retired.add(version)
        self.stages[version] = "archived"
        return True

    def _point(self, version: str) -> bool:
        if version in self.retired | self.pruned:
            return False
        self.pointers["challenger"] = version
        return True

    def _release(self, _: str) -> bool:
        self.pointers.pop("challenger", None)
        return True

    def _prune(self, _: str) -> bool:
        kept = {*list(self.stages)[-_KEEP:], self.previous(), *self.pointers.values(), *self.pruned}
        held = {"production", "staging"}
        going = {version for version, stage in self.stages.items() if version not in kept and stage not in held}
        self.pruned |= going
        self.n_events += len(going)
        return True


def _change(registry: FileRegistry, name: str, rules: _Rules, rng: random.Random) -> None:
    kind = rng.choices(list(_KINDS), list(_KINDS.values()))[0] if rules.stages else "register"
    # Few versions, so that the same one returns again and again.
    version = rng.choice(list(rules.stages)[-4:]) if rules.stages else ""
    calls: dict[str, Callable[[], object]] = {
        "register": lambda: _register(registry, name),
        "stage": lambda: registry.set_staging_model(name, version, **WHO),
        "promote": lambda: registry.set_production_model(name, version, **WHO),
        "rollback": lambda: registry.rollback_to_previous(name, **WHO),
        "withdraw": lambda: registry.withdraw_model(name, version, **WHO),
        "retire": lambda: registry.retire_model(name, version, **WHO),
        "point": lambda: registry.set_pointer(name, "challenger", version, **WHO),
        "release": lambda: registry.release_pointer(name, "challenger", **WHO),
        "prune": lambda: registry.prune_models(name, keep=_KEEP, **WHO),
    }
    if rules.apply(kind, version):
        calls[kind]()
    else:
        with pytest.raises(RegistryConflictError):
            calls[kind]()


def _open(root: Path) -> FileRegistry:
    return FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", FixedClock(7))


def _register(registry: FileRegistry, name: str) -> None:
    files = {"model.onnx": b"onnx", "gate.json": gate_report(b"onnx")}
    registry.register_model(name, files, {}, {}, **WHO)
