"""What the stream commands put together: a venue or a recording, an engine or a bus, the stores."""

from __future__ import annotations

import asyncio
import heapq
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from ratchet.clock import NS_PER_S, Clock
from ratchet.data.history import CandleHistory, SeriesKey, venue_name
from ratchet.errors import ConfigurationError, InputError, NotFoundError
from ratchet.exchanges.factory import open_exchange
from ratchet.exchanges.feeds import open_stream
from ratchet.features.bars import Bars
from ratchet.features.history import bar_events, bar_table, row_frame, row_table
from ratchet.features.sets import FeatureSet
from ratchet.features.store import open_online_store
from ratchet.features.store.offline import OfflineStore
from ratchet.features.streaming.bus import count_partitions, open_publisher, stored_rows, work
from ratchet.features.streaming.engine import FeatureEngine
from ratchet.features.streaming.events import EventKind, FeatureEvent, FeatureRow, digest_rows
from ratchet.features.streaming.live import stream_features
from ratchet.features.streaming.local import LocalHost
from ratchet.features.streaming.metrics_file import MetricsFile
from ratchet.features.streaming.recorded import recorded_market
from ratchet.features.streaming.sinks import Sink, VectorSink, WindowSink
from ratchet.features.views import FeatureView, materialize
from ratchet.market import Timeframe
from ratchet.rollout.live_features import features_of, find_live, request_of, symbols_of
from ratchet.settings import Settings

Counts = Mapping[str, Any]

