"""What the supervisor is asked to run, and what it records about it below the home folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

SUPERVISOR_LINE = "--- "
"""How the supervisor's own lines in a log begin."""
_TAIL_BYTES = 8192
_EXCEPTION = re.compile(r"[\w.]*(Error|Exception)\b: ")

ProcessStatus = Literal["waiting", "running", "backing off", "stopped"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProcessSpec(_Record):
    """One process to keep running."""

    name: str
    """Also the stem of its log file."""
    command: tuple[str, ...]
    folder: Path
    """Working folder of the process."""
    environment: dict[str, str | None] = {}
    """Added to the supervisor's environment; None removes a variable."""
    health_url: str | None = None
    """Answers 2xx once the process is ready; unset: ready when it runs."""
    after: tuple[str, ...] = ()
    """Names of processes that must be ready before this one is started."""


class Plan(_Record):
    """Processes in the order in which they are started; they are stopped in the reverse order."""

    home: Path
    fingerprint: str
    """Changes with the settings, so that a second start can tell whether it wants the same services."""
    processes: tuple[ProcessSpec, ...]
    grace_s: float = 10.0
    """How long a process may take to stop before it is killed."""
    backoff_s: float = 0.5
    """Delay before the first restart; it doubles with every further crash."""
    max_backoff_s: float = 30.0
    stable_after_s: float = 60.0
    """A process that ran this long starts again with the first delay."""


class ProcessRecord(_Record):
    """A supervised process as `run/state.json` shows it."""

    name: str
    status: ProcessStatus
    pid: int | None
    birth: str | None
    """With the pid it names one process for ever; see `ratchet.cli.processes`."""
    started_ns: int | None
    """Start time of the process, nanoseconds UTC."""
    restarts: int
    exit_code: int | None
    """How it ended last; negative: the signal."""
    log: str


class SupervisorRecord(_Record):
    """The content of `run/state.json`."""

    pid: int
    birth: str
    started_ns: int
    fingerprint: str
    processes: tuple[ProcessRecord, ...]


def state_path(home: Path) -> Path:
    """Return where the supervisor of `home` writes its state."""
    return home / "run" / "state.json"


def lock_path(home: Path) -> Path:
    """Return the file that the supervisor of `home` keeps locked while it lives."""
    return home / "run" / "supervisor.lock"


def log_path(home: Path, name: str) -> Path:
    """Return the log file of a process."""
    return home / "logs" / f"{name}.log"


def read_state(home: Path) -> SupervisorRecord | None:
    """Return the recorded state, None where there is none or it cannot be read.

    The record may be stale; `ratchet.cli.daemon.is_running` says whether a supervisor lives.
    """
    try:
        return SupervisorRecord.model_validate_json(state_path(home).read_bytes())
    except (OSError, ValidationError):
        return None


def last_words(log: Path) -> str:
    """Return what a log ends with, for an error message: its last exception, else its last line; empty without one."""
    try:
        lines = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").splitlines()
    except OSError:
        return ""
    spoken = [line.strip() for line in lines if _says_something(line)]
    errors = [line for line in spoken if _EXCEPTION.match(line)]
    return (errors or spoken or [""])[-1]


def _says_something(line: str) -> bool:
    return any(character.isalnum() for character in line) and not line.startswith(SUPERVISOR_LINE)
