"""The tracker in memory, the one on MLflow and the one with a spool before it keep the tracker's contract."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import InputError, UnavailableError
from ratchet.settings import silence_telemetry
from ratchet.testing import InMemoryTracker
from ratchet.testing.tracker_contract import Artifacts, TrackerContract
from ratchet.tracking import MlflowTracker, SpooledTracker

# MLflow announces what it will remove as FutureWarning.
pytestmark = pytest.mark.filterwarnings("error::FutureWarning")


class TestInMemoryTracker(TrackerContract):
    @pytest.fixture
    def tracker(self, clock: FixedClock) -> InMemoryTracker:
        return InMemoryTracker(clock)

    @pytest.fixture
    def artifacts(self, tracker: InMemoryTracker) -> Artifacts:
        return tracker.artifacts


@pytest.fixture(scope="session")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with its tables; migrating takes seconds, copying does not."""
    silence_telemetry(os.environ)
    folder = tmp_path_factory.mktemp("mlflow")
    path = folder / "template.db"
    MlflowTracker(f"sqlite:///{path}", folder / "artifacts").get_best_run("none", "none")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def open_tracker(migrated_store: Path, folder: Path, clock: FixedClock) -> MlflowTracker:
    shutil.copy(migrated_store, folder / "mlflow.db")
    return MlflowTracker(f"sqlite:///{folder / 'mlflow.db'}", folder / "files of runs", clock)


def stored_files(folder: Path) -> dict[str, bytes]:
    """The files that MLflow keeps of one run."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class TestMlflowTracker(TrackerContract):
    @pytest.fixture
    def tracker(self, clock: FixedClock, tmp_path: Path, migrated_store: Path) -> MlflowTracker:
        return open_tracker(migrated_store, tmp_path, clock)

    @pytest.fixture
    def artifacts(self, tracker: MlflowTracker, tmp_path: Path) -> Artifacts:
        def stored(run_id: str) -> dict[str, bytes]:
            return stored_files(tmp_path / "files of runs" / run_id / "artifacts")

        return stored

    def test_a_second_tracker_sees_the_same_runs(
        self, tracker: MlflowTracker, clock: FixedClock, tmp_path: Path
    ) -> None:
        """Runs live in the store, not in the object, and one experiment name is one experiment."""
        run_id = tracker.start_run("btc", "run")
        other = MlflowTracker(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "files of runs", clock)
        other.log_metrics(run_id, {"a": 1.0})
        other.end_run(run_id)
        other.start_run("btc", "second")
        best = tracker.get_best_run("btc", "a")
        assert best is not None
        assert best.run_id == run_id

    def test_keys_that_mlflow_cannot_store_are_input_errors(self, tracker: MlflowTracker) -> None:
        """MLflow's refusals arrive as the library's errors."""
        run_id = tracker.start_run("btc", "run")
        with pytest.raises(InputError, match="MLflow"):
            tracker.log_metrics(run_id, {"a\nb": 1.0})
        with pytest.raises(InputError, match="MLflow"):
            tracker.get_run("../../etc/passwd")

    def test_a_store_that_cannot_be_opened_is_unavailable(self, tmp_path: Path, clock: FixedClock) -> None:
        """A folder that cannot be made is told as such, not as an error of SQLAlchemy or the system."""
        (tmp_path / "file").write_bytes(b"")
        tracker = MlflowTracker(f"sqlite:///{tmp_path / 'file' / 'mlflow.db'}", tmp_path / "artifacts", clock)
        with pytest.raises(UnavailableError, match="MLflow"):
            tracker.start_run("btc", "run")


class TestSpooledTracker(TrackerContract):
    @pytest.fixture
    def tracker(self, clock: FixedClock, tmp_path: Path, migrated_store: Path) -> Iterator[SpooledTracker]:
        tracker = SpooledTracker(open_tracker(migrated_store, tmp_path, clock), tmp_path / "spool", clock)
        yield tracker
        assert tracker.flush(30) == 0
        assert tracker.spool.set_aside() == []
        tracker.close()

    @pytest.fixture
    def artifacts(self, tracker: SpooledTracker, tmp_path: Path) -> Artifacts:
        def stored(run_id: str) -> dict[str, bytes]:
            assert tracker.flush(30) == 0
            mlflow_run_id = tracker.spool.run(run_id).mlflow_run_id
            return stored_files(tmp_path / "files of runs" / str(mlflow_run_id) / "artifacts")

        return stored
