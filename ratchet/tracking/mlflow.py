"""Tracking with MLflow, through its client alone: no global state, no autologging, no pickled models."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from ratchet.clock import Clock, SystemClock
from ratchet.errors import ConfigurationError, InputError, NotFoundError, RatchetError, UnavailableError
from ratchet.tracking.base import EndStatus, ParamValue, RunSummary, counts

_NS_PER_MS = 1_000_000
_PARENT_TAG = "mlflow.parentRunId"
PARENT_KEY_TAG = "ratchet.parent_run_key"
"""The spool's id of the parent; it alone tells that a run has one where MLflow refused to start the parent."""
_SYSTEM_TAGS = "mlflow."
_MAX_PARAMS_PER_CALL = 100
_MAX_METRICS_PER_CALL = 1000
_RUNS_PER_PAGE = 100
_HTTP_TIMEOUT_S = 30
_HTTP_REFUSALS = frozenset({400, 413, 414, 422})
# MLflow's SQL store writes an infinite value as the largest float.
_LARGEST_VALUE = 1e308
_UNKNOWN = "RESOURCE_DOES_NOT_EXIST"  # "not found" alone comes from servers that are no MLflow
_REFUSED = frozenset({"INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_ALREADY_EXISTS", "INVALID_STATE"})


class MlflowTracker:
    """A `Tracker` on an MLflow store; the port's docstrings say what each method promises.

    The caller switches MLflow's telemetry off (`ratchet.settings.silence_telemetry`) before the first call, which
    imports MLflow and brings the store's tables up to date.

    Args:
        tracking_uri: `sqlite:///path`, another database or an MLflow server.
        artifact_root: folder for the files of new experiments; an MLflow server chooses the place itself.
        clock: stamps runs and metrics, which MLflow keeps to the millisecond.
        http_timeout_s: how long a server may take to answer, for the whole process; a request is sent once.
            `MLFLOW_HTTP_REQUEST_TIMEOUT` and `MLFLOW_HTTP_REQUEST_MAX_RETRIES` in the environment go first.
    """

    def __init__(
        self,
        tracking_uri: str,
        artifact_root: Path,
        clock: Clock | None = None,
        *,
        http_timeout_s: int = _HTTP_TIMEOUT_S,
    ) -> None:
        self._tracking_uri = tracking_uri
        self._artifact_root = artifact_root.absolute()
        self._clock = clock or SystemClock()
        self._http_timeout_s = http_timeout_s
        self._client: Any = None

    def start_run(
        self,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Start a run and return its id; the experiment is made when it does not exist."""
        with self.connected() as client:
            all_tags = dict(tags or {})
            if parent_run_id is not None:
                client.get_run(parent_run_id)
                all_tags[_PARENT_TAG] = parent_run_id
            run = client.create_run(
                self.experiment_id(client, experiment),
                start_time=self._now_ms(),
                tags=all_tags,
                run_name=run_name,
            )
            return str(run.info.run_id)

    def log_params(self, run_id: str, params: Mapping[str, ParamValue]) -> None:
        """Add parameters, kept as text; the same value again is no change."""
        with self.connected() as client:
            from mlflow.entities import Param  # noqa: PLC0415

            entries = [Param(key, str(value)) for key, value in params.items()]
            for batch in _batches(entries, _MAX_PARAMS_PER_CALL):
                client.log_batch(run_id, params=batch, synchronous=True)

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one value for each metric, up to a thousand in one call to the store."""
        with self.connected() as client:
            from mlflow.entities import Metric  # noqa: PLC0415

            now_ms = self._now_ms()
            entries = [Metric(key, float(value), now_ms, step or 0) for key, value in metrics.items()]
            for batch in _batches(entries, _MAX_METRICS_PER_CALL):
                client.log_batch(run_id, metrics=batch, synchronous=True)

    def log_artifacts(self, run_id: str, path: Path) -> None:
        """Store a file, or all files below a folder with their relative paths."""
        if not path.exists():
            raise InputError(f"artifacts: {path} does not exist")
        with self.connected() as client:
            if path.is_dir():
                client.log_artifacts(run_id, str(path))
            else:
                client.log_artifact(run_id, str(path))

    def end_run(self, run_id: str, status: EndStatus = "FINISHED") -> None:
        """End a run."""
        with self.connected() as client:
            client.set_terminated(run_id, status=status, end_time=self._now_ms())

    def get_run(self, run_id: str) -> RunSummary:
        """Return what is known about a run."""
        with self.connected() as client:
            run = client.get_run(run_id)
            return _summary(run, client.get_experiment(run.info.experiment_id).name)

    def get_best_run(
        self,
        experiment: str,
        metric: str,
        maximize: bool = True,
        filters: Mapping[str, str] | None = None,
        *,
        nested: bool = False,
    ) -> RunSummary | None:
        """Return the finished run with the best value of a metric, None when there is none."""
        get_run = cache(self.get_run)
        with self.connected() as client:
            found = client.get_experiment_by_name(experiment)
            if found is None:
                return None
            for run in _finished_runs(client, found.experiment_id, metric, maximize=maximize):
                value = run.data.metrics.get(metric)
                if value is None or not math.isfinite(value) or abs(value) >= _LARGEST_VALUE:
                    continue
                summary = _summary(run, experiment)
                if counts(summary, filters or {}, nested=nested, get_run=get_run):
                    return summary
            return None

    def flush(self, timeout_s: float) -> int:
        """Return 0: every call has reached the store when it returns."""
        return 0

    def close(self) -> None:
        """Do nothing."""

    def experiment_id(self, client: Any, name: str) -> str:
        """Return the id of an experiment, which is made when it does not exist.

        Raises:
            InputError: it was deleted.
        """
        found = client.get_experiment_by_name(name)
        if found is None:
            return _create_experiment(client, name, self._artifact_location())
        if found.lifecycle_stage == "deleted":
            raise InputError(f"experiment {name!r} was deleted in MLflow; restore it there or choose another name")
        return str(found.experiment_id)

    def _artifact_location(self) -> str | None:
        if urlsplit(self._tracking_uri).scheme in ("http", "https"):
            return None  # a server has a place of its own, which may not be on this machine
        self._artifact_root.mkdir(parents=True, exist_ok=True)
        return self._artifact_root.as_uri()

    def _now_ms(self) -> int:
        return self._clock.now_ns() // _NS_PER_MS

    @contextmanager
    def connected(self) -> Iterator[Any]:
        """Give the client of MLflow, and turn what it raises into the library's errors."""
        try:
            from mlflow import MlflowClient  # noqa: PLC0415
            from mlflow.exceptions import MlflowException  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError('tracking needs MLflow: pip install "ratchet[track]"') from error
        try:
            if self._client is None:
                _tame_client(self._http_timeout_s)
                self._client = MlflowClient(tracking_uri=self._tracking_uri)
            yield self._client
        except MlflowException as error:
            raise _translate(error.error_code, _first_line(error)) from error
        except (SQLAlchemyError, OSError, ValueError) as error:
            # A ValueError is an answer that is no JSON.
            if _is_refusal(error):
                raise InputError(f"MLflow: {_first_line(error)}") from error
            raise UnavailableError(f"MLflow at {self._tracking_uri}: {_first_line(error)}") from error


def _tame_client(http_timeout_s: int) -> None:
    """Let no request to a server wait for long (MLflow's own defaults add up to 20 minutes), and print no addresses.

    They are defaults of the whole process; what the environment says goes first.
    """
    from mlflow import environment_variables as variables  # noqa: PLC0415

    variables.MLFLOW_HTTP_REQUEST_TIMEOUT.default = http_timeout_s
    variables.MLFLOW_HTTP_REQUEST_MAX_RETRIES.default = 0
    variables.MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT.default = True


def _is_refusal(error: Exception) -> bool:
    """Tell whether an HTTP server said that a file will never be accepted."""
    return getattr(getattr(error, "response", None), "status_code", None) in _HTTP_REFUSALS


def _create_experiment(client: Any, name: str, artifact_location: str | None) -> str:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        return str(client.create_experiment(name, artifact_location=artifact_location))
    except MlflowException as error:
        # Another process was first.
        found = client.get_experiment_by_name(name)
        if error.error_code != "RESOURCE_ALREADY_EXISTS" or found is None:
            raise
        return str(found.experiment_id)


def _finished_runs(client: Any, experiment_id: str, metric: str, *, maximize: bool) -> Iterator[Any]:
    order = [f'metrics."{metric}" {"DESC" if maximize else "ASC"}', "attributes.start_time ASC"]
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string="attributes.status = 'FINISHED'",
            max_results=_RUNS_PER_PAGE,
            order_by=order,
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _summary(run: Any, experiment: str) -> RunSummary:
    tags = dict(run.data.tags)
    return RunSummary(
        run_id=run.info.run_id,
        experiment=experiment,
        run_name=run.info.run_name,
        status=run.info.status,
        start_ns=run.info.start_time * _NS_PER_MS,
        parent_run_id=tags.get(_PARENT_TAG, tags.get(PARENT_KEY_TAG)),
        params=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags={key: value for key, value in tags.items() if not key.startswith(_SYSTEM_TAGS)},
    )


def _translate(code: str, message: str) -> RatchetError:
    if code == _UNKNOWN:
        return NotFoundError(f"MLflow: {message}")
    if code in _REFUSED:
        return InputError(f"MLflow: {message}")
    return UnavailableError(f"MLflow ({code}): {message}")


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _batches(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(entries), size):
        yield entries[start : start + size]
