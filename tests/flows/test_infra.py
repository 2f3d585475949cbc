"""The infra check as the retrain flow makes it: what the server would meet, or the reason why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ratchet.errors import UnavailableError
from tasks import infra
from tasks.infra import try_in_server
from tests.hostile_models import candidate, honest_model, metadata

pytestmark = pytest.mark.engine


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in candidate(honest_model()).items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.read_bytes())
    (tmp_path / "metadata.json").write_text(json.dumps(metadata()))
    return tmp_path


def test_a_good_candidate_answers_and_is_timed_as_it_is_served(folder: Path) -> None:
    """Golden answers, and percentiles of at least the 408 calls that bound the 99th."""
    latency, found = try_in_server(folder)
    assert found.is_loaded
    assert found.error is None
    assert found.golden_gap is not None
    assert found.golden_gap <= 1e-4
    assert latency is not None
    assert latency.n >= 408
    assert 0 < latency.p50_ms <= latency.p99_ms <= latency.p99_upper_ms


def test_a_candidate_that_does_not_load_says_why(folder: Path) -> None:
    """Half a file is an answer, not an exception: the gate rejects it with this reason."""
    content = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(content[: len(content) // 2])
    latency, found = try_in_server(folder)
    assert latency is None
    assert not found.is_loaded
    assert found.error


def test_a_candidate_that_hangs_does_not_answer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check ends at its deadline."""
    monkeypatch.setattr(infra, "_WITHIN_S", 0.05)
    latency, found = try_in_server(folder)
    assert latency is None
    assert found.error == "no answer within 0.05 s"


def test_a_check_that_cannot_run_is_an_error_of_ours(folder: Path) -> None:
    """A missing folder is no verdict on a model."""
    with pytest.raises(UnavailableError, match="could not be tried"):
        try_in_server(folder / "missing")
