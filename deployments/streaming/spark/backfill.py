"""Back-fills features over recorded events on Spark: the kernel of the live stream, one engine for each symbol.

    python backfill.py EVENTS --export RECORDINGS --venue binance --symbol BTC/USDT    in Ratchet's environment
    python backfill.py EVENTS ROWS --features core --timeframe 1m --every-event        in Spark's

EVENTS and ROWS are folders of Parquet files. The second command prints rows, events set aside, seconds and the digest
of the feature table as JSON; the same events through an engine in process have the same digest.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from ratchet.errors import ConfigurationError, InputError, RatchetError
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import (
    EventKind,
    FeatureEvent,
    FeatureRow,
    decode_event,
    digest_rows,
    encode_event,
)
from ratchet.market.symbols import Timeframe

if TYPE_CHECKING:
    from pyspark.accumulators import Accumulator
    from pyspark.sql import SparkSession

EVENT_SCHEMA = pa.schema([("symbol", pa.string()), ("arrival", pa.int64()), ("packed", pa.binary())])
ROW_COLUMNS = {
    "symbol": pa.string(),
    "place": pa.int64(),  # among the rows of the symbol, in the order of computation
    "ts_event_ns": pa.int64(),
    "known_ns": pa.int64(),
    "kind": pa.int32(),
    "sequence": pa.int64(),
}
_SPARK_TYPES = {pa.string(): "string", pa.int64(): "long", pa.int32(): "int", pa.float32(): "float"}
_BATCH = 2_000


@dataclass(frozen=True)
class Computation:
    """What to compute, in a form that travels to Spark's workers."""

    features: str
    timeframe: str
    every_event: bool
    lateness_ns: int

    def engine(self) -> FeatureEngine:
        """Return a new engine.

        Raises:
            ConfigurationError: the set does not exist or relates symbols to each other, which are computed apart here.
        """
        features = FeatureSet.named(self.features)
        if "universe" in features.sources:
            raise ConfigurationError(f"set {self.features!r} relates symbols to each other; Spark computes them apart")
        timeframe = Timeframe.parse(self.timeframe)
        return FeatureEngine(features, timeframe, every_event=self.every_event, lateness_ns=self.lateness_ns)


def write_events(events: Iterable[FeatureEvent], folder: Path) -> int:
    """Write events, which come in the order of arrival, as one Parquet file; return how many.

    Raises:
        InputError: the folder exists.
    """
    if folder.exists():
        raise InputError(f"{folder} exists; name a new folder for the events")
    folder.mkdir(parents=True)
    unfinished, n_events = folder / "_events.parquet", 0  # Spark and Arrow pass over names with an underscore
    remaining = iter(events)
    with pq.ParquetWriter(unfinished, EVENT_SCHEMA) as writer:
        while batch := list(islice(remaining, _BATCH)):
            arrivals = range(n_events, n_events + len(batch))
            columns = [[event.symbol for event in batch], arrivals, [encode_event(event) for event in batch]]
            arrays = [pa.array(values, kind) for values, kind in zip(columns, EVENT_SCHEMA.types, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=EVENT_SCHEMA))
            n_events += len(batch)
    unfinished.rename(folder / "events.parquet")
    return n_events


def export(recordings: Path, venue: str, symbols: Sequence[str], folder: Path) -> int:
    """Write what was recorded of some symbols of a venue as events; return how many.

    Raises:
        InputError: the folder exists.
        NotFoundError: nothing was recorded for a symbol.
        ArtifactError: a segment is missing or was altered.
    """
    from ratchet.features.streaming.recorded import recorded_events  # noqa: PLC0415 - Spark's environment cannot

    whole = (0, 2**63 - 1)
    streams = [recorded_events(recordings, venue, symbol, *whole) for symbol in symbols]
    return write_events(heapq.merge(*streams, key=lambda event: event.known_ns), folder)


