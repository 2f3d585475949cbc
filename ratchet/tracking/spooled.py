"""Tracking that training never waits for: everything goes to a spool on this machine, and from there to MLflow."""

from __future__ import annotations

import atexit
import logging
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from weakref import WeakSet

from ratchet.clock import Clock
from ratchet.errors import InputError, NotFoundError, RatchetError, UnavailableError
from ratchet.tracking.base import EndStatus, ParamValue, RunSummary
from ratchet.tracking.deliverer import Deliverer
from ratchet.tracking.journal import Journal
from ratchet.tracking.keys import check_key, check_names, check_number, check_step, check_tags, check_text
from ratchet.tracking.mlflow import PARENT_KEY_TAG, MlflowTracker
from ratchet.tracking.mlflow_delivery import HEARTBEAT_TAG, RUN_KEY_TAG, MlflowDelivery
from ratchet.tracking.owner import OWNER_TAGS, this_process
from ratchet.tracking.reaper import DEFAULT_SILENCE_S, reap, reap_here
from ratchet.tracking.spool import Spool, SpooledRun, param_added, record_added, run_added, run_ended

CLOSE_TIMEOUT_S = 5.0

_NS_PER_MS = 1_000_000
_POLL_S = 0.02
_HURRY_S = 1.0
_BOOKKEEPING = frozenset({RUN_KEY_TAG, PARENT_KEY_TAG, HEARTBEAT_TAG, *OWNER_TAGS})

_LOG = logging.getLogger(__name__)


