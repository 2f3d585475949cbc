"""The Kafka host against librdkafka's mock broker: real processes, real TCP, real kills.

`RATCHET_KAFKA_KILLS` (default 6) sets how often workers are killed at random, `RATCHET_KAFKA_SEED` when; both are
printed.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.clock import FixedClock, SystemClock
from ratchet.errors import ArtifactError, BusyError, ConfigurationError, InputError, RatchetError, UnavailableError
from ratchet.features.streaming.checkpoints import SqliteCheckpointStore
from ratchet.features.streaming.events import (
    FeatureEvent,
    FeatureRow,
    digest_rows,
    encode_event,
    partition_of,
)
from ratchet.features.streaming.kafka.connection import KafkaUrl, parse_kafka_url
from ratchet.features.streaming.kafka.messages import (
    events_topic,
    input_header,
    poison_topic,
    read_input_header,
    rows_topic,
)
from ratchet.features.streaming.kafka.outbox import Outbox
from ratchet.features.streaming.kafka.publisher import KafkaPublisher
from ratchet.features.streaming.kafka.reader import Repetitions, read_rows
from ratchet.features.streaming.kafka.worker import KafkaLimits, KafkaWorker
from tests.kafka_cluster import PRODUCE_API, KafkaCluster, kafka_cluster
from tests.kafka_worker_child import LIMITS, VIEW, work
from tests.streaming_engine import START_NS, SummingEngine, rows_in_process, trades

__all__ = ["kafka_cluster"]

N_PARTITIONS = 4
ALL = frozenset(range(N_PARTITIONS))
WITHIN_S = 30.0
NO_BROKER = "127.0.0.1:9"


@dataclass(frozen=True)
class Market:
    """The topics of one view on the shared cluster."""

    cluster: KafkaCluster
    prefix: str

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap

    @property
    def stream(self) -> str:
        return f"{self.prefix}.{VIEW}"

    def publish(self, events: Sequence[FeatureEvent], *, end: bool = True) -> None:
        """Send events, and the end of the stream."""
        with KafkaPublisher(self.bootstrap, self.prefix) as publisher:
            assert publisher.publish(events) == len(events)
            if end:
                publisher.publish_end()

    def rows(self) -> list[FeatureRow]:
        """All rows that are there, each once."""
        return list(read_rows(self.bootstrap, self.prefix, VIEW))

    def wait_for_rows(self, n_rows: int) -> list[FeatureRow]:
        """The rows, once there are so many."""
        deadline = time.monotonic() + WITHIN_S
        while len(rows := self.rows()) < n_rows and time.monotonic() < deadline:
            time.sleep(0.1)
        return rows

    def worker(self, checkpoints: SqliteCheckpointStore, **changes: Any) -> KafkaWorker:
        """A worker in this process."""
        arguments: dict[str, Any] = {"clock": SystemClock(), "limits": LIMITS} | changes
        return KafkaWorker(self.bootstrap, self.prefix, VIEW, SummingEngine, checkpoints, **arguments)

    def raw(self, topic: str) -> list[tuple[bytes | None, dict[str, bytes]]]:
        """All messages of a topic, repetitions included: value and headers."""
        from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition  # noqa: PLC0415

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "raw", "enable.partition.eof": True})
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(N_PARTITIONS)])
        found: list[tuple[bytes | None, dict[str, bytes]]] = []
        n_ended = 0
        while n_ended < N_PARTITIONS:
            message = consumer.poll(WITHIN_S)
            assert message is not None
            if message.error() is not None:
                n_ended += 1
            else:
                headers = dict(message.headers() or ())
                found.append((message.value(), {n: value for n, value in headers.items() if isinstance(value, bytes)}))
        consumer.close()
        return found

    def n_raw_rows(self) -> int:
        """How many rows the topic holds, repetitions included."""
        return len(self.raw(rows_topic(self.prefix, VIEW)))


_numbers = itertools.count()
# Children of a process that has imported everything and has no threads: they start at once.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.kafka_worker_child"])


@pytest.fixture
def market(kafka_cluster: KafkaCluster) -> Market:
    """Empty topics."""
    prefix = f"test{next(_numbers)}"
    kafka_cluster.create_view(prefix, VIEW, N_PARTITIONS)
    return Market(kafka_cluster, prefix)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Iterator[SqliteCheckpointStore]:
    """A store of its own."""
    store = SqliteCheckpointStore(tmp_path / "checkpoints.sqlite")
    yield store
    store.close()


class Child:
    """A worker process, and what it said."""

    def __init__(self, market: Market, checkpoints: Path, mode: str, at: int) -> None:
        self._ears, mouth = _FORKS.Pipe(duplex=False)
        arguments = (mouth, market.bootstrap, market.prefix, checkpoints, mode, at)
        self.process = _FORKS.Process(target=work, args=arguments, daemon=True)
        self.process.start()
        mouth.close()

    def hear(self) -> Any:
        """Return what it says next: its partitions, its totals, or what happens to it."""
        assert self._ears.poll(WITHIN_S)
        return self._ears.recv()

    def wait_for(self, words: object) -> None:
        """Return once it has said this."""
        while self.hear() != words:
            pass

    def send_signal(self, number: int) -> None:
        """Kill, stop or continue it."""
        assert self.process.pid is not None
        os.kill(self.process.pid, number)

    def wait(self) -> int | None:
        """Wait for its end and return how it ended."""
        self.process.join(WITHIN_S)
        return self.process.exitcode

    def stop(self) -> dict[str, float]:
        """End it properly and return its totals."""
        self.send_signal(signal.SIGTERM)
        while not isinstance(totals := self.hear(), dict):
            pass
        assert self.wait() == 0
        return totals


@pytest.fixture
def start(market: Market, tmp_path: Path) -> Iterator[Callable[..., Child]]:
    """Start workers that share one checkpoint file; those that are left are killed at the end."""
    children: list[Child] = []

    def start_one(mode: str = "run", at: int = 0) -> Child:
        children.append(Child(market, tmp_path / "checkpoints.sqlite", mode, at))
        return children[-1]

    yield start_one
    for child in children:
        if child.process.is_alive():
            child.send_signal(signal.SIGKILL)
        child.wait()


def test_one_worker_gives_the_rows_of_the_engine(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """Digest, totals, lag and latency of a finite stream with an end."""
    clock = FixedClock(START_NS + 10_000_000_000)
    events = trades(3_000, known_ns=START_NS + 9_990_000_000)
    market.publish(events)
    with market.worker(checkpoints, clock=clock) as worker:
        worker.drain()
        assert worker.owned == ALL
        assert worker.lag() == 0
        totals = worker.metrics.snapshot()
    expected = rows_in_process(events)
    assert len(expected) == 3_000
    assert digest_rows(market.rows()) == digest_rows(expected)
    assert (totals["events"], totals["rows"], totals["poison"]) == (3_000 + N_PARTITIONS, 3_000, 0)
    assert (totals["stored"], totals["latency_max_ns"], totals["lag_entries"]) == (3_000, 10_000_000, 0)


def test_a_worker_that_does_not_get_done_says_so(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """Draining has an end, also where the group gives it nothing."""
    with market.worker(checkpoints) as worker, pytest.raises(BusyError, match="in 0 partitions of this worker"):
        worker.drain(timeout_s=0.0)


def test_two_processes_share_the_partitions(market: Market, start: Callable[..., Child]) -> None:
    """Both work, and together they give the rows of the engine."""
    events = trades(4_000, n_symbols=40)
    children = [start(), start()]
    for child in children:
        assert child.hear()
    market.publish(events)
    assert digest_rows(market.wait_for_rows(4_000)) == digest_rows(rows_in_process(events))
    totals = [child.stop() for child in children]
    assert all(each["rows"] > 100 for each in totals)
    assert sum(each["rows"] for each in totals) == 4_000


def test_duplicates_in_the_stream_change_nothing(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """A publisher that sends again what it is not sure of is answered by the engine."""
    events = trades(600)
    market.publish(events[:400], end=False)
    market.publish(events[300:])
    with market.worker(checkpoints) as worker:
        worker.drain()
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events))
    duplicates = [checkpoints.acquire(market.stream, number, N_PARTITIONS).counts["duplicates"] for number in range(4)]
    assert sum(duplicates) == 100


def test_messages_that_can_never_be_used_are_set_aside(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """Bytes that are no event, no bytes, another partition's symbol, a refused price; the stream goes on."""
    events = trades(200)
    broken = replace(events[50], values=np.array([-1.0, 1.0, 1.0]), sequence=10_000)
    right = partition_of(broken.symbol, N_PARTITIONS)
    bad = [
        (right, b"nonsense", "are no feature event"),
        (right, None, "are no feature event"),
        ((right + 1) % N_PARTITIONS, encode_event(events[50]), f"belongs to partition {right}"),
        (right, encode_event(broken), "a price below zero"),
    ]
    market.publish(events[:100], end=False)
    outbox = Outbox(market.bootstrap, options=None, patience_s=10.0)
    for partition, value, _ in bad:
        outbox.send(events_topic(market.prefix), partition, "key", value)
    outbox.flush()
    market.publish(events[100:])
    with market.worker(checkpoints) as worker:
        worker.drain()
        assert worker.metrics.poison == len(bad)
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events))
    aside = market.raw(poison_topic(market.prefix, VIEW))
    for partition, value, reason in bad:
        matching = [
            headers
            for found, headers in aside
            if found == value
            and reason in headers["reason"].decode()
            and headers["input"].startswith(b"%d/" % partition)
        ]
        assert len(matching) == 1, reason
    counts = [checkpoints.acquire(market.stream, number, N_PARTITIONS).counts["poison"] for number in range(4)]
    assert sum(counts) == len(aside) == len(bad)


