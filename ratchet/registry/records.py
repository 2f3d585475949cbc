"""Rows of the registry: what is read and written inside one transaction."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import Connection, Row, Select, Text, Update, bindparam, func, insert, select, union_all, update

from ratchet.errors import InputError, RegistryConflictError
from ratchet.registry.base import EventKind, ModelVersion, RegistryEvent, Stage
from ratchet.registry.chain import FIRST_HASH, event_hash
from ratchet.registry.evidence import GateSeal
from ratchet.registry.names import parse_version
from ratchet.registry.pointers import PointerRows
from ratchet.registry.succession import SuccessionRows
from ratchet.registry.tables import MOVES, events, pointers, versions

_BY_NUMBER = (versions.c.major, versions.c.minor, versions.c.patch)
_NEWEST_FIRST = tuple(column.desc() for column in _BY_NUMBER)
_NAME, _VERSION = bindparam("of_name", type_=Text), bindparam("of_version", type_=Text)

# Built once: SQLAlchemy takes longer to build a statement than SQLite to run it.
_FIND = select(versions).where(versions.c.name == _NAME, versions.c.version == _VERSION)
# The stage stands in the text of the statement: only so does the partial index on it serve.
_IN_STAGE = select(versions).where(
    versions.c.name == _NAME, versions.c.stage == bindparam("of_stage", type_=Text, literal_execute=True)
)
_NEWEST = select(versions).where(versions.c.name == _NAME).order_by(*_NEWEST_FIRST).limit(bindparam("n_versions"))
_MOVE = update(versions).where(
    versions.c.name == _NAME,
    versions.c.version == _VERSION,
    versions.c.stage == bindparam("of_stage", type_=Text),
)
_SET_STAGE = _MOVE.values(stage=bindparam("new_stage"), is_retired=bindparam("new_is_retired"))
_SET_PRUNED = _MOVE.values(is_pruned=True)
_ADD, _APPEND = insert(versions), insert(events)
_EPOCH = select(func.max(events.c.epoch))
_LAST_EVENT = select(events.c.epoch, events.c.hash).where(events.c.epoch == _EPOCH.scalar_subquery())
# One search of the index for each kind, so that no registration in between is looked at.
_OF_KIND = (
    select(func.max(events.c.epoch).label("epoch")).where(events.c.name == _NAME, events.c.kind == kind)
    for kind in MOVES
)
_LAST_MOVE = select(events).where(
    events.c.epoch == select(func.max(union_all(*_OF_KIND).subquery().c.epoch)).scalar_subquery()
)


def to_json(value: dict[str, Any], what: str) -> str:
    """Return a JSON object as text: sorted keys, finite numbers only.

    Raises:
        InputError: the value has no JSON form; `what` names it in the message.
    """
    try:
        text = json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)
        text.encode()
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: not storable as JSON: {error}") from error
    return text


class VersionRows:
    """Reads and writes versions and events on an open connection.

    Args:
        connection: a transaction; one that writes must hold the write lock.
        location: tells where a version's files are, from its name and number.
    """

    def __init__(self, connection: Connection, location: Callable[[str, str], str]) -> None:
        self._connection = connection
        self._location = location

    def succession(self, name: str) -> SuccessionRows:
        """Return the versions before the one in production."""
        return SuccessionRows(self._connection, name)

    def pointers(self, name: str) -> PointerRows:
        """Return the pointers of a model."""
        return PointerRows(self._connection, name)

    def all(self, name: str | None = None) -> list[ModelVersion]:
        """Return versions by name and number."""
        query = select(versions).order_by(versions.c.name, *_BY_NUMBER)
        if name is not None:
            query = query.where(versions.c.name == name)
        return [self._version(row) for row in self._connection.execute(query)]

    def find(self, name: str, version: str) -> ModelVersion | None:
        """Return one version."""
        return self._one(_FIND, of_name=name, of_version=version)

    def in_stage(self, name: str, stage: Stage) -> ModelVersion | None:
        """Return the version in "production" or "staging"."""
        return self._one(_IN_STAGE, of_name=name, of_stage=stage)

    def latest(self, name: str) -> ModelVersion | None:
        """Return the version with the highest number."""
        return self._one(_NEWEST, of_name=name, n_versions=1)

    def newest(self, name: str, n_versions: int) -> list[ModelVersion]:
        """Return the versions with the highest numbers, newest first."""
        rows = self._connection.execute(_NEWEST, {"of_name": name, "n_versions": n_versions})
        return [self._version(row) for row in rows]

    def oldest_to_prune(self, name: str, *, keep: int, previous: str | None) -> ModelVersion | None:
        """Return the oldest version with files that nothing refers to and that is not among the newest `keep`."""
        newest = select(versions.c.version).where(versions.c.name == name).order_by(*_NEWEST_FIRST).limit(keep)
        pointed = select(pointers.c.version).where(pointers.c.name == name)
        query = select(versions).where(
            versions.c.name == name,
            versions.c.is_pruned.is_(False),
            versions.c.stage.in_(("none", "archived")),
            versions.c.version.not_in(newest.scalar_subquery()),
            versions.c.version.not_in(pointed.scalar_subquery()),
            versions.c.version != (previous or ""),
        )
        return self._one(query.order_by(*_BY_NUMBER).limit(1))

    def names(self) -> list[str]:
        """Return the names of all models."""
        return list(self._connection.scalars(select(versions.c.name).distinct().order_by(versions.c.name)))

    def stages(self) -> dict[tuple[str, str], Stage]:
        """Return the stage of every version by (name, version)."""
        query = select(versions.c.name, versions.c.version, versions.c.stage)
        return {(row.name, row.version): row.stage for row in self._connection.execute(query)}

    def pruned(self) -> set[tuple[str, str]]:
        """Return (name, version) of the versions whose files retention deleted."""
        query = select(versions.c.name, versions.c.version).where(versions.c.is_pruned)
        return {(row.name, row.version) for row in self._connection.execute(query)}

    def events(self, name: str | None = None) -> Iterator[RegistryEvent]:
        """Yield events, oldest first."""
        query = select(events).order_by(events.c.epoch)
        if name is not None:
            query = query.where(events.c.name == name)
        for row in self._connection.execute(query):
            yield RegistryEvent.model_validate(dict(row._mapping))

    def last_move(self, name: str) -> RegistryEvent | None:
        """Return the last event that changed a stage of a model."""
        row = self._connection.execute(_LAST_MOVE, {"of_name": name}).one_or_none()
        return None if row is None else RegistryEvent.model_validate(dict(row._mapping))

    def epoch(self) -> int:
        """Return the number of the last event, 0 if there is none."""
        return self._connection.scalar(_EPOCH) or 0

    def add(
        self,
        name: str,
        version: str,
        *,
        digest: str,
        created_ns: int,
        metadata: str,
        metrics: str,
        gate: GateSeal | None,
    ) -> None:
        """Insert a version with stage "none"; metadata and metrics are JSON text."""
        major, minor, patch = parse_version(version)
        row = {
            "name": name,
            "version": version,
            "major": major,
            "minor": minor,
            "patch": patch,
            "stage": "none",
            "is_retired": False,
            "digest": digest,
            "created_ns": created_ns,
            "metadata": metadata,
            "metrics": metrics,
            "gate_digest": gate.digest if gate else None,
            "gate_verdict": gate.verdict if gate else None,
            "is_pruned": False,
        }
        self._connection.execute(_ADD, row)

    def move(self, version: ModelVersion, stage: Stage, *, is_retired: bool = False) -> None:
        """Give a version another stage.

        Raises:
            RegistryConflictError: the version is no longer in the stage it was read with.
        """
        self._update(_SET_STAGE, version, new_stage=stage, new_is_retired=is_retired)

    def mark_pruned(self, version: ModelVersion) -> None:
        """Note that the files of a version are to be deleted.

        Raises:
            RegistryConflictError: the version is no longer in the stage it was read with.
        """
        self._update(_SET_PRUNED, version)

    def record(
        self,
        kind: EventKind,
        version: ModelVersion,
        *,
        previous: str | None,
        ts_ns: int,
        actor: str,
        reason: str,
        pointer: str | None,
    ) -> None:
        """Append an event; its epoch is the next number, and it carries the hash of the one before it."""
        last = self._connection.execute(_LAST_EVENT).one_or_none()
        row = {
            "epoch": last.epoch + 1 if last else 1,
            "ts_ns": ts_ns,
            "name": version.name,
            "kind": kind,
            "version": version.version,
            "previous": previous,
            "actor": actor,
            "reason": reason,
            "pointer": pointer,
            "evidence": version.gate.digest if version.gate else None,
            "previous_hash": last.hash if last else FIRST_HASH,
        }
        self._connection.execute(_APPEND, {**row, "hash": event_hash(row)})

    def _one(self, query: Select[Any], **values: object) -> ModelVersion | None:
        row = self._connection.execute(query, values).one_or_none()
        return None if row is None else self._version(row)

    def _update(self, change: Update, version: ModelVersion, **values: object) -> None:
        found = {"of_name": version.name, "of_version": version.version, "of_stage": version.stage}
        if self._connection.execute(change, {**found, **values}).rowcount != 1:
            raise RegistryConflictError(f"{version.name} {version.version} is no longer in stage {version.stage}")

    def _version(self, row: Row[Any]) -> ModelVersion:
        return ModelVersion(
            name=row.name,
            version=row.version,
            stage=row.stage,
            digest=row.digest,
            created_ns=row.created_ns,
            metadata=json.loads(row.metadata),
            metrics=json.loads(row.metrics),
            folder=self._location(row.name, row.version),
            is_retired=row.is_retired,
            is_pruned=row.is_pruned,
            gate=None if row.gate_digest is None else GateSeal(verdict=row.gate_verdict, digest=row.gate_digest),
        )
