"""One change of a model's stages, inside the transaction that makes it."""

from __future__ import annotations

from dataclasses import dataclass

from ratchet.errors import NotFoundError, RegistryConflictError
from ratchet.registry.base import EventKind, ModelVersion, Stage
from ratchet.registry.names import next_version, parse_version
from ratchet.registry.records import VersionRows
from ratchet.registry.timeline import refuse_if_moved, rollback_target


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

    def register(self, version: str, digest: str, *, metadata: str, metrics: str) -> ModelVersion:
        """Insert a version; its files are in place."""
        self.rows.add(self.name, version, digest=digest, created_ns=self.ts_ns, metadata=metadata, metrics=metrics)
        self._record("register", self.target(version), None)
        return self.target(version)

    def stage(self, version: str, expected_epoch: int | None) -> ModelVersion:
        """Move a version into staging."""
        target = self.target(version)
        if target.stage == "staging":
            return target
        self._refuse_if_moved(expected_epoch)
        if target.stage == "production":
            raise RegistryConflictError(f"{self.name} {version} is in production; it cannot be staged as well")
        _refuse_retired(target)
        return self._replace(target, "staging", "stage")

    def promote(self, version: str, expected_epoch: int | None) -> ModelVersion:
        """Move a version into production."""
        target = self.target(version)
        if target.stage == "production":
            return target
        self._refuse_if_moved(expected_epoch)
        _refuse_retired(target)
        if not target.is_approved:
            raise RegistryConflictError(
                f"{self.name} {version} may not go to production: "
                f"the gate's verdict is {target.gate_verdict or 'missing'}"
            )
        return self._replace(target, "production", "promote")

    def roll_back(self, expected_epoch: int | None) -> ModelVersion:
        """Move the version that was in production before into production."""
        if self.rows.latest(self.name) is None:
            raise no_model(self.name, self.rows)
        self._refuse_if_moved(expected_epoch)
        return self._replace(self.previous(), "production", "rollback")

    def withdraw(self, version: str, expected_epoch: int | None) -> ModelVersion:
        """Archive a version that is in a stage."""
        target = self.target(version)
        if target.stage == "archived":
            return target
        self._refuse_if_moved(expected_epoch)
        if target.stage == "none":
            raise RegistryConflictError(f"{self.name} {version} is neither in staging nor in production")
        self.rows.move(target, "archived")
        self._record("withdraw", target, target.version)
        return self.target(version)

    def retire(self, version: str) -> ModelVersion:
        """Archive a version for good."""
        target = self.target(version)
        if target.is_retired:
            return target
        if target.stage in {"production", "staging"}:
            raise RegistryConflictError(
                f"{self.name} {version} is in {target.stage}; put another version there or withdraw it first"
            )
        if version == rollback_target(self.rows.events(self.name)):
            raise RegistryConflictError(f"{self.name} {version} is the version that a rollback would put back")
        self.rows.move(target, "archived", is_retired=True)
        self._record("retire", target, None)
        return self.target(version)

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

    def previous(self) -> ModelVersion:
        """Return the version that a rollback puts back.

        Raises:
            RegistryConflictError: there is none.
        """
        version = rollback_target(self.rows.events(self.name))
        if version is None:
            raise RegistryConflictError(f"{self.name}: no earlier production version to roll back to")
        return self.target(version)

    def _replace(self, target: ModelVersion, stage: Stage, kind: EventKind) -> ModelVersion:
        holder = self.rows.in_stage(self.name, stage)
        if holder is not None:
            self.rows.move(holder, "archived")
        self.rows.move(target, stage)
        self._record(kind, target, holder.version if holder else None)
        return self.target(target.version)

    def _record(self, kind: EventKind, version: ModelVersion, previous: str | None) -> None:
        self.rows.record(kind, version, previous=previous, ts_ns=self.ts_ns, actor=self.actor, reason=self.reason)

    def _refuse_if_moved(self, expected_epoch: int | None) -> None:
        refuse_if_moved(self.rows.events(self.name), expected_epoch, self.rows.epoch())


def no_model(name: str, rows: VersionRows | None) -> NotFoundError:
    """Return the error for a name that is not registered; it says which are."""
    names = rows.names() if rows else []
    return NotFoundError(f"no model named {name!r}; registered: {', '.join(names) or 'none yet'}")


def no_version(name: str, version: str, rows: VersionRows) -> NotFoundError:
    """Return the error for a version that does not exist; it says which do."""
    present = ", ".join(f"{found.version} ({found.stage})" for found in rows.all(name))
    if not present:
        return no_model(name, rows)
    if version in {"production", "staging"}:
        return NotFoundError(f"{name} has no version in {version}; registered: {present}")
    if version == "previous":
        return NotFoundError(f"{name} has no earlier production version; registered: {present}")
    return NotFoundError(f"{name} has no version {version}; registered: {present}")


def _refuse_retired(version: ModelVersion) -> None:
    if version.is_retired:
        raise RegistryConflictError(f"{version.name} {version.version} is retired; register the model anew")
