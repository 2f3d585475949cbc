"""Drift between the registry and MLflow is found, mended where it can be, and never decides what is live."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import UnavailableError
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.registry.mlflow import MlflowRegistry
from ratchet.registry.mlflow_stages import MlflowCatalog
from ratchet.registry.reconcile import Drift, reconcile
from ratchet.testing.gate import gate_report
from tests.mlflow_stores import free_port, migrated_store

__all__ = ["migrated_store"]

pytestmark = [
    pytest.mark.filterwarnings("error::FutureWarning"),
    pytest.mark.filterwarnings("error::DeprecationWarning"),
]
WHO: Any = {"actor": "test", "reason": "to see"}
CLOCK = FixedClock(10**18)
EVERY = 1 if os.environ.get("RATCHET_MLFLOW_KILLS") == "all" else 7
"""Calls to MLflow from one that is cut off to the next; RATCHET_MLFLOW_KILLS=all cuts off each."""


@dataclass
class Mirrored:
    """A file registry, the catalog that shows it, and MLflow's own client on the same store."""

    registry: FileRegistry
    catalog: MlflowCatalog
    client: Any

    def drifts(self, *, mend: bool = False) -> list[tuple[str, str, bool]]:
        report = reconcile(self.registry, self.catalog, mend=mend)
        return [(drift.kind, drift.version, drift.is_mended) for drift in report.drifts]

    def promote(self, version: str) -> Any:
        return self.catalog.transition_model_stage(self.registry, "btc", version, "Production", **WHO)


def mlflow_client(store: str) -> Any:
    from mlflow import MlflowClient  # noqa: PLC0415 - after telemetry is off

    return MlflowClient(tracking_uri=store, registry_uri=store)


def opened(folder: Path) -> FileRegistry:
    root = folder / "registry"
    return FileRegistry(root, f"sqlite:///{root / 'registry.sqlite'}", CLOCK)


def register(registry: Any, model: bytes = b"onnx") -> ModelVersion:
    files = {"model.onnx": model, "gate.json": gate_report(model)}
    version: ModelVersion = registry.register_model("btc", files, {}, {}, **WHO)
    return version


@pytest.fixture
def store(tmp_path: Path, migrated_store: Path) -> str:
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def mirrored(store: str, tmp_path: Path) -> Iterator[Mirrored]:
    """Three versions in both: archived, in production, and new."""
    with opened(tmp_path) as registry:
        mirrored = Mirrored(registry, MlflowCatalog(store, tmp_path / "artifacts", CLOCK), mlflow_client(store))
        for number in ("v1.0.0", "v1.1.0"):
            register(registry, number.encode())
            assert mirrored.promote(number).is_shown
        mirrored.catalog.register_model_to_mlflow(registry, register(registry))
        assert mirrored.drifts() == []
        yield mirrored


def move_production(client: Any) -> None:
    client.set_registered_model_alias("btc", "production", "1")


def drop_production(client: Any) -> None:
    client.delete_registered_model_alias("btc", "production")


def invent_staging(client: Any) -> None:
    client.set_registered_model_alias("btc", "staging", "3")


def invent_challenger(client: Any) -> None:
    client.set_registered_model_alias("btc", "challenger", "3")


def move_version_alias(client: Any) -> None:
    client.set_registered_model_alias("btc", "v1-0-0", "2")


def change_stage(client: Any) -> None:
    client.set_model_version_tag("btc", "1", "stage", "Production")


def delete_stage(client: Any) -> None:
    client.delete_model_version_tag("btc", "2", "stage")


def delete_version_tag(client: Any) -> None:
    client.delete_model_version_tag("btc", "2", "ratchet.version")


def delete_production(client: Any) -> None:
    client.delete_model_version("btc", "2")


def delete_model(client: Any) -> None:
    client.delete_registered_model("btc")


def alter_copy(client: Any) -> None:
    (artifacts(client, 2) / "model.onnx").write_bytes(b"evil")


def lose_copy(client: Any) -> None:
    shutil.rmtree(artifacts(client, 2))


def artifacts(client: Any, number: int) -> Path:
    return Path(client.get_model_version("btc", str(number)).source.removeprefix("file://"))


