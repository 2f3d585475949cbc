"""Workers killed at random moments and at the worst ones: afterwards every row is there, once, and the right one.

`RATCHET_REDIS_KILLS` (default 12) sets how often, `RATCHET_REDIS_SEED` the moments; both are printed with the counts.
`RATCHET_REDIS_ENGINE=core_engine` runs the real engine instead of the summing one.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ratchet.clock import SystemClock
from ratchet.errors import UnavailableError
from ratchet.features.streaming.events import FeatureEvent, FeatureRow, encode_row
from ratchet.features.streaming.redis import RedisPublisher, RedisWorker, read_rows
from ratchet.features.streaming.redis.keys import StreamKeys, id_order
from tests import streaming_engine
from tests.redis_server import RedisServer
from tests.streaming_engine import market, rows_in_process

ROOT = Path(__file__).resolve().parents[2]
GROUP = "view"
N_PARTITIONS = 3
PLACES = ("random", "computed", "stored", "checkpointed")


@dataclass
class _Ledger:
    """What the battery saw."""

    n_kills: int = 0
    n_unfinished: int = 0
    """Kills that left rows without a checkpoint."""
    by_place: Counter[str] = field(default_factory=Counter)


class _Stream:
    """Publishes without a pause until told to stop."""

    def __init__(self, url: str, prefix: str, events: Sequence[FeatureEvent]) -> None:
        self._publisher = RedisPublisher(url, prefix, N_PARTITIONS)
        self._events, self._n_published = events, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._publish)

    def __enter__(self) -> _Stream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._publisher.close()

    def finish(self) -> Sequence[FeatureEvent]:
        """Stop; return what was published, up to the end mark."""
        self._stop.set()
        self._thread.join(10)
        self._publisher.publish_end()
        return self._events[: self._n_published]

    def _publish(self) -> None:
        while not self._stop.is_set() and self._n_published < len(self._events):
            self._n_published += self._publisher.publish(self._events[self._n_published : self._n_published + 4])
            self._stop.wait(0.02)


@contextmanager
def _child(server: RedisServer, prefix: str, owner: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.redis_worker_child", server.url, prefix, GROUP, owner, *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def _kill_one(
    server: RedisServer, prefix: str, number: int, place: str, moment: np.random.Generator, *options: str
) -> None:
    """Run a worker until it is dead, killed from outside at a random time or by itself at `place`."""
    engine = f"engine=tests.streaming_engine:{_engine_name()}"
    planned = () if place == "random" else (f"die={place}:{moment.integers(1, 13)}",)
    with _child(server, prefix, f"child-{number}", engine, *planned, *options) as child:
        if place == "random":
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n"
            time.sleep(moment.uniform(0.0, 0.5))
            child.kill()
        assert child.wait(120) == -9


def _engine_name() -> str:
    return os.environ.get("RATCHET_REDIS_ENGINE", "SummingEngine")


def _has_rows_without_checkpoint(server: RedisServer, prefix: str) -> bool:
    marks = [StreamKeys(prefix).mark(GROUP, partition) for partition in range(N_PARTITIONS)]
    with server.client() as client:
        ids = [client.hmget(mark, ["last_id", "row_id"]) for mark in marks]
    return any(id_order(row_id) > id_order(last_id) for last_id, row_id in ids if row_id and last_id)


def _run(
    server: RedisServer, prefix: str, n_kills: int, places: Sequence[str], *options: str
) -> tuple[_Ledger, list[str]]:
    """Kill a worker again and again while events come in; return what was seen and what is wrong afterwards."""
    seed = int(os.environ.get("RATCHET_REDIS_SEED", "0")) or secrets.randbelow(10**6)
    moment, seen = np.random.default_rng(seed), _Ledger()
    make_engine = vars(streaming_engine)[_engine_name()]
    rows_in_process(market(200), make_engine())  # what a real engine compiles, children then find compiled
    started_s = time.monotonic()
    with _Stream(server.url, prefix, market(2_400 * (n_kills + 10))) as stream:
        for number in range(n_kills):
            place = places[number % len(places)]
            _kill_one(server, prefix, number, place, moment, *options)
            seen.n_kills += 1
            seen.by_place[place] += 1
            seen.n_unfinished += _has_rows_without_checkpoint(server, prefix)
        published = stream.finish()
    with RedisWorker(
        server.url,
        prefix,
        GROUP,
        make_engine,
        owner="last",
        clock=SystemClock(),
        lease_ms=300,
        keep_rows=None,
        patience_s=2.0,
    ) as last:
        try:
            last.drain()
            refused = []
        except UnavailableError as error:  # rows with ids of their own stand in the way of the right ones
            refused = [str(error)]
    stored = list(read_rows(server.url, prefix, GROUP))
    faults = _faults(rows_in_process(published, make_engine()), stored) + refused
    sys.stdout.write(
        f"\nseed {seed}: {seen.n_kills} kills {dict(seen.by_place)}, {seen.n_unfinished} between rows and checkpoint, "
        f"{len(published)} events, {len(stored)} rows stored, {len(faults)} faults, "
        f"{last.metrics.replayed} replayed by the last worker, {time.monotonic() - started_s:.0f} s\n"
    )
    return seen, faults


def _faults(expected: Sequence[FeatureRow], stored: Sequence[FeatureRow]) -> list[str]:
    """Return what is lost, there twice, wrong, or in another order."""
    packed = [Counter(encode_row(row) for row in rows) for rows in (expected, stored)]
    lost, extra = packed[0] - packed[1], packed[1] - packed[0]
    faults = [f"lost: {lost.total()} rows"] if lost else []
    faults += [f"twice or wrong: {extra.total()} rows"] if extra else []
    for symbol in sorted({row.symbol for row in expected}):
        order = [[row.sequence for row in rows if row.symbol == symbol] for rows in (expected, stored)]
        faults += [f"another order: {symbol}"] if order[0] != order[1] else []
    return faults


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_workers_lose_nothing_and_repeat_nothing(redis_server: RedisServer) -> None:
    n_kills = int(os.environ.get("RATCHET_REDIS_KILLS", "12"))
    seen, faults = _run(redis_server, "crash", n_kills, PLACES)
    assert faults == []
    assert seen.n_unfinished >= n_kills // 4, "too few kills hit unfinished work to show anything"


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize("mutant", ["early_ack", "auto_ids"])
def test_a_worker_that_acknowledges_early_or_repeats_rows_is_caught(redis_server: RedisServer, mutant: str) -> None:
    _, faults = _run(redis_server, f"mutant-{mutant}", 3, ("computed", "stored"), f"mutant={mutant}")
    sys.stdout.write(f"{mutant}: {faults}\n")
    symptom = {"early_ack": "lost", "auto_ids": "twice"}[mutant]
    assert any(fault.startswith(symptom) for fault in faults), f"the battery does not notice {mutant}"
