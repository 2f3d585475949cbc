"""A tracker that keeps everything in memory."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ratchet.clock import Clock, FixedClock
from ratchet.errors import InputError, NotFoundError
from ratchet.tracking import EndStatus, ParamValue, RunStatus, RunSummary
from ratchet.tracking.base import counts


@dataclass
class _Run:
    experiment: str
    run_name: str
    start_ns: int
    parent_run_id: str | None
    tags: dict[str, str]
    status: RunStatus = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    artifacts: dict[str, bytes] = field(default_factory=dict)

    def last(self, metric: str) -> float | None:
        values = self.metrics.get(metric)
        # max() keeps the first of equals: look from the end, so that of one step the later value counts.
        return max(reversed(values), key=lambda entry: entry[0])[1] if values else None


class InMemoryTracker:
    """A `Tracker` for tests and for runs that nobody wants to keep.

    Args:
        clock: stamps runs; by default one that stands still at 0.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or FixedClock(0)
        self._runs: dict[str, _Run] = {}

    def start_run(
        self,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Start a run and return its id."""
        if parent_run_id is not None:
            self._run(parent_run_id)
        run_id = secrets.token_hex(16)
        self._runs[run_id] = _Run(experiment, run_name, self._clock.now_ns(), parent_run_id, dict(tags or {}))
        return run_id

    def log_params(self, run_id: str, params: Mapping[str, ParamValue]) -> None:
        """Add parameters, kept as text; the same value again is no change."""
        run = self._run(run_id)
        for key, value in params.items():
            kept = run.params.setdefault(key, str(value))
            if kept != str(value):
                raise InputError(f"parameter {key!r} of run {run_id} is {kept!r} and cannot become {str(value)!r}")

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one value for each metric."""
        run = self._run(run_id)
        for key, value in metrics.items():
            run.metrics.setdefault(key, []).append((step or 0, float(value)))

    def log_artifacts(self, run_id: str, path: Path) -> None:
        """Keep the content of a file, or of all files below a folder."""
        run = self._run(run_id)
        if not path.exists():
            raise InputError(f"artifacts: {path} does not exist")
        base = path if path.is_dir() else path.parent
        files = path.rglob("*") if path.is_dir() else [path]
        run.artifacts.update({str(file.relative_to(base)): file.read_bytes() for file in files if file.is_file()})

    def end_run(self, run_id: str, status: EndStatus = "FINISHED") -> None:
        """End a run."""
        self._run(run_id).status = status

    def get_run(self, run_id: str) -> RunSummary:
        """Return what is known about a run."""
        run = self._run(run_id)
        return RunSummary(
            run_id=run_id,
            experiment=run.experiment,
            run_name=run.run_name,
            status=run.status,
            start_ns=run.start_ns,
            parent_run_id=run.parent_run_id,
            params=dict(run.params),
            metrics={key: value for key in run.metrics if (value := run.last(key)) is not None},
            tags=dict(run.tags),
        )

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
        best: tuple[float, str] | None = None
        for run_id, run in self._runs.items():
            value = run.last(metric)
            if run.experiment != experiment or run.status != "FINISHED" or value is None or not math.isfinite(value):
                continue
            score = value if maximize else -value
            if best is not None and score <= best[0]:
                continue
            if counts(self.get_run(run_id), filters or {}, nested=nested, get_run=self.get_run):
                best = (score, run_id)
        return None if best is None else self.get_run(best[1])

    def flush(self, timeout_s: float) -> int:
        """Return 0: nothing ever waits."""
        return 0

    def close(self) -> None:
        """Do nothing."""

    def artifacts(self, run_id: str) -> dict[str, bytes]:
        """Return the content of the files of a run by relative path."""
        return dict(self._run(run_id).artifacts)

    def _run(self, run_id: str) -> _Run:
        if run_id not in self._runs:
            raise NotFoundError(f"no run {run_id}")
        return self._runs[run_id]