def test_state_comes_back_bit_for_bit(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """Stopped in the middle, the next worker has the state of an engine that never stopped."""
    events = trades(1_000)
    engines = [SummingEngine() for _ in range(N_PARTITIONS)]
    for begin in (0, 500):
        market.publish(events[begin : begin + 500], end=False)
        for event in events[begin : begin + 500]:
            engines[partition_of(event.symbol, N_PARTITIONS)].apply(event)
        with market.worker(checkpoints) as worker:
            worker.drain()
    for number, engine in enumerate(engines):
        kept = checkpoints.acquire(market.stream, number, N_PARTITIONS)
        assert kept.parts == engine.changed_state()
        assert kept.counts == {**engine.counts(), "poison": 0}
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events, flush=False))


@pytest.mark.parametrize("mode", ["kill-before", "kill-after"])
def test_a_kill_around_the_checkpoint_loses_and_repeats_nothing(
    market: Market, checkpoints: SqliteCheckpointStore, start: Callable[..., Child], mode: str
) -> None:
    """Between rows and checkpoint of a partition, and between its checkpoint and what Kafka is told."""
    events = trades(1_000)
    market.publish(events)
    dying = start(mode, 5)
    assert dying.wait() == -signal.SIGKILL
    with market.worker(checkpoints) as worker:
        worker.drain()
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events))
    assert market.n_raw_rows() > 1_000 or mode == "kill-after"


