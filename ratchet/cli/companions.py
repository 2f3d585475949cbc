"""The servers that one `ratchet run` needs: those of `ratchet up` where they run, else its own for the duration."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ratchet.cli import ports
from ratchet.cli.services import model_server_command, prefect_client_environment, prefect_environment
from ratchet.cli.web import answers
from ratchet.client import ModelServerClient
from ratchet.errors import ConfigurationError, RatchetError, UnavailableError
from ratchet.settings import Settings

_START_WITHIN_S = 180.0
_STOP_WITHIN_S = 15.0


@contextmanager
def prefect_server(settings: Settings) -> Iterator[dict[str, str | None]]:
    """Yield the environment in which flows reach a Prefect server: the running one, or one for this block.

    Raises:
        ConfigurationError: the server does not start.
        UnavailableError: it does not answer in time.
    """
    if answers(f"{settings.prefect_api_url}/health"):
        yield prefect_client_environment(settings)
        return
    host = settings.prefect.host
    port = settings.prefect.port if ports.is_free(host, settings.prefect.port) else ports.find_free(host)
    placed = settings.model_copy(update={"prefect": settings.prefect.model_copy(update={"port": port})})
    command = (sys.executable, "-m", "prefect", "server", "start", "--host", host, "--port", str(port))
    health = f"{placed.prefect_api_url}/health"
    with _companion("prefect-server", settings, command, prefect_environment(placed), lambda: answers(health)):
        yield prefect_client_environment(placed)


@contextmanager
def model_server(settings: Settings) -> Iterator[bool]:
    """Use the running model server of this home, or run one; yield whether it is one of our own.

    Raises:
        ConfigurationError: the port is taken, also by the server of another home.
        UnavailableError: the server does not answer in time.
    """
    if is_model_server_running(settings):
        yield False
        return
    command = model_server_command(settings)
    with _companion("model-server", settings, command, {}, lambda: is_model_server_running(settings)):
        yield True


def is_model_server_running(settings: Settings) -> bool:
    """Tell whether the model server of this home answers.

    Raises:
        ConfigurationError: the server belongs to another home folder, so it must not be used.
    """
    with ModelServerClient(settings.serving_url) as client:
        try:
            home = client.health().home
        except RatchetError:
            return False
    if Path(home) != settings.root:
        raise ConfigurationError(
            f"the model server on {settings.serving_url} serves {home}, not {settings.root}; "
            "stop it, or choose another port with RATCHET_SERVING__PORT"
        )
    return True


@contextmanager
def _companion(
    name: str, settings: Settings, command: Sequence[str], environment: Mapping[str, str], is_up: Callable[[], bool]
) -> Iterator[None]:
    """Run `command` for the block, on a leash: it stops with this process, however that ends."""
    log = settings.root / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            (sys.executable, "-m", "ratchet.cli.leash", *command),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, **environment},
            start_new_session=True,
        )
    try:
        _await(name, process, log, is_up)
        yield
    finally:
        _let_go(process)


def _await(name: str, process: subprocess.Popen[bytes], log: Path, is_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + _START_WITHIN_S
    while not is_up():
        if process.poll() is not None:
            raise ConfigurationError(f"the {name} did not start (is its port taken?); see {log}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"the {name} did not answer within {_START_WITHIN_S:.0f} s; see {log}")
        time.sleep(0.2)


def _let_go(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
