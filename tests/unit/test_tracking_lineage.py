"""Lineage: what a run was made from is always told, and never guessed."""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import distributions
from pathlib import Path

import pytest

from ratchet.clock import SystemClock
from ratchet.settings import Settings
from ratchet.tracking import code_tags, environment_tags, lineage_tags, open_tracker
from ratchet.tracking import lineage as lineage_module

UNKNOWN = {"git_commit": "unknown", "git_dirty": "unknown"}


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
    return subprocess.run(
        ["git", "-C", str(folder), *who, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_and_what_differs_from_it(tmp_path: Path) -> None:
    """A folder without a commit is unknown; a changed and an untracked file make the checkout dirty, from below too."""
    assert code_tags(tmp_path) == UNKNOWN
    git(tmp_path, "init", "-q")
    assert code_tags(tmp_path) == UNKNOWN
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "file").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert code_tags(tmp_path / "below") == {"git_commit": commit, "git_dirty": "false"}
    (tmp_path / "below" / "file").write_text("2")
    assert code_tags(tmp_path) == {"git_commit": commit, "git_dirty": "true"}
    git(tmp_path, "checkout", "-q", ".")
    (tmp_path / "new").write_text("1")
    assert code_tags(tmp_path)["git_dirty"] == "true"


def test_without_git_the_commit_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No program, no folder and a program that hangs are all the same."""
    assert code_tags(tmp_path / "absent") == UNKNOWN
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setattr(lineage_module, "_GIT_TIMEOUT_S", 0.2)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert code_tags(tmp_path) == UNKNOWN
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert code_tags(tmp_path) == UNKNOWN


def test_the_environment_is_every_installed_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest is of the sorted names and versions: another version of one package is another environment."""
    tags = environment_tags()
    assert re.fullmatch("[0-9a-f]{64}", tags["environment_digest"])
    packages = list(distributions())
    digest = lineage_module.environment_digest.__wrapped__
    monkeypatch.setattr(lineage_module, "distributions", lambda: reversed(packages))
    assert digest() == tags["environment_digest"]
    without_numpy = [package for package in packages if package.metadata["Name"] != "numpy"]
    monkeypatch.setattr(lineage_module, "distributions", lambda: without_numpy)
    assert digest() != tags["environment_digest"]


def test_all_tags_are_always_set() -> None:
    """What is not known is said to be unknown; the order of views does not matter."""
    known = lineage_tags(
        dataset_digest="d1",
        feature_views={"b": "2", "a": "1"},
        schema_hash="s1",
        seed=0,
        trigger_event_id="e1",
        trigger_reason="drift",
    )
    assert known == {
        "dataset_digest": "d1",
        "feature_views": "a@1,b@2",
        "schema_hash": "s1",
        "seed": "0",
        "trigger_event_id": "e1",
        "trigger_reason": "drift",
    }
    empty = lineage_tags(
        dataset_digest="", feature_views={}, schema_hash="", seed=7, trigger_event_id="", trigger_reason=""
    )
    assert set(empty) == set(known)
    assert {key for key, value in empty.items() if value == "unknown"} == set(known) - {"seed"}


def test_every_run_of_the_settings_tracker_carries_code_and_environment(tmp_path: Path) -> None:
    """Callers that say nothing get the tags of the working folder and the environment; their own go first."""
    settings = Settings(home=tmp_path / "var")
    tracker = open_tracker(settings, SystemClock())
    run_id = tracker.start_run("btc", "run", {"python": "mine"})
    assert tracker.flush(100) == 0
    wanted = {**code_tags(Path.cwd()), **environment_tags(), "python": "mine"}
    found = tracker.get_run(run_id).tags
    assert {**found, "git_dirty": ""} == {**wanted, "git_dirty": ""}
    assert (tmp_path / "var" / "tracking" / "spool.sqlite").exists()
    tracker.end_run(run_id)
    assert tracker.flush(100) == 0
    tracker.close()
