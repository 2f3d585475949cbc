"""What the file registry promises beyond the contract: layout, tampering, readers, recovery, errors."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.data.atomic import sha256_bytes
from ratchet.errors import (
    ArtifactError,
    BusyError,
    CandidateRejectedError,
    ConfigurationError,
    NotFoundError,
    UnavailableError,
)
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.testing.gate import gate_report

WHO: Any = {"actor": "test", "reason": "to see"}
METADATA = {"symbols": ["BTC/USDT"]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def registry(root: Path) -> Iterator[FileRegistry]:
    with open_registry(root) as registry:
        yield registry


def open_registry(root: Path, *, read_only: bool = False) -> FileRegistry:
    return FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", FixedClock(7), read_only=read_only)


def register(registry: FileRegistry, name: str = "btc", content: bytes = b"onnx") -> ModelVersion:
    return registry.register_model(
        name,
        {"model.onnx": content, "model.pt": b"weights", "gate.json": gate_report(content)},
        METADATA,
        {"accuracy": 0.5},
        **WHO,
    )


def promoted(registry: FileRegistry, n_versions: int) -> None:
    for _ in range(n_versions):
        registry.set_production_model("btc", register(registry).version, **WHO)


def test_the_layout_can_be_read_without_the_library(registry: FileRegistry, root: Path) -> None:
    """Files, metadata, metrics and manifest lie in name/vX.Y.Z, and the production link points at the version."""
    promoted(registry, 2)
    folder = root / "btc" / "v1.1.0"
    assert sorted(path.name for path in folder.iterdir()) == [
        "MANIFEST.json",
        "gate.json",
        "metadata.json",
        "metrics.json",
        "model.onnx",
        "model.pt",
    ]
    assert json.loads((folder / "metadata.json").read_text()) == METADATA
    assert json.loads((folder / "metrics.json").read_text()) == {"accuracy": 0.5}
    manifest = (folder / "MANIFEST.json").read_bytes()
    assert sha256_bytes(manifest) == registry.get_model("btc").digest
    assert json.loads(manifest)["model.onnx"] == sha256_bytes(b"onnx")
    assert (root / "btc" / "production").readlink() == Path("v1.1.0")
    assert registry.get_model("btc").folder == str(folder)


@pytest.mark.parametrize("filename", ["MANIFEST.json", "metadata.json", "model.onnx", "model.pt"])
def test_an_altered_file_is_neither_read_nor_promoted(registry: FileRegistry, root: Path, filename: str) -> None:
    """One flipped bit in any file stops reading it, staging, promotion and rollback; production stays as it was."""
    promoted(registry, 2)
    path = root / "btc" / "v1.0.0" / filename
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    version = registry.get_model("btc", "v1.0.0")
    with pytest.raises(ArtifactError, match="altered"):
        registry.read_file(version, filename)
    for change in (registry.set_staging_model, registry.set_production_model):
        with pytest.raises(ArtifactError, match="altered"):
            change("btc", "v1.0.0", **WHO)
    with pytest.raises(ArtifactError, match="altered"):
        registry.rollback_to_previous("btc", **WHO)
    assert registry.get_model("btc", "production").version == "v1.1.0"


def test_a_missing_or_swapped_file_is_an_artifact_error(registry: FileRegistry, root: Path) -> None:
    """A deleted file, a symbolic link with the right content and a folder in its place are all refused."""
    version = register(registry)
    path = root / "btc" / "v1.0.0" / "model.onnx"
    path.rename(root / "elsewhere")
    with pytest.raises(ArtifactError, match="No such file"):
        registry.read_file(version, "model.onnx")
    path.symlink_to(root / "elsewhere")
    with pytest.raises(ArtifactError, match="symbolic link"):
        registry.read_file(version, "model.onnx")
    path.unlink()
    path.mkdir()
    with pytest.raises(ArtifactError):
        registry.read_file(version, "model.onnx")


def test_a_reader_starts_before_the_registry_exists(root: Path) -> None:
    """A reader creates nothing, reads as empty, and sees what a writer does as soon as it is committed."""
    with open_registry(root, read_only=True) as reader:
        assert (reader.epoch(), reader.list_models(), reader.history()) == (0, [], [])
        with pytest.raises(NotFoundError, match="none yet"):
            reader.get_model("btc", "production")
        assert not root.exists()
        with open_registry(root) as writer:
            promoted(writer, 1)
            assert reader.epoch() == writer.epoch() == 2
            version = reader.get_model("btc", "production")
            assert reader.read_file(version, "model.onnx") == b"onnx"
            promoted(writer, 1)
            assert reader.get_model("btc", "production").version == "v1.1.0"


def test_a_reader_changes_nothing(registry: FileRegistry, root: Path) -> None:
    """Every change is refused, and opening for reading leaves even a wrong link and left-overs alone."""
    version = register(registry)
    (root / "btc" / "production").symlink_to("v9.9.9")
    leftover = root / ".staging" / "btc-0"
    leftover.mkdir()
    with open_registry(root, read_only=True) as reader:
        for change in (
            lambda: register(reader),
            lambda: reader.set_staging_model("btc", version.version, **WHO),
            lambda: reader.set_production_model("btc", version.version, **WHO),
            lambda: reader.rollback_to_previous("btc", **WHO),
            lambda: reader.withdraw_model("btc", version.version, **WHO),
            lambda: reader.retire_model("btc", version.version, **WHO),
            lambda: reader.set_pointer("btc", "challenger", version.version, **WHO),
            lambda: reader.release_pointer("btc", "challenger", **WHO),
            lambda: reader.prune_models("btc", keep=1, **WHO),
            reader.recover,
        ):
            with pytest.raises(ConfigurationError, match="read-only"):
                change()
    assert (root / "btc" / "production").readlink() == Path("v9.9.9")
    assert leftover.exists()
    assert registry.epoch() == 1


@pytest.mark.parametrize("wrong", [None, "v1.0.0", "v9.9.9"])
def test_the_link_is_rebuilt_from_the_database(registry: FileRegistry, root: Path, wrong: str | None) -> None:
    """A missing, old or dangling production link is right again after opening for writing."""
    promoted(registry, 2)
    link = root / "btc" / "production"
    link.unlink()
    if wrong is not None:
        link.symlink_to(wrong)
    open_registry(root).close()
    assert link.readlink() == Path("v1.1.0")


def test_a_version_that_was_never_committed_is_put_aside(registry: FileRegistry, root: Path) -> None:
    """A folder without a row, as a crash before the commit leaves it, is moved away and its number is used."""
    register(registry)
    orphan = root / "btc" / "v1.1.0"
    orphan.mkdir()
    (orphan / "model.onnx").write_bytes(b"orphan")
    (root / ".staging" / "btc-0").mkdir()
    with open_registry(root) as reopened:
        assert not orphan.exists()
        assert list((root / ".staging").iterdir()) == []
        assert [path.read_bytes() for path in (root / ".orphans").rglob("model.onnx")] == [b"orphan"]
        assert register(reopened).version == "v1.1.0"
    orphan = root / "btc" / "v1.2.0"
    orphan.mkdir()
    assert register(registry).version == "v1.2.0", "a writer that was open all the time copes as well"


def test_the_folder_of_another_database_is_refused(registry: FileRegistry, root: Path, tmp_path: Path) -> None:
    """With a wrong registry_url nothing is moved or deleted: versions that a crash cannot explain stop the opening."""
    promoted(registry, 3)
    with pytest.raises(ConfigurationError, match="another database"):
        FileRegistry(root, f"sqlite:///{tmp_path / 'other.sqlite'}", FixedClock(7))
    assert [path.name for path in sorted((root / "btc").glob("v*"))] == ["v1.0.0", "v1.1.0", "v1.2.0"]


def test_a_deletion_that_was_interrupted_is_finished(registry: FileRegistry, root: Path) -> None:
    """Files of a version that retention gave up are deleted at the next opening, even if only some were left."""
    for _ in range(3):
        register(registry)
    with registry._change("btc", "test", "killed after the commit") as change:
        assert change.prune(1) is not None
    (root / "btc" / "v1.0.0" / "model.onnx").unlink()
    with open_registry(root) as reopened:
        assert not (root / "btc" / "v1.0.0").exists()
        assert [version.version for version in reopened.prune_models("btc", keep=1, **WHO)] == ["v1.1.0"]
        assert sorted(path.name for path in (root / "btc").iterdir()) == ["v1.2.0"]


def test_a_candidate_is_inspected_before_anything_is_stored(root: Path) -> None:
    """The inspection sees what is registered, and its refusal leaves neither a file nor an event."""
    seen: list[tuple[str, list[str], dict[str, Any]]] = []

    def inspect(name: str, files: Mapping[str, bytes], metadata: dict[str, Any]) -> None:
        seen.append((name, sorted(files), metadata))
        assert not list((root / ".staging").glob("*"))
        if files["model.onnx"] == b"hostile":
            raise CandidateRejectedError("model.onnx: a loop without an end")

    with FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", FixedClock(7), inspect=inspect) as registry:
        with pytest.raises(CandidateRejectedError, match="loop"):
            register(registry, content=b"hostile")
        assert (registry.epoch(), registry.list_models()) == (0, [])
        assert not (root / "btc").exists()
        assert register(registry).version == "v1.0.0"
    filenames = ["gate.json", "metadata.json", "metrics.json", "model.onnx", "model.pt"]
    assert seen == [("btc", filenames, METADATA)] * 2


def test_a_staging_process_is_not_swept(registry: FileRegistry, root: Path) -> None:
    """While one process writes a version's files, another that opens the registry leaves them alone."""
    with registry._files.staged("btc", {"model.onnx": b"slow"}) as (folder, _):
        open_registry(root).close()
        assert (folder / "model.onnx").read_bytes() == b"slow"
    assert not folder.exists()


