"""A registry and its rules, side by side: each step is taken by both, some are cut short by a crash."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ratchet.errors import RatchetError
from ratchet.registry import FileRegistry
from ratchet.registry.chain import FIRST_HASH, event_hash
from tests.battery.registry.promises import open_registry
from tests.battery.registry.rules import Effect, RefusalError, Rules, Step
from tests.battery.registry.steps import outcome_of, perform
from tests.unit.registry_crashes import points

NAMES = ("ada", "btc", "eth")
_LOOK = "SELECT stage, version FROM versions WHERE name = ? AND stage IN ('production', 'staging')"


class Crash(BaseException):
    """The process is dead: from here on nothing reaches the disk."""


class ViolationError(AssertionError):
    """The registry is not what the rules say."""


class Session:
    """Takes steps and raises `ViolationError` at the first that ends elsewhere than the rules say.

    Args:
        root: the registry's folder, in memory: crashes here are exceptions, which lose nothing the kernel has.
        rng: what is left to chance about crashes and reads.
    """

    def __init__(self, root: Path, rng: random.Random) -> None:
        self.models = {name: Rules() for name in NAMES}
        self.epoch = 0
        self.n_crashes = 0
        self._root, self._rng = root, rng
        self._fuse: int | None = None
        """How many points are left until the crash; below zero the process is dead."""
        self._n_points: dict[tuple[str, int], int] = {}
        """How many points a change has, by kind and number of events."""
        self._n_passed = 0
        self._checked, self._last_hash = 0, FIRST_HASH
        self._stack = ExitStack()
        self._stack.enter_context(points(self._at))
        self._open()

    def close(self) -> None:
        """Close the registry and take the crash points away."""
        self._shut()
        self._stack.close()

    def step(self, step: Step, *, is_cut_short: bool = False) -> None:
        """Take a step, or die somewhere in it, and compare what is there with the rules.

        Raises:
            ViolationError: they differ.
        """
        if step.kind == "reopen":
            self._shut()
            self._open()
        elif step.kind in {"read", "look"}:
            self._read(step)
        else:
            self._change(step, is_cut_short=is_cut_short)
        self._compare(step)

    def check_all(self) -> None:
        """Compare everything: each version, pointer, file and event.

        Raises:
            ViolationError: something differs.
        """
        for name, rules in self.models.items():
            told = {v.version: (v.stage, v.is_retired, v.is_pruned) for v in self._registry.list_models(name)}
            kept = {n: (v.stage, v.is_retired, v.is_pruned) for n, v in rules.versions.items()}
            self._require(told == kept, f"{name}: {set(told.items()) ^ set(kept.items())}")
            self._require(self._registry.pointers(name) == rules.all_pointers(), f"{name}: the pointers differ")
            folder = self._root / name
            present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            expected = {number for number, version in rules.versions.items() if not version.is_pruned}
            expected |= {"production"} if rules.holder("production") else set()
            self._require(present == expected, f"{folder}: {sorted(present ^ expected)}")
        self._require(not list((self._root / ".staging").glob("*")), "something is left in .staging")
        self._check_chain()

    def verify_history(self) -> None:
        """Let the registry check its own history from the first event on.

        Raises:
            ViolationError: it finds fault with it, or counts another number of events.
        """
        try:
            n_events = self._registry.verify_history()
        except RatchetError as error:
            raise ViolationError(str(error)) from error
        self._require(n_events == self.epoch, f"{n_events} events at epoch {self.epoch}")

    def _change(self, step: Step, *, is_cut_short: bool) -> None:
        rules, before = self.models[step.name], self.epoch
        effects, expected = _decided(rules, step, before)
        extent = step.kind, len(effects)
        self._fuse = self._rng.randrange(self._n_points.get(extent, 30)) if is_cut_short else None
        self._n_passed = 0
        try:
            perform(self._registry, step, actor="battery", reason="chance")
            outcome = "done"
        except RatchetError as error:
            outcome = outcome_of(error)
        except Crash:
            outcome = "crashed"
        if outcome == "crashed":
            self._come_back()
            effects = effects[: self._epoch_now() - before]
        else:
            self._fuse = None
            self._n_points[extent] = max(1, self._n_passed)
            self._require(outcome == expected, f"{step} was {outcome}, expected {expected}")
        for effect in effects:
            self.epoch += 1
            rules.apply(effect, self.epoch, step.verdict)
        self._require(self._epoch_now() == self.epoch, f"{step}: epoch {self._epoch_now()}, expected {self.epoch}")
        told = self._checker.execute(
            "SELECT kind, version, previous, pointer, name FROM events WHERE epoch > ? ORDER BY epoch", (before,)
        ).fetchall()
        self._require(told == [(*effect, step.name) for effect in effects], f"{step}: wrote {told}, not {effects}")

    def _read(self, step: Step) -> None:
        pointed = self.models[step.name].all_pointers()
        selector = self._rng.choice(["production", "staging", "previous", "challenger", "latest"])
        rules = self.models[step.name]
        number = next(reversed(rules.versions), None) if selector == "latest" else pointed.get(selector)
        try:
            found = self._registry.get_model(step.name, selector)
            self._require(found.version == number, f"{step.name} {selector}: {found.version}, expected {number}")
            if step.kind == "read" and not found.is_pruned:
                self._require(self._registry.read_file(found, "model.onnx") == b"onnx", f"{found.version}: other bytes")
        except RatchetError as error:
            is_missing = outcome_of(error) == "missing" and number is None
            self._require(is_missing, f"{step.name} {selector}: {error}, expected {number}")

    def _compare(self, step: Step) -> None:
        rules = self.models[step.name]
        stages = ("production", "staging")
        expected = sorted((stage, number) for stage in stages if (number := rules.holder(stage)) is not None)
        told = sorted(self._checker.execute(_LOOK, (step.name,)))
        self._require(told == expected, f"{step}: {told}, expected {expected}")
        link = self._root / step.name / "production"
        target = link.readlink().name if link.is_symlink() else None
        self._require(target == rules.holder("production"), f"{step}: the link points at {target}")
        rows = self._checker.execute("SELECT pointer, version FROM pointers WHERE name = ?", (step.name,))
        self._require(dict(rows) == rules.pointers, f"{step}: the pointers differ")
        if step.version in rules.versions:
            query = "SELECT stage, is_retired, is_pruned FROM versions WHERE name = ? AND version = ?"
            row = self._checker.execute(query, (step.name, step.version)).fetchone()
            version = rules.versions[step.version]
            self._require(row == (version.stage, version.is_retired, version.is_pruned), f"{step}: {row}")

    def _check_chain(self) -> None:
        rows = self._checker.execute("SELECT * FROM events WHERE epoch > ? ORDER BY epoch", (self._checked,))
        columns = [column[0] for column in rows.description]
        for row in rows:
            event = dict(zip(columns, row, strict=True))
            is_next = event["epoch"] == self._checked + 1 and event["previous_hash"] == self._last_hash
            self._require(is_next and event["hash"] == event_hash(event), f"the chain breaks at {json.dumps(event)}")
            self._checked, self._last_hash = event["epoch"], event["hash"]
        self._require(self._checked == self.epoch, f"{self._checked} events at epoch {self.epoch}")

    def _come_back(self) -> None:
        """Start anew after a crash; one time in ten die while recovering as well."""
        while True:
            self.n_crashes += 1
            self._shut()
            self._fuse = self._rng.randint(0, 20) if self._rng.random() < 0.1 else None
            try:
                self._open()
            except Crash:
                continue
            self._fuse = None
            return

    def _open(self) -> None:
        self._registry: FileRegistry = open_registry(self._root)
        self._checker = sqlite3.connect(self._root / "registry.sqlite", isolation_level=None)

    def _shut(self) -> None:
        # The fuse stays burnt: a dead process closes its files without a word.
        self._registry.close()
        self._checker.close()

    def _at(self, _: str) -> None:
        self._n_passed += 1
        if self._fuse is not None:
            self._fuse -= 1
            if self._fuse < 0:
                raise Crash

    def _epoch_now(self) -> int:
        return int(self._checker.execute("SELECT coalesce(max(epoch), 0) FROM events").fetchone()[0])

    def _require(self, is_true: bool, otherwise: str) -> None:
        if not is_true:
            raise ViolationError(otherwise)


@contextmanager
def session(root: Path, rng: random.Random) -> Iterator[Session]:
    """Open a session for a block."""
    opened = Session(root, rng)
    try:
        yield opened
    finally:
        opened.close()


def _decided(rules: Rules, step: Step, epoch: int) -> tuple[list[Effect], str]:
    if step.kind == "recover":
        return [], "done"
    try:
        return rules.decide(step, epoch), "done"
    except RefusalError as refusal:
        return [], "missing" if refusal.is_missing else "refused"
