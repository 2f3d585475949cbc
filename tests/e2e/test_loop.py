"""The whole loop, turned by the command line on a small simulated market."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.workshop import MARKET, SMALL_MARKET, Home

pytestmark = [pytest.mark.slow, pytest.mark.engine]
MODEL = "simulated-1h"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home in which the loop turned once."""
    made = Home(tmp_path_factory.mktemp("loop") / "home")
    result = made.run("run", "--source", MARKET, "--json")
    assert result.returncode == 0, result.stderr
    (made.folder / "first.json").write_text(result.stdout)
    return made


@pytest.fixture(scope="module")
def first(home: Home) -> dict[str, Any]:
    """The first turn's report."""
    loaded: dict[str, Any] = json.loads((home.folder / "first.json").read_text())
    return loaded


def test_the_first_turn_ends_with_a_served_prediction(home: Home, first: dict[str, Any]) -> None:
    """A planted signal is found, approved, rolled out, and answered over HTTP by the very version that was judged."""
    assert first["gate"]["verdict"] == "approve"
    assert first["rollout"]["verdict"] == "promote"
    assert first["prediction"]["version"] == first["version"] == "v1.0.0"
    assert 0.0 < first["prediction"]["p_up"] < 1.0
    assert len(first["validation"]["folds"]) == 5
    folder = home.folder / "registry" / MODEL
    assert {path.name for path in (folder / "v1.0.0").iterdir()} >= {
        "model.onnx",
        "model.pt",
        "metadata.json",
        "metrics.json",
    }
    assert (folder / "production").resolve().name == "v1.0.0"


def test_the_figures_are_tracked(home: Home, first: dict[str, Any]) -> None:
    """MLflow holds the run with parameters, a value per fold, and the report among its files."""
    with sqlite3.connect(home.folder / "mlflow" / "mlflow.db") as database:
        found = database.execute(
            "SELECT run_uuid FROM tags WHERE key='ratchet.run_key' AND value=?", (first["run_id"],)
        ).fetchall()
        run = found[0][0]
        steps = database.execute("SELECT step FROM metrics WHERE run_uuid=? AND key='fold_accuracy'", (run,)).fetchall()
        n_params = database.execute("SELECT COUNT(*) FROM params WHERE run_uuid=?", (run,)).fetchone()[0]
        parent = "SELECT COUNT(*) FROM tags WHERE key='mlflow.parentRunId' AND value=?"
        n_children = database.execute(parent, (run,)).fetchone()[0]
        status = database.execute("SELECT status FROM runs WHERE run_uuid=?", (run,)).fetchone()[0]
    assert sorted(step for (step,) in steps) == [0, 1, 2, 3, 4]
    assert n_params > 5
    assert n_children == 5
    assert status == "FINISHED"
    assert list((home.folder / "mlflow" / "artifacts").rglob("report.md"))
    assert list((home.folder / "mlflow" / "artifacts").rglob("model.onnx"))


def test_a_second_turn_faces_the_champion_on_later_data(home: Home, first: dict[str, Any]) -> None:
    """The second turn sees a week more, is compared with the first one's model, and registers what it made."""
    result = home.run("run", "--source", MARKET)
    assert result.returncode == 0, result.stderr
    listed = json.loads(home.run("registry", "list", "--json").stdout)
    second = next(item for item in listed if item["version"] == "v1.1.0")
    gate = json.loads(home.run("registry", "gate", MODEL, "v1.1.0", "--json").stdout)
    assert gate["digest"] == second["gate"]["digest"]
    assert gate["champion"] == f"{MODEL} v1.0.0"
    assert gate["window"]["start_ns"] > first["gate"]["window"]["start_ns"]
    in_production = [item["version"] for item in listed if item["stage"] == "production"]
    assert in_production == (["v1.1.0"] if gate["verdict"] == "approve" else ["v1.0.0"])
    assert "Walk-forward, out of sample" in result.stdout
    history = home.run("registry", "history", MODEL)
    assert "v1.0.0" in history.stdout


