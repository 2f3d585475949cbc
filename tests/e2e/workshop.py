"""Running the `ratchet` command as a user does: in its own process, home folder and port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SMALL_MARKET = "simulated://?bars=1700&symbols=3"
"""Enough to turn the loop; too little to show that the network is as good as logistic regression."""
MARKET = "simulated://?bars=2400&symbols=4"
"""Enough for an approval."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Home:
    """A home folder with a port of its own, and the command line that works on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ports = {name: str(free_port()) for name in ("SERVING", "PREFECT", "MLFLOW")}

    @property
    def environment(self) -> dict[str, str]:
        """The environment of a user who set the home folder and the ports, and nothing else."""
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("RATCHET_", "PREFECT_", "MLFLOW_"))
        }
        ports = {f"RATCHET_{name}__PORT": port for name, port in self._ports.items()}
        return kept | ports | {"RATCHET_HOME": str(self.folder), "COLUMNS": "200"}

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of `ratchet ARGUMENTS`."""
        return [str(Path(sys.executable).with_name("ratchet")), *arguments]

    def run(self, *arguments: str, timeout_s: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `ratchet ARGUMENTS` to its end."""
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start `ratchet ARGUMENTS` in a process group of its own."""
        self.folder.mkdir(parents=True, exist_ok=True)
        log = (self.folder / "command.log").open("wb")
        return subprocess.Popen(
            self.command(*arguments), env=self.environment, cwd=ROOT, stdout=log, stderr=log, start_new_session=True
        )

    def wait_for(self, condition: Callable[[], bool], *, timeout_s: float, process: subprocess.Popen[bytes]) -> None:
        """Wait until `condition` holds while the process lives."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            log = (self.folder / "command.log").read_text()[-2000:]
            assert process.poll() is None, f"the command ended with {process.returncode}: {log}"
            assert time.monotonic() < deadline, f"nothing happened within {timeout_s} s: {log}"
            time.sleep(0.02)
