"""Bringing the deployments of `prefect.yaml` to the Prefect server."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

from ratchet.cli.plan import last_words, log_path
from ratchet.cli.services import WORK_POOL, prefect_api_url, prefect_client_environment
from ratchet.cli.web import call_json
from ratchet.data.atomic import write_json
from ratchet.errors import ConfigurationError, UnavailableError
from ratchet.settings import Settings

_DEPLOY_TIMEOUT_S = 180.0


def list_deployments(settings: Settings) -> list[str]:
    """Return the deployments of our work pool on the running server as `flow/deployment`, sorted.

    Raises:
        UnavailableError: the server does not answer.
    """
    in_pool = {"work_pools": {"name": {"any_": [WORK_POOL]}}}
    found = call_json(f"{prefect_api_url(settings)}/deployments/filter", in_pool)
    flows = {flow["id"]: flow["name"] for flow in call_json(f"{prefect_api_url(settings)}/flows/filter", {})}
    return sorted(f"{flows.get(entry['flow_id'], '?')}/{entry['name']}" for entry in found)


def deploy_flows(settings: Settings, project: Path) -> list[str]:
    """Deploy `prefect.yaml` where it, a flow or the project's place has changed, and return what is deployed.

    An unchanged project is not deployed again, because Prefect drops a schedule's late runs when it is.

    Raises:
        ConfigurationError: Prefect refuses; the message ends with its last line and names the log.
        UnavailableError: the server does not answer.
    """
    receipt = settings.root / "prefect" / "deployed.json"
    digest = _digest(project)
    deployed = list_deployments(settings)
    if deployed and _read_digest(receipt) == digest:
        return deployed
    _run_prefect_deploy(settings, project)
    write_json(receipt, {"digest": digest})
    return list_deployments(settings)


def _digest(project: Path) -> str:
    """Return the SHA-256 over the project's path and the files that define its deployments."""
    digest = hashlib.sha256(str(project).encode())
    for path in [project / "prefect.yaml", *sorted((project / "flows").glob("**/*.py"))]:
        digest.update(path.relative_to(project).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _read_digest(receipt: Path) -> str | None:
    try:
        return str(json.loads(receipt.read_bytes())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _run_prefect_deploy(settings: Settings, project: Path) -> None:
    log = log_path(settings.root, "deploy")
    changes = {**prefect_client_environment(settings), "APP_ROOT": str(project)}
    environment = {name: value for name, value in {**os.environ, **changes}.items() if value is not None}
    with log.open("wb") as output:
        try:
            result = subprocess.run(
                [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
                cwd=project,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=_DEPLOY_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise UnavailableError(f"prefect deploy took more than {_DEPLOY_TIMEOUT_S:.0f} s; see {log}") from error
    if result.returncode != 0:
        raise ConfigurationError(f"prefect deploy failed; see {log}: {last_words(log)}")
