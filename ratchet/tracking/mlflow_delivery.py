"""Writing spooled records to MLflow so that doing it twice is the same as doing it once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.tracking.base import EndStatus
from ratchet.tracking.mlflow import PARENT_KEY_TAG, MlflowTracker
from ratchet.tracking.spool import Record, SpooledRun

RUN_KEY_TAG = "ratchet.run_key"
HEARTBEAT_TAG = "ratchet.heartbeat_ns"

_MLFLOW_PARENT_TAG = "mlflow.parentRunId"
_NS_PER_MS = 1_000_000
_PER_PAGE = 100


class MlflowDelivery:
    """What the spool's deliverer needs of MLflow; errors are those of `MlflowTracker`.

    Each method may be repeated after a failure whose outcome is unknown: runs are found by their key, equal metrics
    (run, key, step, time, value) and parameters are kept once by MLflow's store, files and the status are overwritten.
    """

    def __init__(self, tracker: MlflowTracker) -> None:
        self._tracker = tracker

    def start(self, run: SpooledRun, tags: Mapping[str, str], mlflow_parent_id: str | None) -> str:
        """Start a run unless one of this key exists, and return MLflow's id for it."""
        with self._tracker.connected() as client:
            experiment_id = self._tracker.experiment_id(client, run.experiment)
            found = _runs_of_key(client, experiment_id, run.run_id)
            if found:
                return found[0]
            all_tags = {**tags, **run.owner.tags(), RUN_KEY_TAG: run.run_id, HEARTBEAT_TAG: str(run.start_ns)}
            if run.parent_run_id is not None:
                all_tags[PARENT_KEY_TAG] = run.parent_run_id
            if mlflow_parent_id is not None:
                all_tags[_MLFLOW_PARENT_TAG] = mlflow_parent_id
            created = client.create_run(
                experiment_id, start_time=run.start_ns // _NS_PER_MS, tags=all_tags, run_name=run.run_name
            )
            return str(created.info.run_id)

    def remove_doubles(self, run: SpooledRun) -> None:
        """Delete the runs of the same key that a request which was thought lost has started."""
        with self._tracker.connected() as client:
            experiment_id = self._tracker.experiment_id(client, run.experiment)
            for mlflow_run_id in _runs_of_key(client, experiment_id, run.run_id):
                if mlflow_run_id != run.mlflow_run_id:
                    client.delete_run(mlflow_run_id)

    def log(self, mlflow_run_id: str, records: Sequence[Record]) -> None:
        """Write `metric` and `param` records: at most 1,000, and 100 parameters among them."""
        with self._tracker.connected() as client:
            from mlflow.entities import Metric, Param  # noqa: PLC0415

            metrics = [Metric(*record.body) for record in records if record.kind == "metric"]
            params = [Param(*record.body) for record in records if record.kind == "param"]
            client.log_batch(mlflow_run_id, metrics=metrics, params=params, synchronous=True)

    def upload(self, mlflow_run_id: str, folder: Path) -> None:
        """Store all files below a folder."""
        self._tracker.log_artifacts(mlflow_run_id, folder)

    def end(self, mlflow_run_id: str, status: EndStatus, end_ms: int) -> None:
        """End a run."""
        with self._tracker.connected() as client:
            client.set_terminated(mlflow_run_id, status=status, end_time=end_ms)

    def beat(self, mlflow_run_id: str, now_ns: int) -> None:
        """Say that the process of a run lives."""
        with self._tracker.connected() as client:
            client.set_tag(mlflow_run_id, HEARTBEAT_TAG, str(now_ns))

    def running(self) -> dict[str, dict[str, str]]:
        """Return the tags of the runs that were spooled, by any host, and have not ended, by MLflow's id."""
        with self._tracker.connected() as client:
            experiments = [experiment.experiment_id for experiment in _pages(client.search_experiments)]
            found = _pages(client.search_runs, experiments, "attributes.status = 'RUNNING'") if experiments else []
            return {run.info.run_id: dict(run.data.tags) for run in found if RUN_KEY_TAG in run.data.tags}


def _runs_of_key(client: Any, experiment_id: str, run_key: str) -> list[str]:
    wanted = f"tags.`{RUN_KEY_TAG}` = '{run_key}'"
    return sorted(run.info.run_id for run in client.search_runs([experiment_id], wanted))


def _pages(search: Any, *arguments: Any) -> Iterator[Any]:
    token = None
    while True:
        page = search(*arguments, max_results=_PER_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return
