"""The supervisor: a small daemon that keeps the processes of a plan running.

`python -m ratchet.cli.supervisor` reads a `Plan` as JSON from its standard input, takes the lock of the home folder,
stops what a killed predecessor left behind, and goes to the background. It starts the processes in order, restarts a
crashed one after a growing delay, and records pids and restarts in `run/state.json`. SIGTERM or SIGINT stops the
processes in reverse order and removes the state.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from threading import Event
from types import FrameType

from ratchet.cli.child import Child
from ratchet.cli.daemon import ALREADY_RUNNING, LOCK_PATIENCE_S, stop_orphans
from ratchet.cli.plan import SUPERVISOR_LINE, Plan, SupervisorRecord, lock_path, state_path
from ratchet.cli.processes import identify
from ratchet.clock import Clock, SystemClock, iso_utc
from ratchet.data.atomic import write_json
from ratchet.data.lock import hold

_TICK_S = 0.2


class Supervisor:
    """Keeps the processes of `plan` running until it is told to stop."""

    def __init__(self, plan: Plan, clock: Clock) -> None:
        self._plan = plan
        self._clock = clock
        self._children = {spec.name: Child(spec, plan, clock) for spec in plan.processes}
        self._stopping = Event()
        self._saved: SupervisorRecord | None = None
        identity = identify(os.getpid())
        self._birth = identity.birth if identity else ""
        self._started_ns = clock.now_ns()

    def run(self) -> None:
        """Supervise until SIGTERM or SIGINT; whatever ends the loop, no process is left behind."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        try:
            while not self._stopping.is_set():
                self._tick()
                self._stopping.wait(_TICK_S)
        finally:
            self._stop_all()

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stopping.set()

    def _tick(self) -> None:
        for child in self._children.values():
            child.tick(time.monotonic(), self._is_ready)
            if self._stopping.is_set():
                return
        self._save()

    def _is_ready(self, name: str) -> bool:
        return self._children[name].is_ready(time.monotonic())

    def _stop_all(self) -> None:
        for child in reversed(self._children.values()):
            child.stop()
            self._save()
        state_path(self._plan.home).unlink(missing_ok=True)
        self._say("stopped")

    def _save(self) -> None:
        """Write the state where it has changed; a full disk is reported and does not stop the supervision."""
        record = SupervisorRecord(
            pid=os.getpid(),
            birth=self._birth,
            started_ns=self._started_ns,
            fingerprint=self._plan.fingerprint,
            processes=tuple(child.record() for child in self._children.values()),
        )
        if record == self._saved:
            return
        try:
            write_json(state_path(self._plan.home), record.model_dump(mode="json"))
        except OSError as error:
            self._say(f"the state cannot be written: {error}")
        else:
            self._saved = record

    def _say(self, text: str) -> None:
        sys.stderr.write(f"{SUPERVISOR_LINE}{iso_utc(self._clock.now_ns())} supervisor {text}\n")
        sys.stderr.flush()


def main() -> int:
    """Supervise the plan on standard input in the background; return `ALREADY_RUNNING` where another one does."""
    plan = Plan.model_validate_json(sys.stdin.buffer.read())
    with hold(lock_path(plan.home), patience_s=LOCK_PATIENCE_S) as is_first:
        if not is_first:
            return ALREADY_RUNNING
        stop_orphans(plan.home)
        if os.fork():
            os._exit(0)  # the child keeps the lock
        Supervisor(plan, SystemClock()).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
