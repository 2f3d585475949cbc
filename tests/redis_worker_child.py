"""A worker in a process of its own, to be killed: `python -m tests.redis_worker_child URL PREFIX GROUP OWNER ...`.

Further arguments are `NAME=VALUE`: `partitions=0,1`, `takeover_after_ms=0`, `engine=MODULE:CLASS`, and

- `die=computed:N`, `stored:N` or `checkpointed:N`: it kills itself as `kill -9` does at the N-th time that rows are
  computed but not stored, rows are stored but not yet part of a checkpoint, or a checkpoint is written;
- `mutant=early_ack`: acknowledges entries before it works on them; `mutant=auto_ids`: rows get ids of their own.

It says `ready` once it owns a partition and works until it is killed.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, cast

from ratchet.clock import SystemClock
from ratchet.features.streaming.ports import Engine
from ratchet.features.streaming.redis import RedisWorker, scripts
from ratchet.features.streaming.redis.ledger import PartitionLedger
from ratchet.features.streaming.redis.partition import Entry, OwnedPartition

LEASE_MS = 300
CHECKPOINT_EVERY_MS = 40


def _die_at(time: int) -> Callable[[], None]:
    """Return a function whose `time`-th call does not return."""
    calls = 0

    def perhaps_die() -> None:
        nonlocal calls
        calls += 1
        if calls == time:
            os.kill(os.getpid(), signal.SIGKILL)

    return perhaps_die


def _plan_death(place: str, time: int) -> None:
    """Die before rows are stored (`computed`), before a checkpoint (`stored`) or right after it (`checkpointed`)."""
    die = _die_at(time)
    name = "store_rows" if place == "computed" else "checkpoint"
    write = vars(PartitionLedger)[name]

    def dying(self: PartitionLedger, *arguments: Any, **named: Any) -> Any:
        if place != "checkpointed":
            die()
        answer = write(self, *arguments, **named)
        if place == "checkpointed":
            die()
        return answer

    setattr(PartitionLedger, name, dying)


def _acknowledge_early() -> None:
    work = OwnedPartition.take

    def take(self: OwnedPartition, entries: Sequence[Entry]) -> None:
        self.last_id = entries[-1][0]
        self.n_since_checkpoint += len(entries)
        self.checkpoint()
        work(self, entries)

    vars_of = cast("Any", OwnedPartition)
    vars_of.take = take


def _give_rows_ids_of_their_own() -> None:
    naive = scripts.STORE.replace("add[#add + 1] = id\n", "add[#add + 1] = '*'\n")
    naive = naive.replace("if redis.call('HGET', KEYS[2], 'row_id') ~= ARGV[3] then return 'MOVED' end\n", "")
    naive = naive.replace("redis.call('HSET', KEYS[2], 'row_id', id)\n", "")
    assert "row_id'" not in naive
    vars(scripts)["STORE"] = naive


def main() -> None:
    url, prefix, group, owner = sys.argv[1:5]
    options = dict(option.split("=", 1) for option in sys.argv[5:])
    if "die" in options:
        place, time = options["die"].split(":")
        _plan_death(place, int(time))
    if options.get("mutant") == "early_ack":
        _acknowledge_early()
    if options.get("mutant") == "auto_ids":
        _give_rows_ids_of_their_own()
    module, name = options.get("engine", "tests.streaming_engine:SummingEngine").split(":")
    make_engine = cast("Callable[[], Engine]", getattr(importlib.import_module(module), name))
    own = options.get("partitions")
    worker = RedisWorker(
        url,
        prefix,
        group,
        make_engine,
        owner=owner,
        clock=SystemClock(),
        partitions=None if own is None else [int(number) for number in own.split(",") if number],
        takeover_after_ms=int(options.get("takeover_after_ms", "10000")),
        lease_ms=LEASE_MS,
        checkpoint_every_ms=CHECKPOINT_EVERY_MS,
        read_count=8,
        keep_rows=None,
    )
    said = False

    def until() -> bool:
        nonlocal said
        if worker.owned and not said:
            said = True
            sys.stdout.write("ready\n")
            sys.stdout.flush()
        return False

    worker.run(until)


if __name__ == "__main__":
    main()
