"""The same recording through every host: history, in process, Redis, Kafka. One feature table, one digest."""

from __future__ import annotations

import asyncio
import gzip
import os
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from ratchet.clock import SystemClock
from ratchet.data.books import RecordingLimits, record
from ratchet.exchanges import SimulatedExchange
from ratchet.exchanges.feeds import open_stream
from ratchet.exchanges.simulated.server import ExchangeServer
from ratchet.features.history import ordered_tables, replay
from ratchet.features.sets import FeatureSet
from ratchet.features.store import MemoryOnlineStore
from ratchet.features.streaming.checkpoints import SqliteCheckpointStore
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import EventKind, FeatureEvent, digest_rows
from ratchet.features.streaming.kafka.publisher import KafkaPublisher
from ratchet.features.streaming.kafka.reader import read_rows as read_kafka
from ratchet.features.streaming.kafka.worker import KafkaWorker
from ratchet.features.streaming.local import LocalHost
from ratchet.features.streaming.recorded import recorded_events
from ratchet.features.streaming.redis import RedisPublisher, RedisWorker
from ratchet.features.streaming.redis import read_rows as read_redis
from ratchet.features.streaming.sinks import VectorSink
from ratchet.ingestion import replay_recording
from ratchet.market.symbols import Timeframe
from ratchet.settings import Settings
from tests.kafka_cluster import KafkaCluster, kafka_cluster
from tests.redis_server import RedisServer

__all__ = ["kafka_cluster"]

ROOT = Path(__file__).resolve().parents[2]
CORE = FeatureSet.named("core")
SECOND = Timeframe.parse("1s")
N_PARTITIONS = 2


def _engine() -> FeatureEngine:
    return FeatureEngine(CORE, SECOND, every_event=True)


def _with_bars(events: list[FeatureEvent], delay_ns: int = 300_000_000) -> list[FeatureEvent]:
    """Add a bar of each second's trades, which arrives a while after its close."""
    bars: dict[int, FeatureEvent] = {}
    for event in events:
        if event.kind is not EventKind.TRADE:
            continue
        close_ns = (event.ts_event_ns // SECOND.ns + 1) * SECOND.ns
        price, size, _ = event.values
        bar = bars.get(close_ns)
        values = np.array([price, price, price, price, 0.0]) if bar is None else bar.values
        values = np.array([values[0], max(values[1], price), min(values[2], price), price, values[4] + size])
        known_ns = event.known_ns + SECOND.ns + delay_ns
        bars[close_ns] = FeatureEvent(EventKind.BAR, event.venue, event.symbol, close_ns, known_ns, 0, values)
    return sorted([*events, *bars.values()], key=lambda event: event.known_ns)


def _assert_hosts_agree(events: list[FeatureEvent], redis: RedisServer, kafka: KafkaCluster, folder: Path) -> None:
    whole = [row for table in replay(CORE, SECOND, ordered_tables(events), every_event=True) for row in table.rows()]
    expected = digest_rows(whole)
    assert len(whole) > 50
    assert np.isfinite(np.stack([row.values for row in whole])).any(axis=0).sum() > 25, "hardly a feature has a value"

    clock, store = SystemClock(), MemoryOnlineStore()
    host = LocalHost(_engine(), [VectorSink(store, "view", CORE.schema_hash, clock)], clock)
    assert digest_rows(host.run(events)) == expected
    assert host.metrics.poison == 0

    prefix = folder.name.replace("_", "-")
    with RedisPublisher(redis.url, prefix, N_PARTITIONS) as publisher:
        publisher.publish(events)
        publisher.publish_end()
    with RedisWorker(redis.url, prefix, "view", _engine, owner="one", clock=clock, keep_rows=None) as worker:
        worker.drain()
    assert digest_rows(read_redis(redis.url, prefix, "view")) == expected

    kafka.create_view(prefix, "view", N_PARTITIONS)
    with KafkaPublisher(kafka.bootstrap, prefix) as producer:
        producer.publish(events)
        producer.publish_end()
    with (
        closing(SqliteCheckpointStore(folder / "checkpoints.sqlite")) as saved,
        KafkaWorker(kafka.bootstrap, prefix, "view", _engine, saved, clock=clock) as consumer,
    ):
        consumer.drain()
    assert digest_rows(read_kafka(kafka.bootstrap, prefix, "view")) == expected


@pytest.mark.engine
def test_a_recording_of_the_simulated_venue_gives_one_table(
    redis_server: RedisServer, kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    asyncio.run(_record_simulated(tmp_path, 4.0))
    events = list(recorded_events(tmp_path, "binance-at-127-0-0-1", "BTC/USDT", 0, 2**62))
    assert {EventKind.BOOK, EventKind.TRADE} <= {event.kind for event in events}
    _assert_hosts_agree(_with_bars(events), redis_server, kafka_cluster, tmp_path)


@pytest.mark.slow
@pytest.mark.engine
def test_a_real_recording_of_binance_gives_one_table(
    redis_server: RedisServer, kafka_cluster: KafkaCluster, tmp_path: Path
) -> None:
    folder = Path(os.environ.get("RATCHET_REAL_DATA", ROOT.parent / "shared" / "data")) / "lob" / "hftbacktest"
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}; set RATCHET_REAL_DATA to the folder two above it")
    raw = tmp_path / "raw.txt"
    with gzip.open(folder / "usdm/btcusdt_20240808.gz", "rt") as file:
        raw.write_text("".join(islice(file, 12_000)))
    settings = Settings(home=tmp_path)
    replay_recording(settings, raw, venue="binance-swap", symbol="BTC/USDT:USDT", venue_id="BTCUSDT")
    events = list(recorded_events(settings.recordings_root, "binance-swap", "BTC/USDT:USDT", 0, 2**62))
    assert len(events) > 2_000
    _assert_hosts_agree(_with_bars(events), redis_server, kafka_cluster, tmp_path)


async def _record_simulated(root: Path, seconds: float) -> None:
    clock = SystemClock()
    upstream = SimulatedExchange.from_url("simulated://?seed=7")
    async with ExchangeServer(upstream, venue="binance", timeframe=Timeframe.parse("1h"), clock=clock) as server:
        stream = open_stream(f"binance://?url={server.url}", ["BTC/USDT"], clock=clock)
        try:
            until_ns = clock.now_ns() + int(seconds * 1e9)
            limits = replace(RecordingLimits(), sync_every_s=0.1, resync_every_s=0.2)
            await record(stream, root, ["BTC/USDT"], clock=clock, until_ns=until_ns, limits=limits)
        finally:
            await stream.close()
