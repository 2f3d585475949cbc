"""Features joined to decisions as they were known then: ratchet beside pandas `merge_asof` and beside Feast.

    python -m benchmarks.feature_join --out feature_join.json --feast-python /path/to/feast/env/bin/python

A million rows of 20 features (50 symbols, 1-minute bars known within five seconds, one in fifty corrected one to three
days later) are joined to a million decisions at random times. Each side runs in a process of its own, three times in a
row, and reports seconds, seconds of all its threads together (which other work on the machine
stretches less) and the largest resident memory (`resource.getrusage`).

`merge_asof` takes the row that became known last. Where an old bar was corrected late that is not the newest bar, so
its answer is wrong there: the result counts how often. Feast joins every past row of a key before it chooses, so it is
given 500 and 2,000 decisions only, within 14 GiB and five minutes, and ratchet is timed on the same decisions beside
it. Feast orders by event time and never asks since when a row was known, so it joins corrections that came later.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.features.store.joins import ViewRequest, join_features
from ratchet.features.store.offline import EngineLimits, OfflineStore

N_SYMBOLS = 50
N_FEATURES = 20
START_NS = 1_704_067_200_000_000_000
MINUTE_NS = 60_000_000_000
S_NS = 1_000_000_000
CORRECTED_SHARE = 0.02
VERSION = "be" * 32
LIMITS = EngineLimits(memory_mib=4_096, threads=2)
N_REPEATS = 3
FEAST_ROWS = (500, 2_000)
MAX_SECONDS = 300
PACKAGES = ("numpy", "pandas", "pyarrow", "duckdb")


def generate(n_rows: int) -> pd.DataFrame:
    """Return rows of a feature table, a share of them corrections of others."""
    rng = np.random.default_rng(7)
    n_bars = round(n_rows / (1 + CORRECTED_SHARE)) // N_SYMBOLS
    symbols = np.repeat(np.array([f"COIN{number:02d}/USDT" for number in range(N_SYMBOLS)], dtype=object), n_bars)
    events_ns = np.tile(START_NS + np.arange(n_bars) * MINUTE_NS, N_SYMBOLS)
    known_ns = events_ns + rng.integers(0, 5 * S_NS, len(events_ns))
    corrected = rng.choice(len(events_ns), n_rows - len(events_ns), replace=False)
    late_ns = known_ns[corrected] + rng.integers(86_400, 3 * 86_400, len(corrected)) * S_NS
    every = np.concatenate((np.arange(len(events_ns)), corrected))
    rows = {"symbol": symbols[every], "ts_event_ns": events_ns[every], "known_ns": np.concatenate((known_ns, late_ns))}
    values = rng.standard_normal((N_FEATURES, n_rows), dtype=np.float32)
    return pd.DataFrame(rows | {f"f{number}": column for number, column in enumerate(values)})


def decisions(rows: pd.DataFrame, n_rows: int) -> pd.DataFrame:
    """Return random symbols and times, to the second."""
    rng = np.random.default_rng(8)
    first_s, last_s = rows["ts_event_ns"].min() // S_NS, rows["ts_event_ns"].max() // S_NS
    symbols = rows["symbol"].unique()[rng.integers(0, N_SYMBOLS, n_rows)]
    return pd.DataFrame({"symbol": symbols, "ts_ns": rng.integers(first_s, last_s, n_rows) * S_NS})


def prepare(folder: Path, n_rows: int) -> None:
    """Store the rows for all sides, and print how long ratchet took for its own as JSON."""
    rows = generate(n_rows)
    decisions(rows, n_rows).to_parquet(folder / "spine.parquet", index=False)
    begun = time.perf_counter()
    OfflineStore(folder).write("candles", VERSION, rows, timeframe="1m", lineage={})
    seconds = time.perf_counter() - begun
    rows.to_parquet(folder / "rows.parquet", index=False)
    times = {"event_time": pd.to_datetime(rows["ts_event_ns"], utc=True)}
    times["created_time"] = pd.to_datetime(rows["known_ns"], utc=True)
    rows.drop(columns=["ts_event_ns", "known_ns"]).assign(**times).to_parquet(folder / "feast.parquet", index=False)
    (stored,) = (folder / "candles").rglob("*.parquet")
    print(json.dumps({"seconds": seconds, "stored_mib": stored.stat().st_size / 2**20}))


def ratchet_join(folder: Path, spine: pd.DataFrame) -> pd.DataFrame:
    """Join with `join_features`."""
    return join_features(OfflineStore(folder, limits=LIMITS), spine, [ViewRequest("candles", VERSION)])


def pandas_join(folder: Path, spine: pd.DataFrame) -> pd.DataFrame:
    """Join with `merge_asof` on `known_ns`, from reading the rows on; the decisions' order is restored."""
    rows = pd.read_parquet(folder / "rows.parquet").sort_values("known_ns")
    moments = spine.reset_index(names="row").sort_values("ts_ns")
    joined = pd.merge_asof(moments, rows, left_on="ts_ns", right_on="known_ns", by="symbol")
    return joined.sort_values("row", ignore_index=True)


