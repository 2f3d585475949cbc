"""The registry: what is registered and live is decided by a database, what a version is by its files."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from ratchet.clock import Clock
from ratchet.errors import ArtifactError, ConfigurationError, InputError, RatchetError
from ratchet.registry.base import ModelVersion, RegistryEvent
from ratchet.registry.chain import check_chain
from ratchet.registry.change import Change, no_model, no_version, previous_of
from ratchet.registry.consistency import refuse_inconsistent
from ratchet.registry.database import RegistryDatabase
from ratchet.registry.evidence import GATE_FILE, read_gate_seal, refuse_disagreement, refuse_stale
from ratchet.registry.folders import load_files
from ratchet.registry.names import (
    METADATA_FILE,
    METRICS_FILE,
    MODEL_FILE,
    RESERVED_FILES,
    check_name,
    next_version,
    parse_version,
)
from ratchet.registry.pointers import is_pointer
from ratchet.registry.records import VersionRows, to_json
from ratchet.registry.storage import VersionFiles

Inspect = Callable[[str, Mapping[str, bytes], dict[str, Any]], None]
"""Looks at a candidate before anything of it is stored: its name, its files including metadata.json and metrics.json,
and its metadata. Raises CandidateRejectedError or InputError."""

_logger = logging.getLogger(__name__)
_SELECTORS = frozenset({"latest", "production", "staging", "previous"})
_FILES = "the registry's files"


class TransactionalRegistry:
    """A `ModelRegistry` on a database and a store of files; the port's docstrings say what each method promises.

    Threads may share one object; a forked process makes its own.

    Args:
        files: keeps the files of versions.
        database: holds the truth.
        clock: stamps versions and events.
        read_only: open for reading, as the model server does: nothing is created or recovered, changes raise
            ConfigurationError, and a registry that is not there yet reads as empty until a writer makes it.
        inspect: looks at each candidate before it is stored; None accepts all.

    Raises:
        ConfigurationError: the database cannot be used, or the files belong to another one.
    """

    def __init__(
        self,
        files: VersionFiles,
        database: RegistryDatabase,
        clock: Clock,
        *,
        read_only: bool = False,
        inspect: Inspect | None = None,
    ) -> None:
        self._files = files
        self._database = database
        self._clock = clock
        self._inspect = inspect
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
        gate = read_gate_seal(check_name(name), content, metadata)
        if self._inspect is not None:
            self._inspect(name, content, metadata)
        with (
            self._database.translated(_FILES),
            self._files.staged(name, content) as (staged, digest),
            self._change(name, actor, reason) as change,
        ):
            number = change.next_number()
            self._files.seal(staged, name, number)
            return change.register(
                number, digest, metadata=texts[METADATA_FILE], metrics=texts[METRICS_FILE], gate=gate
            )

    def get_model(self, name: str, version: str = "latest") -> ModelVersion:
        """Return one version: "latest", "production", "staging", "previous", a pointer or "vX.Y.Z"."""
        check_name(name)
        if version not in _SELECTORS and not is_pointer(version):
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
        with self._shown_change(name, actor, reason) as change:
            result = change.stage(version, expected_epoch)
            self._verify(result)
        return result

    def set_production_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put a version into production."""
        with self._shown_change(name, actor, reason) as change:
            live = change.live()
            result = change.promote(version, expected_epoch)
            self._verify(result)
            if live != version and result.gate is not None:
                refuse_stale(name, version, self.read_file(result, GATE_FILE), live)
        return result

    def rollback_to_previous(
        self, name: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Put back what was in production before the present version."""
        with self._shown_change(name, actor, reason) as change:
            result = change.roll_back(expected_epoch)
            self._verify(result)
        return result

    def withdraw_model(
        self, name: str, version: str, *, actor: str, reason: str, expected_epoch: int | None = None
    ) -> ModelVersion:
        """Archive a version that is in staging or production and put nothing in its place."""
        with self._shown_change(name, actor, reason) as change:
            return change.withdraw(version, expected_epoch)

    def retire_model(self, name: str, version: str, *, actor: str, reason: str) -> ModelVersion:
        """Archive a version for good; its files stay until retention removes them."""
        with self._shown_change(name, actor, reason) as change:
            return change.retire(version)

    def set_pointer(self, name: str, pointer: str, version: str, *, actor: str, reason: str) -> ModelVersion:
        """Put a pointer on a version."""
        with self._shown_change(name, actor, reason) as change:
            return change.point(pointer, version)

    def release_pointer(self, name: str, pointer: str, *, actor: str, reason: str) -> None:
        """Take a pointer away; one that is not there is no error."""
        with self._shown_change(name, actor, reason) as change:
            change.release(pointer)

    def pointers(self, name: str) -> dict[str, str]:
        """Return the version by pointer, production, staging and previous among them."""
        check_name(name)
        with self._rows() as rows:
            if rows is None:
                return {}
            found = rows.pointers(name).all()
            for selector in ("production", "staging", "previous"):
                version = _select(rows, name, selector)
                if version is not None:
                    found[selector] = version.version
            return found

    def prune_models(self, name: str, *, keep: int, actor: str, reason: str) -> list[ModelVersion]:
        """Delete the files of old versions, one commit for each; their records and the history stay."""
        pruned: list[ModelVersion] = []
        while True:
            with self._change(name, actor, reason) as change:
                version = change.prune(keep)
            if version is None:
                return pruned
            self._remove(version)
            pruned.append(version)

    def history(self, name: str | None = None) -> list[RegistryEvent]:
        """Return all events, of one model or of all, oldest first."""
        with self._rows() as rows:
            return list(rows.events(_checked(name))) if rows else []

    def verify_history(self) -> int:
        """Check the chain of hashes, and that the tables hold what it leads to; return its length."""
        with self._rows() as rows:
            if rows is None:
                return 0
            events = list(rows.events())
            n_events = check_chain(events)
            refuse_inconsistent(events, rows)
        return n_events

    def verify_version(self, version: ModelVersion) -> None:
        """Check all files of a version, and that the database says of it what its sealed files say."""
        if version.is_pruned:
            raise ArtifactError(f"{version.name} {version.version}: retention deleted its files")
        self._verify(version)

    def epoch(self) -> int:
        """Return the number of the last commit, 0 if there is none."""
        with self._rows() as rows:
            return rows.epoch() if rows else 0

    def read_file(self, version: ModelVersion, filename: str) -> bytes:
        """Return a file's content, after checking it against the version's digest."""
        if version.is_pruned:
            raise ArtifactError(f"{version.name} {version.version}: retention deleted its files")
        with self._database.translated(_FILES):
            return self._files.read(version, filename)

    def recover(self) -> None:
        """Bring what is derived in line with the database, put uncommitted versions aside, remove left-overs.

        Opening for writing does it; nothing that was registered is changed.

        Raises:
            ConfigurationError: there are files of versions that the database cannot have lost in a crash: they belong
                to another database.
        """
        self._database.refuse_if_read_only()
        with self._database.translated(_FILES):
            self._files.sweep()
            with self._database.write() as connection:
                rows = VersionRows(connection, self._files.location)
                self._agree_with_files(rows)
                for name in rows.names():
                    self._show(name, rows)

    def _open_for_writing(self) -> None:
        with self._database.translated(_FILES):
            self._files.create()
            if not self._database.is_current():
                with self._files.exclusive():
                    self._database.create()
        self.recover()

    @contextmanager
    def _change(self, name: str, actor: str, reason: str) -> Iterator[Change]:
        check_name(name)
        _check_text("actor", actor, "who makes this change")
        _check_text("reason", reason, "why you make this change")
        with self._database.write() as connection:
            rows = VersionRows(connection, self._files.location)
            yield Change(rows, name, actor, reason, ts_ns=self._clock.now_ns())

    @contextmanager
    def _shown_change(self, name: str, actor: str, reason: str) -> Iterator[Change]:
        with self._change(name, actor, reason) as change:
            yield change
        # The change is committed; what is derived and cannot be set now must not make it look failed.
        try:
            with self._database.translated(_FILES), self._database.write() as connection:
                self._show(name, VersionRows(connection, self._files.location))
        except RatchetError as error:
            _logger.warning("what is derived of %s is set at the next recover(): %s", name, error)

    @contextmanager
    def _rows(self) -> Iterator[VersionRows | None]:
        if self._database.is_empty():
            yield None
            return
        with self._database.read() as connection:
            yield VersionRows(connection, self._files.location)

    def _verify(self, version: ModelVersion) -> None:
        with self._database.translated(_FILES):
            self._files.verify(version)
            refuse_disagreement(
                version.name,
                version.version,
                lambda filename: self._files.read(version, filename),
                version.metadata,
                version.metrics,
                version.gate,
            )

    def _shown(self, name: str, rows: VersionRows) -> list[ModelVersion]:
        """Return the versions that the store is to show: all; one that shows less need not be given more."""
        return rows.all(name)

    def _show(self, name: str, rows: VersionRows) -> None:
        try:
            self._files.show(name, self._shown(name, rows))
        except ArtifactError as error:
            _logger.warning("%s is not shown in production: %s", name, error)

    def _remove(self, version: ModelVersion) -> None:
        # That they are to go is committed.
        try:
            with self._database.translated(_FILES):
                self._files.remove(version.name, version.version)
        except RatchetError as error:
            _logger.warning(
                "the files of %s %s are deleted at the next recover(): %s", version.name, version.version, error
            )

    def _agree_with_files(self, rows: VersionRows) -> None:
        stored = self._files.versions()
        known, pruned = rows.stages(), rows.pruned()
        orphans = [pair for pair in stored if pair not in known]
        for name, version in orphans:
            latest = rows.latest(name)
            # A crash leaves at most the one version that was being registered.
            if version != next_version(latest.version if latest else None):
                raise ConfigurationError(
                    f"{self._files.location(name, version)} is not known to {self._database}: the files belong to "
                    "another database; correct registry_url or the home folder"
                )
        for name, version in orphans:
            self._files.put_aside(name, version)
        for name, version in pruned.intersection(stored):
            self._files.remove(name, version)


def _select(rows: VersionRows, name: str, version: str) -> ModelVersion | None:
    match version:
        case "latest":
            return rows.latest(name)
        case "production" | "staging":
            return rows.in_stage(name, version)
        case "previous":
            number = previous_of(rows, name)
        case _:
            number = rows.pointers(name).find(version) if is_pointer(version) else version
    return None if number is None else rows.find(name, number)


def _checked(name: str | None) -> str | None:
    return None if name is None else check_name(name)


def _check_text(what: str, text: str, wanted: str) -> None:
    if not text.strip() or not _is_storable(text):
        raise InputError(f"{what}: say {wanted}, in plain text")


def _is_storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def _contents(files: Mapping[str, Path | bytes]) -> dict[str, bytes]:
    reserved = RESERVED_FILES.intersection(files)
    if reserved:
        raise InputError(f"files: {', '.join(sorted(reserved))} is written by the registry itself")
    if MODEL_FILE not in files:
        raise InputError(f"files: {MODEL_FILE} is missing; got {', '.join(sorted(files)) or 'none'}")
    return load_files(files)


def _pretty(text: str) -> bytes:
    return (json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
