"""Run a command for as long as standard input stays open: `python -m ratchet.cli.leash COMMAND ...`.

Whoever starts it holds the other end of the pipe. When that process dies, however it dies, the input ends and the
command is stopped with all that it started. It has a session of its own, so Ctrl-C does not reach it first.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

_GRACE_S = 10.0


def run(command: list[str]) -> int:
    """Run `command` until it ends or standard input does; return its exit status."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # noqa: S603
    threading.Thread(target=_stop_when_input_ends, args=(child,), daemon=True).start()
    return child.wait()


def _stop_when_input_ends(child: subprocess.Popen[bytes]) -> None:
    while os.read(sys.stdin.fileno(), 4096):  # unbuffered: a buffered read would block the interpreter's exit
        pass
    _signal_all(child, signal.SIGTERM)
    try:
        child.wait(_GRACE_S)
    except subprocess.TimeoutExpired:
        _signal_all(child, signal.SIGKILL)


def _signal_all(child: subprocess.Popen[bytes], number: signal.Signals) -> None:
    try:
        os.killpg(child.pid, number)
    except ProcessLookupError:  # it has ended meanwhile
        return


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