def back_fill(spark: SparkSession, events: Path, rows: Path, computation: Computation) -> int:
    """Compute the rows of all events into a new folder; return how many events were set aside.

    A symbol is one group and so one task: its events come sorted by arrival, and only the engine and one batch of them
    are in memory.
    """
    engine = computation.engine()
    schema = row_schema(engine.feature_names)
    set_aside = spark.sparkContext.accumulator(0)

    def compute(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        return compute_symbol(batches, computation.engine(), set_aside)

    ordered = spark.read.parquet(str(events)).repartition("symbol").sortWithinPartitions("symbol", "arrival")
    columns = ", ".join(f"`{field.name}` {_SPARK_TYPES[field.type]}" for field in schema)
    ordered.groupBy("symbol").applyInArrow(compute, columns).write.parquet(str(rows))
    n_set_aside: int = set_aside.value
    return n_set_aside


def compute_symbol(
    batches: Iterable[pa.RecordBatch], engine: FeatureEngine, set_aside: Accumulator[int]
) -> Iterator[pa.RecordBatch]:
    """Take the events of one symbol through an engine and yield its rows in batches.

    Raises:
        InputError: the events are not sorted by arrival.
    """
    n_rows, last_arrival = 0, -1
    for batch in batches:
        rows: list[FeatureRow] = []
        for arrival, packed in zip(batch["arrival"].to_pylist(), batch["packed"].to_pylist(), strict=True):
            if arrival <= last_arrival:
                raise InputError(f"event {arrival} comes after {last_arrival}: each needs a number of its own")
            last_arrival = arrival
            try:
                rows += engine.apply(decode_event(packed))
            except InputError:
                set_aside.add(1)
        if rows:
            yield row_batch(rows, n_rows, engine.feature_names)
            n_rows += len(rows)
    held = engine.flush()
    if held:
        yield row_batch(held, n_rows, engine.feature_names)


def row_schema(names: Sequence[str]) -> pa.Schema:
    """Return the columns of a feature table."""
    return pa.schema([*ROW_COLUMNS.items(), *((name, pa.float32()) for name in names)])


def row_batch(rows: Sequence[FeatureRow], first_place: int, names: Sequence[str]) -> pa.RecordBatch:
    """Return rows as columns, numbered from `first_place`."""
    heads = [
        (row.symbol, place, row.ts_event_ns, row.known_ns, int(row.kind), row.sequence)
        for place, row in enumerate(rows, first_place)
    ]
    by_column = zip(zip(*heads, strict=True), ROW_COLUMNS.values(), strict=True)
    columns = [pa.array(values, kind) for values, kind in by_column]
    values = np.stack([row.values for row in rows], axis=1)
    return pa.record_batch([*columns, *map(pa.array, values)], schema=row_schema(names))


def read_rows(folder: Path) -> Iterator[FeatureRow]:
    """Yield the rows of a feature table, by symbol in the order of computation; one symbol is in memory at a time."""
    table = ds.dataset(folder, format="parquet")
    for symbol in sorted(table.to_table(columns=["symbol"])["symbol"].unique().to_pylist()):
        rows = table.to_table(filter=ds.field("symbol") == symbol).sort_by("place")
        heads = zip(*(rows[name].to_pylist() for name in ("ts_event_ns", "known_ns", "kind", "sequence")), strict=True)
        values = np.stack([rows[name].to_numpy() for name in rows.column_names[len(ROW_COLUMNS) :]], axis=1)
        for (ts_event_ns, known_ns, kind, sequence), features in zip(heads, values, strict=True):
            yield FeatureRow(symbol, ts_event_ns, known_ns, EventKind(kind), sequence, features)


def main() -> None:
    """Export events, or compute their rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("rows", type=Path, nargs="?")
    parser.add_argument("--export", type=Path, metavar="RECORDINGS")
    parser.add_argument("--venue", default="binance")
    parser.add_argument("--symbol", action="append", dest="symbols")
    parser.add_argument("--features", default="base")
    parser.add_argument("--timeframe", default="1m")
    parser.add_argument("--every-event", action="store_true")
    parser.add_argument("--lateness-ms", type=int, default=0)
    asked = parser.parse_args()
    if (asked.rows is None) == (asked.export is None) or (asked.export and not asked.symbols):
        parser.error("name either ROWS, or --export with the folder of recordings and each --symbol")
    try:
        report = _export(asked) if asked.export else _compute(asked)
    except RatchetError as error:
        parser.exit(error.exit_code, f"{error}\n")
    sys.stdout.write(json.dumps(report) + "\n")


def _export(asked: argparse.Namespace) -> dict[str, object]:
    return {"events": export(asked.export, asked.venue, asked.symbols, asked.events)}


def _compute(asked: argparse.Namespace) -> dict[str, object]:
    from pyspark.sql import SparkSession  # noqa: PLC0415 - the other environment has no Spark

    begun_s = time.monotonic()
    computation = Computation(asked.features, asked.timeframe, asked.every_event, asked.lateness_ms * 1_000_000)
    computation.engine()
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)  # Spark would start any `python3` on the PATH
    spark = SparkSession.builder.appName("ratchet-back-fill").getOrCreate()
    try:
        n_set_aside = back_fill(spark, asked.events, asked.rows, computation)
    finally:
        spark.stop()
    computed_s = time.monotonic() - begun_s
    n_rows = ds.dataset(asked.rows, format="parquet").count_rows()
    digest = digest_rows(read_rows(asked.rows))
    return {"rows": n_rows, "set_aside": n_set_aside, "seconds": round(computed_s, 1), "digest": digest}


if __name__ == "__main__":
    main()
