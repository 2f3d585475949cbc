"""MLflow stores for tests: a database with its tables, which takes seconds to make and no time to copy."""

from __future__ import annotations

import os
import socket
import sqlite3
from pathlib import Path

import pytest

from ratchet.settings import silence_telemetry


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all tables and nothing in them."""
    silence_telemetry(os.environ)
    from mlflow import MlflowClient  # noqa: PLC0415 - after telemetry is off

    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    uri = f"sqlite:///{path}"
    MlflowClient(tracking_uri=uri, registry_uri=uri).search_registered_models()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def free_port() -> int:
    """A port of the loopback interface that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