SIDES: dict[str, Callable[[Path, pd.DataFrame], pd.DataFrame]] = {"ratchet": ratchet_join, "pandas": pandas_join}


def run_side(side: str, folder: Path, n_rows: int) -> None:
    """Join in this process, print what it took as JSON and leave the first feature's values in a file."""
    spine = pd.read_parquet(folder / "spine.parquet").head(n_rows)
    before_mib, seconds, cpu_seconds = _peak_mib(), [], []
    for _ in range(N_REPEATS):
        begun, cpu_begun = time.perf_counter(), time.process_time()
        joined = SIDES[side](folder, spine)
        seconds.append(time.perf_counter() - begun)
        cpu_seconds.append(time.process_time() - cpu_begun)
    np.save(folder / f"{side}_{n_rows}.npy", joined["f0"].to_numpy())
    memory = {"peak_rss_mib": _peak_mib(), "rss_before_mib": before_mib}
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, **memory}))


def in_own_process(command: list[str]) -> dict[str, Any]:
    """Return what a command printed, or why there is nothing."""
    environment = os.environ | {"FEAST_USAGE": "False"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {MAX_SECONDS} s"}
    if done.returncode:
        return {"failed": f"ended with code {done.returncode}: {(done.stderr.strip().splitlines() or [''])[-1]}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def compare(folder: Path, n_rows: int, feast_python: Path | None) -> dict[str, Any]:
    """Run every side and count where it answers other than ratchet."""

    def side(name: str, n_decisions: int) -> dict[str, Any]:
        own = [sys.executable, "-m", "benchmarks.feature_join", "--side", name, "--rows", str(n_decisions)]
        feast = [str(feast_python), str(Path(__file__).with_name("feature_join_feast.py"))]
        command = [*feast, str(folder), str(n_decisions)] if name == "feast" else [*own, "--folder", str(folder)]
        result = in_own_process(command)
        if name not in {"write", "ratchet"} and "failed" not in result:
            values = [np.load(folder / f"{one}_{n_decisions}.npy") for one in (name, "ratchet")]
            is_same = np.isclose(*values, rtol=0, atol=0, equal_nan=True)
            result["n_differ_from_ratchet"] = int(np.count_nonzero(~is_same))
        return result

    results = {name: side(name, n_rows) for name in ("write", *SIDES)}
    for n_decisions in FEAST_ROWS if feast_python else ():
        results |= {f"{name}_{n_decisions}": side(name, n_decisions) for name in (*SIDES, "feast")}
    return results


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the table, and decisions")
    parser.add_argument("--feast-python", type=Path, help="a Python that has Feast; without it Feast is left out")
    parser.add_argument("--out", type=Path, help="file for the raw results, as JSON")
    parser.add_argument("--side", choices=["write", *SIDES], help="run one side in this process")
    parser.add_argument("--folder", type=Path, help="where that side finds the stored rows")
    options = parser.parse_args()
    if options.side == "write":
        prepare(options.folder, options.rows)
        return
    if options.side:
        run_side(options.side, options.folder, options.rows)
        return
    with tempfile.TemporaryDirectory() as folder:
        results = compare(Path(folder), options.rows, options.feast_python)
    machine: dict[str, Any] = {
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "processor": platform.machine(),
    }
    machine["load_at_end"] = os.getloadavg()[1]
    packages = {name: version(name) for name in PACKAGES}
    if options.out:
        told = {"machine": machine, "packages": packages, "rows": options.rows, "results": results}
        options.out.write_text(json.dumps(told, indent=2) + "\n")
    for name, result in results.items():
        print(f"{name:14} {json.dumps(result)}")


if __name__ == "__main__":
    main()
