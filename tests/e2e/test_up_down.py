"""`ratchet up`, `status` and `down` with the real Prefect server and worker, MLflow and model server."""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from ratchet.cli import daemon, ports
from ratchet.cli.deployment import list_deployments
from ratchet.cli.processes import find_marked
from ratchet.cli.services import list_services
from ratchet.cli.up import down, status, up
from ratchet.cli.web import call_json
from ratchet.clock import iso_utc
from ratchet.errors import ConfigurationError, UnavailableError
from ratchet.settings import MlflowSettings, PrefectSettings, ServingSettings, Settings

pytestmark = [pytest.mark.engine, pytest.mark.slow]

_ROOT = Path(__file__).resolve().parents[2]
_WAIT_S = 90.0
_TINY_FLOW = """
import pathlib, time
from prefect import flow

@flow
def retrain(source: str = "simulated://", reason: str = "manual", event_id: str = "") -> str:
    pathlib.Path("started").touch()
    while source == "endless":
        time.sleep(0.1)
    return reason
"""


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {_WAIT_S:.0f} s for {what}"
        time.sleep(0.3)


def _free_ports(n: int) -> list[int]:
    probes = [socket.socket() for _ in range(n)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    prefect, mlflow, serving = _free_ports(3)
    made = Settings(
        home=tmp_path / "var",
        prefect=PrefectSettings(port=prefect),
        mlflow=MlflowSettings(port=mlflow),
        serving=ServingSettings(port=serving),
    )
    yield made
    daemon.shut_down(made.root)
    assert find_marked(made.root) == []


@pytest.fixture
def tiny_project(tmp_path: Path) -> Path:
    """A checkout with our prefect.yaml and a flow that takes no time, or for ever."""
    project = tmp_path / "project"
    (project / "flows").mkdir(parents=True)
    shutil.copy(_ROOT / "prefect.yaml", project)
    (project / "flows" / "__init__.py").touch()
    (project / "flows" / "retrain.py").write_text(_TINY_FLOW)
    for name in ("collect", "features"):
        flow = f"from prefect import flow\n\n\n@flow\ndef {name}(): ...\n"
        (project / "flows" / f"{name}.py").write_text(flow)
    return project


@pytest.fixture
def output() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(output: io.StringIO) -> Console:
    return Console(file=output, width=200)


def _runs(settings: Settings, *states: str, tag: str = "retrain") -> list[dict[str, Any]]:
    chosen = {"state": {"type": {"any_": list(states)}}, "tags": {"all_": [tag]}}
    wanted = {"flow_runs": chosen, "sort": "EXPECTED_START_TIME_ASC"}
    found: list[dict[str, Any]] = call_json(f"{settings.prefect_api_url}/flow_runs/filter", wanted)
    return found


def _emit(settings: Settings, event: str) -> None:
    body = {"event": event, "resource": {"prefect.resource.id": "ratchet.model.demo"}, "payload": {}}
    stamped = {**body, "occurred": iso_utc(time.time_ns()), "id": os.urandom(16).hex()}
    call_json(f"{settings.prefect_api_url}/events", [stamped])


def test_up_brings_the_project_to_life_and_down_leaves_nothing(
    settings: Settings, console: Console, output: io.StringIO
) -> None:
    """All services become healthy, all flows are deployed and scheduled, and `down` leaves no process or port."""
    up(settings, console)
    services = status(settings)
    assert [service.name for service in services] == ["prefect-server", "mlflow", "model-server", "prefect-worker"]
    assert all(service.is_healthy for service in services), services
    assert {"retrain/retrain", "collect/collect", "features/features"} <= set(list_deployments(settings))
    assert settings.mlflow_ui_url in output.getvalue()
    _await(lambda: bool(_runs(settings, "SCHEDULED")), "the scheduler, which does nothing with SQLAlchemy 2.1")
    first = datetime.fromisoformat(_runs(settings, "SCHEDULED")[0]["expected_start_time"]).astimezone(UTC)
    assert (first.isoweekday(), first.hour, first.minute) == (7, 0, 0)
    _await(lambda: bool(_runs(settings, "SCHEDULED", tag="collect")), "the scheduler of the collection")
    hourly = datetime.fromisoformat(_runs(settings, "SCHEDULED", tag="collect")[0]["expected_start_time"])
    assert hourly.minute == 2

    up(settings, console)
    assert "already running" in output.getvalue()
    assert [service.pid for service in status(settings)] == [service.pid for service in services]
    moved = settings.model_copy(update={"mlflow": MlflowSettings(port=_free_ports(1)[0])})
    with pytest.raises(ConfigurationError, match="other settings"):
        up(moved, console)

    down(settings, console)
    assert {service.state for service in status(settings)} == {"stopped"}
    assert find_marked(settings.root) == []
    assert all(ports.is_free("127.0.0.1", service.port) for service in list_services(settings) if service.port)


def test_an_event_starts_a_run_and_an_interrupted_run_does_not_block_the_next(
    settings: Settings, console: Console, tiny_project: Path
) -> None:
    """A worker killed during a retraining is restarted, the run is closed as crashed, and the next event retrains."""
    up(settings, console, project=tiny_project)
    wanted = {"deployments": {"name": {"any_": ["retrain"]}}}
    (deployment,) = call_json(f"{settings.prefect_api_url}/deployments/filter", wanted)
    endless = {"parameters": {"source": "endless"}}
    call_json(f"{settings.prefect_api_url}/deployments/{deployment['id']}/create_flow_run", endless)
    _await((tiny_project / "started").exists, "the endless run")

    worker = status(settings)[-1]
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    _await(lambda: len(_runs(settings, "CRASHED")) == 1, "the interrupted run to be closed")
    _await(lambda: status(settings)[-1].is_healthy, "the new worker")
    assert status(settings)[-1].restarts == 1

    _emit(settings, "ratchet.drift.detected")
    _await(lambda: len(_runs(settings, "COMPLETED")) == 1, "the run of the event")
    asked = _runs(settings, "COMPLETED")[0]["parameters"]
    assert asked["reason"] == "ratchet.drift.detected"
    assert len(asked["event_id"]) == 36
    assert _runs(settings, "CANCELLED") == []


def test_a_service_that_cannot_start_is_named_with_its_log(
    settings: Settings, console: Console, tiny_project: Path
) -> None:
    """`up` gives up early on a crashing service, quotes its log, and stops what it had started."""
    broken = settings.model_copy(update={"tracking_url": "nosuchdatabase://nowhere"})
    with pytest.raises(UnavailableError, match=r"mlflow keeps ending with exit code 1; see .*mlflow\.log: "):
        up(broken, console, project=tiny_project)
    assert find_marked(settings.root) == []
