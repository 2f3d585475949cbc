"""Judge and store generated candles: ratchet's fast gate beside pandas and Great Expectations alone.

    python benchmarks/validation.py --rows 10000000 --out validation.json

Each side runs in a process of its own over the same 50 symbols of 1-minute bars, and reports seconds, rows per second
and the largest resident memory of the process (`resource.getrusage`), beside what it was before the first step. The
plain side is limited to 12 GiB and 10 minutes; where it does not keep to that it is run again at a million rows, and
the result says so.
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
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ratchet.data.quality import QualityPolicy, VectorizedGate
from ratchet.data.quality.candles import candle_suite
from ratchet.data.quality.rows import Rows
from ratchet.data.snapshots import save_dataset
from ratchet.market import PRICE_COLUMNS, Timeframe

N_SYMBOLS = 50
START_NS = 1_704_067_200_000_000_000
MINUTE = Timeframe.parse("1m")
FALLBACK_ROWS = 1_000_000
MAX_BYTES = 12 * 2**30
MAX_SECONDS = 600
PACKAGES = ("numpy", "pandas", "pyarrow", "great-expectations")


def generate(n_rows: int) -> pd.DataFrame:
    """Return sorted candles of 50 symbols, one symbol at a time, so that making them leaves no higher peak."""
    n_bars = n_rows // N_SYMBOLS
    names = ("open", "high", "low", "close", "volume")
    columns: dict[str, Any] = {
        "symbol": np.repeat(np.array([f"COIN{number:02d}/USDT" for number in range(N_SYMBOLS)], dtype=object), n_bars),
        "ts_event_ns": np.empty(N_SYMBOLS * n_bars, dtype=np.int64),
    } | {name: np.empty(N_SYMBOLS * n_bars) for name in names}
    for number in range(N_SYMBOLS):
        rng = np.random.default_rng(number)
        part = slice(number * n_bars, (number + 1) * n_bars)
        close = 100.0 * np.exp(np.cumsum(0.0007 * rng.standard_normal(n_bars)))
        columns["ts_event_ns"][part] = START_NS + np.arange(n_bars) * MINUTE.ns
        columns["open"][part] = np.concatenate(([100.0], close[:-1]))
        columns["close"][part] = close
        columns["high"][part] = np.maximum(columns["open"][part], close) * 1.0005
        columns["low"][part] = np.minimum(columns["open"][part], close) * 0.9995
        columns["volume"][part] = rng.exponential(5.0, n_bars)
    return pd.DataFrame(columns, copy=False)


def ratchet_side(candles: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Judge with `VectorizedGate`, then store with `save_dataset`."""
    gate = VectorizedGate()
    (report, good, _), judged = _measured(lambda: gate.check(candles, timeframe=MINUTE))
    _, saved = _measured(lambda: save_dataset(folder, good, source="generated", timeframe=MINUTE))
    return {"passed": report.passed, "validate": judged, "save": saved, "checks_ms": _by_check(candles)}


def plain_side(candles: pd.DataFrame, folder: Path) -> dict[str, Any]:
    """Judge with a suite of Great Expectations as its guide writes one, then store with pandas."""
    _, imported = _measured(partial(import_module, "great_expectations"))
    result, judged = _measured(lambda: _plain_suite(candles))
    _, saved = _measured(lambda: candles.to_parquet(folder / "candles", partition_cols=["symbol"], index=False))
    return {"passed": result, "import": imported, "validate": judged, "save": saved}


