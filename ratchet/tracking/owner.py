"""Which process a run belongs to, so that a run whose process is gone can be told from one that is still busy."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil  # type: ignore[import-untyped]

HOST_TAG = "ratchet.host"
BOOT_TAG = "ratchet.boot_id"
PID_TAG = "ratchet.pid"
BIRTH_TAG = "ratchet.process_start"
OWNER_TAGS = (HOST_TAG, BOOT_TAG, PID_TAG, BIRTH_TAG)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_START_TICKS = 19
"""Place of the start time in /proc/PID/stat, counted after the name of the program."""


@dataclass(frozen=True)
class Owner:
    """One process for ever: pids are reused, so the boot and the start within it belong to it.

    `host` names the machine and, where the system has them, the namespace of the pids: within two containers of one
    machine the same pid means two processes.
    """

    host: str
    boot_id: str
    pid: int
    birth: str

    def tags(self) -> dict[str, str]:
        """Return the tags that a run carries of its process."""
        return {HOST_TAG: self.host, BOOT_TAG: self.boot_id, PID_TAG: str(self.pid), BIRTH_TAG: self.birth}

    @property
    def token(self) -> str:
        """The process in a form that a file name can hold, unique on this host."""
        return f"{self.boot_id[:8]}.{self.pid}.{self.birth}"


def is_token_alive(token: str) -> bool:
    """Tell whether the process of this host that a token names still runs."""
    boot, _, rest = token.partition(".")
    pid, _, birth = rest.partition(".")
    return boot == _boot_id()[:8] and pid.isdecimal() and _birth(int(pid)) == birth


def owner_from_tags(tags: Mapping[str, str]) -> Owner | None:
    """Return the process that a run's tags name, None where they name none."""
    if not tags.get(PID_TAG, "").isdecimal() or not set(OWNER_TAGS) <= set(tags):
        return None
    return Owner(tags[HOST_TAG], tags[BOOT_TAG], int(tags[PID_TAG]), tags[BIRTH_TAG])


def this_process() -> Owner:
    """Return the calling process."""
    return owner_of(os.getpid())


@lru_cache(maxsize=4)  # keyed by the pid, so that a forked child does not take its parent's place
def owner_of(pid: int) -> Owner:
    """Return the process of this host that has a pid now."""
    return Owner(this_host(), _boot_id(), pid, _birth(pid) or "unknown")


@lru_cache(maxsize=1)
def this_host() -> str:
    """Return the name of this machine, with the namespace of its pids where there is one."""
    try:
        return f"{socket.gethostname()}/{_PID_NAMESPACE.readlink()}"
    except OSError:
        return socket.gethostname()


def is_alive(owner: Owner) -> bool:
    """Tell whether exactly this process of this host still runs; a zombie does not."""
    return owner.boot_id == _boot_id() and _birth(owner.pid) == owner.birth


@lru_cache(maxsize=1)
def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"{psutil.boot_time():.0f}"


def _birth(pid: int) -> str | None:
    """Return when a living process started, None where there is none.

    In ticks since the boot: unlike a time of day, they do not move when the clock is corrected.
    """
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return None
        if not _BOOT_ID.exists():
            return str(process.create_time())
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[_START_TICKS]
    except (psutil.Error, OSError):
        return None
