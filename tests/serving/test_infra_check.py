"""The gate's look at a candidate where it will be served: a fresh process with what the server imports."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ratchet.errors import InputError
from ratchet.evaluation.latency import summarize_latency
from serving.infra_check import MIN_CALLS, N_ROUNDS, check_infra, time_rounds
from tests.serving.workshop import REPOSITORY, golden, metadata, tiny_onnx

MODEL = tiny_onnx(0.2)


def _candidate(folder: Path, **changed: bytes | None) -> Path:
    """A folder as the retrain flow leaves it; files are replaced by name (`model_onnx`), None leaves one out."""
    files: dict[str, bytes | None] = {
        "model_onnx": MODEL,
        "golden_json": golden(MODEL),
        "metadata_json": json.dumps(metadata(["BTC/USDT"])).encode(),
    }
    folder.mkdir(exist_ok=True)
    for name, content in (files | changed).items():
        if content is not None:
            (folder / name.replace("_", ".")).write_bytes(content)
    return folder


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "serving.infra_check", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)


def test_a_candidate_is_loaded_checked_and_timed_in_a_process_of_its_own(tmp_path: Path) -> None:
    """One JSON object with latencies in order, the number of calls, and the gap to the golden answers."""
    done = _run(str(_candidate(tmp_path / "good")), "--calls", "408")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert list(report) == ["loaded", "p50_ms", "p99_ms", "p99_upper_ms", "n", "golden_gap", "error"]
    assert report["loaded"] is True
    assert report["error"] is None
    assert report["n"] == 408
    assert 0 < report["p50_ms"] <= report["p99_ms"] <= report["p99_upper_ms"]
    assert 0 <= report["golden_gap"] <= 1e-6


def test_a_model_that_fails_is_an_answer_and_misuse_is_not(tmp_path: Path) -> None:
    """Exit status 0 with the error in the report for the one, 2 and nothing on the output for the other."""
    broken = _run(str(_candidate(tmp_path / "broken", model_onnx=b"not onnx")))
    assert broken.returncode == 0
    assert "cannot load model.onnx" in json.loads(broken.stdout)["error"]
    for arguments in ((str(tmp_path / "nowhere"),), (str(tmp_path / "broken"), "--calls", "407"), ()):
        misused = _run(*arguments)
        assert (misused.returncode, misused.stdout) == (2, "")
        assert "error:" in misused.stderr


@pytest.mark.parametrize(
    ("changed", "loaded", "says"),
    [
        ({"model_onnx": None}, False, "model.onnx: No such file"),
        ({"golden_json": None}, False, "golden.json: No such file"),
        ({"metadata_json": None}, False, "metadata.json: No such file"),
        ({"metadata_json": b"{"}, False, "metadata.json: not JSON"),
        ({"metadata_json": b"[]"}, False, "metadata.json: not a JSON object"),
        ({"metadata_json": b"{}"}, False, "metadata feature_view"),
        ({"golden_json": b"{}"}, False, "golden.json is malformed"),
        ({"model_onnx": tiny_onnx(input_name="x")}, False, "takes ['x']"),
        ({"golden_json": b'{"windows": [[[1.0]]], "p_up": [0.5]}'}, True, "does not fit the model"),
        ({"model_onnx": tiny_onnx(-50, op="Sqrt")}, True, "one probability per window"),
        ({"model_onnx": tiny_onnx(0.3)}, True, "differs from its golden answers by"),
    ],
)
def test_each_fault_is_named_in_one_line(
    changed: dict[str, bytes | None], loaded: bool, says: str, tmp_path: Path
) -> None:
    """The report says how far the candidate got, and nothing was timed that does not answer as it should."""
    report = check_infra(_candidate(tmp_path / "candidate", **changed), MIN_CALLS)
    assert report.loaded is loaded
    assert says in str(report.error)
    assert "\n" not in str(report.error)
    assert (report.n, report.p99_upper_ms) == (0, None)


def test_the_latency_is_that_of_the_model_as_it_is_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every timed call goes through the server's own `predict`."""
    from serving import loader  # noqa: PLC0415 - patched here

    calls: list[int] = []
    original: Callable[..., Any] = loader.LoadedModel.predict

    def counted(self: loader.LoadedModel, windows: Any) -> Any:
        calls.append(len(windows))
        return original(self, windows)

    monkeypatch.setattr(loader.LoadedModel, "predict", counted)
    assert check_infra(_candidate(tmp_path / "candidate"), 408).n == 408
    assert calls.count(1) >= 3 * 408
    with pytest.raises(InputError, match="at least 408"):
        check_infra(tmp_path / "candidate", 407)


def _clock(latency_ms: Iterable[float]) -> Callable[[], int]:
    """A clock on which the calls take these times, one after the other."""
    return chain.from_iterable((0, int(value * 1e6)) for value in latency_ms).__next__


def test_the_round_with_the_lowest_bound_is_reported() -> None:
    """A disturbed round does not count, and no figures of different rounds are mixed."""
    rounds = [[2.0] * 408, [1.0] * 407 + [9.0], [3.0] * 400 + [1.0] * 8]
    report = time_rounds(lambda: None, 408, _clock(chain.from_iterable(rounds)))
    assert (report.p50_ms, report.p99_ms, report.p99_upper_ms, report.n) == (2.0, 2.0, 2.0, 408)


def _coverage(rank: int, n_calls: int) -> float:
    """How often the least of three bounds, each the `rank`-th of `n_calls` times, is above the true percentile."""
    times = np.random.default_rng(0).random((2_000, N_ROUNDS, n_calls), dtype=np.float32)
    bounds = np.partition(times, rank - 1, axis=2)[:, :, rank - 1]
    return float(np.mean(bounds.min(axis=1) >= 0.99))


@pytest.mark.parametrize(("n_calls", "n_calls_of_the_mutant"), [(MIN_CALLS, 299), (2_000, 2_000)])
def test_the_bound_of_the_best_round_holds_with_95_percent(n_calls: int, n_calls_of_the_mutant: int) -> None:
    """The bounds are ranks, so that one distribution stands for all. The mutant takes three bounds of 95 % each."""
    found = time_rounds(lambda: None, n_calls, _clock(list(range(1, n_calls + 1)) * N_ROUNDS))
    mutant = summarize_latency(np.arange(1.0, n_calls_of_the_mutant + 1))
    assert _coverage(int(found.p99_upper_ms), n_calls) >= 0.94
    assert _coverage(int(mutant.p99_upper_ms), n_calls_of_the_mutant) < 0.92
