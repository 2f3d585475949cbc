"""The embedded registry: files below one folder, the truth in one SQLite database."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ratchet.clock import Clock
from ratchet.errors import ArtifactError, ConfigurationError, InputError, TransientError
from ratchet.registry.base import ModelVersion, RegistryEvent
from ratchet.registry.change import Change, no_model, no_version
from ratchet.registry.database import RegistryDatabase
from ratchet.registry.folders import ModelFolders, load_files
from ratchet.registry.names import (
    METADATA_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RESERVED_FILES,
    check_name,
    next_version,
    parse_version,
)
from ratchet.registry.records import VersionRows, to_json
from ratchet.registry.timeline import rollback_target

_logger = logging.getLogger(__name__)
_SELECTORS = frozenset({"latest", "production", "staging", "previous"})


class FileRegistry:
    """A `ModelRegistry` on the local file system; the port's docstrings say what each method promises.

    Layout: `name/vX.Y.Z/{model.onnx, metadata.json, metrics.json, ..., MANIFEST.json}` and `name/production ->
    vX.Y.Z`. Threads may share one object; a forked process makes its own. The folder must be on a local disk.

    Args:
        root: the registry's folder.
        database_url: `sqlite:///path`; by convention `root/registry.sqlite`.
        clock: stamps versions and events.
        read_only: open for reading, as the model server does: nothing is created or recovered, changes raise
            ConfigurationError, and a registry that is not there yet reads as empty until a writer makes it.

    Raises:
        ConfigurationError: the URL cannot be used, or the folder belongs to another database.
    """

    def __init__(self, root: Path, database_url: str, clock: Clock, *, read_only: bool = False) -> None:
        self._folders = ModelFolders(root)
        self._database = RegistryDatabase(database_url, read_only=read_only)
        self._clock = clock
        if not read_only:
            self._open_for_writing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def register_model(
        self,
        name: str,
        files: Mapping[str, Path | bytes],
        metadata: dict[str, Any],
        metrics: dict[str, Any],
        *,
        actor: str,
        reason: str,
    ) -> ModelVersion:
        """Store a new version with stage "none"."""
        self._database.refuse_if_read_only()
        texts = {METADATA_FILE: to_json(metadata, METADATA_FILE), METRICS_FILE: to_json(metrics, METRICS_FILE)}
        content = _contents(files) | {filename: _pretty(text) for filename, text in texts.items()}
        with (
            self._database.translated(self._folders.root),
            self._folders.staged(name, content) as (folder, digest),
            self._change(name, actor, reason) as change,
        ):
            number = change.next_number()
            self._folders.seal(folder, name, number)
            return change.register(number, digest, metadata=texts[METADATA_FILE], metrics=texts[METRICS_FILE])

    def get_model(self, name: str, version: str = "latest") -> ModelVersion:
        """Return one version: "latest", "production", "staging", "previous" or "vX.Y.Z"."""
        check_name(name)
        if version not in _SELECTORS:
            parse_version(version)
        with self._rows() as rows:
            if rows is None:
                raise no_model(name, rows)
            found = _select(rows, name, version)
            if found is None:
                raise no_version(name, version, rows)
            return found

    def list_models(self, name: str | None = None) -> list[ModelVersion]:
        """Return all versions, of one model or of all, by name and number."""
        with self._rows() as rows:
            return rows.all(_checked(name)) if rows else []

    def get_model_metadata(self, name: str, version: str = "latest") -> dict[str, Any]:
        """Return the metadata of one version."""
        return self.get_model(name, version).metadata

    def set_staging_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put a version into staging."""
        with self._change(name, actor, reason) as change:
            self._folders.verify(change.target(version))
            return change.stage(version, expected_epoch)

    def set_production_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put a version into production."""
        with self._change(name, actor, reason) as change:
            self._folders.verify(change.target(version))
            result = change.promote(version, expected_epoch)
        self._link(name)
        return result

    def rollback_to_previous(
        self, name: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put back what was in production before the present version."""
        with self._change(name, actor, reason) as change:
            result = change.roll_back(expected_epoch)
            self._folders.verify(result)
        self._link(name)
        return result

    def withdraw_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Archive a version that is in staging or production and put nothing in its place."""
        with self._change(name, actor, reason) as change:
            result = change.withdraw(version, expected_epoch)
        self._link(name)
        return result

    def retire_model(self, name: str, version: str, *, actor: str, reason: str) -> ModelVersion:
        """Archive a version for good; its files stay."""
        with self._change(name, actor, reason) as change:
            return change.retire(version)

    def history(self, name: str | None = None) -> list[RegistryEvent]:
        """Return all events, of one model or of all, oldest first."""
        with self._rows() as rows:
            return rows.events(_checked(name)) if rows else []

    def epoch(self) -> int:
        """Return the number of the last commit, 0 if there is none."""
        with self._rows() as rows:
            return rows.epoch() if rows else 0

    def read_file(self, version: ModelVersion, filename: str) -> bytes:
        """Return a file's content, after checking it against the version's digest."""
        return self._folders.read(version, filename)

    def recover(self) -> None:
        """Set the `production` links by the database, put uncommitted versions aside, remove left-overs.

        Opening for writing does it; nothing that was registered is changed.

        Raises:
            ConfigurationError: the folder holds versions that the database cannot have lost in a crash: it belongs
                to another database.
        """
        self._database.refuse_if_read_only()
        with self._database.translated(self._folders.root):
            self._folders.sweep()
            with self._database.write() as connection:
                rows = VersionRows(connection, self._folders.root)
                self._put_orphans_aside(rows)
                for name in rows.names():
                    self._set_link(name, rows)

    def _open_for_writing(self) -> None:
        with self._database.translated(self._folders.root):
            self._folders.create()
            if self._database.is_empty():
                with self._folders.exclusive():
                    self._database.create()
        self.recover()

    @contextmanager
    def _change(self, name: str, actor: str, reason: str) -> Iterator[Change]:
        check_name(name)
        for what, text in (("actor", actor), ("reason", reason)):
            if not text.strip():
                raise InputError(f"{what}: say {'who makes' if what == 'actor' else 'why you make'} this change")
        with self._database.write() as connection:
            rows = VersionRows(connection, self._folders.root)
            yield Change(rows, name, actor, reason, ts_ns=self._clock.now_ns())

    @contextmanager
    def _rows(self) -> Iterator[VersionRows | None]:
        if self._database.is_empty():
            yield None
            return
        with self._database.read() as connection:
            yield VersionRows(connection, self._folders.root)

    def _link(self, name: str) -> None:
        # The change is committed; a link that cannot be set now must not make it look failed.
        try:
            with self._database.translated(self._folders.root), self._database.write() as connection:
                self._set_link(name, VersionRows(connection, self._folders.root))
        except TransientError as error:
            _logger.warning("the production link of %s is set at the next recover(): %s", name, error)

    def _set_link(self, name: str, rows: VersionRows) -> None:
        production = rows.in_stage(name, "production")
        try:
            self._folders.link_production(name, production.version if production else None)
        except ArtifactError as error:
            _logger.warning("%s has no production link: %s", name, error)

    def _put_orphans_aside(self, rows: VersionRows) -> None:
        known = {(version.name, version.version) for version in rows.all()}
        orphans = [pair for pair in self._folders.versions() if pair not in known]
        for name, version in orphans:
            latest = rows.latest(name)
            # A crash leaves at most the one version that was being registered.
            if version != next_version(latest.version if latest else None):
                raise ConfigurationError(
                    f"{self._folders.root} holds {name} {version}, which {self._database.path} does not know: the "
                    "folder belongs to another database; correct registry_url or the home folder"
                )
        for name, version in orphans:
            self._folders.put_aside(name, version)


def _select(rows: VersionRows, name: str, version: str) -> ModelVersion | None:
    match version:
        case "latest":
            return rows.latest(name)
        case "production" | "staging":
            return rows.in_stage(name, version)
        case "previous":
            target = rollback_target(rows.events(name))
            return None if target is None else rows.find(name, target)
        case _:
            return rows.find(name, version)


def _checked(name: str | None) -> str | None:
    return None if name is None else check_name(name)


def _contents(files: Mapping[str, Path | bytes]) -> dict[str, bytes]:
    reserved = RESERVED_FILES.intersection(files)
    if reserved:
        raise InputError(f"files: {', '.join(sorted(reserved))} is written by the registry itself")
    if MODEL_FILE not in files:
        raise InputError(f"files: {MODEL_FILE} is missing; got {', '.join(sorted(files)) or 'none'}")
    return load_files(files)


def _pretty(text: str) -> bytes:
    return (json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
