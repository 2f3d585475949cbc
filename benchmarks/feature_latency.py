"""From a market event to its stored features: the bare kernel, then every host of the engine, at two loads.

    python -m benchmarks.feature_latency --recording FILE.gz --out FILE.json

Loads, with a row of the 110 features for every event: `recorded`, the books and trades of a raw recording of Binance's
USD-M perpetual with the spacing in which they came; and `50x20`, made-up events of 50 symbols, 20 a second each, with a
bar of every symbol at the minute. A hundred bars of each symbol go first, then five seconds of the load are warm-up.

`kernel` is the floor: compiled code on arrays that are ready. The hosts: `memory` and `sqlite` in one process with that
store, SQLite written at most every 100 ms as `ratchet features stream` does; `redis` and `kafka` with one publisher and
one worker process, each event sent alone. Redis also keeps the newest vectors; Kafka is librdkafka's mock broker.

Latency counts from `known_ns`, taken at sending, to the moment when the host reports the row stored (quantiles to
4.4 %). With `sqlite` that is when the row is taken, and the write may follow up to 100 ms later: `in_store_ms` ends
after the write, for the newest event of each symbol in it. `sent_late_ms` says how long after its time an event was
sent; `due_to_done_ms` counts from that time instead, so that events which wait for one another are not forgotten.
`messages` is the cost of raw messages on their way to features, step by step, with what recording them costs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.feature_costs import TIMEFRAME, VIEW, make_engine, quantiles, run_kernel, run_messages, warm_up
from benchmarks.feature_loads import BARS_S, WARM_S, Load, made_up_load, read_load, recorded_load, save_load
from ratchet.clock import NS_PER_S, SystemClock
from ratchet.features.kernel.compiling import SOURCE_DIGEST
from ratchet.features.store import OnlineStore, open_online_store
from ratchet.features.streaming.checkpoints import SqliteCheckpointStore
from ratchet.features.streaming.events import FeatureEvent
from ratchet.features.streaming.kafka.connection import parse_kafka_url
from ratchet.features.streaming.kafka.publisher import KafkaPublisher
from ratchet.features.streaming.kafka.worker import KafkaWorker
from ratchet.features.streaming.local import LocalHost
from ratchet.features.streaming.metrics import LatencyHistogram, StreamMetrics
from ratchet.features.streaming.redis import RedisPublisher, RedisWorker
from ratchet.features.streaming.sinks import VectorSink, WindowSink
from tests.kafka_cluster import KafkaCluster
from tests.redis_server import RedisServer

N_PARTITIONS = 4
TICK_NS = NS_PER_S // 10
TARGETS_MS = {"memory": 1.0, "sqlite": 1.0, "redis": 10.0}
HOSTS = ("memory", "sqlite", "redis", "kafka")
LOADS = ("recorded", "50x20")
PACKAGES = ("numpy", "numba", "redis", "confluent-kafka")


class Measurement:
    """What a host did between the end of its warm-up and its end."""

    def __init__(self, metrics: StreamMetrics, begin_ns: int, seconds: int) -> None:
        self.start_ns = begin_ns + (BARS_S + WARM_S) * NS_PER_S
        self.end_ns = self.start_ns + seconds * NS_PER_S
        self._metrics, self._before, self._most_waiting = metrics, (0, 0, 0), 0

    def look(self) -> None:
        """Look at the clock and the lag; forget at the end of the warm-up what was measured before."""
        if not self._before[2] and time.time_ns() >= self.start_ns:
            self._metrics.latency = LatencyHistogram()
            self._before = (self._metrics.events, self._metrics.rows, time.process_time_ns())
        elif self._before[2]:
            self._most_waiting = max(self._most_waiting, self._metrics.lag_entries)

    def result(self) -> dict[str, Any]:
        """Return the figures."""
        n_events, n_rows = self._metrics.events - self._before[0], self._metrics.rows - self._before[1]
        cpu_us = (time.process_time_ns() - self._before[2]) / 1e3
        told = self._metrics.snapshot()
        latency = {name: told[f"latency_{name}_ns"] / 1e6 for name in ("p50", "p95", "p99", "max")}
        return {
            "latency_ms": {name: round(value, 4) for name, value in latency.items()},
            "events": n_events,
            "rows": n_rows,
            "events_all": self._metrics.events,
            "poison": self._metrics.poison,
            "events_per_s": round(n_events / ((self.end_ns - self.start_ns) / 1e9), 1),
            "cpu_us_per_event": round(cpu_us / max(n_events, 1), 1),
            "most_waiting": self._most_waiting,
            "peak_rss_mib": round(_peak_mib()),
        }


def ask_begin() -> int:
    """Say that this process is ready, and return when the load begins, ns UTC."""
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    return int(sys.stdin.readline())


def paced(load: Load, begin_ns: int, while_waiting: Callable[[], None]) -> Iterator[tuple[int, FeatureEvent]]:
    """Yield each event at its time, stamped with the moment, and the time at which it was due."""
    for due_ns, event in zip((load[0] + begin_ns).tolist(), load[1], strict=True):
        while (wait_ns := due_ns - time.time_ns()) > 0:
            time.sleep(min(wait_ns, TICK_NS) / 1e9)
            while_waiting()
        yield due_ns, replace(event, known_ns=time.time_ns())


class TimedStore:
    """An online store that notes, for each vector written, when that was and how old its newest event was then."""

    def __init__(self, store: OnlineStore) -> None:
        self._store = store
        self.known_ns: dict[str, int] = {}
        self.took: list[tuple[int, int]] = []

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        """Write, and note the time after it."""
        n_written = self._store.write_vectors(view, schema_hash, vectors)
        now_ns = time.time_ns()
        self.took += [(now_ns, now_ns - self.known_ns[symbol]) for symbol in vectors]
        return n_written


def run_in_process(options: argparse.Namespace) -> dict[str, Any]:
    """Drive the engine in this process, with pauses as they come."""
    load, clock = read_load(options.folder / f"{options.load}.npz"), SystemClock()
    store_url = "memory://" if options.side == "memory" else f"sqlite:///{options.folder}/{options.load}.sqlite"
    every_ns = 0 if options.side == "memory" else TICK_NS
    warm_up(load[1][-500:])
    with closing(open_online_store(store_url)) as store:
        engine = make_engine()
        timed = TimedStore(store)
        vectors = VectorSink(timed, VIEW, engine.schema_hash, clock, every_ns=every_ns)  # type: ignore[arg-type]
        host = LocalHost(engine, [vectors, WindowSink(store, VIEW, engine.schema_hash, TIMEFRAME, 60)], clock)
        begin_ns = ask_begin()
        measurement = Measurement(host.metrics, begin_ns, options.seconds)
        late_ns, done_ns, flushed_ns = [], [], begin_ns

        def tick() -> None:
            nonlocal flushed_ns
            if time.time_ns() - flushed_ns >= TICK_NS:
                host.flush()
                flushed_ns = time.time_ns()

        for due_ns, event in paced(load, begin_ns, tick):
            measurement.look()
            timed.known_ns[event.symbol] = event.known_ns
            host.take(event)
            if due_ns >= measurement.start_ns:
                late_ns.append(event.known_ns - due_ns)
                done_ns.append(time.time_ns() - due_ns)
            tick()
        host.flush()
        in_store_ns = [took_ns for written_ns, took_ns in timed.took if written_ns >= measurement.start_ns]
    late_and_done = {
        "in_store_ms": quantiles(in_store_ns, 1e6),
        "sent_late_ms": quantiles(late_ns, 1e6),
        "due_to_done_ms": quantiles(done_ns, 1e6),
    }
    return measurement.result() | late_and_done


def publish(options: argparse.Namespace) -> dict[str, Any]:
    """Put the events onto a bus, each at its time."""
    load = read_load(options.folder / f"{options.load}.npz")
    late_ns, took_ns = [], []
    with _publisher(options) as publisher:
        begin_ns = ask_begin()
        start_ns = begin_ns + (BARS_S + WARM_S) * NS_PER_S
        for due_ns, event in paced(load, begin_ns, lambda: None):
            publisher.publish([event])
            if due_ns >= start_ns:
                late_ns.append(event.known_ns - due_ns)
                took_ns.append(time.time_ns() - event.known_ns)
    return {"published": len(load[1]), "sent_late_ms": quantiles(late_ns, 1e6), "publish_ms": quantiles(took_ns, 1e6)}


def _publisher(options: argparse.Namespace) -> Any:
    if options.bus.startswith("redis://"):
        return RedisPublisher(options.bus, options.load, N_PARTITIONS)
    return KafkaPublisher(parse_kafka_url(options.bus).bootstrap, options.load)


def work(options: argparse.Namespace) -> dict[str, Any]:
    """Compute the features of a bus until two seconds after its last event."""
    warm_up(read_load(options.folder / f"{options.load}.npz")[1][-500:])
    is_redis = options.bus.startswith("redis://")
    with (
        closing(open_online_store(options.bus if is_redis else "memory://")) as store,
        _worker(options, store) as worker,
    ):
        measurement = Measurement(worker.metrics, ask_begin(), options.seconds)

        def until() -> bool:
            measurement.look()
            return time.time_ns() > measurement.end_ns + 2 * NS_PER_S

        worker.run(until)
        return measurement.result()


def _worker(options: argparse.Namespace, store: Any) -> Any:
    if options.bus.startswith("redis://"):
        owner = f"worker-{os.getpid()}"
        return RedisWorker(
            options.bus,
            options.load,
            VIEW,
            make_engine,
            owner=owner,
            clock=SystemClock(),
            store=store,
            n_partitions=N_PARTITIONS,
        )
    saved = SqliteCheckpointStore(options.folder / f"{options.load}-kafka.sqlite")
    bootstrap = parse_kafka_url(options.bus).bootstrap
    return KafkaWorker(bootstrap, options.load, VIEW, make_engine, saved, clock=SystemClock(), store=store)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


SIDES = {
    "kernel": run_kernel,
    "messages": run_messages,
    "memory": run_in_process,
    "sqlite": run_in_process,
    "publish": publish,
    "work": work,
}


def start(side: str, load: str, options: argparse.Namespace, bus: str = "") -> subprocess.Popen[str]:
    """Start a side in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.feature_latency", "--side", side, "--load", load, "--bus", bus]
    command += ["--folder", str(options.folder), "--seconds", str(options.seconds)]
    command += ["--recording", str(options.recording)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> dict[str, Any]:
    """Let processes begin together once all are ready, and return what they say in the end."""
    for process in processes:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise SystemExit(f"{process.args!r}: ended early")
    begin_ns = time.time_ns() + 2 * NS_PER_S
    told: dict[str, Any] = {"load_average": round(os.getloadavg()[0], 2)}
    for process in processes:
        if process.stdin is not None:
            process.stdin.write(f"{begin_ns}\n")
            process.stdin.flush()
    for process in processes:
        out, _ = process.communicate()
        told |= json.loads(out.splitlines()[-1])
    return told


def run_host(host: str, load: str, options: argparse.Namespace) -> dict[str, Any]:
    """Run one host under one load."""
    if host == "kafka":
        cluster = KafkaCluster()
        try:
            cluster.create_view(load, VIEW, N_PARTITIONS)
            bus = f"kafka://{cluster.bootstrap}"
            return finish(start("work", load, options, bus), start("publish", load, options, bus))
        finally:
            cluster.kill()
    if host != "redis":
        return finish(start(host, load, options))
    program = shutil.which("redis-server")
    if program is None:
        return {"failed": "no redis-server on PATH"}
    with tempfile.TemporaryDirectory() as folder:
        server = RedisServer(Path(program), Path(folder))
        server.start_anywhere()
        try:
            with server.client() as client:
                client.config_set("slowlog-log-slower-than", 1_000)
                client.config_set("slowlog-max-len", 10_000)
            publisher, worker = (start(side, load, options, server.url) for side in ("publish", "work"))
            result = finish(publisher, worker)
            with server.client() as client:
                told, used = client.info("memory"), client.info("cpu")
                slow_ms = sorted(entry["duration"] / 1e3 for entry in client.slowlog_get(10_000))
            result["redis_peak_mib"] = round(told["used_memory_peak"] / 2**20)
            result["redis_cpu_s_all"] = round(used["used_cpu_sys"] + used["used_cpu_user"], 1)
            result["redis_commands_over_1_ms"] = {"number": len(slow_ms), "slowest_ms": slow_ms[-5:]}
            return result
        finally:
            server.kill()


def run_all(options: argparse.Namespace) -> dict[str, Any]:
    """Run every side under every load, and write what is known after each."""
    loads = {"recorded": recorded_load(options.recording, options.seconds), "50x20": made_up_load(options.seconds)}
    results: dict[str, Any] = {load: {} for load in LOADS}
    told = {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "processor": platform.machine()},
        "packages": {name: version(name) for name in PACKAGES},
        "kernel": SOURCE_DIGEST,
        "seconds": options.seconds,
        "target_p99_ms": TARGETS_MS,
        "results": results,
    }
    for load, events in loads.items():
        save_load(events, options.folder / f"{load}.npz")
    for load in LOADS:
        for side in ("kernel", "messages", *options.hosts) if load == "recorded" else ("kernel", *options.hosts):
            alone = side in {"kernel", "messages"}
            result = finish(start(side, load, options)) if alone else run_host(side, load, options)
            results[load][side] = result
            print(f"{load:8} {side:8} {json.dumps(result)}", flush=True)
            if options.out:
                options.out.write_text(json.dumps(told, indent=2) + "\n")
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recording", type=Path, required=True, help="raw messages of btcusdt, USD-M perpetual")
    parser.add_argument("--seconds", type=int, default=60, help="how long each host is measured under each load")
    parser.add_argument("--hosts", nargs="+", choices=HOSTS, default=HOSTS)
    parser.add_argument("--out", type=Path, help="file for the raw results, as JSON")
    parser.add_argument("--side", choices=SIDES, help="run one side in this process")
    parser.add_argument("--load", choices=LOADS, default="recorded", help="of that side")
    parser.add_argument("--bus", default="", help="of that side")
    parser.add_argument("--folder", type=Path, help="where that side finds the loads")
    options = parser.parse_args()
    if options.side:
        if options.side in {"kernel", "messages"}:
            ask_begin()
        print(json.dumps(SIDES[options.side](options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = Path(folder)
        run_all(options)


if __name__ == "__main__":
    main()