_WRITE_EVERY_NS = NS_PER_S // 10
_EVER_NS = 2**62


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What to follow and what to compute."""

    source: str
    symbols: tuple[str, ...]
    timeframe: str
    set_name: str
    every_event: bool
    lateness_ms: float
    window: int
    view: str | None = None
    """Under which name rows and windows are kept; None for the name of the feature view."""

    def engine(self) -> FeatureEngine:
        """Make an engine."""
        return make_engine(self.set_name, self.timeframe, self.symbols, self.every_event, self.lateness_ms)


def options_for(settings: Settings, clock: Clock, model: str) -> LiveOptions:
    """Return what keeps the model in production supplied: its venue, symbols, features and windows.

    Raises:
        NotFoundError: it is not in production.
        InputError: it was trained on files.
        ConfigurationError: this release computes its features differently.
    """
    version = find_live(settings, clock, model)
    request, features = request_of(version), features_of(version)
    if not request.is_live:
        raise InputError(f"{version.name} {version.version} was trained on {request.source}, which does not go on")
    return LiveOptions(
        source=request.source,
        symbols=tuple(symbols_of(version)),
        timeframe=request.timeframe,
        set_name=features.name,
        every_event=False,
        lateness_ms=0.0,
        window=int(version.metadata["window"]),
        view=str(version.metadata["feature_view"]),
    )


def make_engine(
    set_name: str, timeframe: str, symbols: Sequence[str], every_event: bool, lateness_ms: float
) -> FeatureEngine:
    """Make an engine for a named feature set."""
    return FeatureEngine(
        FeatureSet.named(set_name),
        Timeframe.parse(timeframe),
        lateness_ns=round(lateness_ms * 1e6),
        every_event=every_event,
        universe=symbols,
    )


def follow(
    settings: Settings,
    options: LiveOptions,
    clock: Clock,
    monotonic_ns: Callable[[], int],
    *,
    bus: str | None,
    prefix: str,
    n_partitions: int,
    seconds: float | None,
) -> Counts:
    """Follow a venue until the time is up or a signal comes; features go to the online store, or events to a bus."""
    if bus is None:
        return _follow_here(settings, options, clock, monotonic_ns, seconds)
    n_published = 0
    with open_publisher(bus, prefix, n_partitions) as publisher:

        def publish(event: FeatureEvent) -> None:
            nonlocal n_published
            n_published += publisher.publish([event])

        asyncio.run(_follow(settings, options, clock, monotonic_ns, seconds, publish, lambda: None))
    return {"events": n_published}


def _follow_here(
    settings: Settings, options: LiveOptions, clock: Clock, monotonic_ns: Callable[[], int], seconds: float | None
) -> Counts:
    timeframe, engine = Timeframe.parse(options.timeframe), options.engine()
    with closing(open_online_store(settings.online_store_database_url)) as store:
        view = options.view or FeatureView(_venue(options.source, clock), timeframe, engine.features).name
        sinks: list[Sink] = [
            VectorSink(store, view, engine.schema_hash, clock, every_ns=_WRITE_EVERY_NS),
            WindowSink(store, view, engine.schema_hash, timeframe, options.window),
        ]
        host = LocalHost(engine, sinks, clock)

        report = MetricsFile(settings.root / "run" / f"features-{view}.prom", clock)

        def take(event: FeatureEvent) -> None:
            host.take(event)

        def tick() -> None:
            host.flush()
            report(host.metrics)

        asyncio.run(_follow(settings, options, clock, monotonic_ns, seconds, take, tick))
        host.flush()
    return {"view": view, **host.counts()}


async def _follow(
    settings: Settings,
    options: LiveOptions,
    clock: Clock,
    monotonic_ns: Callable[[], int],
    seconds: float | None,
    publish: Callable[[FeatureEvent], None],
    tick: Callable[[], None],
) -> None:
    features = FeatureSet.named(options.set_name)
    exchange = open_exchange(options.source, clock=clock)
    needs_market = bool(features.sources - {"bars", "universe"})
    stream = open_stream(options.source, options.symbols, clock=clock) if needs_market else None
    following = asyncio.ensure_future(
        stream_features(
            stream,
            exchange,
            settings.recordings_root,
            options.symbols,
            Timeframe.parse(options.timeframe),
            publish=publish,
            tick=tick,
            n_history=features.warmup_bars + options.window + 1,
            clock=clock,
            monotonic_ns=monotonic_ns,
            until_ns=None if seconds is None else clock.now_ns() + round(seconds * NS_PER_S),
        )
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, following.cancel)
    try:
        with suppress(asyncio.CancelledError):
            await following
    finally:
        if stream is not None:
            await stream.close()
        await exchange.close()


def publish_recorded(
    settings: Settings, venue: str, symbols: Sequence[str], timeframe: str, bus: str, prefix: str, n_partitions: int
) -> int:
    """Put recorded events and stored bars onto a bus and end the stream; return how many."""
    with open_publisher(bus, prefix, n_partitions) as publisher:
        n_events = publisher.publish(recorded(settings, venue, symbols, timeframe))
        publisher.publish_end()
    return n_events


def replay_recorded(
    settings: Settings,
    clock: Clock,
    venue: str,
    symbols: Sequence[str],
    timeframe: str,
    set_name: str,
    every_event: bool,
    lateness_ms: float,
) -> Counts:
    """Run recorded events and stored bars through an engine in this process."""
    engine = make_engine(set_name, timeframe, symbols, every_event, lateness_ms)
    host = LocalHost(engine, [], clock)
    found = host.run(recorded(settings, venue, symbols, timeframe))
    return {**engine.counts(), "poison": host.metrics.poison, "rows": len(found), "digest": digest_rows(found)}


def work_on(
    settings: Settings,
    clock: Clock,
    *,
    bus: str,
    prefix: str,
    venue: str,
    symbols: Sequence[str],
    timeframe: str,
    set_name: str,
    every_event: bool,
    lateness_ms: float,
    share: tuple[int, int],
    seconds: float | None,
) -> Counts:
    """Work on a bus until the time is up or a signal comes."""
    features = FeatureSet.named(set_name)
    view = FeatureView(venue, Timeframe.parse(timeframe), features).name
    if "universe" in features.sources and count_partitions(bus, prefix) > 1:
        raise ConfigurationError(
            f"the set {set_name!r} relates symbols to each other, which have to come to one engine: publish to a bus "
            "with one partition (--partitions 1 and another --prefix), or choose a set without a graph"
        )
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    deadline_ns = None if seconds is None else clock.now_ns() + round(seconds * NS_PER_S)
    with closing(open_online_store(settings.online_store_database_url)) as store:
        metrics = work(
            bus,
            prefix,
            view,
            lambda: make_engine(set_name, timeframe, symbols, every_event, lateness_ms),
            store=store,
            share=share,
            checkpoints=settings.features_root / "stream.sqlite",
            report=MetricsFile(settings.root / "run" / f"features-{view}.prom", clock),
            clock=clock,
            until=lambda: stopped.is_set() or (deadline_ns is not None and clock.now_ns() >= deadline_ns),
        )
    return {"view": view, **metrics.snapshot()}


def read_stored(
    settings: Settings, bus: str, prefix: str, venue: str, timeframe: str, set_name: str, *, keep: bool
) -> Counts:
    """Read the rows of a bus; with `keep`, those of bars go into the view's feature table."""
    features = FeatureSet.named(set_name)
    view = FeatureView(venue, Timeframe.parse(timeframe), features)
    found = list(stored_rows(bus, prefix, view.name))
    if not found:
        raise NotFoundError(f"{bus}: no rows of {view.name} below {prefix}; start `ratchet features work` first")
    counts = {"view": view.name, "rows": len(found), "digest": digest_rows(found)}
    by_symbol: dict[str, list[FeatureRow]] = {}
    for row in found:
        if row.kind is EventKind.BAR:
            by_symbol.setdefault(row.symbol, []).append(row)
    if keep and by_symbol:
        frame = row_frame([row_table(symbol, rows) for symbol, rows in sorted(by_symbol.items())], features)
        store = OfflineStore(settings.features_root)
        ref = materialize(view, store, frame, made_by=f"bus {prefix}", symbols=sorted(by_symbol))
        counts |= {"kept": len(frame), "table": ref.uri}
    return counts


