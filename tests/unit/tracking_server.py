"""A real MLflow server that tests kill, stop and start again, and what its store holds."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ratchet.settings import silence_telemetry
from ratchet.tracking import MlflowTracker

START_TIMEOUT_S = 90


class MlflowServer:
    """`mlflow server` on a free port of the loopback, with SQLite and its own folder of artifacts."""

    def __init__(self, folder: Path) -> None:
        self.database, self._artifacts = folder / "mlflow.db", folder / "artifacts"
        self._log = folder / "server.log"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        migrate(self.database)

    def start(self) -> None:
        """Start it where it does not run, and wait until it answers."""
        if self._process is None:
            where = ("--host", "127.0.0.1", "--port", str(self.port), "--workers", "1")
            what = ("--backend-store-uri", f"sqlite:///{self.database}")
            files = ("--serve-artifacts", "--artifacts-destination", str(self._artifacts))
            environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
            silence_telemetry(environment)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mlflow", "server", *where, *what, *files],
                stdout=self._log.open("ab"),
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._answers():
            assert time.monotonic() < deadline_s, self._log.read_text()[-2_000:]
            time.sleep(0.1)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health", timeout=1, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server and its worker."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """Kill it where it runs."""
        if self._process is not None:
            self.signal(signal.SIGKILL)
            self._process.wait(timeout=30)
            self._process = None

    def stored(self) -> Stored:
        """Return what the store holds."""
        return Stored.read(self.database)

    def files(self, mlflow_run_id: str) -> dict[str, bytes]:
        """Return the stored files of a run by relative path."""
        folder = next(self._artifacts.glob(f"*/{mlflow_run_id}/artifacts"), self._artifacts / "none")
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@dataclass
class Stored:
    """The runs that are not deleted, by the spool's id."""

    run_ids: dict[str, str] = field(default_factory=dict)
    """MLflow's id."""
    statuses: dict[str, str] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    params: dict[str, dict[str, str]] = field(default_factory=dict)
    metrics: dict[str, Counter[tuple[str, int, float]]] = field(default_factory=dict)
    """How often each key, step and value was stored, at whatever time."""
    n_active_runs: int = 0

    @classmethod
    def read(cls, database: Path) -> Stored:
        """Read the tables of the store."""
        stored = cls()
        with sqlite3.connect(database, timeout=30) as connection:
            active = "SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'"
            for mlflow_run_id, status in connection.execute(active).fetchall():
                stored.n_active_runs += 1
                tags = dict(connection.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (mlflow_run_id,)))
                key = tags.get("ratchet.run_key", mlflow_run_id)
                assert key not in stored.run_ids, "a run was started twice"
                stored.run_ids[key], stored.statuses[key], stored.tags[key] = mlflow_run_id, status, tags
                params = connection.execute("SELECT key, value FROM params WHERE run_uuid = ?", (mlflow_run_id,))
                stored.params[key] = dict(params)
                rows = connection.execute("SELECT key, step, value FROM metrics WHERE run_uuid = ?", (mlflow_run_id,))
                stored.metrics[key] = Counter(rows.fetchall())
        return stored


def migrate(database: Path) -> None:
    """Make the tables of an MLflow store."""
    silence_telemetry(os.environ)
    MlflowTracker(f"sqlite:///{database}", database.parent / "artifacts").get_best_run("none", "none")
