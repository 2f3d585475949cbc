"""The Redis host on a real server: same rows as in process, whatever happens to workers, messages and the server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.clock import FixedClock, SystemClock
from ratchet.errors import BusyError, ConfigurationError, InputError, NotFoundError, UnavailableError
from ratchet.features.store.memory_store import MemoryOnlineStore
from ratchet.features.streaming.events import (
    FeatureEvent,
    FeatureRow,
    digest_rows,
    encode_event,
    encode_row,
    partition_of,
)
from ratchet.features.streaming.ports import Engine
from ratchet.features.streaming.redis import RedisPublisher, RedisWorker, forget_group, read_poison, read_rows
from ratchet.features.streaming.redis.connection import connect
from ratchet.features.streaming.redis.keys import StreamKeys, id_order
from ratchet.features.streaming.redis.ledger import PartitionLedger
from tests.redis_server import RedisServer
from tests.streaming_engine import OtherEngine, SummingEngine, rows_in_process, trades

pytestmark = pytest.mark.engine

VectorsBySymbol = Mapping[str, tuple[int, int, NDArray[np.float32]]]
ROOT = Path(__file__).resolve().parents[2]
GROUP = "view"
N_PARTITIONS = 4


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of this test alone."""
    return str(request.node.name)


def _publish(server: RedisServer, prefix: str, events: list[FeatureEvent], *, end: bool = True) -> None:
    with RedisPublisher(server.url, prefix, N_PARTITIONS) as publisher:
        assert publisher.publish(events) == len(events)
        if end:
            publisher.publish_end()


def _worker(
    server: RedisServer,
    prefix: str,
    group: str = GROUP,
    *,
    make_engine: Callable[[], Engine] = SummingEngine,
    owner: str = "here",
    lease_ms: int = 300,
    patience_s: float = 5.0,
    checkpoint_every_ms: int = 20,
    read_count: int = 16,
    store: MemoryOnlineStore | None = None,
    partitions: tuple[int, ...] | None = None,
    takeover_after_ms: int = 10_000,
    keep_rows: int | None = None,
) -> RedisWorker:
    return RedisWorker(
        server.url,
        prefix,
        group,
        make_engine,
        owner=owner,
        clock=SystemClock(),
        lease_ms=lease_ms,
        patience_s=patience_s,
        checkpoint_every_ms=checkpoint_every_ms,
        read_count=read_count,
        store=store,
        partitions=partitions,
        takeover_after_ms=takeover_after_ms,
        keep_rows=keep_rows,
    )


def _stored_digest(server: RedisServer, prefix: str, group: str = GROUP) -> str:
    return digest_rows(read_rows(server.url, prefix, group))


@contextmanager
def _running(worker: RedisWorker) -> Iterator[threading.Thread]:
    """Run a worker in a thread until the block ends; an error in it fails the test."""
    stop, errors = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            worker.run(stop.is_set)
        except (BusyError, UnavailableError, RuntimeError) as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(20)
    assert errors == []
    assert not thread.is_alive()


