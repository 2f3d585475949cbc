"""The registry in plain Python: what each change does to one model, from the promises in `ratchet/registry/base.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

MOVES = frozenset({"stage", "promote", "rollback", "withdraw", "retire"})


class Step(NamedTuple):
    """One change that is asked for."""

    kind: str
    name: str
    version: str = ""
    pointer: str = ""
    keep: int = 0
    expected_epoch: int | None = None
    verdict: str | None = None
    """Of a register: what the gate said about the candidate."""


class Effect(NamedTuple):
    """One event that a change must write."""

    kind: str
    version: str
    previous: str | None = None
    pointer: str | None = None


class RefusalError(Exception):
    """The change is against the rules; `is_missing` if what it is about does not exist."""

    def __init__(self, reason: str, *, is_missing: bool = False) -> None:
        super().__init__(reason)
        self.is_missing = is_missing


@dataclass
class VersionState:
    """What can change of a version."""

    verdict: str | None
    stage: str = "none"
    is_retired: bool = False
    is_pruned: bool = False

    @property
    def is_gone(self) -> bool:
        """Whether it can never be live again."""
        return self.is_retired or self.is_pruned


@dataclass
class Rules:
    """The state of one model. `decide` says what a step must do, `apply` does it."""

    versions: dict[str, VersionState] = field(default_factory=dict)
    """By number, in order of registration."""
    pointers: dict[str, str] = field(default_factory=dict)
    earlier: list[str] = field(default_factory=list)
    """The versions that were in production before the present one, oldest first."""
    held: dict[str, str] = field(default_factory=dict)
    """The version in "production" and in "staging"."""
    moved_at: int = 0
    """Epoch of the last change of a stage."""

    def holder(self, stage: str) -> str | None:
        """Return the version that is in a stage."""
        return self.held.get(stage)

    def previous(self) -> str | None:
        """Return what a rollback puts back."""
        live = self.holder("production")
        return next((number for number in reversed(self.earlier) if number != live), None)

    def all_pointers(self) -> dict[str, str]:
        """Return every pointer, the derived ones among them."""
        derived = {"production": self.holder("production"), "staging": self.holder("staging")}
        derived["previous"] = self.previous()
        return self.pointers | {pointer: number for pointer, number in derived.items() if number is not None}

    def next_number(self) -> str:
        """Return the number of the next version."""
        return f"v1.{len(self.versions)}.0"

    def decide(self, step: Step, epoch: int) -> list[Effect]:
        """Return the events that a step writes at an epoch; none if it is in effect already.

        Raises:
            RefusalError: it must not happen.
        """
        return _DECISIONS[step.kind](self, step, epoch)

    def apply(self, effect: Effect, epoch: int, verdict: str | None = None) -> None:
        """Let an event happen; `verdict` is of a version that it registers."""
        number, pointer = effect.version, effect.pointer or ""
        if effect.kind in MOVES:
            self.moved_at = epoch
            self._apply_move(effect.kind, number)
            return
        match effect.kind:
            case "register":
                self.versions[number] = VersionState(verdict)
            case "prune":
                self.versions[number].is_pruned = True
                self._forget(number)
            case "point":
                self.pointers[pointer] = number
            case "release":
                del self.pointers[pointer]

    def _apply_move(self, kind: str, number: str) -> None:
        match kind:
            case "stage":
                self._move(number, "staging")
            case "promote":
                live = self.holder("production")
                self.earlier += [] if live is None else [live]
                self._move(number, "production")
            case "rollback":
                del self.earlier[len(self.earlier) - 1 - self.earlier[::-1].index(number) :]
                self._move(number, "production")
            case "withdraw":
                while self.versions[number].stage == "production" and self.earlier[-1:] == [number]:
                    self.earlier.pop()
                self._set(number, "archived")
            case "retire":
                self.versions[number].is_retired = True
                self._set(number, "archived")
                self._forget(number)

    def _register(self, _: Step, __: int) -> list[Effect]:
        return [Effect("register", self.next_number())]

    def _prune(self, step: Step, _: int) -> list[Effect]:
        kept = {*list(self.versions)[-step.keep :], *self.all_pointers().values()}
        return [Effect("prune", n) for n, version in self.versions.items() if not version.is_pruned and n not in kept]

    def _release(self, step: Step, _: int) -> list[Effect]:
        held = self.pointers.get(step.pointer)
        return [] if held is None else [Effect("release", held, held, step.pointer)]

    def _put(self, step: Step, epoch: int) -> list[Effect]:
        version = self._version(step)
        stage = "staging" if step.kind == "stage" else "production"
        if version.stage == stage:
            return []
        self._refuse_if_moved(step, epoch)
        if version.is_gone or (stage == "staging" and version.stage == "production"):
            raise RefusalError(f"{step.version} may not go to {stage}")
        if version.verdict != "approve" and (stage == "production" or version.verdict != "inconclusive"):
            raise RefusalError(f"the gate said {version.verdict}")
        return [Effect(step.kind, step.version, self.holder(stage))]

    def _rollback(self, step: Step, epoch: int) -> list[Effect]:
        if not self.versions:
            raise RefusalError("there is no such model", is_missing=True)
        self._refuse_if_moved(step, epoch)
        target = self.previous()
        if target is None:
            raise RefusalError("there is no earlier version")
        return [Effect("rollback", target, self.holder("production"))]

    def _withdraw(self, step: Step, epoch: int) -> list[Effect]:
        version = self._version(step)
        if version.stage == "archived":
            return []
        self._refuse_if_moved(step, epoch)
        if version.stage == "none":
            raise RefusalError(f"{step.version} was never staged")
        return [Effect("withdraw", step.version, step.version)]

    def _retire(self, step: Step, _: int) -> list[Effect]:
        version = self._version(step)
        if version.is_retired:
            return []
        is_held = version.stage in {"production", "staging"} or step.version in self.pointers.values()
        if is_held or step.version == self.previous():
            raise RefusalError(f"{step.version} is needed")
        return [Effect("retire", step.version)]

    def _point(self, step: Step, _: int) -> list[Effect]:
        version = self._version(step)
        if version.is_gone:
            raise RefusalError(f"{step.version} is gone")
        held = self.pointers.get(step.pointer)
        return [] if held == step.version else [Effect("point", step.version, held, step.pointer)]

    def _version(self, step: Step) -> VersionState:
        if step.version not in self.versions:
            raise RefusalError(f"there is no {step.version}", is_missing=True)
        return self.versions[step.version]

    def _refuse_if_moved(self, step: Step, epoch: int) -> None:
        if step.expected_epoch is not None and not self.moved_at <= step.expected_epoch <= epoch:
            raise RefusalError("the model moved on")

    def _move(self, number: str, stage: str) -> None:
        holder = self.holder(stage)
        if holder is not None:
            self._set(holder, "archived")
        self._set(number, stage)

    def _set(self, number: str, stage: str) -> None:
        version = self.versions[number]
        if self.held.get(version.stage) == number:
            del self.held[version.stage]
        version.stage = stage
        if stage in {"production", "staging"}:
            self.held[stage] = number

    def _forget(self, number: str) -> None:
        self.earlier = [kept for kept in self.earlier if kept != number]


_DECISIONS: dict[str, Callable[[Rules, Step, int], list[Effect]]] = {
    "register": Rules._register,
    "stage": Rules._put,
    "promote": Rules._put,
    "rollback": Rules._rollback,
    "withdraw": Rules._withdraw,
    "retire": Rules._retire,
    "point": Rules._point,
    "release": Rules._release,
    "prune": Rules._prune,
}
