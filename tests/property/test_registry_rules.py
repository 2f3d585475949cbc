"""Random changes of the registry against the state machine in its simplest form."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import RegistryConflictError
from ratchet.registry import FileRegistry, production_at

WHO: Any = {"actor": "test", "reason": "to see"}


def test_random_changes_agree_with_a_model_of_the_rules(tmp_path: Path) -> None:
    """400 random changes of two models end where a few lines of plain Python say, with reopening in between."""
    seed = 20_240_229
    rng = random.Random(seed)  # noqa: S311 - a test's choice of steps
    expected = {name: _Rules() for name in ("btc", "eth")}
    registry = _open(tmp_path)
    for step in range(400):
        if step % 57 == 0:
            registry.close()
            registry = _open(tmp_path)
        name = rng.choice(list(expected))
        _change(registry, name, expected[name], rng)
        for other, rules in expected.items():
            stages = {version.version: version.stage for version in registry.list_models(other)}
            assert stages == rules.stages, f"seed {seed}, step {step}"
    for name, rules in expected.items():
        assert production_at(registry.history(name), 7) == rules.holder("production")
        link = tmp_path / name / "production"
        assert (link.readlink().name if link.is_symlink() else None) == rules.holder("production")
    assert registry.epoch() == len(registry.history()) == sum(rules.n_events for rules in expected.values())
    registry.close()


class _Rules:
    """The state machine in its simplest form."""

    def __init__(self) -> None:
        self.stages: dict[str, str] = {}
        self.retired: set[str] = set()
        self.earlier: list[str] = []
        self.n_events = 0

    def holder(self, stage: str) -> str | None:
        return next((version for version, held in self.stages.items() if held == stage), None)

    def previous(self) -> str | None:
        return next((version for version in reversed(self.earlier) if version not in self.retired), None)

    def put(self, version: str, stage: str) -> None:
        holder = self.holder(stage)
        if holder is not None:
            self.stages[holder] = "archived"
        self.stages[version] = stage

    def apply(self, kind: str, version: str) -> bool:
        """Change the state if the rules allow it; tell whether they do."""
        before = (dict(self.stages), set(self.retired))
        allowed = getattr(self, f"_{kind}")(version)
        self.n_events += (self.stages, self.retired) != before
        return bool(allowed)

    def _register(self, _: str) -> bool:
        self.stages[f"v1.{len(self.stages)}.0"] = "none"
        return True

    def _stage(self, version: str) -> bool:
        if version in self.retired or self.stages[version] == "production":
            return False
        if self.stages[version] != "staging":
            self.put(version, "staging")
        return True

    def _promote(self, version: str) -> bool:
        if version in self.retired:
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
        self.stages[version] = "archived"
        return True

    def _retire(self, version: str) -> bool:
        if version not in self.retired and (
            self.stages[version] in {"production", "staging"} or version == self.previous()
        ):
            return False
        self.retired.add(version)
        self.stages[version] = "archived"
        return True


def _change(registry: FileRegistry, name: str, rules: _Rules, rng: random.Random) -> None:
    kinds = (
        ["register"] if not rules.stages else ["register", "stage", *["promote", "rollback"] * 3, "withdraw", "retire"]
    )
    kind = rng.choice(kinds)
    version = rng.choice(list(rules.stages)) if rules.stages else ""
    calls: dict[str, Callable[[], object]] = {
        "register": lambda: _register(registry, name),
        "stage": lambda: registry.set_staging_model(name, version, **WHO),
        "promote": lambda: registry.set_production_model(name, version, **WHO),
        "rollback": lambda: registry.rollback_to_previous(name, **WHO),
        "withdraw": lambda: registry.withdraw_model(name, version, **WHO),
        "retire": lambda: registry.retire_model(name, version, **WHO),
    }
    if rules.apply(kind, version):
        calls[kind]()
    else:
        with pytest.raises(RegistryConflictError):
            calls[kind]()


def _open(root: Path) -> FileRegistry:
    return FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", FixedClock(7))


def _register(registry: FileRegistry, name: str) -> None:
    registry.register_model(name, {"model.onnx": b"onnx"}, {"gate": {"verdict": "approve"}}, {}, **WHO)