@contextmanager
def _child(server: RedisServer, prefix: str, owner: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own that owns a partition."""
    command = [sys.executable, "-m", "tests.redis_worker_child", server.url, prefix, GROUP, owner, *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            yield child
        finally:
            child.kill()


def _wait_for(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen"
        time.sleep(0.01)


def _start(server: RedisServer) -> None:
    """Start a killed server and wait until it has read its file; until then it refuses commands."""
    server.start()
    with server.client() as client:
        _wait_for(lambda: client.info("persistence")["loading"] == 0)


def _n_rows(server: RedisServer, prefix: str) -> int:
    with server.client() as client:
        return sum(client.xlen(StreamKeys(prefix).rows(GROUP, number)) for number in range(N_PARTITIONS))


# --- the same rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3])
def test_rows_are_those_of_an_in_process_run(redis_server: RedisServer, prefix: str, protocol: int) -> None:
    events = trades(1_000)
    _publish(redis_server, prefix, events)
    url = f"{redis_server.url}?protocol={protocol}"
    with RedisWorker(url, prefix, GROUP, SummingEngine, owner="here", clock=SystemClock()) as worker:
        worker.drain()
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))
    assert worker.metrics.snapshot()["rows"] == len(events)
    assert not worker.owned


def test_one_worker_after_another_goes_on_where_the_first_stopped(redis_server: RedisServer, prefix: str) -> None:
    events = trades(900)
    for number in range(3):
        _publish(redis_server, prefix, events[300 * number : 300 * (number + 1)], end=number == 2)
        with _worker(redis_server, prefix, owner=f"worker-{number}") as worker:
            worker.drain()
        assert worker.metrics.replayed == 0
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))


def test_without_the_end_mark_nothing_is_flushed(redis_server: RedisServer, prefix: str) -> None:
    events = trades(100)
    _publish(redis_server, prefix, events, end=False)
    with _worker(redis_server, prefix) as worker:
        worker.drain()
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events, flush=False))


def test_duplicates_in_the_input_change_nothing(redis_server: RedisServer, prefix: str) -> None:
    events = trades(300)
    doubled = [twice for event in events for twice in (event, event)] + events[-50:]
    _publish(redis_server, prefix, doubled)
    with _worker(redis_server, prefix) as worker:
        worker.drain()
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))


def test_groups_side_by_side_each_take_everything(redis_server: RedisServer, prefix: str) -> None:
    events = trades(200)
    _publish(redis_server, prefix, events)
    with (
        _worker(redis_server, prefix, "one") as one,
        _worker(redis_server, prefix, "two", make_engine=OtherEngine) as two,
    ):
        one.drain()
        with redis_server.client() as client:
            assert client.xlen(StreamKeys(prefix).events(0)) > 1, "entries went before the second group had them"
        two.drain()
    expected = digest_rows(rows_in_process(events))
    assert [_stored_digest(redis_server, prefix, group) for group in ("one", "two")] == [expected, expected]
    with redis_server.client() as client:
        assert all(client.xlen(StreamKeys(prefix).events(number)) <= 1 for number in range(N_PARTITIONS))


# --- poison and bugs -----------------------------------------------------------------------------------------------


def test_poison_is_set_aside_and_the_stream_goes_on(redis_server: RedisServer, prefix: str) -> None:
    events = trades(200)
    refused = trades(1, seed=1)[0]
    refused = FeatureEvent(
        refused.kind, refused.venue, refused.symbol, refused.ts_event_ns, 0, 10**6, np.array([-1.0, 1.0, 1.0])
    )
    number = partition_of(refused.symbol, N_PARTITIONS)
    _publish(redis_server, prefix, events[:100], end=False)
    with redis_server.client() as client:
        name = StreamKeys(prefix).events(number)
        ids = [
            client.xadd(name, {"event": b"\x00garbage"}),
            client.xadd(name, {"event": encode_event(refused)}),
            client.xadd(name, {"other": b"field"}),
        ]
    _publish(redis_server, prefix, events[100:])
    with _worker(redis_server, prefix) as worker:
        worker.drain()
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))
    found = read_poison(redis_server.url, prefix, GROUP)
    assert [message.entry_id.encode() for message in found] == ids
    assert [message.message for message in found] == [b"\x00garbage", encode_event(refused), b"field"]
    assert {message.partition for message in found} == {number}
    assert "no feature event" in found[0].reason
    assert "below zero" in found[1].reason
    assert worker.metrics.poison == 3


def test_a_bug_in_the_engine_stops_the_worker_with_the_place(redis_server: RedisServer, prefix: str) -> None:
    events = trades(40, 1)
    bad = FeatureEvent(
        events[0].kind, "binance", events[0].symbol, events[-1].ts_event_ns, 0, 10**6, np.array([666.0, 1.0, 1.0])
    )
    _publish(redis_server, prefix, events, end=False)
    with _worker(redis_server, prefix) as worker:
        worker.drain()
    _publish(redis_server, prefix, [bad], end=False)
    with _worker(redis_server, prefix) as worker, pytest.raises(ZeroDivisionError) as caught:
        worker.drain()
    assert "entry" in caught.value.__notes__[0]
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events, flush=False))
    with redis_server.client() as client:
        keys = StreamKeys(prefix)
        assert not any(client.exists(keys.lease(GROUP, number)) for number in range(N_PARTITIONS))


# --- owners --------------------------------------------------------------------------------------------------------


def test_a_killed_owner_is_replaced_and_nothing_changes(redis_server: RedisServer, prefix: str) -> None:
    events = trades(3_000, 20)
    _publish(redis_server, prefix, events[:1_500], end=False)
    with (
        _child(redis_server, prefix, "one", "partitions=0,1") as one,
        _child(redis_server, prefix, "two", "partitions=2,3", "takeover_after_ms=100"),
    ):
        _publish(redis_server, prefix, events[1_500:2_200], end=False)
        one.kill()
        _publish(redis_server, prefix, events[2_200:])
        expected = rows_in_process(events)
        _wait_for(lambda: _n_rows(redis_server, prefix) >= len(expected) - 100)
        with redis_server.client() as client:
            holder = client.get(StreamKeys(prefix).lease(GROUP, 0))
        assert holder is not None
        assert holder.startswith(b"two#")
        time.sleep(0.3)
    assert _stored_digest(redis_server, prefix) == digest_rows(expected)


def test_an_owner_that_was_paused_writes_nothing_when_it_wakes_up(redis_server: RedisServer, prefix: str) -> None:
    events = trades(2_000, 20)
    keys = StreamKeys(prefix)
    _publish(redis_server, prefix, events[:1_000], end=False)
    with _child(redis_server, prefix, "paused") as child:
        _wait_for(lambda: _n_rows(redis_server, prefix) > 100)
        os.kill(child.pid, signal.SIGSTOP)
        with _running(_worker(redis_server, prefix, owner="awake")):
            _publish(redis_server, prefix, events[1_000:])
            _wait_for(lambda: _n_rows(redis_server, prefix) >= len(events) - 100)
            time.sleep(0.3)
            with redis_server.client() as client:
                before = [client.hgetall(keys.mark(GROUP, number)) for number in range(N_PARTITIONS)]
                os.kill(child.pid, signal.SIGCONT)
                time.sleep(0.5)
                assert [client.hgetall(keys.mark(GROUP, number)) for number in range(N_PARTITIONS)] == before
                holders = [client.get(keys.lease(GROUP, number)) for number in range(N_PARTITIONS)]
            assert all(holder is not None and holder.startswith(b"awake#") for holder in holders)
            assert child.poll() is None
        child.kill()
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))


class _SlowStart(SummingEngine):
    """Takes three leases' time for the first event of the process, as an engine does that compiles itself."""

    is_warm = False

    def apply(self, event: FeatureEvent) -> list[FeatureRow]:
        if not _SlowStart.is_warm:
            time.sleep(0.9)
            _SlowStart.is_warm = True
        return super().apply(event)


def test_a_lease_that_runs_out_during_a_slow_start_is_taken_again(redis_server: RedisServer, prefix: str) -> None:
    events = trades(500)
    _publish(redis_server, prefix, events)
    with _worker(redis_server, prefix, make_engine=_SlowStart) as worker:
        worker.drain(timeout_s=10.0)
    assert _SlowStart.is_warm
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))


