"""Processes of the operating system: which are ours, whether they live, and how to stop them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil  # type: ignore[import-untyped]

MARKER = "SUPERVISED_BY_RATCHET"
"""Environment variable that every supervised process hands to its descendants: `<home>|<name>`."""

_POLL_S = 0.05
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_TICKS = 19
"""Place of the start time in /proc/PID/stat, counted after the name of the program."""


@dataclass(frozen=True)
class ProcessIdentity:
    """One process for ever: a pid alone is reused."""

    pid: int
    birth: str
    """When the process started, in a form that no other process with this pid has."""


def identify(pid: int) -> ProcessIdentity | None:
    """Return the identity of a living process, None where no process has this pid."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        return ProcessIdentity(pid, _birth(process))
    except (psutil.Error, OSError):
        return None


def is_alive(identity: ProcessIdentity) -> bool:
    """Return whether exactly this process still runs."""
    return identify(identity.pid) == identity


def _birth(process: psutil.Process) -> str:
    """Return the boot and the ticks since: unlike a time of day, they do not move when the clock is corrected."""
    if not _BOOT_ID.exists():
        return str(process.create_time())
    ticks = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[_START_TICKS]
    return f"{_BOOT_ID.read_text().strip()}:{ticks}"


def marker_value(home: Path, name: str) -> str:
    """Return the value of `MARKER` for a process of this home."""
    return f"{home}|{name}"


def find_marked(home: Path, name: str | None = None) -> list[psutil.Process]:
    """Return the living processes, without the caller, that were started by the supervisor of `home`, at any depth.

    A descendant that outlived its parent is found too, because it inherited the marker.
    """
    wanted = marker_value(home, name or "")
    found = []
    for process in psutil.process_iter():
        value = _marker_of(process)
        is_match = value == wanted if name else value is not None and value.startswith(wanted)
        if is_match and process.pid != os.getpid():
            found.append(process)
    return found


def _marker_of(process: psutil.Process) -> str | None:
    try:
        value = process.environ().get(MARKER)
    except (psutil.Error, OSError):  # another user's process, or one that has just ended
        return None
    return value if isinstance(value, str) else None


def with_descendants(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants, empty where it does not exist."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def stop_processes(processes: Iterable[psutil.Process], grace_s: float) -> int:
    """Ask processes to stop, kill those that still run after `grace_s`, and return how many there were."""
    living = [process for process in processes if _runs(process)]
    _send(living, "terminate")
    stubborn = _await_end(living, grace_s)
    _send(stubborn, "kill")
    _await_end(stubborn, grace_s)
    return len(living)


def _send(processes: Iterable[psutil.Process], action: Literal["terminate", "kill"]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # it ended by itself; psutil never signals a reused pid
            getattr(process, action)()


def _await_end(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    """Wait for processes that need not be our children; return those that still run."""
    deadline = time.monotonic() + timeout_s
    while (living := [process for process in processes if _runs(process)]) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    return living


def _runs(process: psutil.Process) -> bool:
    """Return whether the process executes; one that only waits for its parent to take note has ended."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
