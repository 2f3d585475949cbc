"""What `ratchet up` runs: commands, environment and deployments, without starting anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ratchet.cli.services import (
    WORK_POOL,
    build_plan,
    list_services,
    model_server_command,
    prefect_environment,
    project_root,
    settings_environment,
)
from ratchet.settings import CostSettings, RecorderSettings, ServingSettings, Settings

_ROOT = Path(__file__).resolve().parents[2]
_VARIABLES_WITH_PATHS = ("RATCHET_HOME", "PREFECT_HOME", "PREFECT_LOCAL_STORAGE_PATH", "MLFLOW_BACKEND_STORE_URI")


@pytest.fixture
def deployments() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((_ROOT / "prefect.yaml").read_text())["deployments"]
    return found


def test_a_child_process_reads_the_same_settings(tmp_path: Path) -> None:
    """Settings made by code survive the way through environment variables, also where the parent's say otherwise."""
    settings = Settings(
        home=tmp_path,
        registry_url=None,
        tracking_url="postgresql://u:p@h/db",
        serving=ServingSettings(port=18001, poll_interval_s=0.25),
        costs=CostSettings(fee_bps=7.5),
    )
    merged = {**os.environ, "RATCHET_REGISTRY_URL": "sqlite:///other", **settings_environment(settings)}
    environment = {name: value for name, value in merged.items() if value is not None}
    code = "from ratchet.settings import load_settings; print(load_settings().model_dump_json())"
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Settings.model_validate_json(result.stdout) == settings


def test_everything_stays_below_the_home_folder(tmp_path: Path) -> None:
    """Every path that a service is given lies below the home folder."""
    plan = build_plan(Settings(home=tmp_path), _ROOT, {})
    for process in plan.processes:
        for name in _VARIABLES_WITH_PATHS:
            value = process.environment.get(name)
            assert value is None or str(tmp_path) in value, name
    mlflow = next(process for process in plan.processes if process.name == "mlflow")
    assert mlflow.command[-1] == str(tmp_path / "mlflow" / "artifacts")


def test_a_password_of_the_tracking_store_is_no_argument() -> None:
    """Arguments are visible to every user of the machine, so the store's URL goes through the environment."""
    plan = build_plan(Settings(tracking_url="postgresql://u:secret@h/db"), _ROOT, {})
    assert not any("secret" in word for process in plan.processes for word in process.command)


def test_prefect_is_quiet_and_free_of_pickle() -> None:
    """Results are JSON, no analytics leave the machine, and another Prefect profile of the user is ignored."""
    plan = build_plan(Settings(), _ROOT, {"DO_NOT_TRACK": "1"})
    for process in plan.processes:
        assert process.environment["PREFECT_RESULTS_DEFAULT_SERIALIZER"] == "json"
        assert process.environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
        assert process.environment["MLFLOW_DISABLE_TELEMETRY"] == "true"
        assert process.environment["PREFECT_PROFILE"] is None
        assert process.environment["DO_NOT_TRACK"] == "1"


def test_the_worker_waits_for_the_server_and_stops_first() -> None:
    """The worker comes last, after the Prefect server is healthy; stopping goes in the reverse order."""
    plan = build_plan(Settings(), _ROOT, {})
    assert [process.name for process in plan.processes] == [
        "prefect-server",
        "mlflow",
        "model-server",
        "prefect-worker",
    ]
    assert plan.processes[-1].after == ("prefect-server",)


def test_naming_symbols_adds_the_recorder() -> None:
    """The recorder is a supervised process of its own, there only where somebody wants books."""
    settings = Settings(recorder=RecorderSettings(source="okx://", symbols="BTC/USDT, ETH/USDT"))
    assert [process.name for process in build_plan(Settings(), _ROOT, {}).processes][-1] != "recorder"
    recorder = build_plan(settings, _ROOT, {}).processes[-1]
    assert recorder.name == "recorder"
    assert recorder.command[1:] == (
        *("-m", "ratchet.cli", "data", "record"),
        *("--source", "okx://", "--symbols", "BTC/USDT, ETH/USDT"),
    )


def test_the_fingerprint_follows_the_settings() -> None:
    """Other settings or another checkout are recognised; the same ones are the same."""
    fingerprint = build_plan(Settings(), _ROOT, {}).fingerprint
    assert build_plan(Settings(), _ROOT, {"X": "1"}).fingerprint == fingerprint
    assert build_plan(Settings(serving=ServingSettings(port=9001)), _ROOT, {}).fingerprint != fingerprint
    assert build_plan(Settings(), _ROOT / "elsewhere", {}).fingerprint != fingerprint


def test_a_server_on_all_addresses_is_asked_on_loopback() -> None:
    """0.0.0.0 is where a server listens, not where a client finds it."""
    services = list_services(Settings(serving=ServingSettings(host="0.0.0.0")))  # noqa: S104
    assert {service.health_url for service in services if service.name == "model-server"} == {
        "http://127.0.0.1:8001/api/ml/health"
    }


def test_the_model_server_command_can_be_moved() -> None:
    """`ratchet serve --port` replaces the settings' port and nothing else."""
    command = model_server_command(Settings(home=Path("/srv/r")), port=9009)
    assert command[1:] == ["-m", "serving.launcher", "--host", "127.0.0.1", "--port", "9009", "--home", "/srv/r"]


def test_without_a_server_prefect_gets_no_address(tmp_path: Path) -> None:
    """A flow that runs outside `ratchet up` is not sent to a server that is not there."""
    assert "PREFECT_API_URL" not in prefect_environment(Settings(home=tmp_path), use_server=False)
    assert prefect_environment(Settings(home=tmp_path), use_server=True)["PREFECT_API_URL"].endswith(":4200/api")


def test_the_project_root_is_this_checkout() -> None:
    """The checkout is found from the package's place, whatever the current folder."""
    assert project_root() == _ROOT


def test_the_retrain_deployment_has_its_three_starts(deployments: list[dict[str, Any]]) -> None:
    """Retraining runs on Sunday 00:00 UTC, on its two events, and by hand; one at a time, without queueing."""
    (retrain,) = (entry for entry in deployments if entry["name"] == "retrain")
    assert [(entry["cron"], entry["timezone"]) for entry in retrain["schedules"]] == [("0 0 * * 0", "UTC")]
    (trigger,) = retrain["triggers"]
    assert trigger["expect"] == ["ratchet.retrain.requested", "ratchet.drift.detected"]
    assert retrain["concurrency_limit"] == {"limit": 1, "collision_strategy": "CANCEL_NEW"}


def test_deployments_name_modules_and_our_pool(deployments: list[dict[str, Any]]) -> None:
    """Entry points are module paths of files that exist, all deployments use our pool, and no path is absolute."""
    for entry in deployments:
        module, _, function = entry["entrypoint"].rpartition(".")
        assert f"def {function}(" in (_ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert entry["work_pool"]["name"] == WORK_POOL
    text = (_ROOT / "prefect.yaml").read_text()
    assert not any(word.startswith("/") for word in text.replace('"', " ").split())