def test_a_second_worker_waits_for_partitions_that_have_an_owner(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(10), end=False)
    first = _worker(redis_server, prefix, owner="first")
    with _running(first), _worker(redis_server, prefix, owner="second") as second:
        _wait_for(lambda: len(first.owned) == N_PARTITIONS)
        with pytest.raises(BusyError, match=r"owned elsewhere: \[0, 1, 2, 3\]"):
            second.drain(timeout_s=0.5)
        assert len(first.owned) == N_PARTITIONS


def test_a_former_owner_is_refused_by_every_write(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(1), end=False)
    with connect(redis_server.url) as client:
        former, present = (PartitionLedger(client, StreamKeys(prefix), GROUP, 0, lease_ms=100) for _ in range(2))
        assert former.acquire("former")
        assert not present.acquire("present")
        _wait_for(present.is_free)
        assert present.acquire("present")
        names = sorted(client.keys(f"{prefix}:*"))
        before = [client.dump(name) for name in names]
        for write in (
            former.renew,
            lambda: former.store_rows(b"0-0", [(b"1-1", [b"row"])], keep_rows=None),
            lambda: former.checkpoint(
                last_id=b"0-0", new_last_id=b"9-9", n_taken=1, parts={"a": b"b"}, counts={}, poison=[], keep_poison=9
            ),
        ):
            with pytest.raises(BusyError, match="taken it over"):
                write()
        former.release()
        assert sorted(client.keys(f"{prefix}:*")) == names
        assert [client.dump(name) for name in names] == before


