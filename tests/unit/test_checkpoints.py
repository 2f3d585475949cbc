"""Checkpoints: all or nothing, one writer, whatever the others believe."""

from __future__ import annotations

import multiprocessing
import sqlite3
from pathlib import Path

import pytest

from ratchet.errors import ArtifactError, BusyError, ConfigurationError
from ratchet.features.streaming.checkpoints import SqliteCheckpointStore

N_WRITERS = 4
N_SAVES = 25


def test_what_was_saved_is_there_for_the_next_owner(tmp_path: Path) -> None:
    """Parts that did not change stay, those that did are replaced; offset and counts are the last ones."""
    store = SqliteCheckpointStore(tmp_path / "new" / "checkpoints.sqlite")
    mine = store.acquire("s", 0, 4)
    assert (mine.epoch, mine.next_offset, dict(mine.parts), dict(mine.counts)) == (1, None, {}, {})
    store.save("s", 0, mine.epoch, next_offset=5, changed_parts={"a": b"1", "b": b"\x00\xff"}, counts={"events": 5})
    store.save("s", 0, mine.epoch, next_offset=9, changed_parts={"a": b"2"}, counts={"events": 9, "poison": 1})
    store.save("s", 0, mine.epoch, next_offset=10, changed_parts={}, counts={"events": 10, "poison": 1})
    store.close()
    again = SqliteCheckpointStore(tmp_path / "new" / "checkpoints.sqlite").acquire("s", 0, 4)
    assert (again.epoch, again.next_offset) == (2, 10)
    assert again.parts == {"a": b"2", "b": b"\x00\xff"}
    assert again.counts == {"events": 10, "poison": 1}


def test_a_former_owner_can_write_nothing(tmp_path: Path) -> None:
    """Neither offset nor parts of the old epoch get in, also through another object."""
    store, other = (SqliteCheckpointStore(tmp_path / "c.sqlite") for _ in range(2))
    old = store.acquire("s", 1, 4)
    store.save("s", 1, old.epoch, next_offset=5, changed_parts={"a": b"old"}, counts={})
    new = other.acquire("s", 1, 4)
    with pytest.raises(BusyError, match=r"s, partition 1: someone else"):
        store.save("s", 1, old.epoch, next_offset=99, changed_parts={"a": b"late", "b": b"late"}, counts={"x": 1})
    other.save("s", 1, new.epoch, next_offset=6, changed_parts={}, counts={})
    last = store.acquire("s", 1, 4)
    assert (last.next_offset, last.parts, last.counts) == (6, {"a": b"old"}, {})


def test_partitions_and_streams_do_not_touch_each_other(tmp_path: Path) -> None:
    """Each has an epoch and a state of its own; forgetting one stream leaves the other."""
    store = SqliteCheckpointStore(tmp_path / "c.sqlite")
    for stream in ("s", "t"):
        for partition in (0, 1):
            mine = store.acquire(stream, partition, 2)
            part = f"{stream}{partition}".encode()
            store.save(stream, partition, mine.epoch, next_offset=partition, changed_parts={"a": part}, counts={})
    store.forget("s")
    assert store.acquire("s", 1, 3).next_offset is None
    assert store.acquire("s", 1, 3).parts == {}
    assert store.acquire("t", 1, 2).parts == {"a": b"t1"}


def test_another_number_of_partitions_is_refused(tmp_path: Path) -> None:
    """It would send symbols to engines that do not know them; the epoch stays."""
    store = SqliteCheckpointStore(tmp_path / "c.sqlite")
    mine = store.acquire("s", 0, 4)
    with pytest.raises(ConfigurationError, match="s has 5 partitions, its checkpoints are of 4"):
        store.acquire("s", 4, 5)
    store.save("s", 0, mine.epoch, next_offset=1, changed_parts={}, counts={})


def test_a_save_that_cannot_be_whole_changes_nothing(tmp_path: Path) -> None:
    """The offset does not move where a part is refused."""
    path = tmp_path / "c.sqlite"
    store = SqliteCheckpointStore(path)
    mine = store.acquire("s", 0, 1)
    store.save("s", 0, mine.epoch, next_offset=5, changed_parts={"a": b"1"}, counts={})
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON state_part WHEN NEW.name = 'b' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    with pytest.raises(ArtifactError, match="full"):
        store.save("s", 0, mine.epoch, next_offset=6, changed_parts={"a": b"2", "b": b"2"}, counts={})
    kept = store.acquire("s", 0, 1)
    assert (kept.next_offset, kept.parts) == (5, {"a": b"1"})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """Not a database: an error of ours with the path."""
    path = tmp_path / "c.sqlite"
    path.write_bytes(b"nonsense" * 1000)
    with pytest.raises(ArtifactError, match=r"c\.sqlite"):
        SqliteCheckpointStore(path)


def _save_often(path: Path, writer: int, failures: multiprocessing.SimpleQueue[str]) -> None:
    store = SqliteCheckpointStore(path)
    mine = store.acquire("s", writer, N_WRITERS)
    for number in range(1, N_SAVES + 1):
        part = str(number).encode()
        try:
            store.save("s", writer, mine.epoch, next_offset=number, changed_parts={"a": part, "b": part}, counts={})
        except BusyError as error:
            failures.put(str(error))


def test_processes_share_a_file_from_its_making_on(tmp_path: Path) -> None:
    """Several start at once, each with a partition of its own; nobody is turned away."""
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload(["ratchet.features.streaming.checkpoints"])
    failures: multiprocessing.SimpleQueue[str] = forks.SimpleQueue()
    path = tmp_path / "c.sqlite"
    children = [forks.Process(target=_save_often, args=(path, writer, failures)) for writer in range(N_WRITERS)]
    for child in children:
        child.start()
    for child in children:
        child.join(30)
        assert child.exitcode == 0
    assert failures.empty()
    store = SqliteCheckpointStore(path)
    for writer in range(N_WRITERS):
        kept = store.acquire("s", writer, N_WRITERS)
        assert (kept.next_offset, kept.parts) == (N_SAVES, {"a": b"25", "b": b"25"})
