"""A registry of the first release, opened by this one: what was live stays live, and nothing new is claimed of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import ConfigurationError, RegistryConflictError
from ratchet.registry import FileRegistry
from tests.unit.registry_promises import NAME, open_registry, prepare, problems
from tests.unit.registry_schema_1 import downgrade

WHO: Any = {"actor": "test", "reason": "to see"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """v1.0.0 archived, v1.1.0 in production, v1.2.0 staged, v1.3.0 untouched, on schema 1."""
    prepare(tmp_path / "registry")
    downgrade(tmp_path / "registry")
    return tmp_path / "registry"


@pytest.fixture
def registry(root: Path) -> Iterator[FileRegistry]:
    with open_registry(root) as registry:
        yield registry


def test_stages_and_history_are_kept_and_chained(registry: FileRegistry, root: Path) -> None:
    """Every version keeps its stage and every event its number; the chain is computed over the old events."""
    stages = {version.version: version.stage for version in registry.list_models(NAME)}
    assert stages == {"v1.0.0": "archived", "v1.1.0": "production", "v1.2.0": "staging", "v1.3.0": "none"}
    assert registry.verify_history() == registry.epoch() == 7
    assert [event.evidence for event in registry.history()] == [None] * 7
    assert problems(root) == []


def test_verdicts_of_old_metadata_do_not_count(registry: FileRegistry) -> None:
    """No version has a verdict: none can be promoted or staged before it is registered with the gate's report."""
    assert {version.gate for version in registry.list_models(NAME)} == {None}
    for number in ("v1.0.0", "v1.2.0", "v1.3.0"):
        with pytest.raises(RegistryConflictError, match="verdict is missing"):
            registry.set_production_model(NAME, number, **WHO)


def test_what_was_live_can_be_rolled_back_to(registry: FileRegistry) -> None:
    """The version before the present one needs no new verdict to return."""
    assert registry.pointers(NAME) == {"previous": "v1.0.0", "production": "v1.1.0", "staging": "v1.2.0"}
    assert registry.rollback_to_previous(NAME, **WHO).version == "v1.0.0"
    assert registry.verify_history() == 8


def test_the_upgraded_tables_are_those_of_a_new_registry(registry: FileRegistry, root: Path, tmp_path: Path) -> None:
    """Tables, indexes, triggers and the number of the schema are the same as where nothing was upgraded."""
    new = tmp_path / "new"
    open_registry(new).close()
    assert registry.epoch() == 7
    assert _schema(root) == _schema(new)


def test_a_reader_says_what_to_do_and_changes_nothing(root: Path) -> None:
    """The model server refuses the old tables until a writer opened them once; then it goes on."""
    before = (root / "registry.sqlite").read_bytes()
    url = f"sqlite:///{root / 'registry.sqlite'}"
    with FileRegistry(root, url, FixedClock(1), read_only=True) as reader:
        with pytest.raises(ConfigurationError, match=r"older release \(schema 1\); open the registry for writing once"):
            reader.epoch()
        assert (root / "registry.sqlite").read_bytes() == before
        open_registry(root).close()
        assert reader.get_model(NAME, "production").version == "v1.1.0"


def _schema(root: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(root / "registry.sqlite")) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
        return [*rows, *connection.execute("PRAGMA user_version")]