@pytest.mark.parametrize(
    ("meddle", "expected"),
    [
        (move_production, [("alias_differs", "v1.1.0")]),
        (drop_production, [("alias_differs", "v1.1.0")]),
        (invent_staging, [("alias_differs", "v1.2.0")]),
        (invent_challenger, [("alias_differs", "v1.2.0")]),
        (move_version_alias, [("alias_differs", "v1.0.0")]),
        (change_stage, [("stage_differs", "v1.0.0")]),
        (delete_stage, [("stage_differs", "v1.1.0")]),
        (delete_version_tag, [("stage_differs", "v1.1.0")]),
        (delete_production, [("missing_in_mlflow", "v1.1.0")]),
        (delete_model, [("missing_in_mlflow", number) for number in ("v1.0.0", "v1.1.0", "v1.2.0")]),
        (alter_copy, [("files_altered", "v1.1.0")]),
        (lose_copy, [("files_altered", "v1.1.0")]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_drift_made_by_hand_is_found_and_mended(
    meddle: Callable[[Any], None], expected: list[tuple[str, str]], mirrored: Mirrored
) -> None:
    """Looking changes nothing; mending leaves nothing to find, and MLflow shows production with its own bytes."""
    meddle(mirrored.client)
    assert mirrored.drifts() == [(*drift, False) for drift in expected]
    assert mirrored.drifts(mend=True) == [(*drift, True) for drift in expected]
    assert mirrored.drifts() == []
    live = mirrored.client.get_model_version_by_alias("btc", "production")
    assert (live.tags["ratchet.version"], live.tags["stage"]) == ("v1.1.0", "Production")
    assert (artifacts(mirrored.client, live.version) / "model.onnx").read_bytes() == b"v1.1.0"


def test_a_stranger_is_reported_and_marked_but_never_deleted(mirrored: Mirrored) -> None:
    """A model version that the registry never made, even one with the production alias, stays and stays reported."""
    for tags in ({}, {"ratchet.version": "v9.0.0"}, {"ratchet.version": "v1.1.0"}):
        mirrored.client.create_model_version("btc", "file:///nowhere", tags=tags)
    mirrored.client.set_registered_model_alias("btc", "production", "4")
    mirrored.client.create_registered_model("elsewhere")
    mirrored.client.create_model_version("elsewhere", "file:///nowhere")  # another team's model is not ours to judge
    mirrored.client.create_registered_model("eth")
    mirrored.client.create_model_version("eth", "file:///nowhere", tags={"ratchet.version": "v1.0.0"})
    unknown = [("unknown_in_mlflow", number, False) for number in ("", "v9.0.0", "v1.1.0", "v1.0.0")]
    assert mirrored.drifts() == [("alias_differs", "v1.1.0", False), *unknown]
    assert mirrored.drifts(mend=True)[0] == ("alias_differs", "v1.1.0", True)
    again = reconcile(mirrored.registry, mirrored.catalog, mend=False)
    assert [drift.kind for drift in again.drifts] == ["unknown_in_mlflow"] * 4
    assert again.is_alarm
    marked = [mirrored.client.get_model_version("btc", str(number)) for number in (4, 5, 6)]
    assert all(version.tags["ratchet.unknown"] == "true" for version in marked)
    assert "ratchet.unknown" not in mirrored.client.get_model_version("elsewhere", "1").tags


def test_another_digest_is_an_alarm_that_is_not_mended(mirrored: Mirrored) -> None:
    """The copy may be another model: nothing is overwritten, whoever looks must decide."""
    mirrored.client.set_model_version_tag("btc", "1", "ratchet.digest", "0" * 64)
    for _ in range(2):
        report = reconcile(mirrored.registry, mirrored.catalog, mend=True)
        version = mirrored.registry.get_model("btc", "v1.0.0")
        assert report.drifts == (Drift("digest_differs", "btc", "v1.0.0", version.digest, "0" * 64),)
        assert (report.checked, report.is_alarm) == (3, True)


def test_altered_files_of_the_registry_are_an_alarm(mirrored: Mirrored) -> None:
    """The registry's own files cannot be derived from anywhere, and MLflow's good copy is left as it is."""
    (Path(mirrored.registry.get_model("btc", "v1.0.0").folder) / "model.onnx").write_bytes(b"evil")
    assert mirrored.drifts(mend=True) == [("files_altered", "v1.0.0", False)]
    alter_copy(mirrored.client)
    shutil.rmtree(mirrored.registry.get_model("btc", "v1.1.0").folder)
    drifts = reconcile(mirrored.registry, mirrored.catalog, mend=True).drifts
    assert [(drift.version, drift.found.split(":")[0], drift.is_mended) for drift in drifts] == [
        ("v1.0.0", "registry", False),
        ("v1.1.0", "registry", False),
        ("v1.1.0", "MLflow", False),
    ]


def test_nothing_is_mended_by_a_history_that_was_tampered_with(mirrored: Mirrored, tmp_path: Path) -> None:
    """A broken chain of events is no truth to mend by."""
    drop_production(mirrored.client)
    with sqlite3.connect(tmp_path / "registry" / "registry.sqlite") as connection:
        for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute("UPDATE events SET reason = 'another' WHERE epoch = 2")
    assert mirrored.drifts(mend=True) == [("journal_broken", "", False), ("alias_differs", "v1.1.0", False)]
    assert "production" not in mirrored.client.get_registered_model("btc").aliases


def test_pruned_versions_need_no_copy(mirrored: Mirrored) -> None:
    """Retention deleted the registry's files: a missing copy is no drift."""
    for _ in range(2):
        register(mirrored.registry)
    mirrored.promote("v1.4.0")
    reconcile(mirrored.registry, mirrored.catalog, mend=True)
    pruned = mirrored.registry.prune_models("btc", keep=1, **WHO)
    assert "v1.0.0" in {version.version for version in pruned}
    assert mirrored.drifts() == []
    mirrored.client.delete_model_version("btc", "1")
    assert mirrored.drifts() == []


def test_a_registry_whose_files_are_in_mlflow_is_reconciled_with_the_same_store(store: str, tmp_path: Path) -> None:
    """The catalog shows pointers on the registry's own model versions; a lost version cannot be made up."""
    catalog, client = MlflowCatalog(store, tmp_path / "artifacts", CLOCK), mlflow_client(store)
    with MlflowRegistry(store, tmp_path / "artifacts", f"sqlite:///{tmp_path / 'truth.sqlite'}", CLOCK) as registry:
        for model in (b"one", b"two"):
            register(registry, model)
        registry.set_production_model("btc", "v1.0.0", **WHO)
        registry.set_pointer("btc", "challenger", "v1.1.0", **WHO)
        catalog.show(registry, "btc")
        assert client.get_model_version_by_alias("btc", "challenger").version == 2
        assert reconcile(registry, catalog, mend=False).drifts == ()
        client.delete_model_version("btc", "1")
        drifts = reconcile(registry, catalog, mend=True).drifts
        assert [(drift.kind, drift.is_mended) for drift in drifts] == [
            ("files_altered", False),
            ("missing_in_mlflow", False),
        ]


class Killed(BaseException):
    """What nothing in the library catches, like a process that is gone."""


class Faulty:
    """An `MlflowClient` whose n-th call does not happen, or happens and is never answered."""

    def __init__(self, client: Any, at: int, fail: Callable[[], None], *, is_done: bool) -> None:
        self._client, self._at, self._fail, self._is_done = client, at, fail, is_done
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls.append(name)
            is_hit = len(self.calls) == self._at + 1
            if is_hit and not self._is_done:
                self._fail()
            answer = method(*args, **kwargs)
            if is_hit:
                self._fail()
            return answer

        return call


def refuse() -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - after telemetry is off

    raise MlflowException("the store is out of order")


def die() -> None:
    raise Killed


@pytest.mark.parametrize(
    ("start", "fail", "is_done"), [(1, refuse, False), (2, refuse, True), (3, die, False), (4, die, True)]
)
def test_a_promotion_that_is_cut_off_at_any_call_to_mlflow_is_mended(
    start: int, fail: Callable[[], None], is_done: bool, mirrored: Mirrored
) -> None:
    """Whatever call is the last: the registry has exactly the new production, and reconcile makes MLflow agree."""
    catalog, n_cut_off, n_drifted = mirrored.catalog, 0, 0
    for at in range(start if EVERY > 1 else 0, 100, EVERY):
        version = register(mirrored.registry, f"model {at}".encode())
        healthy = catalog.files.store._client
        faulty = Faulty(healthy, at, fail, is_done=is_done)
        catalog.files.store._client = faulty
        try:
            is_shown = mirrored.promote(version.version).is_shown
        except Killed:
            is_shown = False
        finally:
            catalog.files.store._client = healthy
        assert live_in_both(mirrored.registry, None) == [version.version]
        n_drifted += bool(mirrored.drifts(mend=True))
        assert mirrored.drifts() == []
        assert live_in_both(mirrored.registry, mirrored.client) == [version.version] * 3
        if len(faulty.calls) <= at:
            break
        n_cut_off += 1
    assert is_shown
    assert n_cut_off * EVERY >= 14
    assert n_drifted > n_cut_off // 2


def live_in_both(registry: FileRegistry, client: Any) -> list[str]:
    """The versions in production by the registry; with a client also by MLflow's tags and by its alias."""
    live = [version.version for version in registry.list_models("btc") if version.stage == "production"]
    if client is not None:
        shown = client.search_model_versions("name = 'btc' AND tags.stage = 'Production'")
        live += [item.tags["ratchet.version"] for item in shown]
        live.append(client.get_model_version_by_alias("btc", "production").tags["ratchet.version"])
    return live


def killed_at(folder: Path, at: int) -> int:
    """Promote v1.1.0 in a forked process that kills itself before the n-th call; return how it ended."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with opened(folder) as registry:
                store = f"sqlite:///{folder / 'mlflow.db'}"
                catalog = MlflowCatalog(store, folder / "artifacts", CLOCK)
                kill = lambda: os.kill(os.getpid(), signal.SIGKILL)  # noqa: E731
                catalog.files.store._client = Faulty(mlflow_client(store), at, kill, is_done=False)
                moved = catalog.transition_model_stage(registry, "btc", "v1.1.0", "Production", **WHO)
                status = 0 if moved.is_shown else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_process_killed_in_the_middle_of_a_promotion_leaves_what_can_be_mended(
    tmp_path: Path, migrated_store: Path
) -> None:
    """SIGKILL before calls to MLflow: no process opens a store that another has open, as after a real crash."""
    base = tmp_path / "base"
    base.mkdir()
    with opened(base) as registry:
        for model in (b"one", b"two"):
            register(registry, model)
        registry.set_production_model("btc", "v1.0.0", **WHO)
    n_killed = 0
    for at in range(0, 100, EVERY):
        folder = tmp_path / f"{at:02d}"
        shutil.copytree(base, folder, symlinks=True)
        shutil.copy(migrated_store, folder / "mlflow.db")
        ended = killed_at(folder, at)
        assert ended in {0, -signal.SIGKILL}
        n_killed += ended != 0
        store = f"sqlite:///{folder / 'mlflow.db'}"
        with opened(folder) as registry:
            mirrored = Mirrored(registry, MlflowCatalog(store, folder / "artifacts", CLOCK), mlflow_client(store))
            assert live_in_both(registry, None) == ["v1.1.0"]
            mirrored.drifts(mend=True)
            assert mirrored.drifts() == []
            assert live_in_both(registry, mirrored.client) == ["v1.1.0"] * 3
            later = FixedClock(CLOCK.now_ns() + 3_600 * 1_000_000_000)
            reconcile(registry, MlflowCatalog(store, folder / "artifacts", later), mend=True)
            kept = {item.source for item in mirrored.client.search_model_versions("name = 'btc'")}
            assert {path.as_uri() for path in (folder / "artifacts").glob("*/artifacts/registry/*")} == kept
        if ended == 0:
            break
    assert n_killed * EVERY >= 14
    assert ended == 0


@contextmanager
def mlflow_server(folder: Path) -> Iterator[tuple[str, Callable[[int], None]]]:
    """A real server that keeps files itself, killed at the end: its address, and how to send it a signal."""
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    options = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder)]
    log = folder / "server.log"
    with log.open("ab") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", *options, *stores],
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        for _ in range(1_000):
            try:
                urllib.request.urlopen(f"{uri}/health", timeout=1).close()  # noqa: S310 - the server of this test
                break
            except OSError:
                assert server.poll() is None, log.read_text()[-2000:]
                time.sleep(0.2)
        yield uri, lambda number: os.killpg(server.pid, number)
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


@pytest.mark.engine
def test_a_server_that_hangs_and_dies_costs_no_change(
    tmp_path: Path, migrated_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and stages through HTTP: changes go on without the server, in bounded time, and it catches up."""
    monkeypatch.setenv("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    home = tmp_path / "server"
    home.mkdir()
    shutil.copy(migrated_store, home / "mlflow.db")
    with opened(tmp_path) as registry:
        first, second = register(registry, b"one"), register(registry, b"two")
        with mlflow_server(home) as (uri, send):
            catalog = MlflowCatalog(uri, tmp_path / "locks", CLOCK)
            mirrored = Mirrored(registry, catalog, mlflow_client(uri))
            assert mirrored.promote("v1.0.0").is_shown
            assert mirrored.client.get_model_version("btc", "1").source.startswith("mlflow-artifacts:")
            assert catalog.files.read(first, "model.onnx") == b"one"
            send(signal.SIGSTOP)
            started = time.monotonic()
            moved = mirrored.promote("v1.1.0")
            assert (moved.version.stage, moved.is_shown) == ("production", False)
            assert time.monotonic() - started < 15
            send(signal.SIGCONT)
            assert ("missing_in_mlflow", "v1.1.0", True) in mirrored.drifts(mend=True)
            assert mirrored.drifts() == []
            assert live_in_both(registry, mirrored.client) == ["v1.1.0"] * 3
            assert catalog.files.read(second, "model.onnx") == b"two"
        moved = catalog.transition_model_stage(registry, "btc", "v1.1.0", "Archived", **WHO)
        assert (moved.version.stage, moved.is_shown) == ("archived", False)
        with pytest.raises(UnavailableError):
            reconcile(registry, catalog, mend=True)
