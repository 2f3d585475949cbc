"""Starting and stopping the server process."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.serving.workshop import REPOSITORY, ServerProcess, Workshop, free_port, tiny_onnx, window

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_server_cleanly(workshop: Workshop, sent: signal.Signals) -> None:
    """Requests that were accepted are answered, the port is freed, and the exit status is 0."""
    workshop.publish("BTC/USDT", window(1))
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    server = ServerProcess(workshop.home)
    server.wait_until_up()
    statuses: list[int] = []
    started = threading.Event()
    caller = threading.Thread(target=_call_until_refused, args=(server.url, statuses, started))
    caller.start()
    assert started.wait(10)
    server.process.send_signal(sent)
    assert server.process.wait(20) == 0
    caller.join()
    assert set(statuses) == {200}
    assert "Traceback" not in server.log.read_text()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", server.port))


def _call_until_refused(url: str, statuses: list[int], started: threading.Event) -> None:
    while True:
        try:
            statuses.append(
                httpx.post(f"{url}/api/ml/predict", json={"symbol": "BTC/USDT"}, trust_env=False).status_code
            )
        except httpx.TransportError:
            return
        started.set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RATCHET_SERVING__PORT", "many"),
        ("RATCHET_ONLINE_STORE_URL", "redis://localhost"),
        ("RATCHET_REGISTRY_URL", "mysql://localhost/registry"),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_server(tmp_path: Path, name: str, value: str) -> None:
    """The mistake is named on stderr, without a traceback."""
    done = subprocess.run(
        [sys.executable, "-m", "serving.launcher", "--home", str(tmp_path), "--port", str(free_port())],
        cwd=REPOSITORY,
        env={name: value},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode != 0
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_port_that_is_taken_ends_the_process(workshop: Workshop) -> None:
    """A second server on one port stops and says why."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        done = subprocess.run(
            [sys.executable, "-m", "serving.launcher", "--port", str(holder.getsockname()[1]), "--home", workshop.home],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode != 0
    assert "address already in use" in done.stderr
