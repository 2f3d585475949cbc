"""One change of a model, inside the transaction that makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ratchet.errors import InputError, NotFoundError, RegistryConflictError
from ratchet.registry.base import EventKind, ModelVersion, Stage
from ratchet.registry.evidence import GateSeal
from ratchet.registry.names import next_version, parse_version
from ratchet.registry.pointers import check_pointer
from ratchet.registry.records import VersionRows
from ratchet.registry.timeline import refuse_if_moved

TRANSITIONS: Mapping[tuple[Stage, EventKind], Stage] = MappingProxyType(
    {
        ("none", "stage"): "staging",
        ("archived", "stage"): "staging",
        ("none", "promote"): "production",
        ("staging", "promote"): "production",
        ("archived", "promote"): "production",
        ("staging", "rollback"): "production",
        ("archived", "rollback"): "production",
        ("staging", "withdraw"): "archived",
        ("production", "withdraw"): "archived",
        ("none", "retire"): "archived",
        ("archived", "retire"): "archived",
    }
)
"""The stage that a version has after a change, by the stage before it; what is not here is refused.

A change that is already in effect is none, and the version that another one displaces becomes archived.
"""
_REFUSALS: Mapping[EventKind, str] = MappingProxyType(
    {
        "stage": "is in {stage}; it cannot be staged as well",
        "withdraw": "is neither in staging nor in production",
        "retire": "is in {stage}; put another version there or withdraw it first",
    }
)
_NEEDED_VERDICTS: Mapping[EventKind, frozenset[str]] = MappingProxyType(
    {"stage": frozenset({"approve", "inconclusive"}), "promote": frozenset({"approve"})}
)
_N_NAMED = 10


@dataclass(frozen=True)
class Change:
    """Who changes which model, why and when; the rules of the state machine are its methods."""

    rows: VersionRows
    name: str
    actor: str
    reason: str
    ts_ns: int

    def next_number(self) -> str:
        """Return the version number of the next registration."""
        latest = self.rows.latest(self.name)
        return next_version(latest.version if latest else None)

    def register(
        self, version: str, digest: str, *, metadata: str, metrics: str, gate: GateSeal | None
    ) -> ModelVersion:
        """Insert a version; its files are in place."""
        self.rows.add(
            self.name, version, digest=digest, created_ns=self.ts_ns, metadata=metadata, metrics=metrics, gate=gate
        )
        target = self.target(version)
        self._record("register", target)
        return target

    def live(self) -> str | None:
        """Return the version in production."""
        found = self.rows.in_stage(self.name, "production")
        return None if found is None else found.version

    def stage(self, version: str, expected_epoch: int | None) -> ModelVersion:
        """Move a version into staging."""
        target = self.target(version)
        if target.stage == "staging":
            return target
        self._refuse_if_moved(expected_epoch)
        return self._replace(target, "stage")

    def promote(self, version: str, expected_epoch: int | None) -> ModelVersion:
        """Move a version into production."""
        target = self.target(version)
        if target.stage == "production":
            return target
        self._refuse_if_moved(expected_epoch)
        return self._replace(target, "promote")

    def roll_back(self, expected_epoch: int | None) -> ModelVersion:
        """Move the version that was in production before into production; the gate approved it then."""
        if self.rows.latest(self.name) is None:
            raise no_model(self.name, self.rows)
        self._refuse_if_moved(expected_epoch)
        version = previous_of(self.rows, self.name)
        if version is None:
            raise RegistryConflictError(f"{self.name}: no earlier production version to roll back to")
        result = self._replace(self.target(version), "rollback")
        self.rows.succession(self.name).pop_to(version)
        return result

    def withdraw(self, version: str, expected_epoch: int | None) -> ModelVersion:
        """Archive a version that is in a stage."""
        target = self.target(version)
        if target.stage == "archived":
            return target
        self._refuse_if_moved(expected_epoch)
        self.rows.move(target, _stage_after(target, "withdraw"))
        self._record("withdraw", target, target.version)
        if target.stage == "production":
            self.rows.succession(self.name).drop_top(version)
        return self.target(version)

    def retire(self, version: str) -> ModelVersion:
        """Archive a version for good."""
        target = self.target(version)
        if target.is_retired:
            return target
        after = _stage_after(target, "retire")
        if version == previous_of(self.rows, self.name):
            raise RegistryConflictError(f"{self.name} {version} is the version that a rollback would put back")
        self._refuse_pointed(version)
        self.rows.move(target, after, is_retired=True)
        self._record("retire", target)
        self.rows.succession(self.name).forget(version)
        return self.target(version)

    def point(self, pointer: str, version: str) -> ModelVersion:
        """Put a pointer on a version."""
        check_pointer(pointer)
        target = self.target(version)
        _refuse_gone(target)
        before = self.rows.pointers(self.name).find(pointer)
        if before != version:
            self.rows.pointers(self.name).put(pointer, version)
            self._record("point", target, before, pointer)
        return target

    def release(self, pointer: str) -> None:
        """Take a pointer away."""
        before = self.rows.pointers(self.name).find(check_pointer(pointer))
        if before is not None:
            self.rows.pointers(self.name).drop(pointer)
            self._record("release", self.target(before), before, pointer)

    def prune(self, keep: int) -> ModelVersion | None:
        """Mark the oldest version that retention may delete; None if it may delete none.

        Raises:
            InputError: `keep` is below 1.
        """
        if keep < 1:
            raise InputError(f"keep: {keep}; at least the newest version stays")
        previous = previous_of(self.rows, self.name)
        target = self.rows.oldest_to_prune(self.name, keep=keep, previous=previous)
        if target is None:
            return None
        self.rows.mark_pruned(target)
        self._record("prune", target)
        self.rows.succession(self.name).forget(target.version)
        return self.target(target.version)

    def target(self, version: str) -> ModelVersion:
        """Return the version that the change is about.

        Raises:
            NotFoundError: there is no such version.
        """
        parse_version(version)
        found = self.rows.find(self.name, version)
        if found is None:
            raise no_version(self.name, version, self.rows)
        return found

    def _replace(self, target: ModelVersion, kind: EventKind) -> ModelVersion:
        stage = _stage_after(target, kind)
        _refuse_gone(target)
        _refuse_unproven(target, kind)
        holder = self.rows.in_stage(self.name, stage)
        if holder is not None:
            self.rows.move(holder, "archived")
        self.rows.move(target, stage)
        self._record(kind, target, holder.version if holder else None)
        if kind == "promote" and holder is not None:
            self.rows.succession(self.name).push(holder.version)
        return self.target(target.version)

    def _record(
        self, kind: EventKind, version: ModelVersion, previous: str | None = None, pointer: str | None = None
    ) -> None:
        self.rows.record(
            kind,
            version,
            previous=previous,
            ts_ns=self.ts_ns,
            actor=self.actor,
            reason=self.reason,
            pointer=pointer,
        )

    def _refuse_if_moved(self, expected_epoch: int | None) -> None:
        if expected_epoch is not None:
            refuse_if_moved(self.rows.last_move(self.name), expected_epoch, self.rows.epoch())

    def _refuse_pointed(self, version: str) -> None:
        pointed = [pointer for pointer, held in self.rows.pointers(self.name).all().items() if held == version]
        if pointed:
            raise RegistryConflictError(f"{self.name} {version} is {', '.join(pointed)}; release the pointer first")


def previous_of(rows: VersionRows, name: str) -> str | None:
    """Return the version that a rollback of a model puts back."""
    production = rows.in_stage(name, "production")
    return rows.succession(name).previous(production.version if production else None)


def no_model(name: str, rows: VersionRows | None) -> NotFoundError:
    """Return the error for a name that is not registered; it says which are."""
    names = rows.names() if rows else []
    return NotFoundError(f"no model named {name!r}; registered: {', '.join(names) or 'none yet'}")


def no_version(name: str, version: str, rows: VersionRows) -> NotFoundError:
    """Return the error for a version that does not exist; it says which do, at most the newest ten."""
    newest = rows.newest(name, _N_NAMED + 1)
    if not newest:
        return no_model(name, rows)
    shown = [f"{found.version} ({found.stage})" for found in reversed(newest[:_N_NAMED])]
    present = ", ".join(["..."] * (len(newest) > _N_NAMED) + shown)
    if version in {"production", "staging"}:
        return NotFoundError(f"{name} has no version in {version}; registered: {present}")
    if version == "previous":
        return NotFoundError(f"{name} has no earlier production version; registered: {present}")
    return NotFoundError(f"{name} has no version {version}; registered: {present}")


def _stage_after(version: ModelVersion, kind: EventKind) -> Stage:
    stage = TRANSITIONS.get((version.stage, kind))
    if stage is None:
        refusal = _REFUSALS.get(kind, "is in {stage}; the change is not allowed from there")
        raise RegistryConflictError(f"{version.name} {version.version} {refusal.format(stage=version.stage)}")
    return stage


def _refuse_gone(version: ModelVersion) -> None:
    if version.is_retired:
        raise RegistryConflictError(f"{version.name} {version.version} is retired; register the model anew")
    if version.is_pruned:
        raise RegistryConflictError(
            f"{version.name} {version.version}: retention deleted its files; register the model anew"
        )


def _refuse_unproven(version: ModelVersion, kind: EventKind) -> None:
    needed = _NEEDED_VERDICTS.get(kind)
    if needed is not None and version.gate_verdict not in needed:
        raise RegistryConflictError(
            f"{version.name} {version.version} may not go to {TRANSITIONS[version.stage, kind]}: "
            f"the gate's verdict is {version.gate_verdict or 'missing'}"
        )
