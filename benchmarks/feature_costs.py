"""What an event costs before any host: the compiled kernel, the engine around it, and raw messages up to features.

Sides of `benchmarks.feature_latency`.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.feature_loads import N_BARS, SYMBOL, VENUE, VENUE_ID, head_of, read_load
from ratchet.clock import FixedClock, SystemClock
from ratchet.data.books import RecordingLimits
from ratchet.data.books.recorder import record
from ratchet.data.books.records import Record
from ratchet.data.books.replay import FileStream
from ratchet.exchanges.feeds import feed_parser
from ratchet.features.history import EventTable
from ratchet.features.kernel.program import bar_capacity, compile_program
from ratchet.features.kernel.state import new_state
from ratchet.features.kernel.step import step
from ratchet.features.sets import FeatureSet
from ratchet.features.store import open_online_store
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import FeatureEvent
from ratchet.features.streaming.local import LocalHost
from ratchet.features.streaming.recorded import RecordedEvents
from ratchet.features.streaming.sinks import VectorSink
from ratchet.market import Timeframe

FEATURES, TIMEFRAME, VIEW = FeatureSet.named("core"), Timeframe.parse("1m"), "benchmark"


def make_engine() -> FeatureEngine:
    """Return an empty engine that gives a row with every event."""
    return FeatureEngine(FEATURES, TIMEFRAME, every_event=True)


def warm_up(events: Sequence[FeatureEvent]) -> None:
    """Load the machine code, and compile it where that was never done."""
    engine = make_engine()
    for event in events:
        engine.apply(event)


def quantiles(durations_ns: Sequence[int] | NDArray[np.int64], unit_ns: float) -> dict[str, float]:
    """Return the usual quantiles of durations."""
    found = np.percentile(durations_ns, (50, 95, 99, 100)) / unit_ns
    return dict(zip(("p50", "p95", "p99", "max"), np.round(found, 4).tolist(), strict=True))


def run_kernel(options: argparse.Namespace) -> dict[str, Any]:
    """Time the kernel on whole tables, on single events called from Python, and the engine around it."""
    _, events = read_load(options.folder / f"{options.load}.npz")
    warm_up(events[-500:])
    names = sorted({event.symbol for event in events})
    tables = [EventTable.of(name, [event for event in events if event.symbol == name]) for name in names]
    program = compile_program(FEATURES.definitions, TIMEFRAME.ns, every_event=True)
    whole_us = []
    for _ in range(5):
        took_ns = 0
        for table in tables:
            state = new_state(program, bar_capacity(FEATURES.definitions))
            rows, times = np.empty((len(table), len(FEATURES.names)), np.float32), np.empty((len(table), 3), np.int64)
            begun_ns = time.perf_counter_ns()
            step(program, state, table.kinds, table.times, table.offsets, table.values, rows, times)
            took_ns += time.perf_counter_ns() - begun_ns
        whole_us.append(round(took_ns / 1e3 / len(events), 3))
    states = {name: new_state(program, bar_capacity(FEATURES.definitions)) for name in names}
    row, row_times = np.empty((1, len(FEATURES.names)), np.float32), np.empty((1, 3), np.int64)
    prepared = [(states[event.symbol], EventTable.of(event.symbol, [event])) for event in events]
    called_ns = _each(prepared, lambda one: step(program, one[0], *_arrays(one[1]), row, row_times))
    engine = make_engine()
    applied_ns = _each(events, engine.apply)
    sizes = [len(part) for part in engine.changed_state().values()]
    n_before = N_BARS * len(names)
    return {
        "events": len(events) - n_before,
        "whole_tables_us_per_event": sorted(whole_us),
        "one_call_us": quantiles(called_ns[n_before:], 1e3),
        "engine_apply_us": quantiles(applied_ns[n_before:], 1e3),
        "state_kib_per_symbol": round(sum(sizes) / len(sizes) / 1024, 1),
    }


def run_messages(options: argparse.Namespace) -> dict[str, Any]:
    """Send raw messages through more and more of the way that `ratchet features stream` has for them."""
    raw = head_of(options.recording, options.folder / "raw.txt", options.seconds)
    stream = FileStream(raw, VENUE, feed_parser(VENUE, {VENUE_ID: SYMBOL}))
    begun_s = time.process_time()
    n_messages = asyncio.run(_parse_all(stream))
    cpu_us = {"read_and_parse": (time.process_time() - begun_s) / n_messages * 1e6}
    alone, converter, engine = RecordedEvents(VENUE, SYMBOL), RecordedEvents(VENUE, SYMBOL), make_engine()
    with closing(open_online_store("memory://")) as store:
        host = LocalHost(engine, [VectorSink(store, VIEW, engine.schema_hash, SystemClock())], SystemClock())
        warm_up(read_load(options.folder / f"{options.load}.npz")[1][-500:])

        def take(_: str, entry: Record) -> None:
            event = converter.take(entry)
            if event is not None:
                host.take(event)

        steps: dict[str, Callable[[str, Record], object] | None] = {
            "and_book_and_recording (first pass, left out)": None,
            "and_book_and_recording": None,
            "and_conversion": lambda _, entry: alone.take(entry),
            "and_engine_and_store": take,
        }
        for name, on_record in steps.items():
            begun_s = time.process_time()
            asyncio.run(_record(raw, options.folder / name, on_record))
            cpu_us[name] = (time.process_time() - begun_s) / n_messages * 1e6
        counts = {"messages": n_messages, "feature_events": host.metrics.events, "rows": host.metrics.rows}
    del cpu_us["and_book_and_recording (first pass, left out)"]
    return counts | {"cpu_us_per_message_up_to": {name: round(value, 1) for name, value in cpu_us.items()}}


def _arrays(table: EventTable) -> tuple[NDArray[Any], ...]:
    return table.kinds, table.times, table.offsets, table.values


def _each(given: Sequence[Any], act: Callable[[Any], object]) -> list[int]:
    took_ns = []
    for one in given:
        begun_ns = time.perf_counter_ns()
        act(one)
        took_ns.append(time.perf_counter_ns() - begun_ns)
    return took_ns


async def _parse_all(stream: FileStream) -> int:
    n_messages = 0
    async for message in stream.messages():
        stream.parse(message)
        n_messages += 1
    return n_messages


async def _record(raw: Path, root: Path, on_record: Any) -> None:
    with raw.open() as file:
        clock = FixedClock(int(file.readline().partition(" ")[0]))
    stream = FileStream(raw, VENUE, feed_parser(VENUE, {VENUE_ID: SYMBOL}), clock=clock)
    await record(stream, root, [SYMBOL], clock=clock, limits=RecordingLimits(trust_after=300), on_record=on_record)
