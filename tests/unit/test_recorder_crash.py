"""A recorder killed at random times: nothing acknowledged is lost, nothing is there twice, and holes are written down.

`RATCHET_RECORDER_KILLS` (default 5) sets how often it is killed, `RATCHET_RECORDER_SEED` the times; both are printed.
A killed process loses what it had not handed to the operating system; what a power cut takes is not tested here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from ratchet.data.books.history import list_gaps, read_events
from ratchet.data.books.segments import list_segments, segment_folder, verified_path
from ratchet.data.books.tape import Memory
from ratchet.errors import NotFoundError, RatchetError
from tests.unit.recorder_child import N_LEVELS, SYMBOL, VENUE, level_size, trade_price

ROOT = Path(__file__).resolve().parents[2]
FOREVER_NS = 2**62


def _record(root: Path, epoch_ns: int, writer: str, kill_after_s: float | None) -> set[str]:
    """Run a recorder, killed after a time or stopped properly; return what it acknowledged."""
    command = [sys.executable, "-m", "tests.unit.recorder_child", str(root), str(epoch_ns), writer]
    if kill_after_s is None:
        command.append("0.5")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            child.kill()
        *whole, last = child.stdout.read().split("\n")  # a line that the kill has cut says nothing
        assert child.wait() == (0 if kill_after_s is None else -9)
        assert kill_after_s is not None or last == ""
    return {name for line in whole for name in line.split()}


def _faults(root: Path, acknowledged: set[str]) -> list[str]:
    """Return what is wrong with a recording."""
    folder = segment_folder(root, VENUE, SYMBOL)
    faults = []
    for path in folder.glob("*.parquet"):
        try:
            pq.read_table(path)
        except (OSError, ValueError) as error:
            faults.append(f"torn: {path.name}: {error}")
    try:
        rows = read_events(root, VENUE, SYMBOL, 0, FOREVER_NS)
    except RatchetError as error:
        return [*faults, f"not readable: {error}"]
    deltas = rows[rows["kind"] == "delta"]
    updates = deltas["last_id"].to_numpy()[:: 2 * N_LEVELS]
    trades = rows[rows["kind"] == "trade"]
    numbers = trades["note"].astype(int).to_numpy()
    if (
        len(deltas) != len(updates) * 2 * N_LEVELS
        or not (np.diff(updates) > 0).all()
        or not (np.diff(numbers) > 0).all()
    ):
        faults.append("an update or a trade is there twice, in part or out of order")
    stored = {f"d{number}" for number in updates} | {f"t{number}" for number in numbers}
    lost = acknowledged - stored
    if lost:
        faults.append(f"{len(lost)} acknowledged events are lost, for example {sorted(lost)[:3]}")
    return faults + _wrong_values(deltas, trades) + _silent_holes(rows)


def _wrong_values(deltas: pd.DataFrame, trades: pd.DataFrame) -> list[str]:
    levels = np.tile(np.arange(N_LEVELS), 2 * len(deltas) // (2 * N_LEVELS))
    sizes = [level_size(update, level) for update, level in zip(deltas["last_id"], levels, strict=True)]
    prices = [round(trade_price(int(number)), 2) for number in trades["note"]]
    right = (deltas["size"].to_numpy() == sizes).all() and (trades["price"].to_numpy() == prices).all()
    return [] if right else ["a size or a price differs from the market's"]


def _silent_holes(rows: pd.DataFrame) -> list[str]:
    """Between two updates that do not follow each other there must be a gap and a new snapshot."""
    events = rows[rows["kind"].isin(["snapshot", "delta", "gap"])]
    events = events.loc[
        (events[["kind", "last_id", "ts_recv_ns"]].shift() != events[["kind", "last_id", "ts_recv_ns"]]).any(axis=1)
    ]
    last, has_gap, faults = None, True, []
    for kind, first_id, last_id in zip(events["kind"], events["first_id"], events["last_id"], strict=True):
        if kind == "gap":
            has_gap, last = True, None
        elif kind == "snapshot":
            if last is not None and last_id != last:
                faults.append(f"a snapshot {last_id} after update {last} without a gap")
            has_gap, last = False, last_id
        elif has_gap or last is None or first_id > last + 1:
            faults.append(f"update {last_id} follows {last} without a snapshot")
        else:
            last = last_id
    return faults[:3]


def test_a_killed_recorder_loses_nothing_that_it_acknowledged(tmp_path: Path) -> None:
    """No torn segment, no event twice, every hole a gap, every acknowledged event there, over many kills."""
    n_kills = int(os.environ.get("RATCHET_RECORDER_KILLS", "5"))
    seed = int(os.environ.get("RATCHET_RECORDER_SEED", "20240808"))
    sys.stdout.write(f"kills={n_kills} seed={seed}\n")
    rng = np.random.default_rng(seed)
    epoch_ns, acknowledged = time.time_ns(), set()
    for _ in range(n_kills):
        acknowledged |= _record(tmp_path, epoch_ns, "real", kill_after_s=rng.uniform(0.0, 0.9))
    acknowledged |= _record(tmp_path, epoch_ns, "real", kill_after_s=None)
    assert _faults(tmp_path, acknowledged) == []
    gaps = list_gaps(tmp_path, VENUE, SYMBOL, 0, FOREVER_NS)
    n_segments = len(list_segments(segment_folder(tmp_path, VENUE, SYMBOL)))
    sys.stdout.write(f"acknowledged={len(acknowledged)} segments={n_segments} gaps={len(gaps)}\n")
    assert len(acknowledged) > 100 * n_kills
    assert all(gap.until_ns is not None for gap in gaps[-1:])
    assert not list(segment_folder(tmp_path, VENUE, SYMBOL).glob("*.journal"))


def test_the_check_catches_a_writer_without_a_journal(tmp_path: Path) -> None:
    """The mutant: rows appended to an open Parquet file. One kill in the middle is enough."""
    epoch_ns, acknowledged = time.time_ns(), set()
    acknowledged |= _record(tmp_path, epoch_ns, "naive", kill_after_s=0.6)
    assert acknowledged
    assert any("torn" in fault for fault in _faults(tmp_path, acknowledged))


def test_an_empty_folder_has_no_memory(tmp_path: Path) -> None:
    """The first recorder of all finds nothing to continue, and nothing to read."""
    assert Memory(tmp_path / "none", FOREVER_NS).is_empty
    with pytest.raises(NotFoundError, match="no closed segment"):
        read_events(tmp_path, VENUE, SYMBOL, 0, FOREVER_NS)


def test_a_changed_segment_is_noticed(tmp_path: Path) -> None:
    """One flipped byte in a Parquet file, and reading says which."""
    _record(tmp_path, time.time_ns(), "real", kill_after_s=None)
    folder = segment_folder(tmp_path, VENUE, SYMBOL)
    path = verified_path(folder, list_segments(folder)[0])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RatchetError, match=path.name):
        read_events(tmp_path, VENUE, SYMBOL, 0, FOREVER_NS)