def test_the_check_catches_a_worker_that_saves_before_its_rows_arrived(
    market: Market, checkpoints: SqliteCheckpointStore, start: Callable[..., Child]
) -> None:
    """The mutant: the same kill loses rows for good."""
    market.publish(trades(1_000))
    dying = start("kill-unsent", 5)
    assert dying.wait() == -signal.SIGKILL
    with market.worker(checkpoints) as worker:
        worker.drain()
    assert len(market.rows()) < 1_000


def _publish_steadily(market: Market, events: Sequence[FeatureEvent], is_over: threading.Event) -> int:
    """Send about 1000 events per second until told to stop, then the end; return how many were sent."""
    n_sent = 0
    with KafkaPublisher(market.bootstrap, market.prefix) as publisher:
        while not is_over.wait(0.01) and n_sent < len(events):
            n_sent += publisher.publish(events[n_sent : n_sent + 10])
        publisher.publish_end()
    return n_sent


def test_kills_at_random_moments_lose_and_repeat_nothing(market: Market, start: Callable[..., Child]) -> None:
    """While events come in, one of two workers is killed again and again; the other and a new one go on."""
    n_kills = int(os.environ.get("RATCHET_KAFKA_KILLS", "6"))
    seed = int(os.environ.get("RATCHET_KAFKA_SEED", "20240808"))
    rng = np.random.default_rng(seed)
    events = trades(10_000 + 4_000 * n_kills, n_symbols=40)
    is_over = threading.Event()
    members = [start(), start()]
    with ThreadPoolExecutor() as pool:
        publishing = pool.submit(_publish_steadily, market, events, is_over)
        try:
            for _ in range(n_kills):
                victim = members.pop(int(rng.integers(2)))
                while not victim.hear():
                    pass
                time.sleep(rng.uniform(0.0, 0.6))
                victim.send_signal(signal.SIGKILL)
                members.append(start())
        finally:
            is_over.set()
    del events[publishing.result() :]
    rows = market.wait_for_rows(len(events))
    n_repeated = market.n_raw_rows() - len(events)
    sys.stdout.write(f"kills={n_kills} seed={seed} rows={len(rows)} of {len(events)} repeated={n_repeated}\n")
    assert len(rows) == len(events)
    assert digest_rows(rows) == digest_rows(rows_in_process(events))
    assert n_repeated > 0, "no kill came between rows and checkpoint"