def _plain_suite(candles: pd.DataFrame) -> bool:
    import great_expectations as gx  # noqa: PLC0415 - only this side pays for it
    import great_expectations.expectations as gxe  # noqa: PLC0415

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    asset = context.data_sources.add_pandas("pandas").add_dataframe_asset("candles")
    suite = gx.ExpectationSuite("candles")
    pairs = [("high", "open"), ("high", "close"), ("high", "low"), ("open", "low"), ("close", "low")]
    expectations = [
        *(gxe.ExpectColumnValuesToNotBeNull(column=name) for name in candles.columns),
        *(gxe.ExpectColumnValuesToBeBetween(column=name, min_value=0, strict_min=True) for name in PRICE_COLUMNS),
        gxe.ExpectColumnValuesToBeBetween(column="volume", min_value=0),
        *(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=above, column_B=below, or_equal=True)
            for above, below in pairs
        ),
        gxe.ExpectCompoundColumnsToBeUnique(column_list=["symbol", "ts_event_ns"]),
    ]
    for expectation in expectations:
        suite.add_expectation(expectation)
    batch = asset.add_batch_definition_whole_dataframe("all").get_batch(batch_parameters={"dataframe": candles})
    return bool(batch.validate(suite).success)


def _by_check(candles: pd.DataFrame) -> dict[str, float]:
    """Return what each check takes by itself, ms; the first of a column or of a derived one pays for what it shares."""
    suite = candle_suite(MINUTE, QualityPolicy())
    rows = Rows(candles, suite.derived)
    _, grouped = _measured(lambda: rows.groups)
    spent = {"(rows by symbol)": grouped["seconds"] * 1e3}
    for check in suite.checks:
        _, measured = _measured(partial(check.rule.broken, rows))
        spent[f"{check.name} {check.column}"] = round(measured["seconds"] * 1e3, 2)
    return spent


def _measured(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    begun = time.perf_counter()
    result = work()
    return result, {"seconds": time.perf_counter() - begun, "peak_rss_mib": _peak_mib()}


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


SIDES = {"ratchet": ratchet_side, "plain": plain_side}


def run_side(side: str, n_rows: int) -> None:
    """Run one side in this process and print its result as JSON."""
    if side == "plain":
        resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))
    candles = generate(n_rows)
    before = {
        "rows": len(candles),
        "frame_mib": float(candles.memory_usage().sum() / 2**20),
        "rss_before_mib": _peak_mib(),
    }
    with tempfile.TemporaryDirectory() as folder:
        result = before | SIDES[side](candles, Path(folder))
    for step in ("validate", "save"):
        result[step]["rows_per_s"] = round(len(candles) / result[step]["seconds"])
    print(json.dumps(result))


def in_own_process(side: str, n_rows: int) -> dict[str, Any]:
    """Return the result of a side, or why there is none."""
    command = [sys.executable, __file__, "--side", side, "--rows", str(n_rows)]
    environment = os.environ | {"GX_ANALYTICS_ENABLED": "false"}
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=MAX_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"{n_rows} rows took longer than {MAX_SECONDS} s"}
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"{n_rows} rows ended with code {done.returncode}: {last}"}
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--out", type=Path, help="file for the raw results, as JSON")
    parser.add_argument("--side", choices=SIDES, help="run one side in this process")
    options = parser.parse_args()
    if options.side:
        run_side(options.side, options.rows)
        return
    results = {side: in_own_process(side, options.rows) for side in SIDES}
    if "failed" in results["plain"] and options.rows > FALLBACK_ROWS:
        results["plain_at_1m"] = in_own_process("plain", FALLBACK_ROWS)
    machine = {"python": platform.python_version(), "cpus": os.cpu_count(), "processor": platform.machine()}
    packages = {name: version(name) for name in PACKAGES}
    if options.out:
        options.out.write_text(json.dumps({"machine": machine, "packages": packages, "results": results}, indent=2))
    for side, result in results.items():
        if "failed" in result:
            print(f"{side}: {result['failed']}")
            continue
        for step in ("validate", "save"):
            told = result[step]
            speed = f"{told['seconds']:9.2f} s {told['rows_per_s']:>12,} rows/s"
            memory = f"peak {told['peak_rss_mib']:8,.0f} MiB (before {result['rss_before_mib']:,.0f})"
            print(f"{side:12} {step:9} {result['rows']:>12,} rows {speed}  {memory}")


if __name__ == "__main__":
    main()