def view_of(venue: str, timeframe: str, set_name: str) -> str:
    """Return the name of a view."""
    return FeatureView(venue, Timeframe.parse(timeframe), FeatureSet.named(set_name)).name


def recorded(settings: Settings, venue: str, symbols: Sequence[str], timeframe: str) -> Iterator[FeatureEvent]:
    """Yield what was recorded and collected of a venue in the order of its arrival.

    Raises:
        InputError: nothing was.
    """
    market = recorded_market(settings.recordings_root, venue, symbols, 0, _EVER_NS)
    bars = sorted(_stored_bars(settings, venue, symbols, Timeframe.parse(timeframe)), key=lambda bar: bar.known_ns)
    n_events = 0
    for event in heapq.merge(market, bars, key=lambda event: event.known_ns):
        n_events += 1
        yield event
    if n_events == 0:
        raise InputError(f"{venue}: nothing of {', '.join(symbols)} was recorded or collected; see `ratchet data`")


def _stored_bars(
    settings: Settings, venue: str, symbols: Sequence[str], timeframe: Timeframe
) -> Iterator[FeatureEvent]:
    keys = [SeriesKey(venue, symbol, timeframe.text) for symbol in symbols]
    if not settings.history_root.is_dir():
        return
    with closing(CandleHistory(settings.history_root, _Never(), read_only=True)) as history:
        candles = history.candles(keys, as_of_ns=_EVER_NS)
    for _, rows in candles.groupby("symbol", sort=True):
        bars = Bars.from_frame(rows, timeframe)
        yield from bar_events(bar_table(bars, rows["known_ns"].to_numpy(dtype="int64")), venue)


class _Never:
    """The clock of a store that is only read."""

    def now_ns(self) -> int:
        return 0


def _venue(source: str, clock: Clock) -> str:
    exchange = open_exchange(source, clock=clock)
    name = venue_name(exchange.name)
    asyncio.run(exchange.close())
    return name