class SpooledTracker:
    """A `Tracker` whose logging calls neither wait for MLflow nor fail with it.

    Each call is appended to a spool on disk and delivered by a thread. `start_run`, `log_params`, `log_artifacts` and
    `end_run` return when the disk has it; metrics are written together every ten milliseconds, which is what a
    killed process can lose of them. After an outage everything arrives, once, with the time at which it was logged.
    A spool that cannot be written is warned of once; what is lost is counted, and told by `close`.

    Run ids are the spool's. Reading (`get_run`, `get_best_run`) takes MLflow's ids too, first waits for what this
    spool has to deliver, and raises UnavailableError where that does not arrive. Logging to a run that was not
    started through this spool is a NotFoundError.

    Args:
        inner: the tracker on MLflow that everything goes to.
        folder: of the spool; trackers and processes of one home share it.
        clock: stamps runs, metrics and heartbeats.
        default_tags: tags of every run that starts here, for example `lineage.code_tags`.
        read_timeout_s: how long reading waits for the delivery.
        heartbeat_s: how often an open run says that its process lives.
    """

    def __init__(
        self,
        inner: MlflowTracker,
        folder: Path,
        clock: Clock,
        *,
        default_tags: Mapping[str, str] | None = None,
        read_timeout_s: float = 30.0,
        heartbeat_s: float = 60.0,
    ) -> None:
        self._inner, self._clock = inner, clock
        self.spool = Spool(folder)
        self._delivery = MlflowDelivery(inner)
        self._deliverer = Deliverer(self.spool, self._delivery, clock, heartbeat_s=heartbeat_s, holder=self)
        self._journal = Journal(self.spool, self._wake)
        self._default_tags = check_tags(default_tags or {})
        self._read_timeout_s = read_timeout_s
        self._known: set[str] = set()
        _OPEN.add(self)

    def start_run(
        self,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Start a run and return its id; runs that a crashed process of this host left open are closed."""
        check_names(experiment, run_name)
        all_tags = check_tags({**self._default_tags, **(tags or {})})
        parent = None if parent_run_id is None else self._run_id(parent_run_id)
        try:
            reap_here(self.spool, self._clock)
        except RatchetError as error:
            self._journal.warn(error)
        run = SpooledRun(
            run_id=secrets.token_hex(16),
            experiment=experiment,
            run_name=run_name,
            parent_run_id=parent,
            start_ns=self._clock.now_ns(),
            status="RUNNING",
            owner=this_process(),
            mlflow_run_id=None,
            is_uncertain=False,
        )
        self._known.add(run.run_id)
        self._journal.add(run_added(run, all_tags))
        self._journal.commit()
        return run.run_id

    def log_params(self, run_id: str, params: Mapping[str, ParamValue]) -> None:
        """Add parameters, kept as text; the same value again is no change."""
        run_id = self._run_id(run_id)
        kept = self._params(run_id)
        for key, value in params.items():
            check_key("parameter", key)
            text = check_text(f"parameter {key!r}", str(value))
            if kept.get(key, text) != text:
                raise InputError(f"parameter {key!r} of run {run_id} is {kept[key]!r} and cannot become {text!r}")
        for key, value in params.items():
            if key not in kept:
                self._journal.add(param_added(run_id, key, str(value)))
        self._journal.commit()

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one value for each metric, stamped now."""
        run_id, step, now_ms = self._run_id(run_id), check_step(step or 0), self._now_ms()
        values = [(key, check_number(key, value)) for key, value in metrics.items()]
        self._journal.add([record_added(run_id, "metric", [key, value, now_ms, step]) for key, value in values])

    def log_artifacts(self, run_id: str, path: Path) -> None:
        """Copy a file, or all files below a folder, into the spool: what happens to them later does not matter."""
        run_id = self._run_id(run_id)
        if not path.exists():
            raise InputError(f"artifacts: {path} does not exist")
        try:
            name = self.spool.keep_files(path, this_process())
        except RatchetError as error:
            self._journal.drop(error)
            return
        self._journal.add([record_added(run_id, "artifacts", name)])
        self._journal.commit()

    def end_run(self, run_id: str, status: EndStatus = "FINISHED") -> None:
        """End a run."""
        self._journal.add(run_ended(self._run_id(run_id), status, self._now_ms()))
        self._journal.commit()

    def get_run(self, run_id: str) -> RunSummary:
        """Return what MLflow knows about a run, once everything logged here has reached it.

        Raises:
            UnavailableError: MLflow does not answer, or does not take what waits of this run.
        """
        self._journal.commit()
        try:
            run = self.spool.run(run_id)
        except NotFoundError:
            return _presented(self._inner.get_run(run_id))
        self.flush(self._read_timeout_s)
        run = self.spool.run(run_id)
        if run.mlflow_run_id is None or self.spool.next_records(run.run_id, 1):
            raise self._waits(f"run {run.run_id}")
        return _presented(self._inner.get_run(run.mlflow_run_id))

    def get_best_run(
        self,
        experiment: str,
        metric: str,
        maximize: bool = True,
        filters: Mapping[str, str] | None = None,
        *,
        nested: bool = False,
    ) -> RunSummary | None:
        """Return the best finished run, once everything logged here has reached MLflow.

        Raises:
            UnavailableError: MLflow does not answer, or does not take what waits of this experiment.
        """
        if self.flush(self._read_timeout_s):
            waiting = set(self.spool.runs_waiting())
            # A parent of another experiment tells whether there is a leak, too.
            mine = [{run.run_id, run.parent_run_id if nested else None} for run in self.spool.runs(experiment)]
            if any(not waiting.isdisjoint(run_ids) for run_ids in mine):
                raise self._waits(f"experiment {experiment!r}")
        best = self._inner.get_best_run(experiment, metric, maximize, filters, nested=nested)
        return None if best is None else _presented(best)

    def flush(self, timeout_s: float) -> int:
        """Wait until the spool is delivered, at most for `timeout_s`, and return how many records still wait.

        Records that MLflow refused for good do not wait any more.
        """
        deadline_s = time.monotonic() + timeout_s
        hurry_s = -1.0
        self._journal.commit()
        while (n_waiting := self.pending()) > 0 and (now_s := time.monotonic()) < deadline_s:
            if now_s >= hurry_s:
                self._deliverer.wake(hurry=True)
                hurry_s = now_s + _HURRY_S
            time.sleep(min(_POLL_S, deadline_s - now_s))
        return n_waiting

    def pending(self) -> int:
        """Return how many records have not reached MLflow, of all processes that share the spool."""
        n_unwritten = self._journal.n_unwritten()
        try:
            return self.spool.n_waiting() + n_unwritten
        except RatchetError as error:
            self._journal.warn(error)
            return n_unwritten

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Deliver for a few seconds; what then waits is delivered by the next process, what is lost is told."""
        n_waiting = self.flush(timeout_s)
        n_unwritten = self._journal.n_unwritten()
        n_lost = self._journal.n_dropped() + n_unwritten
        if n_lost:
            _LOG.warning("tracking lost %d records, because %s could not be written", n_lost, self.spool.folder)
        if n_waiting > n_unwritten:
            _LOG.warning(
                "%d tracking records wait in %s; they are delivered with the next run, or by: ratchet runs replay",
                n_waiting - n_unwritten,
                self.spool.folder,
            )
        _OPEN.discard(self)

    def reap(self, max_silence_s: float = DEFAULT_SILENCE_S) -> list[str]:
        """Close the runs that crashed processes left open, as `ratchet.tracking.reaper.reap` does."""
        closed = reap(self.spool, self._delivery, self._clock, max_silence_s=max_silence_s)
        if closed:
            self._deliverer.wake()
        return closed

    def _run_id(self, run_id: str) -> str:
        """Return the spool's id of a run."""
        if run_id in self._known:
            return run_id
        try:
            found = self.spool.run(run_id).run_id
        except NotFoundError:
            raise
        except RatchetError as error:
            self._journal.warn(error)
            return run_id
        self._known.add(found)
        return found

    def _params(self, run_id: str) -> dict[str, str]:
        try:
            return self.spool.params(run_id)
        except RatchetError as error:
            self._journal.warn(error)
            return {}

    def _waits(self, what: str) -> UnavailableError:
        return UnavailableError(
            f"{what}: not all of it has reached MLflow yet; see `ratchet runs pending`, then try again"
        )

    def _wake(self) -> None:
        # A method of the tracker, so that what waits to be written keeps the tracker alive.
        self._deliverer.wake()

    def _now_ms(self) -> int:
        return self._clock.now_ns() // _NS_PER_MS


_OPEN: WeakSet[SpooledTracker] = WeakSet()


def _presented(summary: RunSummary) -> RunSummary:
    """Return a summary with the spool's ids and without its bookkeeping."""
    return summary.model_copy(
        update={
            "run_id": summary.tags.get(RUN_KEY_TAG, summary.run_id),
            "parent_run_id": summary.tags.get(PARENT_KEY_TAG, summary.parent_run_id),
            "tags": {key: value for key, value in summary.tags.items() if key not in _BOOKKEEPING},
        }
    )


@atexit.register
def _close_all() -> None:
    """Give the trackers that nobody closed a few seconds together when the process ends."""
    deadline_s = time.monotonic() + CLOSE_TIMEOUT_S
    for tracker in list(_OPEN):
        if tracker.pending():
            tracker.close(max(deadline_s - time.monotonic(), 0.0))
