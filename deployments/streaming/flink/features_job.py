"""Computes features on Flink in thread mode: the kernel of the other hosts, its state kept by Flink for each symbol.

    python features_job.py EVENTS OUT --features core --timeframe 1m --every-event

EVENTS is a file of packed events, one line of base64 each, in the order of arrival. Packed rows come into the folder
OUT/rows in the same form, lines that can never be used into OUT/set_aside as they are.
"""

from __future__ import annotations

import argparse
import base64
import sys
import sysconfig
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from pyflink.common import Configuration, Encoder, Types, WatermarkStrategy
from pyflink.datastream import DataStream, KeyedProcessFunction, OutputTag, RuntimeContext, StreamExecutionEnvironment
from pyflink.datastream.connectors.file_system import BucketAssigner, FileSink, FileSource, StreamFormat
from pyflink.datastream.state import ValueState, ValueStateDescriptor

import ratchet
from ratchet.errors import InputError, RatchetError
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import FeatureEvent, FeatureRow, decode_event, encode_row
from ratchet.market.symbols import Timeframe

_SET_ASIDE = OutputTag("set-aside", Types.STRING())
_END_MS = 2**63 - 1  # the watermark with which a finite source ends


@dataclass(frozen=True)
class Computation:
    """What to compute, in a form that travels to Flink's workers."""

    features: str
    timeframe: str
    every_event: bool
    lateness_ns: int

    def engine(self) -> FeatureEngine:
        """Return a new engine; one that needs several symbols raises `ConfigurationError`."""
        features, timeframe = FeatureSet.named(self.features), Timeframe.parse(self.timeframe)
        return FeatureEngine(features, timeframe, every_event=self.every_event, lateness_ns=self.lateness_ns)


class Features(KeyedProcessFunction):
    """Turns packed events of a symbol into packed rows.

    The truth is the state in Flink, written after every event, so that a checkpoint of Flink is one of the engine. The
    engines of the symbols last seen are kept beside it; any other continues from the state.

    Engines run in a thread that Python started. In a thread of Flink's the compiled kernel never returned (Flink 2.3.0,
    numba 0.68.1), presumably waiting for the interpreter's lock, which that thread holds already.
    """

    def __init__(self, computation: Computation, max_engines: int) -> None:
        self._computation, self._max_engines = computation, max_engines

    def open(self, runtime_context: RuntimeContext) -> None:
        """Begin without engines: what Flink kept is found when a symbol's next event comes."""
        self._engines: OrderedDict[str, FeatureEngine] = OrderedDict()
        self._thread = ThreadPoolExecutor(max_workers=1)
        # Base64, since Flink's Python would hand an array of bytes over as a list of numbers in thread mode.
        self._state: ValueState = runtime_context.get_state(ValueStateDescriptor("engine", Types.STRING()))

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown()

    def process_element(self, value: str, ctx: KeyedProcessFunction.Context) -> Iterator[str | tuple[OutputTag, str]]:
        """Take a line."""
        try:
            event = decode_line(value)
            rows = self._advance(event.symbol, lambda engine: engine.apply(event))
        except InputError:
            yield _SET_ASIDE, value
            return
        ctx.timer_service().register_event_time_timer(_END_MS)
        yield from encode_lines(rows)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterator[str]:
        """Take what is still held back when the source has ended."""
        yield from encode_lines(self._advance(ctx.get_current_key(), FeatureEngine.flush))

    def _advance(self, symbol: str, step: Callable[[FeatureEngine], list[FeatureRow]]) -> list[FeatureRow]:
        engine = self._engines.get(symbol)
        if engine is None:
            engine = self._engines[symbol] = self._computation.engine()
            packed = self._state.value()
            if packed is not None:
                engine.restore({symbol: base64.b64decode(packed)})
            if len(self._engines) > self._max_engines:
                self._engines.popitem(last=False)
        self._engines.move_to_end(symbol)
        rows = self._thread.submit(step, engine).result()
        self._state.update(base64.b64encode(engine.changed_state()[symbol]).decode())
        return rows


def decode_line(line: str) -> FeatureEvent:
    """Unpack an event.

    Raises:
        InputError: the line is none.
    """
    try:
        packed = base64.b64decode(line, validate=True)
    except ValueError as error:
        raise InputError(f"a line of {len(line)} characters is not base64: {error}") from error
    return decode_event(packed)


def encode_lines(rows: Iterable[FeatureRow]) -> Iterator[str]:
    """Pack rows."""
    for row in rows:
        yield base64.b64encode(encode_row(row)).decode()


def symbol_of(line: str) -> str:
    """Return the symbol of a line, none for one that is no event."""
    try:
        return decode_line(line).symbol
    except InputError:
        return ""


def configuration(checkpoint_ms: int) -> Configuration:
    """Return the settings under which Python runs within Flink's own threads, and finds its packages there."""
    folders = [sysconfig.get_paths()["purelib"], str(Path(ratchet.__file__).parents[1])]
    settings = Configuration()
    settings.set_string("python.execution-mode", "thread")
    settings.set_string("python.pythonpath", ":".join(folders))
    settings.set_string("python.executable", sys.executable)
    settings.set_string("execution.checkpointing.interval", f"{checkpoint_ms} ms")
    settings.set_string("restart-strategy.type", "fixed-delay")  # without it, a job that always fails never ends
    settings.set_string("restart-strategy.fixed-delay.attempts", "3")
    return settings


def build(env: StreamExecutionEnvironment, events: Path, out: Path, function: Features) -> None:
    """Add the job to an environment: lines of a file through the engines into two folders."""
    source = FileSource.for_record_stream_format(StreamFormat.text_line_format(), events.resolve().as_uri()).build()
    lines = env.from_source(source, WatermarkStrategy.no_watermarks(), "events")
    rows = lines.key_by(symbol_of, key_type=Types.STRING()).process(function, output_type=Types.STRING())
    rows.sink_to(_sink(out / "rows"))
    set_aside: DataStream = rows.get_side_output(_SET_ASIDE)
    set_aside.sink_to(_sink(out / "set_aside"))


def _sink(folder: Path) -> FileSink:
    sink = FileSink.for_row_format(folder.resolve().as_uri(), Encoder.simple_string_encoder())
    return sink.with_bucket_assigner(BucketAssigner.base_path_bucket_assigner()).build()


def main() -> None:
    """Run the job to the end of the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("events", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--features", default="base")
    parser.add_argument("--timeframe", default="1m")
    parser.add_argument("--every-event", action="store_true")
    parser.add_argument("--lateness-ms", type=int, default=0)
    parser.add_argument("--max-engines", type=int, default=1_000, help="Engines that are kept beside Flink's state.")
    parser.add_argument("--parallelism", type=int, default=1)
    parser.add_argument("--checkpoint-ms", type=int, default=1_000)
    asked = parser.parse_args()
    computation = Computation(asked.features, asked.timeframe, asked.every_event, asked.lateness_ms * 1_000_000)
    try:
        computation.engine()
    except RatchetError as error:
        parser.exit(error.exit_code, f"{error}\n")
    env = StreamExecutionEnvironment.get_execution_environment(configuration(asked.checkpoint_ms))
    env.set_parallelism(asked.parallelism)
    build(env, asked.events, asked.out, Features(computation, asked.max_engines))
    env.execute("ratchet-features")


if __name__ == "__main__":
    main()
