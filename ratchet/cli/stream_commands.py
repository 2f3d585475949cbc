"""`ratchet features stream|publish|work|replay|rows|poison|forget`: features in real time, here or over a bus."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock
from ratchet.errors import InputError
from ratchet.settings import load_settings

app = typer.Typer()

SymbolsOption = Annotated[str, typer.Option(help="Comma separated, for example BTC/USDT,ETH/USDT.")]
SetOption = Annotated[str, typer.Option("--set", help="Feature set: base, graph, core, full, alpha158 or alpha360.")]
TimeframeOption = Annotated[str, typer.Option(help="Length of one bar.")]
SecondsOption = Annotated[float | None, typer.Option(min=0.1, max=1e8, help="How long; default: until Ctrl-C.")]
EveryEventOption = Annotated[
    bool, typer.Option("--every-event", help="A row for each book and trade event, not only for each bar.")
]
LatenessOption = Annotated[
    float, typer.Option(min=0, help="Milliseconds by which events may overtake each other; costs as much delay.")
]
PrefixOption = Annotated[str, typer.Option(help="Begins the names of streams or topics.")]
BusOption = Annotated[str, typer.Option(help="redis://HOST:PORT/DB or kafka://HOST:PORT.")]
PartitionsOption = Annotated[int, typer.Option(min=1, help="Of a new Redis bus; Kafka's topic has its own.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)


@app.command()
def stream(
    symbols: Annotated[str, typer.Option(help="Comma separated, for example BTC/USDT,ETH/USDT.")] = "",
    model: Annotated[
        str | None, typer.Option(help="Keep this model's windows current instead: venue, symbols and set are its own.")
    ] = None,
    source: Annotated[str, typer.Option(help="A venue, for example binance:// or okx://?market=swap.")] = "binance://",
    timeframe: TimeframeOption = "1m",
    name: SetOption = "core",
    every_event: EveryEventOption = False,
    lateness_ms: LatenessOption = 0.0,
    window: Annotated[int, typer.Option(min=1, help="Bars of each symbol that models read.")] = 60,
    bus: Annotated[str | None, typer.Option(help="Only publish the events there; `work` computes.")] = None,
    prefix: PrefixOption = "ratchet",
    partitions: PartitionsOption = 4,
    seconds: SecondsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Follow a venue: record it, compute its features as it trades, keep the newest in the online store."""
    from ratchet.cli.feature_streams import LiveOptions, follow, options_for  # noqa: PLC0415
    from ratchet.cli.feature_tables import render_stream  # noqa: PLC0415

    settings = load_settings()
    options = LiveOptions(source, _symbols(symbols), timeframe, name, every_event, lateness_ms, window)
    if model is not None:
        options = options_for(settings, SystemClock(), model)
    if not options.symbols:
        raise InputError("no symbols to follow; name them with --symbols BTC/USDT,ETH/USDT, or a --model")
    target = f"publishing to {bus}" if bus else f"computing the set {options.set_name}"
    _ERR.print(f"following {', '.join(options.symbols)} on {options.source}, {target}", soft_wrap=True)
    counts = follow(
        settings, options, SystemClock(), time.monotonic_ns, bus=bus, prefix=prefix, n_partitions=partitions,
        seconds=seconds,
    )  # fmt: skip
    print_json(counts) if as_json else render_stream(_OUT, counts)


@app.command()
def publish(
    symbols: SymbolsOption,
    bus: BusOption,
    venue: Annotated[str, typer.Option(help="As recorded, for example binance or binance-swap.")] = "binance",
    timeframe: TimeframeOption = "1m",
    prefix: PrefixOption = "ratchet",
    partitions: PartitionsOption = 4,
) -> None:
    """Put what was recorded and collected of a venue onto a bus, in the order of its arrival, and end the stream."""
    from ratchet.cli.feature_streams import publish_recorded  # noqa: PLC0415

    with _ERR.status(f"publishing to {bus}"):
        n_events = publish_recorded(load_settings(), venue, _symbols(symbols), timeframe, bus, prefix, partitions)
    _ERR.print(f"{n_events:,} events", soft_wrap=True)


