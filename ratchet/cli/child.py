"""One supervised process: starting it, noticing its end, waiting longer after each crash, stopping it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from ratchet.cli.plan import SUPERVISOR_LINE, Plan, ProcessRecord, ProcessSpec, ProcessStatus, log_path
from ratchet.cli.processes import (
    MARKER,
    ProcessIdentity,
    find_marked,
    identify,
    marker_value,
    stop_processes,
    with_descendants,
)
from ratchet.cli.web import answers
from ratchet.clock import Clock, iso_utc

_PROBE_EVERY_S = 0.5
_LOG_ROTATES_AT_BYTES = 20 * 1024 * 1024
_COULD_NOT_START = 127
_LEFTOVER_GRACE_S = 3.0


class Child:
    """A process of the plan and what happened to it so far.

    Times named `now_s` are seconds of a monotonic clock; `clock` only dates log lines.
    """

    def __init__(self, spec: ProcessSpec, plan: Plan, clock: Clock) -> None:
        self.spec = spec
        self._plan = plan
        self._clock = clock
        self._log = log_path(plan.home, spec.name)
        self._process: subprocess.Popen[bytes] | None = None
        self._status: ProcessStatus = "waiting"
        self._started_s = 0.0
        self._started_ns: int | None = None
        self._identity: ProcessIdentity | None = None
        self._start_at_s = 0.0
        self._probe_at_s = 0.0
        self._is_ready = False
        self._n_failures = 0
        self._n_starts = 0
        self._exit_code: int | None = None

    def record(self) -> ProcessRecord:
        """Return the process as the state file shows it."""
        return ProcessRecord(
            name=self.spec.name,
            status=self._status,
            pid=self._process.pid if self._process else None,
            birth=self._identity.birth if self._process and self._identity else None,
            started_ns=self._started_ns if self._process else None,
            restarts=max(0, self._n_starts - 1),
            exit_code=self._exit_code,
            log=str(self._log),
        )

    def tick(self, now_s: float, is_ready: Callable[[str], bool]) -> None:
        """Do what is due: notice an end, or start when the delay is over and the processes before it are ready."""
        if self._process is not None:
            exit_code = self._process.poll()
            if exit_code is not None:
                self._end(exit_code, now_s)
        elif now_s >= self._start_at_s and all(is_ready(name) for name in self.spec.after):
            self._start(now_s)

    def is_ready(self, now_s: float) -> bool:
        """Return whether the process runs and has answered its health URL since it was started."""
        if self._process is None or self._process.poll() is not None:
            return False
        if not self._is_ready and now_s >= self._probe_at_s:
            self._probe_at_s = now_s + _PROBE_EVERY_S
            self._is_ready = self.spec.health_url is None or answers(self.spec.health_url)
        return self._is_ready

    def stop(self) -> None:
        """Ask the process to stop, wait for the grace period, then kill what is left of its tree."""
        if self._process is not None:
            tree = with_descendants(self._process.pid)
            self._process.terminate()
            self._note(f"asked process {self._process.pid} to stop")
            try:
                self._exit_code = self._process.wait(self._plan.grace_s)
            except subprocess.TimeoutExpired:
                self._note("killed after the grace period")
                self._process.kill()
                self._exit_code = self._process.wait()
            stop_processes(tree[1:], _LEFTOVER_GRACE_S)
        stop_processes(find_marked(self._plan.home, self.spec.name), _LEFTOVER_GRACE_S)
        self._process = None
        self._status = "stopped"

    def _start(self, now_s: float) -> None:
        self._n_starts += 1
        self._started_s = now_s
        self._is_ready = False
        try:
            self._process = self._spawn()
        except OSError as error:
            self._note(f"could not be started: {error}")
            self._end(_COULD_NOT_START, now_s)
            return
        self._identity = identify(self._process.pid)
        self._started_ns = self._clock.now_ns()
        self._status = "running"
        self._note(f"started as process {self._process.pid}")

    def _spawn(self) -> subprocess.Popen[bytes]:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        _rotate(self._log)
        with self._log.open("ab") as log:
            return subprocess.Popen(  # noqa: S603 - the command comes from our own plan
                self.spec.command,
                cwd=self.spec.folder,
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _environment(self) -> dict[str, str]:
        merged = {**os.environ, **self.spec.environment, MARKER: marker_value(self._plan.home, self.spec.name)}
        return {name: value for name, value in merged.items() if value is not None}

    def _end(self, exit_code: int, now_s: float) -> None:
        """Book a crash, stop what the process left behind, and plan the restart."""
        self._process = None
        self._exit_code = exit_code
        stop_processes(find_marked(self._plan.home, self.spec.name), _LEFTOVER_GRACE_S)
        if now_s - self._started_s >= self._plan.stable_after_s:
            self._n_failures = 0
        delay_s = min(self._plan.max_backoff_s, self._plan.backoff_s * 2.0 ** min(self._n_failures, 30))
        self._n_failures += 1
        self._start_at_s = now_s + delay_s
        self._status = "backing off"
        self._note(f"ended with exit code {exit_code}; starts again in {delay_s:.1f} s")

    def _note(self, text: str) -> None:
        """Add a line to the process's own log, so that one file tells its story; on a full disk to the supervisor's."""
        line = f"{SUPERVISOR_LINE}{iso_utc(self._clock.now_ns())} supervisor: {self.spec.name} {text}\n"
        try:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(line)
        except OSError as error:
            sys.stderr.write(f"{line}{SUPERVISOR_LINE}{self._log} cannot be written: {error}\n")
            sys.stderr.flush()


def _rotate(log: Path) -> None:
    """Keep one earlier log file when the current one has grown large."""
    if log.exists() and log.stat().st_size > _LOG_ROTATES_AT_BYTES:
        log.replace(log.with_name(log.name + ".1"))
