"""The file registry keeps the registry's contract, on SQLite and on Postgres, and notices an altered history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import ArtifactError
from ratchet.registry import FileRegistry
from ratchet.testing.registry.steps import promote, register
from ratchet.testing.registry_contract import RegistryContract
from tests.postgres_server import PostgresServer, postgres_server

TAMPERED = (
    ("UPDATE events SET reason = 'as agreed' WHERE epoch = 3", "epoch 3 was altered"),
    ("UPDATE events SET hash = previous_hash WHERE epoch = 2", "epoch 2 was altered"),
    ("UPDATE events SET previous_hash = hash WHERE epoch = 4", "epoch 4 does not follow"),
    ("DELETE FROM events WHERE epoch = 4", "epoch 4 is missing"),
    ("DELETE FROM events WHERE epoch = 6", "after epoch 5, its last, btc v1.1.0 is production"),
    ("UPDATE versions SET stage = 'archived' WHERE stage = 'production'", "after epoch 6, its last, btc v1.2.0"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


class TestFileRegistry(RegistryContract):
    @pytest.fixture
    def registry(self, clock: FixedClock, tmp_path: Path) -> Iterator[FileRegistry]:
        root = tmp_path / "registry"
        with FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", clock) as registry:
            yield registry

    @pytest.mark.parametrize(("statement", "says"), TAMPERED)
    def test_an_altered_history_is_noticed(
        self, registry: FileRegistry, tmp_path: Path, statement: str, says: str
    ) -> None:
        """Whoever drops the triggers and edits events is found out, with the first event that no longer fits."""

        def tamper() -> None:
            connection = sqlite3.connect(tmp_path / "registry" / "registry.sqlite", isolation_level=None)
            for verb in ("UPDATE", "DELETE"):
                connection.execute(f"DROP TRIGGER events_keep_{verb}")
            assert connection.execute(statement).rowcount == 1
            connection.close()

        _check_tampering(registry, tamper, says)


class TestFileRegistryOnPostgres(RegistryContract):
    @pytest.fixture
    def url(self, server: PostgresServer) -> str:
        return server.fresh_url()

    @pytest.fixture
    def registry(self, clock: FixedClock, tmp_path: Path, url: str) -> Iterator[FileRegistry]:
        with FileRegistry(tmp_path / "registry", url, clock) as registry:
            yield registry

    @pytest.mark.parametrize(("statement", "says"), TAMPERED)
    def test_an_altered_history_is_noticed(
        self, registry: FileRegistry, server: PostgresServer, url: str, statement: str, says: str
    ) -> None:
        """Whoever drops the triggers and edits events is found out, with the first event that no longer fits."""

        def tamper() -> None:
            verbs = ("UPDATE", "DELETE")
            drops = [f"DROP TRIGGER events_keep_{verb} ON events" for verb in verbs]
            assert server.execute(*drops, statement, url=url) == 1

        _check_tampering(registry, tamper, says)


def _check_tampering(registry: FileRegistry, tamper: Callable[[], None], says: str) -> None:
    for _ in range(3):
        promote(registry, register(registry))
    assert registry.verify_history() == 6
    tamper()
    with pytest.raises(ArtifactError, match=says):
        registry.verify_history()
