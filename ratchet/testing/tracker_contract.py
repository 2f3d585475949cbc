"""What every tracker must do: subclass `TrackerContract` and give it its fixtures."""
# ruff: noqa: S101 - a contract suite asserts

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import FixedClock
from ratchet.errors import InputError, NotFoundError
from ratchet.tracking import LEAK_TAG, ParamValue, Tracker

UNKNOWN_RUN = "0" * 32
Artifacts = Callable[[str], dict[str, bytes]]


class TrackerContract(ABC):
    """The tests; each starts with an empty tracker whose clock is the `clock` fixture."""

    @pytest.fixture
    def clock(self) -> FixedClock:
        """A clock that tests advance; it starts at a whole millisecond."""
        return FixedClock(1_700_000_000_000_000_000)

    @pytest.fixture
    @abstractmethod
    def tracker(self, clock: FixedClock, tmp_path: Path) -> Any:
        """Return or yield an empty tracker."""

    @pytest.fixture
    @abstractmethod
    def artifacts(self, tracker: Any) -> Artifacts:
        """Return a function that gives the stored files of a run by relative path."""

    def test_a_run_starts_and_ends(self, tracker: Tracker, clock: FixedClock) -> None:
        """A run keeps its name, experiment, tags and start, and its status is the one it was ended with."""
        run_id = tracker.start_run("btc/1h", "fold 0", tags={"digest": "abc", "näme": "wért"})
        run = tracker.get_run(run_id)
        assert (run.run_id, run.experiment, run.run_name, run.status) == (run_id, "btc/1h", "fold 0", "RUNNING")
        assert (run.tags, run.start_ns, run.parent_run_id) == (
            {"digest": "abc", "näme": "wért"},
            clock.now_ns(),
            None,
        )
        tracker.end_run(run_id)
        assert tracker.get_run(run_id).status == "FINISHED"
        for status in ("FAILED", "KILLED"):
            other = tracker.start_run("btc/1h", "fold 1")
            tracker.end_run(other, status)
            assert tracker.get_run(other).status == status

    def test_folds_are_children_of_one_run(self, tracker: Tracker) -> None:
        """A run knows its parent, and an unknown parent is refused."""
        parent = tracker.start_run("btc", "walk-forward")
        child = tracker.start_run("btc", "fold 0", parent_run_id=parent)
        assert tracker.get_run(child).parent_run_id == parent
        with pytest.raises(NotFoundError):
            tracker.start_run("btc", "fold 0", parent_run_id=UNKNOWN_RUN)

    def test_parameters_are_kept_as_text_and_never_change(self, tracker: Tracker) -> None:
        """Values come back as text; the same again is fine, another value is refused."""
        run_id = tracker.start_run("btc", "run")
        params: dict[str, ParamValue] = {"epochs": 3, "rate": 0.001, "network": "cnn", "amp": False, "seed": None}
        tracker.log_params(run_id, params)
        tracker.log_params(run_id, {"epochs": 3})
        assert tracker.get_run(run_id).params == {
            "epochs": "3",
            "rate": "0.001",
            "network": "cnn",
            "amp": "False",
            "seed": "None",
        }
        with pytest.raises(InputError, match="epochs"):
            tracker.log_params(run_id, {"epochs": 4})

    def test_more_than_one_batch_is_kept(self, tracker: Tracker) -> None:
        """250 parameters and 1,100 metrics in one call each arrive completely."""
        run_id = tracker.start_run("btc", "run")
        tracker.log_params(run_id, {f"p{index}": index for index in range(250)})
        tracker.log_metrics(run_id, {f"m{index}": index / 7 for index in range(1_100)})
        run = tracker.get_run(run_id)
        assert (len(run.params), len(run.metrics)) == (250, 1_100)
        assert run.metrics["m1099"] == pytest.approx(1_099 / 7)

    def test_the_metric_of_the_highest_step_counts(self, tracker: Tracker, clock: FixedClock) -> None:
        """A metric's value is the one at its highest step, in whatever order the steps were logged."""
        run_id = tracker.start_run("btc", "run")
        for step, value in ((0, 0.9), (2, 0.5), (1, 0.7)):
            clock.advance(1_000_000)
            tracker.log_metrics(run_id, {"loss": value, "fold 1/accuracy": 1 - value}, step=step)
        assert tracker.get_run(run_id).metrics == pytest.approx({"loss": 0.5, "fold 1/accuracy": 0.5})

    def test_a_diverged_loss_can_be_logged(self, tracker: Tracker) -> None:
        """NaN and infinity are stored without an error."""
        run_id = tracker.start_run("btc", "run")
        tracker.log_metrics(run_id, {"nan": float("nan"), "inf": float("inf")})
        assert set(tracker.get_run(run_id).metrics) == {"nan", "inf"}

    def test_files_and_folders_are_stored(self, tracker: Tracker, artifacts: Artifacts, tmp_path: Path) -> None:
        """A file keeps its name, a folder its tree, and a path that does not exist is refused."""
        folder = tmp_path / "report"
        (folder / "fold 0").mkdir(parents=True)
        (folder / "card.md").write_bytes(b"# card")
        (folder / "fold 0" / "curve.csv").write_bytes(b"1,2")
        (tmp_path / "single.json").write_bytes(b"{}")
        run_id = tracker.start_run("btc", "run")
        tracker.log_artifacts(run_id, folder)
        tracker.log_artifacts(run_id, tmp_path / "single.json")
        assert artifacts(run_id) == {"card.md": b"# card", "fold 0/curve.csv": b"1,2", "single.json": b"{}"}
        with pytest.raises(InputError, match="absent"):
            tracker.log_artifacts(run_id, tmp_path / "absent")

    def test_the_best_run_is_the_best_finished_one(self, tracker: Tracker, clock: FixedClock) -> None:
        """Only finished runs of the experiment count; the direction is respected and the first of equals wins."""
        for name, value, status in (
            ("low", 0.1, "FINISHED"),
            ("high", 0.8, "FINISHED"),
            ("equal", 0.8, "FINISHED"),
            ("failed", 0.9, "FAILED"),
            ("killed", -1.0, "KILLED"),
        ):
            finished(tracker, clock, "btc", name, {"accuracy": value}, status=status)
        tracker.log_metrics(tracker.start_run("btc", "running"), {"accuracy": 0.99})
        finished(tracker, clock, "eth", "other", {"accuracy": 0.99})
        assert best(tracker, "btc", "accuracy") == "high"
        assert best(tracker, "btc", "accuracy", maximize=False) == "low"

    def test_the_best_run_has_the_wanted_tags_and_parameters(self, tracker: Tracker, clock: FixedClock) -> None:
        """Filters compare tags and parameters as text, all of them, and a run flagged as leaking never wins."""
        for name, value, preset, tags in (
            ("small", 0.1, "small", {"venue": "binance"}),
            ("standard", 0.2, "standard", {"venue": "binance"}),
            ("kraken", 0.3, "small", {"venue": "kraken"}),
            ("leak", 0.9, "small", {"venue": "binance", LEAK_TAG: "true"}),
            ("no leak", 0.05, "small", {"venue": "binance", LEAK_TAG: "false"}),
        ):
            finished(tracker, clock, "btc", name, {"accuracy": value}, params={"preset": preset}, tags=tags)
        found: dict[str, ParamValue] = {"preset": "small", LEAK_TAG: "true"}
        finished(tracker, clock, "btc", "leak found later", {"accuracy": 0.95}, params=found, tags={})
        assert best(tracker, "btc", "accuracy") == "kraken"
        assert best(tracker, "btc", "accuracy", filters={"venue": "binance"}) == "standard"
        assert best(tracker, "btc", "accuracy", filters={"venue": "binance", "preset": "small"}) == "small"
        assert best(tracker, "btc", "accuracy", maximize=False, filters={"preset": "small"}) == "no leak"
        assert best(tracker, "btc", "accuracy", filters={"venue": "it's"}) is None
        assert best(tracker, "btc", "accuracy", filters={"absent": "binance"}) is None

    def test_a_lucky_fold_is_not_the_best_run(self, tracker: Tracker, clock: FixedClock) -> None:
        """Runs that have a parent count only where they are asked for."""
        parent = finished(tracker, clock, "btc", "training", {"accuracy": 0.6})
        for name, value in (("lucky", 0.9), ("unlucky", 0.2)):
            finished(tracker, clock, "btc", name, {"accuracy": value}, parent=parent)
        finished(tracker, clock, "btc", "other", {"accuracy": 0.5})
        finished(tracker, clock, "eth", "only a fold", {"accuracy": 0.5}, parent=parent)
        assert best(tracker, "btc", "accuracy") == "training"
        assert best(tracker, "btc", "accuracy", maximize=False) == "other"
        assert best(tracker, "eth", "accuracy") is None
        assert best(tracker, "btc", "accuracy", nested=True) == "lucky"
        assert best(tracker, "btc", "accuracy", maximize=False, nested=True) == "unlucky"
        assert best(tracker, "eth", "accuracy", nested=True) == "only a fold"

    def test_what_is_nested_in_a_leaking_run_never_wins(self, tracker: Tracker, clock: FixedClock) -> None:
        """A flag holds for all runs below, as a tag or as a parameter that was logged when the folds had ended."""
        tagged = finished(tracker, clock, "btc", "tagged", {}, tags={LEAK_TAG: "True"})
        later = finished(tracker, clock, "btc", "found later", {})
        for value, parent in ((0.9, tagged), (0.8, later)):
            fold = finished(tracker, clock, "btc", f"fold of {value}", {"accuracy": value}, parent=parent)
            finished(tracker, clock, "btc", f"below {value}", {"accuracy": value + 0.05}, parent=fold)
        honest = finished(tracker, clock, "btc", "honest", {"accuracy": 0.4}, tags={LEAK_TAG: "false"})
        finished(tracker, clock, "btc", "honest fold", {"accuracy": 0.5}, parent=honest)
        assert best(tracker, "btc", "accuracy", nested=True) == "below 0.8"
        tracker.log_params(later, {LEAK_TAG: "true"})
        assert best(tracker, "btc", "accuracy", nested=True) == "honest fold"
        assert best(tracker, "btc", "accuracy") == "honest"

    def test_everything_logged_can_be_waited_for(self, tracker: Tracker) -> None:
        """Nothing waits after a flush, and a closed tracker can still log."""
        run_id = tracker.start_run("btc", "run")
        tracker.log_metrics(run_id, {"a": 1.0})
        assert tracker.flush(30) == 0
        tracker.close()
        tracker.log_metrics(run_id, {"b": 2.0})
        assert tracker.get_run(run_id).metrics == {"a": 1.0, "b": 2.0}

    def test_values_that_are_not_finite_never_win(self, tracker: Tracker, clock: FixedClock) -> None:
        """NaN and infinity lose in both directions; with nothing else there is no best run."""
        for name, value in (("nan", float("nan")), ("inf", float("inf")), ("minus", float("-inf"))):
            finished(tracker, clock, "btc", name, {"loss": value})
        assert best(tracker, "btc", "loss") is None
        finished(tracker, clock, "btc", "honest", {"loss": 0.3})
        assert best(tracker, "btc", "loss") == "honest"
        assert best(tracker, "btc", "loss", maximize=False) == "honest"

    def test_without_a_candidate_there_is_no_best_run(self, tracker: Tracker, clock: FixedClock) -> None:
        """An unknown experiment or metric gives None."""
        assert best(tracker, "btc", "accuracy") is None
        finished(tracker, clock, "btc", "run", {"loss": 0.1})
        assert best(tracker, "btc", "accuracy") is None

    def test_unknown_runs_are_refused(self, tracker: Tracker, tmp_path: Path) -> None:
        """Every method says that a run does not exist."""
        calls: list[Callable[[], object]] = [
            lambda: tracker.get_run(UNKNOWN_RUN),
            lambda: tracker.log_params(UNKNOWN_RUN, {"a": 1}),
            lambda: tracker.log_metrics(UNKNOWN_RUN, {"a": 1.0}),
            lambda: tracker.log_artifacts(UNKNOWN_RUN, tmp_path),
            lambda: tracker.end_run(UNKNOWN_RUN),
        ]
        for call in calls:
            with pytest.raises(NotFoundError):
                call()


def finished(
    tracker: Tracker,
    clock: FixedClock,
    experiment: str,
    name: str,
    metrics: dict[str, float],
    *,
    status: Any = "FINISHED",
    params: dict[str, ParamValue] | None = None,
    tags: dict[str, str] | None = None,
    parent: str | None = None,
) -> str:
    """Log a whole run and return its id; each starts a millisecond after the one before."""
    clock.advance(1_000_000)
    run_id = tracker.start_run(experiment, name, tags, parent)
    tracker.log_params(run_id, params or {})
    tracker.log_metrics(run_id, metrics)
    tracker.end_run(run_id, status)
    return run_id


def best(
    tracker: Tracker,
    experiment: str,
    metric: str,
    *,
    maximize: bool = True,
    filters: dict[str, str] | None = None,
    nested: bool = False,
) -> str | None:
    """Return the name of the best run."""
    run = tracker.get_best_run(experiment, metric, maximize, filters, nested=nested)
    return None if run is None else run.run_name
