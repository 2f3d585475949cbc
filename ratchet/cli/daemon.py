"""Starting, finding and stopping the supervisor of a home folder from another process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import ratchet
from ratchet.cli.plan import Plan, SupervisorRecord, lock_path, log_path, read_state, state_path
from ratchet.cli.processes import MARKER, ProcessIdentity, find_marked, is_alive, stop_processes, with_descendants
from ratchet.data.lock import hold
from ratchet.errors import BusyError, UnavailableError

ALREADY_RUNNING = 75
"""Exit code of a supervisor that found another one in its place."""
LOCK_PATIENCE_S = 1.0
"""A new supervisor waits this long, because `is_running` holds the lock for an instant."""
_ORPHAN_GRACE_S = 10.0
_ORPHAN_PASSES = 5
_POLL_S = 0.1


def is_running(home: Path) -> bool:
    """Return whether a supervisor of this home lives; the operating system's lock decides, not a file's content."""
    if not lock_path(home).exists():
        return False
    with hold(lock_path(home)) as is_free:
        return not is_free


def launch(plan: Plan) -> bool:
    """Start a supervisor in the background; return False where one is running already.

    Raises:
        UnavailableError: it did not start; the message names its log.
    """
    log = log_path(plan.home, "supervisor")
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != MARKER}
    with log.open("ab") as output:
        process = subprocess.run(
            [sys.executable, "-m", "ratchet.cli.supervisor"],
            input=plan.model_dump_json().encode(),
            stdout=output,
            stderr=output,
            cwd=Path(ratchet.__file__).parents[1],
            env=environment,
            start_new_session=True,
            check=False,
        )
    if process.returncode == ALREADY_RUNNING:
        return False
    if process.returncode != 0:
        raise UnavailableError(f"the supervisor did not start (exit code {process.returncode}); see {log}")
    return True


def shut_down(home: Path, *, timeout_s: float = 90.0) -> bool:
    """Stop the supervisor and all its processes; return False where nothing was running.

    Processes that a killed supervisor left behind are stopped too.

    Raises:
        BusyError: the supervisor runs, and does not say who it is.
    """
    if is_running(home):
        record = await_record(home)
        with suppress(ProcessLookupError):
            os.kill(record.pid, signal.SIGTERM)
        if not _await_end(home, timeout_s):
            with suppress(ProcessLookupError):
                os.kill(record.pid, signal.SIGKILL)
            _await_end(home, timeout_s)
        clean_up(home)
        return True
    return clean_up(home) > 0


def clean_up(home: Path) -> int:
    """Stop what a killed supervisor left behind and return how many processes that were; do nothing while one runs."""
    if not lock_path(home).exists():
        return 0
    with hold(lock_path(home)) as is_free:
        return stop_orphans(home) if is_free else 0


def stop_orphans(home: Path) -> int:
    """Stop the processes of a dead supervisor, remove its state, and return how many there were; call under the lock.

    They are found twice: by pid and time of birth in the state file, and by the marker that descendants inherit.
    """
    recorded = []
    record = read_state(home)
    for entry in record.processes if record else ():
        if entry.pid and entry.birth and is_alive(ProcessIdentity(entry.pid, entry.birth)):
            recorded += with_descendants(entry.pid)
    n_stopped = 0
    for _ in range(_ORPHAN_PASSES):  # a process may start another one while it is asked to stop
        orphans = {process.pid: process for process in (*recorded, *find_marked(home))}
        if not orphans:
            break
        n_stopped += stop_processes(orphans.values(), _ORPHAN_GRACE_S)
        recorded = []
    state_path(home).unlink(missing_ok=True)
    return n_stopped


def await_record(home: Path, timeout_s: float = 10.0) -> SupervisorRecord:
    """Return the state of a running supervisor, which writes it shortly after it has taken the lock."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        record = read_state(home)
        if record and is_alive(ProcessIdentity(record.pid, record.birth)):
            return record
        time.sleep(_POLL_S)
    raise BusyError(f"a supervisor of {home} is running, but {state_path(home)} does not name it; try again")


def _await_end(home: Path, timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while is_running(home):
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_S)
    return True
