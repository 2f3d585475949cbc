"""The three online stores keep one contract, and those that processes share keep it between processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from pathlib import Path

import numpy as np
import pytest

from ratchet.features.store import MemoryOnlineStore, RedisOnlineStore, SqliteOnlineStore, open_online_store
from ratchet.testing.online_store import OnlineStoreContract, read_all
from tests.redis_server import RedisServer

_SYMBOLS = ["A", "B", "C"]
_N_WRITERS = 3
_N_TURNS = 90


class TestMemoryOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self) -> MemoryOnlineStore:
        return MemoryOnlineStore()


class TestSqliteOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[SqliteOnlineStore]:
        opened = SqliteOnlineStore(f"sqlite:///{tmp_path / 'online.sqlite'}")
        yield opened
        opened.close()


class TestRedisOnlineStore(OnlineStoreContract):
    @pytest.fixture
    def store(self, redis_server: RedisServer) -> Iterator[RedisOnlineStore]:
        redis_server.flush()
        opened = RedisOnlineStore(redis_server.url)
        yield opened
        opened.close()


def _write_turns(url: str, writer: int, start: Barrier) -> None:
    store = open_online_store(url)
    start.wait(60)
    for turn in range(writer, _N_TURNS, _N_WRITERS):
        window, vector = np.full((60, 110), turn, np.float32), np.full(110, turn, np.float32)
        store.write_windows("view", "abc", dict.fromkeys(_SYMBOLS, (turn, window)), 1)
        store.write_vectors("view", "abc", dict.fromkeys(_SYMBOLS, (turn, 0, vector)))
    store.close()


@pytest.fixture(params=["sqlite", "redis"])
def shared_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store that processes can share."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'online.sqlite'}"
    server: RedisServer = request.getfixturevalue("redis_server")
    server.flush()
    return server.url


def test_processes_write_and_read_whole_values_only(shared_url: str) -> None:
    """While three processes write, another sees no torn value and no time that goes back; the newest stays."""
    spawn = multiprocessing.get_context("spawn")
    start = spawn.Barrier(_N_WRITERS)
    writers = [spawn.Process(target=_write_turns, args=(shared_url, number, start)) for number in range(_N_WRITERS)]
    for writer in writers:
        writer.start()
    store = open_online_store(shared_url)
    newest: dict[tuple[str, str], int] = {}
    while any(writer.is_alive() for writer in writers):
        for name, time_ns, values in read_all(store, _SYMBOLS):
            assert np.unique(values).tolist() == [time_ns]
            assert time_ns >= newest.get(name, 0)
            newest[name] = time_ns
    assert [writer.exitcode for writer in writers] == [0] * _N_WRITERS
    assert {time_ns for _, time_ns, _ in read_all(store, _SYMBOLS)} == {_N_TURNS - 1}
    store.close()
