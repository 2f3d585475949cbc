"""Log 1,000 metrics one by one through the spool, beside plain MLflow calls, and write how long each took.

    python -m benchmarks.tracking --out FILE.json

Against MLflow's own SQLite store and against an MLflow server on the loopback. `free_s` is until the caller can go on,
`delivered_s` until MLflow has everything, which is counted. Each way is measured `--rounds` times on a fresh run, the
ways in turn; one call for each metric, which takes the better part of a minute, `--slow-rounds` times.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ratchet.clock import SystemClock
from ratchet.settings import silence_telemetry
from ratchet.tracking import MlflowTracker, SpooledTracker

N_METRICS = 1_000
START_TIMEOUT_S = 120
Measured = dict[str, float]


def spooled(tracker: SpooledTracker, client: Any) -> Measured:
    """Log through the spool."""
    run_id = tracker.start_run("benchmark", "spooled")
    tracker.flush(120)
    started_s = time.perf_counter()
    for step in range(N_METRICS):
        tracker.log_metrics(run_id, {"loss": 1 / (1 + step)}, step=step)
    free_s = time.perf_counter() - started_s
    if tracker.flush(300):
        raise SystemExit("not everything was delivered")
    delivered_s = time.perf_counter() - started_s
    check(client, str(tracker.spool.run(run_id).mlflow_run_id))
    tracker.end_run(run_id)
    tracker.flush(120)
    return {"free_s": free_s, "delivered_s": delivered_s}


def one_by_one(client: Any) -> Measured:
    """Log with a call of MLflow for each metric."""
    run_id = new_run(client)
    started_s = time.perf_counter()
    for step in range(N_METRICS):
        client.log_metric(run_id, "loss", 1 / (1 + step), step=step)
    delivered_s = time.perf_counter() - started_s
    check(client, run_id)
    return {"delivered_s": delivered_s}


def one_batch(client: Any) -> Measured:
    """Log all metrics with one call of MLflow, once they are all known."""
    from mlflow.entities import Metric  # noqa: PLC0415 - heavy

    run_id, now_ms = new_run(client), time.time_ns() // 1_000_000
    started_s = time.perf_counter()
    metrics = [Metric("loss", 1 / (1 + step), now_ms, step) for step in range(N_METRICS)]
    client.log_batch(run_id, metrics=metrics, synchronous=True)
    delivered_s = time.perf_counter() - started_s
    check(client, run_id)
    return {"delivered_s": delivered_s}


def new_run(client: Any) -> str:
    """Start a run with the plain client."""
    experiment = client.get_experiment_by_name("benchmark")
    return str(client.create_run(experiment.experiment_id).info.run_id)


def check(client: Any, run_id: str) -> None:
    """Stop where MLflow does not hold each step once."""
    steps = sorted(metric.step for metric in client.get_metric_history(run_id, "loss"))
    if steps != list(range(N_METRICS)):
        raise SystemExit(f"MLflow holds {len(steps)} metrics of run {run_id}, not {N_METRICS}")


def measure(url: str, folder: Path, rounds: int, slow_rounds: int) -> dict[str, Any]:
    """Measure the three ways on one store, in turn."""
    from mlflow import MlflowClient  # noqa: PLC0415 - heavy

    tracker = SpooledTracker(MlflowTracker(url, folder / "artifacts"), folder / "spool", SystemClock())
    client = MlflowClient(tracking_uri=url)
    spooled(tracker, client)  # imports, tables and caches
    raw: dict[str, list[Measured]] = {"spooled": [], "one log_batch": [], "log_metric one by one": []}
    for turn in range(rounds):
        raw["spooled"].append(spooled(tracker, client))
        raw["one log_batch"].append(one_batch(client))
        if turn < slow_rounds:
            raw["log_metric one by one"].append(one_by_one(client))
    tracker.close()
    figures = {name: {key: spread([one[key] for one in way]) for key in way[0]} for name, way in raw.items()}
    plain_s = figures["log_metric one by one"]["delivered_s"]["median"]
    ratios = {
        f"one by one / spooled {key}": round(plain_s / value["median"], 1) for key, value in figures["spooled"].items()
    }
    batch_s = figures["one log_batch"]["delivered_s"]["median"]
    ratios["spooled delivered_s / one log_batch"] = round(figures["spooled"]["delivered_s"]["median"] / batch_s, 2)
    return {"figures": figures, "ratios": ratios, "raw": raw}


def spread(values: list[float]) -> dict[str, float]:
    """Return the least, the median and the largest value, in seconds."""
    named = {"min": min(values), "median": statistics.median(values), "max": max(values)}
    return {name: round(value, 4) for name, value in named.items()}


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run an MLflow server on a free port of the loopback."""
    folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    store = ["--backend-store-uri", f"sqlite:///{folder / 'server.db'}", "--artifacts-destination", str(folder / "a")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen([*command, *store], stdout=log, stderr=log, env=environment)
    try:
        wait_for(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(url: str) -> None:
    """Wait until a server answers."""
    deadline_s = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline_s:
        try:
            if httpx.get(url, timeout=1, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit(f"{url} does not answer")


def main() -> None:
    """Measure both stores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    silence_telemetry(os.environ)
    results: dict[str, Any] = {"n_metrics": N_METRICS, "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        results["sqlite"] = measure(
            f"sqlite:///{folder / 'mlflow.db'}", folder, arguments.rounds, arguments.slow_rounds
        )
        with server(folder / "server") as url:
            results["http"] = measure(url, folder / "server", arguments.rounds, arguments.slow_rounds)
    for store in ("sqlite", "http"):
        for name, figures in results[store]["figures"].items():
            print(f"{store:7} {name:22} {figures}")
        print(f"{store:7} {results[store]['ratios']}")
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
