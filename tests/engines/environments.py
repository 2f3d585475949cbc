"""Engines with Python environments of their own: where these are, and how a job runs in one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import FeatureEvent, FeatureRow
from ratchet.market.symbols import Timeframe

ROOT = Path(__file__).resolve().parents[2]
JOBS = ROOT / "deployments" / "streaming"
COMPUTED = ("--features", "core", "--timeframe", "1m", "--every-event", "--lateness-ms", "2000")
"""What both jobs are asked for, and `in_process` computes."""


def engine_python(variable: str) -> Path:
    """Return the Python that an environment variable names; skip the test where it is not set."""
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no Python; see docs/how-to/back-fill-with-spark.md")
    return Path(named)


def run_job(python: Path, *arguments: str | Path) -> str:
    """Run a job to its end and return what it printed; the kernel is compiled for its environment alone."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "NUMBA_CACHE_DIR": str(python.absolute().parents[1] / "numba"),
    }
    done = subprocess.run(
        [python, *arguments], env=environment, capture_output=True, text=True, timeout=550, check=False
    )
    assert done.returncode == 0, done.stderr[-4_000:]
    return done.stdout


def in_process(events: list[FeatureEvent]) -> list[FeatureRow]:
    """Return the rows of events that an engine in this process gives."""
    engine = FeatureEngine(FeatureSet.named("core"), Timeframe.parse("1m"), every_event=True, lateness_ns=2_000_000_000)
    return [row for event in events for row in engine.apply(event)] + engine.flush()