def test_an_owner_whose_position_is_not_that_of_redis_is_refused(redis_server: RedisServer, prefix: str) -> None:
    """A server that came back older between two commands shows in nothing but its data."""
    mark = StreamKeys(prefix).mark(GROUP, 0)
    _publish(redis_server, prefix, trades(1), end=False)
    with connect(redis_server.url) as client:
        ledger = PartitionLedger(client, StreamKeys(prefix), GROUP, 0, lease_ms=5_000)
        assert ledger.acquire("owner")
        ledger.store_rows(b"0-0", [(b"5-1", [b"row"])], keep_rows=None)
        client.hset(mark, mapping={"row_id": "3-1", "last_id": "2-1"})
        with pytest.raises(BusyError, match="another position"):
            ledger.store_rows(b"5-1", [(b"6-1", [b"row"])], keep_rows=None)
        with pytest.raises(BusyError, match="another position"):
            ledger.checkpoint(
                last_id=b"0-0", new_last_id=b"6-1", n_taken=1, parts={"a": b"b"}, counts={}, poison=[], keep_poison=9
            )
        assert client.xlen(StreamKeys(prefix).rows(GROUP, 0)) == 1
        assert ledger.load().state == {}


def test_the_epoch_rises_with_every_owner(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(1), end=False)
    with connect(redis_server.url) as client:
        ledger = PartitionLedger(client, StreamKeys(prefix), GROUP, 0, lease_ms=1_000)
        epochs = []
        for _ in range(3):
            assert ledger.acquire("same")
            epochs.append(client.hget(StreamKeys(prefix).mark(GROUP, 0), "epoch"))
    assert epochs == [b"1", b"2", b"3"]


# --- the server ----------------------------------------------------------------------------------------------------


def test_redis_killed_in_the_middle_loses_and_repeats_nothing(redis_server: RedisServer, prefix: str) -> None:
    events = trades(3_000, 20)
    with (
        RedisPublisher(redis_server.url, prefix, N_PARTITIONS) as publisher,
        _running(_worker(redis_server, prefix, patience_s=20.0)),
    ):
        for start in range(0, len(events), 50):
            publisher.publish(events[start : start + 50])
            if start in {1_000, 2_000}:
                redis_server.kill()
                _start(redis_server)
        publisher.publish_end()
        expected = rows_in_process(events)
        _wait_for(lambda: _n_rows(redis_server, prefix) >= len(expected) - 100)
        time.sleep(0.3)
    assert _stored_digest(redis_server, prefix) == digest_rows(expected)


def test_a_redis_that_comes_back_older_is_followed(redis_server: RedisServer, prefix: str) -> None:
    redis_server.flush()
    events = trades(2_000, 20)
    keys = StreamKeys(prefix)
    _publish(redis_server, prefix, events)
    with _running(_worker(redis_server, prefix, patience_s=20.0, read_count=4)) as thread:
        _wait_for(lambda: _n_rows(redis_server, prefix) > 500)
        redis_server.kill()
        n_lost = _cut(redis_server.folder, 30_000)
        _start(redis_server)
        assert thread.is_alive()
        _wait_for(lambda: _n_rows(redis_server, prefix) >= len(rows_in_process(events)) - 40)
        time.sleep(0.5)
        with redis_server.client() as client:
            assert int(client.hget(keys.mark(GROUP, 0), "epoch") or 0) >= 1
    assert n_lost == 30_000
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))


def _cut(folder: Path, n_bytes: int) -> int:
    """Cut the end off the append-only file, as a power cut does; its name depends on Redis' version."""
    path = max([*folder.glob("**/*.incr.aof"), *folder.glob("appendonly.aof")], key=lambda found: found.stat().st_size)
    size = path.stat().st_size
    os.truncate(path, size - n_bytes)
    return size - path.stat().st_size


def test_it_gives_up_when_redis_stays_away(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(10), end=False)
    with _worker(redis_server, prefix, patience_s=0.3) as worker:
        redis_server.kill()
        try:
            with pytest.raises(UnavailableError, match=r"gave up after 0\.3 s"):
                worker.drain()
        finally:
            _start(redis_server)


def test_nobody_at_the_address_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="does not answer"):
        RedisPublisher("redis://127.0.0.1:1/0", "nobody", 1)


# --- bounds --------------------------------------------------------------------------------------------------------


def test_without_a_worker_publishing_stops_at_the_backlog(redis_server: RedisServer, prefix: str) -> None:
    with RedisPublisher(redis_server.url, prefix, 1, 100, wait_s=0.2) as publisher:
        assert publisher.publish(trades(100)) == 100
        with pytest.raises(BusyError, match="wait for a"):
            publisher.publish(trades(100, seed=1))
    with redis_server.client() as client:
        assert 100 <= client.xlen(StreamKeys(prefix).events(0)) <= 101