def test_an_owner_that_slept_through_a_takeover_can_save_nothing(market: Market, start: Callable[..., Child]) -> None:
    """It wakes up in the middle of a checkpoint, is refused, joins the group again and takes part."""
    events = trades(2_000, n_symbols=40)
    market.publish(events[:1_000], end=False)
    sleeper = start("stop-before", 4)
    sleeper.wait_for("stopping")
    follower = start()
    follower.wait_for(ALL)
    expected = rows_in_process(events[:1_000], flush=False)
    assert digest_rows(market.wait_for_rows(len(expected))) == digest_rows(expected)
    sleeper.send_signal(signal.SIGCONT)
    sleeper.wait_for("refused")
    while not sleeper.hear():
        pass
    market.publish(events[1_000:])
    assert digest_rows(market.wait_for_rows(2_000)) == digest_rows(rows_in_process(events))
    follower.send_signal(signal.SIGKILL)
    sleeper.wait_for(ALL)
    assert sleeper.stop()["poison"] == 0
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events))


def test_a_lost_row_ends_the_worker_and_leaves_no_hole(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """A broker that refuses a message for good: nothing overtakes it, and the next worker does it again."""
    events = trades(500)
    market.publish(events)
    with market.worker(checkpoints) as worker:
        worker.run(lambda: worker.metrics.rows > 0)
        market.cluster.fail_next(PRODUCE_API, 29)  # TOPIC_AUTHORIZATION_FAILED
        with pytest.raises(RatchetError, match="Topic authorization failed"):
            worker.drain()
    assert len(market.rows()) < 500
    with market.worker(checkpoints) as worker:
        worker.drain()
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events))


def test_an_engine_that_crashes_says_where_and_saves_nothing(
    market: Market, checkpoints: SqliteCheckpointStore
) -> None:
    """No endless loop, no event skipped."""
    events = trades(10, n_symbols=1)
    crash = replace(events[9], values=np.array([666.0, 1.0, 1.0]))
    market.publish([*events[:9], crash], end=False)
    number = partition_of(crash.symbol, N_PARTITIONS)
    with market.worker(checkpoints) as worker, pytest.raises(ZeroDivisionError) as caught:
        worker.drain()
    assert f"partition {number}, offset 9" in caught.value.__notes__[0]
    assert checkpoints.acquire(market.stream, number, N_PARTITIONS).next_offset is None


def test_a_full_queue_makes_the_publisher_wait_and_then_say_so(market: Market) -> None:
    """Nothing is dropped, memory is bounded, and what was handed over arrives when the broker is back."""
    events = trades(100)
    options = {"queue.buffering.max.messages": 10, "reconnect.backoff.max.ms": 200}
    publisher = KafkaPublisher(market.bootstrap, market.prefix, options=options, patience_s=0.5)
    market.cluster.set_down()
    try:
        with pytest.raises(BusyError, match="no room"):
            publisher.publish(events)
        # librdkafka counts a report of the lost connection that nobody has read yet with the ten.
        with pytest.raises(UnavailableError, match=r"1\d messages did not arrive"):
            publisher.flush()
    finally:
        market.cluster.set_up()
    deadline = time.monotonic() + WITHIN_S
    while len(market.raw(events_topic(market.prefix))) < 10 and time.monotonic() < deadline:
        time.sleep(0.1)
    values = [value for value, _ in market.raw(events_topic(market.prefix))]
    assert sorted(filter(None, values)) == sorted(map(encode_event, events[:10]))
    publisher.close()


