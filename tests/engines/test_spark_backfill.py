"""The Spark job has the rows of an engine in process, bit for bit (opt-in: RATCHET_SPARK_PYTHON)."""

from __future__ import annotations

import gzip
import json
import os
import sys
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import FeatureEvent, digest_rows, encode_event
from ratchet.features.streaming.recorded import recorded_events
from ratchet.ingestion import replay_recording
from ratchet.settings import Settings
from tests.engines.environments import COMPUTED, JOBS, ROOT, engine_python, in_process, run_job
from tests.market_events import random_events

pytestmark = [pytest.mark.slow, pytest.mark.engine]
BACK_FILL = JOBS / "spark" / "backfill.py"
RECORDING = "lob/hftbacktest/spot/btcusdt_20240808.gz"


@pytest.fixture
def python() -> Path:
    """The Python that has Spark."""
    return engine_python("RATCHET_SPARK_PYTHON")


def _write(events: list[FeatureEvent], folder: Path, n_files: int) -> None:
    """Spread events over files, the last to arrive first."""
    folder.mkdir()
    arrived = list(enumerate(events))[::-1]
    for n in range(n_files):
        part = arrived[n::n_files]
        columns = {
            "symbol": [event.symbol for _, event in part],
            "arrival": pa.array([arrival for arrival, _ in part], pa.int64()),
            "packed": pa.array([encode_event(event) for _, event in part], pa.binary()),
        }
        pq.write_table(pa.table(columns), folder / f"part-{n}.parquet")


def test_a_back_fill_of_scattered_events_has_the_rows_of_the_stream(python: Path, tmp_path: Path) -> None:
    symbols = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
    events = random_events(symbols, seed=11, n_minutes=20, bar_delay_ns=90_000_000_000)
    expected = in_process(events)
    unusable = replace(events[50], values=-events[50].values[:1])
    _write([*events[:60], unusable, *events[60:]], tmp_path / "events", n_files=3)
    report = json.loads(run_job(python, BACK_FILL, tmp_path / "events", tmp_path / "rows", *COMPUTED))
    assert report["set_aside"] == 1
    assert report["rows"] == len(expected) > 3_000
    assert report["digest"] == digest_rows(expected)
    table = pq.read_table(tmp_path / "rows")
    names = FeatureSet.named("core").names
    assert table.column_names == ["symbol", "place", "ts_event_ns", "known_ns", "kind", "sequence", *names]
    assert all(table.schema.field(name).type == pa.float32() for name in names)
    assert sum(table["known_ns"].to_pylist()) == sum(row.known_ns for row in expected)


def test_a_back_fill_of_a_real_recording_has_the_rows_of_the_stream(python: Path, tmp_path: Path) -> None:
    source = Path(os.environ.get("RATCHET_REAL_DATA", ROOT.parent / "shared" / "data")) / RECORDING
    if not source.is_file():
        pytest.skip(f"no recording {source}; set RATCHET_REAL_DATA to the folder of recordings")
    with gzip.open(source, "rt") as file:
        (tmp_path / "raw.txt").write_text("".join(islice(file, 6_000)))
    settings = Settings(home=tmp_path / "home")
    replay_recording(settings, tmp_path / "raw.txt", venue="binance", symbol="BTC/USDT")
    expected = in_process(list(recorded_events(settings.recordings_root, "binance", "BTC/USDT", 0, 2**63 - 1)))
    exported = (tmp_path / "events", "--export", settings.recordings_root, "--symbol", "BTC/USDT")
    n_events = json.loads(run_job(Path(sys.executable), BACK_FILL, *exported))["events"]
    report = json.loads(run_job(python, BACK_FILL, tmp_path / "events", tmp_path / "rows", *COMPUTED))
    assert n_events >= report["rows"] == len(expected) > 500
    assert report["digest"] == digest_rows(expected)
