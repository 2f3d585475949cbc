"""A command on a leash stops with the process that holds it."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_CHILD = (
    "import subprocess, sys, time; "
    "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); "
    "open(sys.argv[1], 'w').write(f'{p.pid}\\n'); time.sleep(600)"
)
_HOLDER = (
    "import subprocess, sys, time; "
    "subprocess.Popen([sys.executable, '-m', 'ratchet.cli.leash', sys.executable, '-c', sys.argv[1], sys.argv[2]], "
    "stdin=subprocess.PIPE, start_new_session=True); time.sleep(600)"
)


def test_when_the_holder_is_killed_the_command_and_its_children_stop(tmp_path: Path) -> None:
    """SIGKILL of the holder ends the whole tree below the leash."""
    written = tmp_path / "pid"
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, _CHILD, str(written)])
    _wait(lambda: written.exists() and written.read_text().endswith("\n"))
    grandchild = int(written.read_text())
    assert psutil.pid_exists(grandchild)
    holder.kill()
    holder.wait()
    _wait(lambda: not psutil.pid_exists(grandchild))


def test_the_exit_status_is_the_commands() -> None:
    """A command that ends by itself passes its status on."""
    command = [sys.executable, "-m", "ratchet.cli.leash", sys.executable, "-c", "raise SystemExit(7)"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 7


def _wait(condition: object, timeout_s: float = 30.0) -> None:
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
