"""Which runs may be the best one where parents are missing, late or tagged by other clients of MLflow."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import UnavailableError
from ratchet.tracking import LEAK_TAG, MlflowTracker, SpooledTracker, Tracker
from tests.unit.tracking_server import migrate

CLOCK = FixedClock(1_700_000_000_000_000_000)


@pytest.fixture(scope="module")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("best") / "mlflow.db"
    migrate(database)
    return database


@pytest.fixture
def inner(migrated_store: Path, tmp_path: Path) -> MlflowTracker:
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    return MlflowTracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "artifacts", CLOCK)


@pytest.fixture
def tracker(inner: MlflowTracker, tmp_path: Path) -> Iterator[SpooledTracker]:
    tracker = SpooledTracker(inner, tmp_path / "spool", CLOCK, read_timeout_s=2.0)
    yield tracker
    tracker.close(0)


def finished(tracker: Tracker, name: str, accuracy: float, parent: str | None = None) -> str:
    run_id = tracker.start_run("btc", name, parent_run_id=parent)
    tracker.log_metrics(run_id, {"accuracy": accuracy})
    tracker.end_run(run_id)
    return run_id


def best(tracker: Tracker, *, nested: bool) -> str | None:
    run = tracker.get_best_run("btc", "accuracy", nested=nested)
    return None if run is None else run.run_name


def test_a_fold_whose_parent_mlflow_refused_is_still_a_fold(tracker: SpooledTracker, inner: MlflowTracker) -> None:
    """Nobody knows whether a parent that never arrived was flagged, so that its folds do not count."""
    with inner.connected() as client:
        client.delete_experiment(client.create_experiment("gone"))
    parent = tracker.start_run("gone", "training")
    finished(tracker, "fold", 0.9, parent)
    finished(tracker, "other", 0.5)
    assert tracker.flush(60) == 0
    for reader in (tracker, inner):
        assert best(reader, nested=False) == "other"
        assert best(reader, nested=True) == "other"


@pytest.mark.parametrize("parent", ["0" * 32, "../../etc/passwd"])
def test_a_run_whose_parent_does_not_exist_does_not_count(parent: str, inner: MlflowTracker) -> None:
    """A tag that another client wrote names a run that is not there, or none at all."""
    with inner.connected() as client:
        client.set_tag(finished(inner, "fold", 0.9), "mlflow.parentRunId", parent)
    finished(inner, "other", 0.5)
    assert best(inner, nested=True) == "other"


def test_runs_that_are_each_others_parent_are_compared(inner: MlflowTracker) -> None:
    """Another client can tag so; the search ends, and a flag in the circle counts for all of it."""
    first = finished(inner, "first", 0.5)
    second = finished(inner, "second", 0.9, first)
    with inner.connected() as client:
        client.set_tag(first, "mlflow.parentRunId", second)
    assert best(inner, nested=False) is None
    assert best(inner, nested=True) == "second"
    inner.log_params(first, {LEAK_TAG: "true"})
    assert best(inner, nested=True) is None


def test_folds_are_not_compared_while_their_parent_waits(tracker: SpooledTracker) -> None:
    """The flag of a parent in another experiment may be on its way."""
    parent = tracker.start_run("trainings", "training")
    finished(tracker, "fold", 0.9, parent)
    assert tracker.flush(60) == 0
    with tracker.spool.delivering() as is_mine:  # holds up what follows, as a slow MLflow does
        assert is_mine
        tracker.log_params(parent, {LEAK_TAG: "true"})
        assert best(tracker, nested=False) is None
        with pytest.raises(UnavailableError, match="btc"):
            best(tracker, nested=True)
    assert tracker.flush(60) == 0
    assert best(tracker, nested=True) is None