def test_a_slow_worker_slows_the_publisher_and_nothing_is_dropped(redis_server: RedisServer, prefix: str) -> None:
    events, longest = trades(2_000), 0
    name = StreamKeys(prefix).events(0)
    with (
        RedisPublisher(redis_server.url, prefix, 1, 200) as publisher,
        redis_server.client() as client,
        _running(_worker(redis_server, prefix)),
    ):
        for start in range(0, len(events), 50):
            publisher.publish(events[start : start + 50])
            longest = max(longest, client.xlen(name))
        publisher.publish_end()
        _wait_for(lambda: client.xlen(name) <= 1)
    assert 150 < longest <= 201
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))


def test_rows_beyond_what_is_kept_go(redis_server: RedisServer, prefix: str) -> None:
    events = trades(2_000, 1)
    _publish(redis_server, prefix, events)
    with _worker(redis_server, prefix, keep_rows=300) as worker:
        worker.drain()
    kept = list(read_rows(redis_server.url, prefix, GROUP))
    assert 300 <= len(kept) < 500
    assert [encode_row(row) for row in kept] == [encode_row(row) for row in rows_in_process(events)[-len(kept) :]]


def test_a_forgotten_group_no_longer_holds_entries_back(redis_server: RedisServer, prefix: str) -> None:
    keys = StreamKeys(prefix)
    _publish(redis_server, prefix, trades(200), end=False)
    with _worker(redis_server, prefix, "idle"), _worker(redis_server, prefix) as worker:
        worker.drain()
        with redis_server.client() as client:
            assert sum(client.xlen(keys.events(number)) for number in range(N_PARTITIONS)) == 200
            forget_group(redis_server.url, prefix, "idle")
            _publish(redis_server, prefix, trades(200, seed=1), end=False)
            worker.drain()
            assert all(client.xlen(keys.events(number)) <= 1 for number in range(N_PARTITIONS))
            forget_group(redis_server.url, prefix, GROUP)
            left = {name.decode().removeprefix(prefix) for name in client.keys(f"{prefix}:*")}
    assert {name.split(":")[1] for name in left} <= {"config", "events"}
    with pytest.raises(NotFoundError):
        forget_group(redis_server.url, prefix, GROUP)


def test_a_group_with_a_running_worker_is_not_forgotten(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(10), end=False)
    worker = _worker(redis_server, prefix)
    with _running(worker):
        _wait_for(lambda: bool(worker.owned))
        with pytest.raises(BusyError, match="running worker"):
            forget_group(redis_server.url, prefix, GROUP)


# --- numbers and vectors -------------------------------------------------------------------------------------------


def test_lag_and_latency_are_measured(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(1_000, known_ns=SystemClock().now_ns()), end=False)
    worker = _worker(redis_server, prefix, checkpoint_every_ms=0, read_count=10)
    most = 0.0

    def until() -> bool:
        nonlocal most
        snapshot = worker.metrics.snapshot()
        most = max(most, snapshot["lag_entries"])
        assert snapshot["lag_entries"] == 0 or snapshot["lag_oldest_ns"] > 0
        return snapshot["events"] == 1_000

    worker.run(until)
    assert 100 < most < 1_000
    snapshot = worker.metrics.snapshot()
    assert snapshot["lag_entries"] == 0
    assert snapshot["stored"] == 995
    assert 0 < snapshot["latency_p50_ns"] <= snapshot["latency_p99_ns"] <= snapshot["latency_max_ns"] < 20e9


def test_the_newest_vector_of_each_symbol_is_in_the_online_store(redis_server: RedisServer, prefix: str) -> None:
    events, store = trades(500), MemoryOnlineStore()
    _publish(redis_server, prefix, events)
    with _worker(redis_server, prefix, store=store) as worker:
        worker.drain()
    newest = {row.symbol: row for row in rows_in_process(events)}
    vectors = store.read_vectors(GROUP, list(newest))
    assert vectors.keys() == newest.keys()
    for symbol, row in newest.items():
        assert (vectors[symbol].ts_event_ns, vectors[symbol].sequence) == (row.ts_event_ns, row.sequence)
        np.testing.assert_array_equal(vectors[symbol].values, row.values)
        assert vectors[symbol].schema_hash == SummingEngine.schema_hash