@app.command()
def work(
    bus: BusOption,
    symbols: Annotated[str, typer.Option(help="All symbols of the bus; sets with a graph relate these.")] = "",
    venue: Annotated[str, typer.Option(help="Names the view.")] = "binance",
    timeframe: TimeframeOption = "1m",
    name: SetOption = "core",
    every_event: EveryEventOption = False,
    lateness_ms: LatenessOption = 0.0,
    prefix: PrefixOption = "ratchet",
    share: Annotated[
        str, typer.Option(help="Redis: which share of the partitions is this worker's, for example 2/3.")
    ] = "1/1",
    seconds: SecondsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the features of a bus. Several workers replace each other; Kafka divides partitions, Redis by --share."""
    from ratchet.cli.feature_streams import work_on  # noqa: PLC0415
    from ratchet.cli.feature_tables import render_stream  # noqa: PLC0415

    counts = work_on(
        load_settings(), SystemClock(), bus=bus, prefix=prefix, venue=venue, symbols=_symbols(symbols),
        timeframe=timeframe, set_name=name, every_event=every_event, lateness_ms=lateness_ms, share=_share(share),
        seconds=seconds,
    )  # fmt: skip
    print_json(counts) if as_json else render_stream(_OUT, counts)


@app.command()
def replay(
    symbols: SymbolsOption,
    venue: Annotated[str, typer.Option(help="As recorded, for example binance or binance-swap.")] = "binance",
    timeframe: TimeframeOption = "1m",
    name: SetOption = "core",
    every_event: EveryEventOption = False,
    lateness_ms: LatenessOption = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Compute features of what was recorded, event by event as in real time, and print the digest of the rows."""
    from ratchet.cli.feature_streams import replay_recorded  # noqa: PLC0415
    from ratchet.cli.feature_tables import render_stream  # noqa: PLC0415

    with _ERR.status("computing; the first time, the formulas are compiled"):
        counts = replay_recorded(
            load_settings(), SystemClock(), venue, _symbols(symbols), timeframe, name, every_event, lateness_ms
        )
    print_json(counts) if as_json else render_stream(_OUT, counts)


@app.command()
def rows(
    bus: BusOption,
    venue: Annotated[str, typer.Option(help="Names the view.")] = "binance",
    timeframe: TimeframeOption = "1m",
    name: SetOption = "core",
    prefix: PrefixOption = "ratchet",
    keep: Annotated[
        bool, typer.Option("--keep", help="Add the rows of bars to the feature table of the view.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Read the rows that workers have stored on a bus: how many, their digest, and into the feature table if asked."""
    from ratchet.cli.feature_streams import read_stored  # noqa: PLC0415
    from ratchet.cli.feature_tables import render_stream  # noqa: PLC0415

    counts = read_stored(load_settings(), bus, prefix, venue, timeframe, name, keep=keep)
    print_json(counts) if as_json else render_stream(_OUT, counts)


@app.command()
def poison(
    bus: BusOption,
    venue: Annotated[str, typer.Option(help="Names the view.")] = "binance",
    timeframe: TimeframeOption = "1m",
    name: SetOption = "core",
    prefix: PrefixOption = "ratchet",
    as_json: JsonOption = False,
) -> None:
    """List the messages that workers have set aside because they can never be used, and why."""
    from dataclasses import asdict  # noqa: PLC0415

    from ratchet.cli.feature_streams import view_of  # noqa: PLC0415
    from ratchet.features.streaming.bus import list_set_aside  # noqa: PLC0415

    found = list_set_aside(bus, prefix, view_of(venue, timeframe, name))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for one in found:
        _OUT.print(f"partition {one.partition}, {one.place}: {one.reason}", markup=False, soft_wrap=True)
    _OUT.print(f"{len(found):,} messages set aside")


@app.command()
def forget(
    bus: BusOption,
    venue: Annotated[str, typer.Option(help="Names the view.")] = "binance",
    timeframe: TimeframeOption = "1m",
    name: SetOption = "core",
    prefix: PrefixOption = "ratchet",
) -> None:
    """Remove the state and the rows of a view from a bus, so that workers begin anew. Stop its workers first."""
    from ratchet.cli.feature_streams import view_of  # noqa: PLC0415
    from ratchet.features.streaming.bus import forget_view  # noqa: PLC0415

    view = view_of(venue, timeframe, name)
    forget_view(bus, prefix, view, load_settings().features_root / "stream.sqlite")
    _ERR.print(f"{view} below {prefix} is forgotten", soft_wrap=True)


def _symbols(text: str) -> tuple[str, ...]:
    from ratchet.market import parse_symbol  # noqa: PLC0415

    return tuple(dict.fromkeys(parse_symbol(part) for part in text.split(",") if part.strip()))


def _share(text: str) -> tuple[int, int]:
    place, _, of = text.partition("/")
    if not (place.isdecimal() and of.isdecimal() and 1 <= int(place) <= int(of)):
        raise InputError(f"share {text!r} is not PLACE/NUMBER, for example 1/3, 2/3 and 3/3 for three workers")
    return int(place), int(of)
