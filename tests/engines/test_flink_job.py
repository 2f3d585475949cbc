"""The Flink job has the rows of an engine in process, bit for bit (opt-in: RATCHET_FLINK_PYTHON)."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ratchet.features.streaming.events import decode_row, digest_rows, encode_event
from tests.engines.environments import COMPUTED, JOBS, engine_python, in_process, run_job
from tests.market_events import random_events

pytestmark = [pytest.mark.slow, pytest.mark.engine]
JOB = JOBS / "flink" / "features_job.py"


def _finished_lines(folder: Path) -> list[str]:
    """Return the lines of each writer in its own order; names end in the number of the file."""
    files = [(path.name.rpartition("-"), path) for path in folder.glob("part-*")]
    files.sort(key=lambda entry: (entry[0][0], int(entry[0][2])))
    return [line for _, path in files for line in path.read_text().splitlines()]


@pytest.mark.parametrize("max_engines", [1, 1_000], ids=["from-state", "from-memory"])
def test_the_job_has_the_rows_of_the_stream(tmp_path: Path, max_engines: int) -> None:
    python = engine_python("RATCHET_FLINK_PYTHON")
    symbols = ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT")
    events = random_events(symbols, seed=12, n_minutes=8, bar_delay_ns=90_000_000_000)
    expected = in_process(events)
    lines = [base64.b64encode(encode_event(event)).decode() for event in events]
    lines[60:60] = ["no event", base64.b64encode(b"nor this").decode()]
    (tmp_path / "events.txt").write_text("\n".join(lines) + "\n")
    run_job(
        python, JOB, tmp_path / "events.txt", tmp_path / "out", *COMPUTED, "--parallelism", "2", "--checkpoint-ms",
        "100", "--max-engines", str(max_engines),
    )  # fmt: skip
    rows = [decode_row(base64.b64decode(line)) for line in _finished_lines(tmp_path / "out" / "rows")]
    assert sorted(_finished_lines(tmp_path / "out" / "set_aside")) == sorted(lines[60:62])
    assert len(rows) == len(expected) > 1_000
    assert digest_rows(rows) == digest_rows(expected)
