"""Does a candidate load in the server's process, and how fast does it answer there?

`python -m serving.infra_check FOLDER [--calls N]` is a fresh process with everything that the server imports. It
loads FOLDER's model.onnx, golden.json and metadata.json by the server's own code, checks the golden answers, times
`LoadedModel.predict` on one window, N calls in each of three rounds, and prints one JSON object:

    {"loaded": true, "p50_ms": 0.1, "p99_ms": 0.2, "p99_upper_ms": 0.2, "n": 1000, "golden_gap": 1e-08, "error": null}

The latencies are those of the least disturbed round, that with the lowest bound: what else runs on the machine is no
property of the model. Each bound of the 99th percentile holds with 98.3 %, so that the lowest of the three holds with
95 %. A model that fails is an answer like any other: `error` says why, and the exit status is 0. It is 2 for wrong use.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from ratchet.data.atomic import sha256_bytes
from ratchet.errors import ArtifactError, RatchetError
from ratchet.evaluation.latency import LatencyReport, least_calls, measure_latency
from ratchet.registry.names import METADATA_FILE
from ratchet.settings import silence_telemetry
from serving.loader import GOLDEN_TOLERANCE, MODEL_FILE, golden_gap, open_model

N_ROUNDS = 3
ROUND_CONFIDENCE = 1 - 0.05 / N_ROUNDS
MIN_CALLS = least_calls(ROUND_CONFIDENCE)


class InfraReport(BaseModel):
    """How a candidate behaves in the server's process; latencies in ms, None where it did not get so far."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    loaded: bool
    p50_ms: float | None = None
    p99_ms: float | None = None
    p99_upper_ms: float | None = None
    n: int = 0
    golden_gap: float | None = None
    error: str | None = None


def check_infra(folder: Path, n_calls: int = 1_000) -> InfraReport:
    """Load a candidate as the server would, check its golden answers, and time single predictions.

    Args:
        folder: with model.onnx, golden.json and metadata.json.
        n_calls: how many predictions are timed in a round, after a warm-up; at least `MIN_CALLS`, 408.

    Raises:
        InputError: `n_calls` is below 408.
    """
    try:
        model, golden = open_model(
            lambda filename: _read(folder / filename),
            _metadata(folder),
            name=folder.name,
            version="candidate",
            digest=sha256_bytes(_read(folder / MODEL_FILE)),
        )
    except RatchetError as error:
        return InfraReport(loaded=False, error=_line(error))
    try:
        gap = golden_gap(model, golden)
    except RatchetError as error:
        return InfraReport(loaded=True, error=_line(error))
    if not gap <= GOLDEN_TOLERANCE:
        reason = f"differs from its golden answers by {gap:.1e}, over {GOLDEN_TOLERANCE:.0e}"
        return InfraReport(loaded=True, golden_gap=gap, error=reason)
    window = golden.windows[:1]
    latency = time_rounds(lambda: model.predict(window), n_calls)
    return InfraReport(loaded=True, golden_gap=gap, **latency.model_dump())


def time_rounds(
    predict: Callable[[], object], n_calls: int, clock: Callable[[], int] = time.perf_counter_ns
) -> LatencyReport:
    """Time `n_calls` calls in each of three rounds and return the round with the lowest bound, which holds with 95 %.

    All three bounds hold with at least that confidence (Bonferroni), and then the lowest does.

    Raises:
        InputError: `n_calls` is below 408.
    """
    rounds = [measure_latency(predict, n_calls, clock, confidence=ROUND_CONFIDENCE) for _ in range(N_ROUNDS)]
    return min(rounds, key=lambda report: report.p99_upper_ms)


def main(argv: list[str] | None = None) -> int:
    """Print the report of the folder that the command line names; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m serving.infra_check", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="folder with model.onnx, golden.json and metadata.json")
    parser.add_argument("--calls", type=int, default=1_000, help=f"predictions to time, at least {MIN_CALLS}")
    arguments = parser.parse_args(argv)
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder}: no such folder")
    if arguments.calls < MIN_CALLS:
        parser.error(f"--calls {arguments.calls}: at least {MIN_CALLS} are needed to bound the 99th percentile")
    silence_telemetry(os.environ)
    import serving.service  # noqa: F401, PLC0415 - what the server imports is there, and telemetry was off before

    sys.stdout.write(check_infra(arguments.folder, arguments.calls).model_dump_json() + "\n")
    return 0


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        metadata = json.loads(_read(folder / METADATA_FILE))
    except ValueError as error:
        raise ArtifactError(f"{METADATA_FILE}: not JSON: {error}") from error
    if not isinstance(metadata, dict):
        raise ArtifactError(f"{METADATA_FILE}: not a JSON object")
    return metadata


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ArtifactError(f"{path.name}: {error.strerror or error}") from error


def _line(error: RatchetError) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
