"""Tracking of runs: what every engine must promise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field

from ratchet.errors import InputError, NotFoundError

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
EndStatus = Literal["FINISHED", "FAILED", "KILLED"]
ParamValue = str | int | float | bool | None

LEAK_TAG = "ratchet.leak"
"""A run tagged `true` saw data that it was judged on; neither it nor a run nested in it is ever the best one."""


class RunSummary(BaseModel):
    """What is known about one run."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    experiment: str
    run_name: str
    status: RunStatus
    start_ns: int = Field(description="Nanoseconds UTC; engines may keep milliseconds only.")
    parent_run_id: str | None
    params: dict[str, str]
    metrics: dict[str, float] = Field(description="For each metric the value at its highest step.")
    tags: dict[str, str]


class Tracker(Protocol):
    """Keeps parameters, metrics and files of runs; runs of a walk-forward are children of one parent run.

    A tracker never decides anything: what is trained or promoted must not depend on it. All methods raise
    UnavailableError when the store cannot be reached, NotFoundError for an unknown run, and InputError for a key or
    value that cannot be stored.
    """

    def start_run(
        self,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        parent_run_id: str | None = None,
    ) -> str:
        """Start a run and return its id; the experiment is made when it does not exist.

        Raises:
            NotFoundError: the parent run does not exist.
        """
        ...

    def log_params(self, run_id: str, params: Mapping[str, ParamValue]) -> None:
        """Add parameters, kept as text; the same value again is no change.

        Raises:
            InputError: a parameter already has another value.
        """
        ...

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add one value for each metric; `step` is the epoch, fold or trial, 0 if not given.

        A value may be NaN or infinite, as the loss of a training that diverged is.
        """
        ...

    def log_artifacts(self, run_id: str, path: Path) -> None:
        """Store a file, or all files below a folder with their relative paths.

        Raises:
            InputError: the path does not exist.
        """
        ...

    def end_run(self, run_id: str, status: EndStatus = "FINISHED") -> None:
        """End a run."""
        ...

    def get_run(self, run_id: str) -> RunSummary:
        """Return what is known about a run."""
        ...

    def get_best_run(
        self,
        experiment: str,
        metric: str,
        maximize: bool = True,
        filters: Mapping[str, str] | None = None,
        *,
        nested: bool = False,
    ) -> RunSummary | None:
        """Return the finished run whose value of a metric at its highest step is best.

        Runs that have not finished, are flagged `ratchet.leak=true` by a tag or parameter, lack the metric or have a
        value that is not finite do not count; of equals the one that started first wins. A run with a parent does not
        count either: the best of many folds is the luckiest one.

        Args:
            experiment: its name.
            metric: its key.
            maximize: whether more is better.
            filters: text that a run's tags or parameters of these keys must have.
            nested: whether runs with a parent count too, unless a run above them is flagged or cannot be found.

        Returns:
            None when no run counts or the experiment does not exist.
        """
        ...

    def flush(self, timeout_s: float) -> int:
        """Wait until everything logged has reached the store, at most for `timeout_s`; return what still waits."""
        ...

    def close(self) -> None:
        """Hand over what waits, as far as that goes in a few seconds; logging goes on to work."""
        ...


def counts(run: RunSummary, filters: Mapping[str, str], *, nested: bool, get_run: Callable[[str], RunSummary]) -> bool:
    """Tell whether a run may be the best one: the wanted tags or parameters, and no leak in it or above it.

    A run with a parent counts only where `nested` says so; `get_run` finds the parents.
    """
    if run.parent_run_id is not None and not nested:
        return False
    has_wanted = all(wanted in (run.tags.get(key), run.params.get(key)) for key, wanted in filters.items())
    return has_wanted and not _leaks(run, get_run)


def _leaks(run: RunSummary, get_run: Callable[[str], RunSummary]) -> bool:
    """Tell whether a run or one above it is flagged, or may be, because its parent cannot be found."""
    seen: set[str] = set()  # other clients of a store can make a run its own ancestor
    while not _is_flagged(run):
        parent = run.parent_run_id
        if parent is None or parent in seen:
            return False
        seen.add(parent)
        try:
            run = get_run(parent)
        except (NotFoundError, InputError):
            return True
    return True


def _is_flagged(run: RunSummary) -> bool:
    # A leak that is found after a run has begun is flagged by a parameter, since tags are given at the start.
    return "true" in {run.tags.get(LEAK_TAG, "").lower(), run.params.get(LEAK_TAG, "").lower()}
