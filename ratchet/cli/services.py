"""Which processes `ratchet up` runs, with which commands and environment, derived from the settings."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ratchet
from ratchet.cli.plan import Plan, ProcessSpec
from ratchet.cli.web import answers
from ratchet.errors import ConfigurationError
from ratchet.settings import TELEMETRY_OFF, Settings, silence_telemetry

PREFECT_SERVER = "prefect-server"
PREFECT_WORKER = "prefect-worker"
MLFLOW = "mlflow"
MODEL_SERVER = "model-server"
RECORDER = "recorder"

WORK_POOL = "ratchet"
"""The process work pool that `prefect.yaml` deploys to."""

_GRACE_S = 15.0
"""Longer than the 10 s in which the model server finishes the requests in flight."""

_FOREIGN_PREFECT = ("PREFECT_PROFILE", "PREFECT_PROFILES_PATH", "PREFECT_API_KEY")
"""Variables that point Prefect at another installation; its database URL is left to the user on purpose."""


@dataclass(frozen=True)
class Service:
    """Where a service of `ratchet up` listens; the worker and the recorder listen nowhere."""

    name: str
    host: str | None = None
    port: int | None = None
    url: str | None = None
    """Where a person or a bot looks."""
    health_url: str | None = None
    port_variable: str | None = None


def list_services(settings: Settings) -> tuple[Service, ...]:
    """Return the services in the order in which they are started."""
    api, mlflow, model_server = (
        reachable(url) for url in (settings.prefect_api_url, settings.mlflow_ui_url, f"{settings.serving_url}/api/ml")
    )
    return (
        Service(
            PREFECT_SERVER,
            settings.prefect.host,
            settings.prefect.port,
            url=api.removesuffix("/api"),
            health_url=f"{api}/health",
            port_variable="RATCHET_PREFECT__PORT",
        ),
        Service(
            MLFLOW,
            settings.mlflow.host,
            settings.mlflow.port,
            url=mlflow,
            health_url=f"{mlflow}/health",
            port_variable="RATCHET_MLFLOW__PORT",
        ),
        Service(
            MODEL_SERVER,
            settings.serving.host,
            settings.serving.port,
            url=model_server,
            health_url=f"{model_server}/health",
            port_variable="RATCHET_SERVING__PORT",
        ),
        Service(PREFECT_WORKER),
        *([Service(RECORDER)] if settings.recorder.symbol_list else []),
    )


def reachable(url: str) -> str:
    """Return the URL under which this machine reaches a server that listens on all addresses.

    >>> reachable("http://0.0.0.0:8001")
    'http://127.0.0.1:8001'
    """
    return url.replace("//0.0.0.0:", "//127.0.0.1:")


def prefect_api_url(settings: Settings) -> str:
    """Return the API of our Prefect server as this machine reaches it."""
    return reachable(settings.prefect_api_url)


def project_root() -> Path:
    """Return the checkout that holds `prefect.yaml` and `flows/`: the one this package lies in, or the current folder.

    Raises:
        ConfigurationError: neither is a checkout.
    """
    for folder in (Path(ratchet.__file__).resolve().parents[1], Path.cwd()):
        if (folder / "prefect.yaml").is_file() and (folder / "flows").is_dir():
            return folder
    raise ConfigurationError("prefect.yaml and flows/ are not here; run ratchet from the root of a checkout")


def worker_name() -> str:
    """Return the name under which this machine's worker registers with Prefect."""
    return f"ratchet-{socket.gethostname()}"


def settings_environment(settings: Settings) -> dict[str, str | None]:
    """Return the variables from which a child process reads the same settings; None removes a variable."""
    values = settings.model_dump(mode="json") | {"home": str(settings.root)}
    return dict(_flatten("RATCHET_", values))


def _flatten(prefix: str, values: Mapping[str, Any]) -> list[tuple[str, str | None]]:
    flat: list[tuple[str, str | None]] = []
    for key, value in values.items():
        name = prefix + key.upper()
        if isinstance(value, dict):
            flat += _flatten(f"{name}__", value)
        else:
            flat.append((name, value if value is None or isinstance(value, str) else json.dumps(value)))
    return flat


