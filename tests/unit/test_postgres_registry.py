"""The registry on a real Postgres: one writer at a time, the server's rules, a server that is slow, down or killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from ratchet.clock import FixedClock
from ratchet.errors import BusyError, ConfigurationError, NotFoundError, RegistryConflictError, UnavailableError
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.testing.gate import gate_report
from tests.postgres_server import PostgresServer, postgres_server

WHO: Any = {"actor": "test", "reason": "to see"}
N_PROCESSES = 4


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.fresh_url()


@pytest.fixture
def registry(tmp_path: Path, url: str) -> Iterator[FileRegistry]:
    with FileRegistry(tmp_path, url, FixedClock(7)) as registry:
        yield registry


def register(registry: FileRegistry) -> ModelVersion:
    files: dict[str, Path | bytes] = {"model.onnx": b"onnx", "gate.json": gate_report(b"onnx")}
    return registry.register_model("btc", files, {}, {}, **WHO)


def forked(act: Callable[[], None]) -> int:
    """Run in a forked child, which opens a registry of its own; return its process id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        except BaseException as error:  # noqa: BLE001 - the child must not return into pytest
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
        finally:
            os._exit(status)
    return child


def test_processes_write_one_after_the_other(tmp_path: Path, url: str) -> None:
    """Four processes open a registry that is not there yet, register and promote: no gap, no loss, one chain."""

    def work() -> None:
        with FileRegistry(tmp_path, url, FixedClock(7)) as registry:
            for _ in range(5):
                registry.set_production_model("btc", register(registry).version, **WHO)

    children = [forked(work) for _ in range(N_PROCESSES)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * N_PROCESSES
    with FileRegistry(tmp_path, url, FixedClock(7)) as registry:
        n_changes = N_PROCESSES * 5
        assert [event.epoch for event in registry.history()] == list(range(1, 2 * n_changes + 1))
        assert registry.verify_history() == 2 * n_changes
        versions = registry.list_models("btc")
        assert [version.version for version in versions] == [f"v1.{minor}.0" for minor in range(n_changes)]
        assert sum(version.stage == "production" for version in versions) == 1


def test_of_processes_that_decided_on_one_state_one_wins(tmp_path: Path, registry: FileRegistry, url: str) -> None:
    """Compare and set holds between processes: one promotes, the others get the conflict."""
    numbers = [register(registry).version for _ in range(N_PROCESSES)]
    epoch = registry.epoch()

    def promote(number: str) -> None:
        with FileRegistry(tmp_path, url, FixedClock(7)) as own:
            own.set_production_model("btc", number, **WHO, expected_epoch=epoch)

    children = [forked(lambda number=number: promote(number)) for number in numbers]  # type: ignore[misc]
    outcomes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    assert sorted(outcomes) == [0, 1, 1, 1]
    assert [event.kind for event in registry.history("btc")].count("promote") == 1


def test_the_server_itself_guards_the_invariants(registry: FileRegistry) -> None:
    """Two production versions, an edited, deleted or truncated history and a live retired version are refused."""
    for _ in range(2):
        registry.set_production_model("btc", register(registry).version, **WHO)
    for statement in (
        "UPDATE versions SET stage = 'production'",
        "UPDATE versions SET stage = 'live'",
        "UPDATE versions SET is_retired = true WHERE stage = 'production'",
        "UPDATE versions SET gate_verdict = NULL",
        "UPDATE events SET reason = 'nothing happened'",
        "DELETE FROM events",
        "TRUNCATE events",
        "DELETE FROM versions",
    ):
        with pytest.raises(RegistryConflictError), registry._database.write() as connection:
            connection.execute(text(statement))
    assert registry.verify_history() == registry.epoch() == 4


def test_a_held_lock_is_busy_and_readers_go_on(
    tmp_path: Path, registry: FileRegistry, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When another process keeps the lock for too long, the change fails as transient and changes nothing."""
    version = register(registry)
    monkeypatch.setattr("ratchet.data.postgres.PATIENCE_S", 0.3)
    with FileRegistry(tmp_path, url, FixedClock(7)) as impatient:
        with registry._database.write():
            with pytest.raises(BusyError, match="another process holds the registry; try again"):
                impatient.set_production_model("btc", version.version, **WHO)
            assert impatient.get_model("btc").stage == "none"
        with pytest.raises(BusyError, match="statement timeout"), impatient._database.read() as connection:
            connection.execute(text("SELECT pg_sleep(5)"))
        assert impatient.set_production_model("btc", version.version, **WHO).stage == "production"


def test_a_killed_writer_loses_the_lock(tmp_path: Path, registry: FileRegistry, url: str) -> None:
    """SIGKILL in the middle of a change undoes it and lets the next writer in at once."""
    register(registry)
    reached = tmp_path / "reached"

    def hang() -> None:
        with FileRegistry(tmp_path, url, FixedClock(7)) as own, own._change("btc", "child", "to die") as change:
            change.promote("v1.0.0", None)
            reached.touch()
            time.sleep(60)

    child = forked(hang)
    deadline = time.monotonic() + 20
    while not reached.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert registry.set_production_model("btc", "v1.0.0", **WHO).stage == "production"
    assert registry.epoch() == 2


def test_a_server_that_is_killed_loses_no_acknowledged_change(server: PostgresServer, registry: FileRegistry) -> None:
    """While it is down every call is UnavailableError; when it is back, the same object works and all is there."""
    for _ in range(3):
        registry.set_production_model("btc", register(registry).version, **WHO)
    server.kill()
    try:
        for call in (registry.epoch, lambda: register(registry)):
            with pytest.raises(UnavailableError, match="check the server"):
                call()
    finally:
        server.start()
    assert registry.verify_history() == registry.epoch() == 6
    assert registry.rollback_to_previous("btc", **WHO).version == "v1.1.0"


def test_a_reader_starts_before_the_tables_exist_and_cannot_write(tmp_path: Path, url: str) -> None:
    """Without tables a reader reads as empty and makes none; later it sees what the writer commits."""
    with FileRegistry(tmp_path, url, FixedClock(7), read_only=True) as reader:
        assert (reader.epoch(), reader.list_models(), reader.verify_history()) == (0, [], 0)
        with pytest.raises(NotFoundError, match="none yet"):
            reader.get_model("btc")
        with pytest.raises(ConfigurationError, match="read-only"):
            register(reader)
        with FileRegistry(tmp_path, url, FixedClock(7)) as writer:
            version = register(writer)
        assert reader.get_model("btc") == version
        with pytest.raises(UnavailableError, match="read-only"), reader._database.read() as connection:
            connection.execute(text("DELETE FROM pointers"))


def test_tables_of_another_release_are_refused(tmp_path: Path, registry: FileRegistry, url: str) -> None:
    """An older release does not touch what it does not understand."""
    with registry._database.write() as connection:
        connection.execute(text("UPDATE schema_versions SET version = 99"))
    for read_only in (False, True):
        with pytest.raises(ConfigurationError, match="another release"):
            FileRegistry(tmp_path, url, FixedClock(7), read_only=read_only).epoch()


def test_no_message_repeats_the_password(tmp_path: Path) -> None:
    """A server that is not there is named without what opens it."""
    with pytest.raises(UnavailableError, match="ann") as caught:
        FileRegistry(tmp_path, "postgresql://ann:secret@127.0.0.1:1/registry", FixedClock(7))
    assert "secret" not in str(caught.value)


def test_without_psycopg_the_message_says_what_to_install() -> None:
    """The driver is an extra; the registry says which."""
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from ratchet.errors import ConfigurationError\n"
        "from ratchet.registry.database import RegistryDatabase\n"
        "try:\n    RegistryDatabase('postgresql://ann@host/registry')\n"
        "except ConfigurationError as error:\n    sys.stdout.write(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (
        'Postgres needs psycopg; install it: pip install "ratchet[postgres]"',
        "",
    )