def test_a_worker_outlives_a_short_outage(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """Brokers that come back are found again."""
    events = trades(500)
    market.publish(events[:250], end=False)
    with market.worker(checkpoints) as worker:
        worker.drain()
        market.cluster.set_down()
        try:
            deadline = time.monotonic() + 1.0
            worker.run(lambda: time.monotonic() > deadline)
        finally:
            market.cluster.set_up()
        market.publish(events[250:])
        worker.run(lambda: worker.metrics.rows == 500)
    assert digest_rows(market.rows()) == digest_rows(rows_in_process(events))


def test_a_worker_gives_up_on_a_long_outage(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """It says so within its patience instead of waiting for ever."""
    market.publish(trades(10))
    with market.worker(checkpoints, limits=replace(LIMITS, patience_s=1.5)) as worker:
        worker.drain()
        market.cluster.set_down()
        began_s = time.monotonic()
        try:
            with pytest.raises(UnavailableError, match=rf"reading {market.prefix}\.events"):
                worker.run(lambda: time.monotonic() > began_s + WITHIN_S)
        finally:
            market.cluster.set_up()
        assert time.monotonic() < began_s + 10.0


def test_events_that_are_gone_are_not_skipped(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """A checkpoint beyond what the topic holds: it was made anew, or retention was too short."""
    market.publish(trades(10))
    mine = checkpoints.acquire(market.stream, 2, N_PARTITIONS)
    checkpoints.save(market.stream, 2, mine.epoch, next_offset=1_000, changed_parts={}, counts={})
    with market.worker(checkpoints) as worker, pytest.raises(ArtifactError, match="no longer there"):
        worker.run(lambda: worker.metrics.events > 10)


def test_another_number_of_partitions_is_refused(
    kafka_cluster: KafkaCluster, checkpoints: SqliteCheckpointStore
) -> None:
    """Symbols would come to engines that do not know them."""
    prefix = f"test{next(_numbers)}"
    kafka_cluster.create_view(prefix, VIEW, 3)
    market = Market(kafka_cluster, prefix)
    checkpoints.acquire(market.stream, 0, N_PARTITIONS)
    refusal = "has 3 partitions, its checkpoints are of 4"
    with market.worker(checkpoints) as worker, pytest.raises(ConfigurationError, match=refusal):
        worker.drain()


class Vectors:
    """Keeps what a store would be given."""

    def __init__(self) -> None:
        self.newest: dict[str, tuple[int, int, NDArray[np.float32]]] = {}

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        assert (view, schema_hash) == (VIEW, SummingEngine.schema_hash)
        self.newest.update(vectors)
        return len(vectors)


def test_the_online_store_gets_the_newest_vectors(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """One per symbol, that of its last row."""
    events = trades(300)
    market.publish(events)
    store = Vectors()
    with market.worker(checkpoints, store=store) as worker:
        worker.drain()
    last = {row.symbol: row for row in rows_in_process(events)}
    assert store.newest.keys() == last.keys()
    for symbol, (ts_event_ns, sequence, values) in store.newest.items():
        assert (ts_event_ns, sequence) == (last[symbol].ts_event_ns, last[symbol].sequence)
        np.testing.assert_array_equal(values, last[symbol].values)


def test_repetitions_are_known_in_any_mixture_of_workers() -> None:
    """Several workers send contiguous runs, each from a point that all before it have passed; each row is new once."""
    rng = np.random.default_rng(7)
    for _ in range(200):
        repetitions, n_rows = Repetitions(), 30
        positions = [0]
        seen: list[int] = []
        while len(seen) < n_rows:
            if rng.random() < 0.2:
                positions.append(int(rng.integers(0, len(seen) + 1)))
            one = int(rng.integers(len(positions)))
            if positions[one] < n_rows:
                if repetitions.is_new(0, (3, positions[one] // 2, positions[one] % 2)):
                    seen.append(positions[one])
                positions[one] += 1
        assert seen == list(range(n_rows))
    assert repetitions.is_new(1, (3, 0, 0))
    assert repetitions.is_new(0, (2, 0, 0))


def test_a_message_that_is_no_row_is_named(market: Market) -> None:
    """Someone else writes into the topic of rows."""
    outbox = Outbox(market.bootstrap, options=None, patience_s=10.0)
    outbox.send(rows_topic(market.prefix, VIEW), 1, "key", b"nonsense")
    outbox.flush()
    with pytest.raises(InputError, match=r"summing\.rows, partition 1, offset 0: no header 'input'"):
        market.rows()


def test_wrong_settings_are_said_at_once(market: Market, checkpoints: SqliteCheckpointStore) -> None:
    """No topic, an option that is ours, one that does not exist."""
    with pytest.raises(ConfigurationError, match=r"topic other\.events: Kafka has no such topic"):
        KafkaPublisher(market.bootstrap, "other")
    market.cluster.create(events_topic("other"), 1)
    with pytest.raises(ConfigurationError, match=r"topic other\.summing\.rows"):
        KafkaWorker(market.bootstrap, "other", VIEW, SummingEngine, checkpoints, clock=SystemClock())
    with pytest.raises(ConfigurationError, match=r"topic other\.summing\.rows"):
        list(read_rows(market.bootstrap, "other", VIEW))
    with pytest.raises(ConfigurationError, match="acks: these are not for you"):
        KafkaPublisher(market.bootstrap, market.prefix, options={"acks": 1})
    with pytest.raises(ConfigurationError, match=r"no\.such\.thing"):
        KafkaPublisher(market.bootstrap, market.prefix, options={"no.such.thing": 1})


def test_brokers_that_refuse_say_why(market: Market) -> None:
    """A login where none is wanted cannot get better; a broken handshake might, but is named."""
    login = {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"}
    login |= {"sasl.username": "me", "sasl.password": "secret"}
    with pytest.raises(ConfigurationError, match="SASL") as caught:
        KafkaPublisher(market.bootstrap, market.prefix, options=login, patience_s=0.5)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigurationError, match="SASL"):
        list(read_rows(market.bootstrap, market.prefix, VIEW, options=login, patience_s=0.5))
    with pytest.raises(UnavailableError, match=r"SSL_HANDSHAKE"):
        KafkaPublisher(market.bootstrap, market.prefix, options={"security.protocol": "ssl"}, patience_s=0.5)


def test_no_broker_is_said_within_the_patience(checkpoints: SqliteCheckpointStore) -> None:
    """Publisher, worker and reader."""
    limits = KafkaLimits(patience_s=0.3)
    with pytest.raises(UnavailableError, match=r"topic test\.events"):
        KafkaPublisher(NO_BROKER, "test", patience_s=0.3)
    with pytest.raises(UnavailableError, match=r"topic test\.events"):
        KafkaWorker(NO_BROKER, "test", VIEW, SummingEngine, checkpoints, clock=SystemClock(), limits=limits)
    with pytest.raises(UnavailableError, match=r"topic test\.summing\.rows"):
        list(read_rows(NO_BROKER, "test", VIEW, patience_s=0.3))


def test_a_missing_client_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an ImportError from somewhere inside."""
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ratchet\[stream\]'"):
        KafkaPublisher(NO_BROKER, "test")


def test_urls_name_brokers_and_a_prefix() -> None:
    """One broker or several, with ports; nothing secret."""
    assert parse_kafka_url("kafka://localhost:9092") == KafkaUrl("localhost:9092", "ratchet")
    assert parse_kafka_url("kafka://[::1]:9092,b:9093/live/") == KafkaUrl("[::1]:9092,b:9093", "live")
    for wrong in (
        *("redis://a:1", "kafka://", "kafka://a", "kafka://a:b", "kafka://a:1,", "kafka://a:1/x/y", "kafka://a:1?x=1"),
        *("kafka://me:secret@a:1", "a:1"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            parse_kafka_url(wrong)
        assert "secret" not in str(caught.value)


def test_names_of_topics_are_checked() -> None:
    """What Kafka would refuse is refused before."""
    assert rows_topic("m", "v-1") == "m.v-1.rows"
    for wrong in ("", "a b", "ü", ".", "a/b", "x" * 101):
        with pytest.raises(ConfigurationError, match="view"):
            rows_topic("m", wrong)


def test_the_header_of_a_row_says_what_caused_it() -> None:
    """There and back; anything else is an error."""
    assert read_input_header([input_header(3, 10**15, 7)]) == (3, 10**15, 7)
    for wrong in (None, [], [("input", b"1/2")], [("input", b"1/-2/3")], [("input", None)]):
        with pytest.raises(InputError, match="header"):
            read_input_header(wrong)  # type: ignore[arg-type]