def prefect_environment(settings: Settings, *, use_server: bool | None = None) -> dict[str, str]:
    """Return the variables that keep Prefect below the home folder, free of pickle and quiet.

    With `use_server`, Prefect talks to the server of `ratchet up`; None means where it answers. Without it, a flow
    that is called directly brings its own temporary server on the same database.
    """
    home = settings.root / "prefect"
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_LOCAL_STORAGE_PATH": str(home / "results"),
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
        "PREFECT_SERVER_ANALYTICS_ENABLED": TELEMETRY_OFF["PREFECT_SERVER_ANALYTICS_ENABLED"],
        # In memory, the lease of a running deployment would be lost with the server, and its slot taken for ever.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": _prefect_origins(settings),
        "PREFECT_WORKER_QUERY_SECONDS": "2",
    }
    if use_server is None:
        use_server = answers(f"{prefect_api_url(settings)}/health")
    if use_server:
        environment["PREFECT_API_URL"] = prefect_api_url(settings)
        environment["PREFECT_SERVER_ALLOW_EPHEMERAL_MODE"] = "false"
    return environment


def prefect_client_environment(settings: Settings) -> dict[str, str | None]:
    """Return the variables for a process that uses the server of `ratchet up` and no other Prefect installation."""
    return {**prefect_environment(settings, use_server=True), **dict.fromkeys(_FOREIGN_PREFECT)}


def _prefect_origins(settings: Settings) -> str:
    port = settings.prefect.port
    hosts = dict.fromkeys((settings.prefect.host, "127.0.0.1", "localhost"))
    return ",".join(f"http://{host}:{port}" for host in hosts)


def model_server_command(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[str]:
    """Return the command of the model server; `host` and `port` replace the settings'."""
    return [
        *(sys.executable, "-m", "serving.launcher"),
        *("--host", host or settings.serving.host),
        *("--port", str(port or settings.serving.port)),
        *("--home", str(settings.root)),
    ]


def build_plan(settings: Settings, project: Path, environ: Mapping[str, str] = os.environ) -> Plan:
    """Return the processes of `ratchet up` in the order in which they are started.

    Everything binds to the addresses of the settings, by default loopback, and keeps its files below the home folder.
    """
    common = settings_environment(settings) | _telemetry(environ) | prefect_client_environment(settings)
    processes = tuple(
        ProcessSpec(
            name=service.name,
            command=tuple(_command(service.name, settings)),
            folder=project,
            environment=common | (_mlflow_environment(settings) if service.name == MLFLOW else {}),
            health_url=service.health_url,
            after=(PREFECT_SERVER,) if service.name == PREFECT_WORKER else (),
        )
        for service in list_services(settings)
    )
    identity = f"{settings.model_dump_json()}|{settings.root}|{project}|{sys.executable}"
    return Plan(
        home=settings.root,
        fingerprint=hashlib.sha256(identity.encode()).hexdigest()[:16],
        processes=processes,
        grace_s=_GRACE_S,
    )


def _telemetry(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the telemetry switches, the user's own choice first."""
    chosen = {name: environ[name] for name in TELEMETRY_OFF if name in environ}
    silence_telemetry(chosen)
    return chosen


def _command(name: str, settings: Settings) -> list[str]:
    commands = {
        PREFECT_SERVER: _prefect_server_command,
        MLFLOW: _mlflow_command,
        MODEL_SERVER: model_server_command,
        PREFECT_WORKER: _worker_command,
        RECORDER: _recorder_command,
    }
    return commands[name](settings)


def _prefect_server_command(settings: Settings) -> list[str]:
    where = ("--host", settings.prefect.host, "--port", str(settings.prefect.port))
    return [sys.executable, "-m", "prefect", "server", "start", *where]


def _worker_command(settings: Settings) -> list[str]:
    who = ("--api-url", prefect_api_url(settings), "--pool", WORK_POOL, "--name", worker_name())
    return [sys.executable, "-m", "ratchet.cli.worker", *who]


def _recorder_command(settings: Settings) -> list[str]:
    what = ("--source", settings.recorder.source, "--symbols", settings.recorder.symbols)
    return [sys.executable, "-m", "ratchet.cli", "data", "record", *what]


def _mlflow_command(settings: Settings) -> list[str]:
    where = ("--host", settings.mlflow.host, "--port", str(settings.mlflow.port), "--workers", "1")
    artifacts = ("--serve-artifacts", "--artifacts-destination", str(settings.root / "mlflow" / "artifacts"))
    return [sys.executable, "-m", "mlflow", "server", *where, *artifacts]


def _mlflow_environment(settings: Settings) -> dict[str, str | None]:
    return {
        "MLFLOW_BACKEND_STORE_URI": settings.tracking_store_url,  # may hold a password, so it is no argument
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
