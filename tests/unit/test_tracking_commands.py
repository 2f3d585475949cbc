"""`ratchet runs` on a real store: people get tables, machines JSON, and an outage an exit code."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from ratchet.cli import tracking_commands
from ratchet.cli.tracking_commands import app
from ratchet.clock import SystemClock
from ratchet.errors import InputError, UnavailableError
from ratchet.settings import load_settings
from ratchet.tracking import LEAK_TAG, SpooledTracker, open_tracker
from tests.unit.tracking_server import migrate


@pytest.fixture(scope="module")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("commands") / "mlflow.db"
    migrate(database)
    return database


@pytest.fixture
def tracker(migrated_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpooledTracker:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    monkeypatch.delenv("RATCHET_TRACKING_URL", raising=False)
    (tmp_path / "mlflow").mkdir()
    shutil.copy(migrated_store, tmp_path / "mlflow" / "mlflow.db")
    return open_tracker(load_settings(), SystemClock(), default_tags={})


def invoke(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def read(*arguments: str) -> Any:
    return json.loads(invoke(*arguments, "--json"))


def test_runs_are_listed_compared_delivered_and_closed(
    tracker: SpooledTracker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """All commands, with MLflow there and with MLflow gone."""
    assert read("list") == []
    for name, accuracy, preset in (("one", 0.5, "small"), ("two", 0.7, "standard")):
        run_id = tracker.start_run("btc", name)
        tracker.log_params(run_id, {"preset": preset})
        tracker.log_metrics(run_id, {"accuracy": accuracy})
        tracker.end_run(run_id)
    assert tracker.flush(60) == 0
    assert [(row["run_name"], row["status"], row["n_waiting"]) for row in read("list")] == [
        ("one", "FINISHED", 0),
        ("two", "FINISHED", 0),
    ]
    assert read("list", "--experiment", "eth") == []
    assert read("best", "btc", "accuracy")["run_name"] == "two"
    assert read("best", "btc", "accuracy", "--minimize")["run_name"] == "one"
    assert read("best", "btc", "accuracy", "--where", "preset=small")["run_name"] == "one"
    assert read("best", "btc", "accuracy", "--where", "preset=small", "--where", "a=b") is None
    with pytest.raises(InputError, match="KEY=VALUE"):
        invoke("best", "btc", "accuracy", "--where", "preset")
    assert read("pending") == {"n_waiting": 0, "waiting": {}, "set_aside": []}

    left = tracker.start_run("btc", "left by a crash")
    tracker.flush(60)
    tracker.spool.apply([("UPDATE runs SET birth = '1' WHERE run_id = ?", (left,))])
    assert read("reap") == {"closed": [left], "n_waiting": 0}
    assert read("reap") == {"closed": [], "n_waiting": 0}
    assert tracker.get_run(left).status == "KILLED"

    monkeypatch.setenv("RATCHET_TRACKING_URL", "http://127.0.0.1:9")
    down = open_tracker(load_settings(), SystemClock(), default_tags={})
    waiting = down.start_run("btc", "in the outage")
    assert read("pending")["waiting"] == {waiting: 1}
    assert read("list")[-1]["n_waiting"] == 1
    with pytest.raises(UnavailableError, match="1 records still wait"):
        invoke("replay", "--timeout", "0.5")
    down.end_run(waiting)
    monkeypatch.delenv("RATCHET_TRACKING_URL")
    assert read("replay") == {"n_before": 2, "n_waiting": 0, "n_set_aside": 0}
    assert tracker.get_run(waiting).status == "FINISHED"
    for command in (("list",), ("best", "btc", "accuracy"), ("pending",), ("replay",), ("reap",)):
        assert invoke(*command)


def test_folds_count_as_the_best_run_only_with_nested(tracker: SpooledTracker) -> None:
    """`best` compares trainings, `best --nested` the folds of honest ones, too."""
    for name, accuracy, leak in (("honest", 0.6, "false"), ("leaking", 0.7, "true")):
        parent = tracker.start_run("btc", name)
        tracker.log_metrics(parent, {"accuracy": accuracy})
        fold = tracker.start_run("btc", f"{name} fold", parent_run_id=parent)
        tracker.log_metrics(fold, {"accuracy": accuracy + 0.2})
        tracker.end_run(fold)
        tracker.end_run(parent)
        tracker.log_params(parent, {LEAK_TAG: leak})
    assert read("best", "btc", "accuracy")["run_name"] == "honest"
    assert read("best", "btc", "accuracy", "--nested")["run_name"] == "honest fold"


def test_run_ids_are_shown_whole_on_every_terminal(tracker: SpooledTracker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long names break into lines, ids do not; what looks like markup is text."""
    run_id = tracker.start_run("an experiment with a long name", "fold [/x] [red]")
    assert tracker.flush(60) == 0
    with tracker.spool.delivering():  # so that nothing is delivered before it is refused
        tracker.log_params(run_id, {"preset": "small"})
        tracker.spool.refuse(tracker.spool.next_records(run_id, 1), "[/y] [blue]")
    for width in (40, 60, 80, 120):
        monkeypatch.setattr(tracking_commands, "_OUT", Console(width=width))
        for command in ("list", "pending"):
            shown = invoke(command)
            assert run_id in shown
            assert "\u2026" not in shown
    assert "fold [/x] [red]" in invoke("list")
    assert "[/y] [blue]" in invoke("pending")
