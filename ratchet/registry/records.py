"""Rows of the registry: what is read and written inside one transaction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, update

from ratchet.errors import InputError, RegistryConflictError
from ratchet.registry.base import EventKind, ModelVersion, RegistryEvent, Stage
from ratchet.registry.names import parse_version
from ratchet.registry.tables import events, versions

_BY_NUMBER = (versions.c.name, versions.c.major, versions.c.minor, versions.c.patch)


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
        root: folder of the registry, for the versions' paths.
    """

    def __init__(self, connection: Connection, root: Path) -> None:
        self._connection = connection
        self._root = root

    def all(self, name: str | None = None) -> list[ModelVersion]:
        """Return versions by name and number."""
        query = select(versions).order_by(*_BY_NUMBER)
        if name is not None:
            query = query.where(versions.c.name == name)
        return [self._version(row) for row in self._connection.execute(query)]

    def find(self, name: str, version: str) -> ModelVersion | None:
        """Return one version."""
        query = select(versions).where(versions.c.name == name, versions.c.version == version)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else self._version(row)

    def in_stage(self, name: str, stage: Stage) -> ModelVersion | None:
        """Return the version in "production" or "staging"."""
        query = select(versions).where(versions.c.name == name, versions.c.stage == stage)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else self._version(row)

    def latest(self, name: str) -> ModelVersion | None:
        """Return the version with the highest number."""
        numbers = (versions.c.major.desc(), versions.c.minor.desc(), versions.c.patch.desc())
        query = select(versions).where(versions.c.name == name).order_by(*numbers).limit(1)
        row = self._connection.execute(query).one_or_none()
        return None if row is None else self._version(row)

    def names(self) -> list[str]:
        """Return the names of all models."""
        return list(self._connection.scalars(select(versions.c.name).distinct().order_by(versions.c.name)))

    def events(self, name: str | None = None) -> list[RegistryEvent]:
        """Return events, oldest first."""
        query = select(events).order_by(events.c.epoch)
        if name is not None:
            query = query.where(events.c.name == name)
        return [RegistryEvent.model_validate(dict(row._mapping)) for row in self._connection.execute(query)]

    def epoch(self) -> int:
        """Return the number of the last event, 0 if there is none."""
        return self._connection.scalar(select(func.max(events.c.epoch))) or 0

    def add(self, name: str, version: str, *, digest: str, created_ns: int, metadata: str, metrics: str) -> None:
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
        }
        self._connection.execute(insert(versions).values(row))

    def move(self, version: ModelVersion, stage: Stage, *, is_retired: bool = False) -> None:
        """Give a version another stage.

        Raises:
            RegistryConflictError: the version is no longer in the stage it was read with.
        """
        change = update(versions).where(
            versions.c.name == version.name,
            versions.c.version == version.version,
            versions.c.stage == version.stage,
        )
        result = self._connection.execute(change.values(stage=stage, is_retired=is_retired))
        if result.rowcount != 1:
            raise RegistryConflictError(f"{version.name} {version.version} is no longer in stage {version.stage}")

    def record(
        self, kind: EventKind, version: ModelVersion, *, previous: str | None, ts_ns: int, actor: str, reason: str
    ) -> None:
        """Append an event; its epoch is the next number."""
        self._connection.execute(
            insert(events).values(
                epoch=self.epoch() + 1,
                ts_ns=ts_ns,
                name=version.name,
                kind=kind,
                version=version.version,
                previous=previous,
                actor=actor,
                reason=reason,
            )
        )

    def _version(self, row: Row[Any]) -> ModelVersion:
        return ModelVersion(
            name=row.name,
            version=row.version,
            stage=row.stage,
            digest=row.digest,
            created_ns=row.created_ns,
            metadata=json.loads(row.metadata),
            metrics=json.loads(row.metrics),
            folder=str(self._root / row.name / row.version),
            is_retired=row.is_retired,
        )
