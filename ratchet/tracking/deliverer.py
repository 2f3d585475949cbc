"""Delivering the spool in the background: in batches, in order, as often as it takes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from itertools import count

from ratchet.clock import Clock
from ratchet.errors import InputError, NotFoundError, RatchetError
from ratchet.tracking.mlflow_delivery import MlflowDelivery
from ratchet.tracking.owner import is_token_alive, this_process
from ratchet.tracking.spool import Record, Spool, SpooledRun, run_doubted, run_mapped

MAX_RECORDS_PER_CALL = 1_000
MAX_PARAMS_PER_CALL = 100

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_TURN_S = 0.2
"""How long to leave the delivery to another process, or to look out for new records."""

_LOG = logging.getLogger(__name__)


class Deliverer:
    """A thread that empties a spool while there is something to do, and beats for the runs of this process.

    It ends when nothing waits and no run of this process is open, and starts again when it is woken. What fails with
    the store is tried again with growing pauses; meanwhile the runs that failed are tried after the others, so that
    one that the store cannot digest does not hold up the rest.

    Args:
        spool: where records wait.
        delivery: where they go.
        clock: stamps heartbeats.
        heartbeat_s: how often a run says that its process lives.
        holder: stays alive as long as the thread, so that the end of the process finds it.
    """

    def __init__(
        self, spool: Spool, delivery: MlflowDelivery, clock: Clock, *, heartbeat_s: float = 60.0, holder: object = None
    ) -> None:
        self._holder = holder
        self._spool, self._delivery, self._clock = spool, delivery, clock
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._work, self._hurry = threading.Event(), threading.Event()
        self._thread: threading.Thread | None = None
        self._failures: dict[str, int] = {}
        self._has_warned = False
        self._next_beat_s = time.monotonic() + heartbeat_s

    def wake(self, *, hurry: bool = False) -> None:
        """Say that something waits; in a hurry, a pause after a failure is cut short."""
        with self._lock:
            self._work.set()
            if hurry:
                self._hurry.set()
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="ratchet-tracking", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            self._work.clear()
            try:
                self._beat()
                is_empty = self._round()
                has_open_runs = any(run.owner == this_process() for run in self._spool.running())
            except RatchetError as error:
                self._warn(error)
                self._hurry.wait(pause_s)
                self._hurry.clear()
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            pause_s = _FIRST_PAUSE_S
            if self._may_end(is_idle=is_empty and not has_open_runs):
                return
            self._work.wait(self._heartbeat_s if is_empty else _TURN_S)

    def _may_end(self, *, is_idle: bool) -> bool:
        with self._lock:
            if is_idle and not self._work.is_set():
                self._thread = None
                return True
            return False

    def _round(self) -> bool:
        """Deliver what waits, and tell whether nothing is left; False where another process delivers."""
        if not self._spool.runs_waiting():
            return True
        with self._spool.delivering() as is_mine:
            if not is_mine:
                return False
            self._sweep()
            for run_id in sorted(self._spool.runs_waiting(), key=lambda run_id: self._failures.get(run_id, 0)):
                try:
                    self._deliver(run_id)
                except RatchetError:
                    self._failures[run_id] = self._failures.get(run_id, 0) + 1
                    raise
                self._failures.pop(run_id, None)
        return not self._spool.runs_waiting()

    def _deliver(self, run_id: str) -> None:
        while records := self._spool.next_records(run_id, MAX_RECORDS_PER_CALL):
            run = self._spool.run(run_id)
            if not self._has_parent(run):
                return
            batch = _together(records)
            try:
                self._send(run, batch)
            except NotFoundError as error:
                self._spool.refuse(batch, str(error))
            except InputError as error:
                self._isolate(run, batch, error)
            else:
                self._spool.delivered(batch)
            self._note_success()

    def _has_parent(self, run: SpooledRun) -> bool:
        """Tell whether the parent was started, or never will be."""
        if run.mlflow_run_id is not None or run.parent_run_id is None:
            return True
        if self._spool.run(run.parent_run_id).mlflow_run_id is not None:
            return True
        return not any(record.kind == "start" for record in self._spool.next_records(run.parent_run_id, 1))

    def _send(self, run: SpooledRun, batch: Sequence[Record]) -> None:
        first = batch[0]
        if first.kind == "start":
            self._start(run, first)
            return
        if run.mlflow_run_id is None:
            raise NotFoundError(f"MLflow refused to start run {run.run_id}")
        if first.kind == "end":
            if run.is_uncertain:
                self._delivery.remove_doubles(run)
            self._delivery.end(run.mlflow_run_id, *first.body)
        elif first.kind == "artifacts":
            folder = self._spool.files_of(first)
            if not folder.is_dir():
                raise NotFoundError(f"the copied files {folder} are gone")
            self._delivery.upload(run.mlflow_run_id, folder)
        else:
            self._delivery.log(run.mlflow_run_id, batch)

    def _start(self, run: SpooledRun, record: Record) -> None:
        parent = self._spool.run(run.parent_run_id).mlflow_run_id if run.parent_run_id else None
        try:
            mlflow_run_id = self._delivery.start(run, record.body, parent)
        except (InputError, NotFoundError):
            raise
        except RatchetError:
            self._spool.apply([run_doubted(run.run_id)])
            raise
        self._spool.apply([run_mapped(run.run_id, mlflow_run_id)])

    def _isolate(self, run: SpooledRun, batch: Sequence[Record], error: InputError) -> None:
        """Deliver what the store takes of a batch that it refused, and set the rest aside."""
        if len(batch) == 1:
            self._spool.refuse(batch, str(error))
            return
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            try:
                self._send(run, half)
            except NotFoundError as refusal:
                self._spool.refuse(half, str(refusal))
            except InputError as refusal:
                self._isolate(run, half, refusal)
            else:
                self._spool.delivered(half)

    def _beat(self) -> None:
        """Say that this process lives, where that is due."""
        if time.monotonic() < self._next_beat_s:
            return
        self._next_beat_s = time.monotonic() + self._heartbeat_s
        for run in self._spool.running():
            if run.mlflow_run_id is not None and run.owner == this_process():
                with suppress(InputError, NotFoundError):  # somebody deleted the run
                    self._delivery.beat(run.mlflow_run_id, self._clock.now_ns())

    def _sweep(self) -> None:
        """Remove the copies that a crashed process made and did not get to record."""
        tokens = {folder.name.rpartition("-")[0] for folder in self._spool.copies()}
        self._spool.sweep(token for token in tokens if not is_token_alive(token))

    def _warn(self, error: RatchetError) -> None:
        if not self._has_warned:
            _LOG.warning("tracking waits in %s until this is over: %s", self._spool.folder, error)
            self._has_warned = True

    def _note_success(self) -> None:
        if self._has_warned:
            _LOG.warning("tracking goes on: the store takes what waits in %s", self._spool.folder)
            self._has_warned = False


def _together(records: Sequence[Record]) -> Sequence[Record]:
    """Return the first records that fit into one call of the store."""
    n_params = count(1)
    for place, record in enumerate(records):
        is_param = record.kind == "param"
        if record.kind not in ("metric", "param"):
            return records[: max(place, 1)]
        if is_param and next(n_params) > MAX_PARAMS_PER_CALL:
            return records[:place]
    return records
