"""Read and write feature vectors of 110 in the three online stores, and write how long each call took.

    python -m benchmarks.online_store --redis redis://127.0.0.1:6379/0 --out FILE.json

The database of the Redis server is written to under a view of its own; the SQLite file is made in `--folder`.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ratchet.features.store import OnlineStore, open_online_store

N_FEATURES = 110
SYMBOLS = [f"S{number}/USDT" for number in range(50)]
VIEW = "benchmark"


def measure(call: Callable[[int], object], n_calls: int) -> dict[str, float]:
    """Call with 0, 1, 2, ... and return percentiles of the time of one call, us."""
    for turn in range(n_calls // 10):
        call(turn)
    took_ns = np.empty(n_calls, dtype=np.int64)
    for turn in range(n_calls):
        started_ns = time.perf_counter_ns()
        call(n_calls + turn)
        took_ns[turn] = time.perf_counter_ns() - started_ns
    return {f"p{share}_us": round(float(np.percentile(took_ns, share)) / 1_000, 1) for share in (50, 99)}


def measure_store(store: OnlineStore, n_calls: int) -> dict[str, dict[str, float]]:
    """Measure one store whose view is empty or of an earlier run."""
    values = np.random.default_rng(1).normal(size=N_FEATURES).astype(np.float32)
    start_ns = time.time_ns()
    n_written = store.write_vectors(VIEW, "schema", dict.fromkeys(SYMBOLS, (start_ns, 0, values)))
    if n_written != len(SYMBOLS):
        raise SystemExit(f"{len(SYMBOLS) - n_written} vectors of a later time are in the way")
    return {
        "read 1": measure(lambda _: store.read_vectors(VIEW, SYMBOLS[:1]), n_calls),
        "read 50": measure(lambda _: store.read_vectors(VIEW, SYMBOLS), n_calls),
        "write 1": measure(
            lambda turn: store.write_vectors(VIEW, "schema", {SYMBOLS[0]: (start_ns, 1 + turn, values)}), n_calls
        ),
        "write 50": measure(
            lambda turn: store.write_vectors(VIEW, "schema", dict.fromkeys(SYMBOLS, (start_ns + 1, 1 + turn, values))),
            n_calls // 10,
        ),
    }


def main() -> None:
    """Measure all engines that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--redis", action="append", default=[], help="URL of a Redis server; may be given more often")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the temporary folder")
    parser.add_argument("--calls", type=int, default=5_000)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    results: dict[str, object] = {"load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        for url in ["memory://", f"sqlite:///{folder}/online.sqlite", *arguments.redis]:
            store = open_online_store(url)
            engine = url.partition("://")[0]
            results[engine] = measured = measure_store(store, arguments.calls)
            store.close()
            for name, figures in measured.items():
                print(f"{engine:7} {name:8} p50 {figures['p50_us']:8.1f} us  p99 {figures['p99_us']:8.1f} us")
    arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