def test_the_database_itself_guards_the_invariants(registry: FileRegistry, root: Path) -> None:
    """Two production versions, an edited or deleted event and a live retired version are refused by SQLite."""
    promoted(registry, 2)
    connection = sqlite3.connect(root / "registry.sqlite", isolation_level=None)
    for statement in (
        "UPDATE versions SET stage = 'production'",
        "UPDATE versions SET stage = 'staging'",
        "UPDATE versions SET stage = 'live'",
        "UPDATE versions SET is_retired = 1 WHERE stage = 'production'",
        "UPDATE events SET reason = 'nothing happened'",
        "DELETE FROM events",
        "INSERT INTO versions SELECT * FROM versions LIMIT 1",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            connection.execute(statement)
    connection.close()


def test_commits_survive_a_power_cut_by_setting(registry: FileRegistry, root: Path) -> None:
    """The file is in WAL mode and every connection is synchronous=FULL with foreign keys on."""
    with registry._database.read() as connection:
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert values == ["wal", 2, 1, 5000]
    assert root.exists()


def test_a_held_database_is_busy(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process keeps the write lock for too long, the change fails as transient and changes nothing."""
    monkeypatch.setattr("ratchet.data.sqlite.BUSY_TIMEOUT_S", 0.05)
    with open_registry(root) as registry:
        version = register(registry)
        holder = sqlite3.connect(root / "registry.sqlite", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(BusyError, match="try again"):
            registry.set_production_model("btc", version.version, **WHO)
        with pytest.raises(BusyError):
            register(registry)
        assert registry.get_model("btc").version == "v1.0.0", "readers go on meanwhile"
        holder.execute("ROLLBACK")
        holder.close()
        assert list((root / ".staging").iterdir()) == []
        assert registry.set_production_model("btc", version.version, **WHO).stage == "production"


def test_a_damaged_database_is_an_artifact_error(root: Path) -> None:
    """A file that is no database is told as such, and is not replaced."""
    root.mkdir()
    (root / "registry.sqlite").write_bytes(b"not a database at all, but long enough to look at" * 30)
    for read_only in (False, True):
        with pytest.raises(ArtifactError, match="not a database"):
            open_registry(root, read_only=read_only).epoch()
    assert (root / "registry.sqlite").read_bytes().startswith(b"not a database")


def test_a_database_of_a_newer_release_is_refused(registry: FileRegistry, root: Path) -> None:
    """An older release does not touch what it does not understand."""
    connection = sqlite3.connect(root / "registry.sqlite", isolation_level=None)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    for read_only in (False, True):
        with pytest.raises(ConfigurationError, match="newer"):
            open_registry(root, read_only=read_only).epoch()
    registry.close()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:secret@host/db"])
def test_urls_that_cannot_be_used_are_refused(root: Path, url: str) -> None:
    """Only a SQLite file or Postgres will do; a password in the URL is not repeated in the message."""
    with pytest.raises(ConfigurationError, match="registry_url") as caught:
        FileRegistry(root, url, FixedClock(7))
    assert "secret" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    """Errors of the file system arrive as the library's."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UnavailableError, match="file"):
        open_registry(tmp_path / "file" / "registry")


def test_the_registry_stays_light() -> None:
    """Importing it, as the model server does, loads neither pandas nor any other heavy package."""
    code = (
        "import sys, ratchet.registry\n"
        "heavy = {'pandas', 'pyarrow', 'torch', 'mlflow', 'prefect', 'sklearn', 'scipy', 'psycopg'}\n"
        "sys.stdout.write(','.join(sorted(heavy & set(sys.modules))))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