def test_the_evidence_can_be_asked_for_afterwards(home: Home, first: dict[str, Any]) -> None:
    """What is live and why, the card, the lineage, the comparison, and two registries that agree."""
    why = json.loads(home.run("why", "--json").stdout)
    assert why["version"] in {"v1.0.0", "v1.1.0"}
    assert why["gate"]["verdict"] == "approve"
    assert {item["name"] for item in why["gate"]["criteria"]} >= {"leak_probes", "infra", "latency_p99", "train_gap"}
    assert "What this does not show" in home.run("registry", "card", MODEL, "v1.0.0").stdout
    assert first["dataset"]["digest"][:12] in home.run("registry", "lineage", MODEL, "v1.0.0").stdout
    assert home.run("registry", "verify").returncode == 0
    reconciled = home.run("registry", "reconcile", "--json")
    assert (reconciled.returncode, json.loads(reconciled.stdout)) == (0, {"checked": 2, "drifts": []})
    compared = json.loads(home.run("compare", f"{MODEL}@v1.1.0", f"{MODEL}@v1.0.0", "--json").stdout)
    assert compared["n"] > 100
    best = json.loads(home.run("runs", "best", MODEL, "accuracy", "--json").stdout)
    assert best["status"] == "FINISHED"


def test_a_rollout_by_hand_needs_a_server_and_an_approval(home: Home, first: dict[str, Any]) -> None:
    """Without a server the version waits and the line says what to start; a version that does not exist is named."""
    waiting = home.run("rollout", MODEL, first["version"])
    assert waiting.returncode == 10
    assert "ratchet up" in waiting.stderr
    missing = home.run("rollout", MODEL, "v9.0.0")
    assert missing.returncode == 7
    assert "v9.0.0" in missing.stderr


@pytest.fixture
def empty(tmp_path: Path) -> Home:
    """A home in which nothing has happened."""
    return Home(tmp_path / "home")


def _kill(process: Any) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_a_run_killed_in_training_is_followed_by_one_that_finishes(empty: Home) -> None:
    """SIGKILL after the first checkpoints: the next run resumes them, and the registry holds one whole version."""
    process = empty.start("run", "--source", SMALL_MARKET)
    training = empty.folder / "training"
    empty.wait_for(lambda: len(list(training.glob("*/fold-1/*"))) > 0, timeout_s=200, process=process)
    _kill(process)
    assert not list((empty.folder / "registry").glob("*/v*"))
    kept = {path: path.stat().st_mtime_ns for path in training.glob("*/fold-0/*")}
    result = empty.run("run", "--source", SMALL_MARKET, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["version"] == "v1.0.0"
    assert kept
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in kept.items() if path.exists())


def test_a_run_killed_in_promotion_leaves_a_whole_registry(empty: Home) -> None:
    """SIGKILL as soon as the version is staged: one whole version is there, and the next run finishes."""
    process = empty.start("run", "--source", MARKET)
    database = empty.folder / "registry" / "registry.sqlite"

    def is_staged() -> bool:
        if not database.exists():
            return False
        with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
            try:
                return bool(connection.execute("SELECT 1 FROM events WHERE kind='stage'").fetchall())
            except sqlite3.OperationalError:
                return False

    empty.wait_for(is_staged, timeout_s=250, process=process)
    _kill(process)
    before = json.loads(empty.run("registry", "list", "--json").stdout)
    assert [item["version"] for item in before] == ["v1.0.0"]
    result = empty.run("run", "--source", MARKET)
    assert result.returncode == 0, result.stderr
    after = json.loads(empty.run("registry", "list", "--json").stdout)
    assert [item["version"] for item in after] == ["v1.0.0", "v1.1.0"]
    assert sum(item["stage"] == "production" for item in after) == 1