class _StoreThatFails(MemoryOnlineStore):
    def __init__(self, n_failures: int) -> None:
        super().__init__()
        self.n_left = n_failures

    def write_vectors(self, view: str, schema_hash: str, vectors: VectorsBySymbol) -> int:
        self.n_left -= 1
        if self.n_left >= 0:
            raise UnavailableError("the store is away")
        return super().write_vectors(view, schema_hash, vectors)


def test_an_online_store_that_is_away_for_a_while_gets_every_vector(redis_server: RedisServer, prefix: str) -> None:
    events, store = trades(100), _StoreThatFails(5)
    _publish(redis_server, prefix, events)
    with _worker(redis_server, prefix, store=store) as worker:
        worker.drain()
    newest = {row.symbol: row.sequence for row in rows_in_process(events)}
    vectors = store.read_vectors(GROUP, list(newest))
    assert {symbol: vector.sequence for symbol, vector in vectors.items()} == newest
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(events))
    assert worker.metrics.replayed > 0


# --- what all agree on ---------------------------------------------------------------------------------------------


def test_another_number_of_partitions_is_refused(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(1), end=False)
    with pytest.raises(ConfigurationError, match="has 4 partitions, not 5"):
        RedisPublisher(redis_server.url, prefix, 5)
    with pytest.raises(ConfigurationError, match="it has 0 to 3"):
        _worker(redis_server, prefix, partitions=(4,))


def test_another_feature_set_under_the_same_name_is_refused(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(1), end=False)
    with _worker(redis_server, prefix):
        pass
    with pytest.raises(ConfigurationError, match="another feature set than summing-2"):
        _worker(redis_server, prefix, make_engine=OtherEngine)


def test_a_worker_before_the_first_event_must_say_the_number_of_partitions(
    redis_server: RedisServer, prefix: str
) -> None:
    with pytest.raises(ConfigurationError, match="no events yet"):
        _worker(redis_server, prefix)
    with RedisWorker(
        redis_server.url, prefix, GROUP, SummingEngine, owner="here", clock=FixedClock(0), n_partitions=N_PARTITIONS
    ) as worker:
        _publish(redis_server, prefix, trades(100))
        worker.drain()
    assert _stored_digest(redis_server, prefix) == digest_rows(rows_in_process(trades(100)))


def test_a_redis_that_evicts_is_refused(redis_server: RedisServer, prefix: str) -> None:
    _publish(redis_server, prefix, trades(1), end=False)
    with redis_server.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        try:
            with pytest.raises(ConfigurationError, match="noeviction"):
                _worker(redis_server, prefix)
        finally:
            client.config_set("maxmemory-policy", "noeviction")


@pytest.mark.parametrize(
    ("url", "error"), [("http://x", ConfigurationError), ("redis://127.0.0.1:x/0", ConfigurationError)]
)
def test_a_wrong_address_is_named(url: str, error: type[Exception]) -> None:
    with pytest.raises(error, match="Redis URL"):
        RedisPublisher(url, "p", 1)


def test_no_partitions_or_no_backlog_is_refused() -> None:
    for n_partitions, max_backlog in ((0, 1), (1, 0)):
        with pytest.raises(InputError, match="at least 1"):
            RedisPublisher("redis://127.0.0.1:1/0", "p", n_partitions, max_backlog)


def test_ids_compare_as_numbers() -> None:
    assert id_order(b"9-0") < id_order(b"10-0") < id_order(b"10-2") < id_order(b"10-10")


def test_an_event_that_releases_thousands_of_rows_is_stored_like_any_other(
    redis_server: RedisServer, prefix: str
) -> None:
    """Events that were held back come out at the end mark, all at once."""
    events = trades(9_000, n_symbols=1)
    _publish(redis_server, prefix, events)

    class Holding(SummingEngine):
        def apply(self, event: FeatureEvent) -> list[FeatureRow]:
            self.held = [*getattr(self, "held", []), *super().apply(event)]
            return []

        def flush(self) -> list[FeatureRow]:
            return [*getattr(self, "held", []), *super().flush()]

    with _worker(redis_server, prefix, make_engine=Holding) as worker:
        worker.drain()
    assert digest_rows(read_rows(redis_server.url, prefix, GROUP)) == digest_rows(rows_in_process(events))
