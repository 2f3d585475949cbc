"""`ratchet data ...`: candles of a venue, what is missing of them, and how they look."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ratchet.cli import dataset_commands, recording_commands
from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock
from ratchet.errors import InputError, NotFoundError, UnavailableError
from ratchet.settings import load_settings

app = typer.Typer(help="Collect, look at, check and keep market data.", no_args_is_help=True)
app.add_typer(dataset_commands.app)
app.add_typer(recording_commands.app)

SourceOption = Annotated[
    str, typer.Option(help="binance://, bybit://, okx://, kraken://, coinbase:// or simulated://.")
]
SymbolsOption = Annotated[
    str | None, typer.Option(help="Comma separated; default: what was collected before.", show_default=False)
]
TimeframeOption = Annotated[str, typer.Option(help="Length of one bar, for example 1m, 15m, 1h, 1d.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)


@app.command()
def collect(
    source: SourceOption = "simulated://",
    symbols: SymbolsOption = None,
    timeframe: TimeframeOption = "1h",
    start: Annotated[str | None, typer.Option(help="First bar, for example 2024-01-01; default: as before.")] = None,
    end: Annotated[str | None, typer.Option(help="Where the last bar closes; default: now.")] = None,
    ask_again: Annotated[bool, typer.Option(help="Ask again for bars that the venue is known not to have.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Fetch the closed candles that are missing, and mend holes; run it as often as you like."""
    from ratchet.cli.data_render import render_collection  # noqa: PLC0415
    from ratchet.data.history import CollectionRequest  # noqa: PLC0415
    from ratchet.ingestion import collect_history  # noqa: PLC0415

    request = CollectionRequest.create(
        source=source,
        symbols=symbols.split(",") if symbols else None,
        timeframe=timeframe,
        start=start,
        end=end,
        ask_again=ask_again,
    )
    n_done = 0
    with _ERR.status(f"collecting from {source}") as status:

        def show(symbol: str, n_bars: int) -> None:
            nonlocal n_done
            n_done += n_bars
            status.update(f"collecting from {source}: {n_done:,} bars, {symbol}")

        try:
            report = collect_history(load_settings(), request, SystemClock(), show)
        except KeyboardInterrupt:
            _ERR.print(f"stopped after {n_done:,} bars; what is stored stays, and the next run goes on from there")
            raise typer.Exit(130) from None
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        render_collection(_OUT, report)
    if report.failures:
        first = report.failures[0]
        raise UnavailableError(
            f"{len(report.failures)} stretches could not be fetched, the first of {first.symbol}: {first.evidence}; "
            "what came is stored; run it again"
        )


@app.command()
def gaps(
    symbol: Annotated[str | None, typer.Argument(help="Only this symbol.")] = None,
    timeframe: Annotated[str | None, typer.Option(help="Only bars of this length.")] = None,
    with_closed: Annotated[bool, typer.Option("--closed", help="Also gaps that are closed by now.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the gap ledger: what is missing, what it is, and on what evidence."""
    from ratchet.cli.data_render import render_gaps  # noqa: PLC0415
    from ratchet.data.history import CandleHistory  # noqa: PLC0415
    from ratchet.market import Timeframe, parse_symbol  # noqa: PLC0415

    with closing(CandleHistory(load_settings().history_root, SystemClock(), read_only=True)) as history:
        wanted = parse_symbol(symbol) if symbol else None
        bar = Timeframe.parse(timeframe).text if timeframe else None
        keys = [
            key
            for key in history.catalog.list_series()
            if wanted in {None, key.symbol} and bar in {None, key.timeframe}
        ]
        if not keys:
            raise NotFoundError("no such series is stored; see `ratchet data coverage`")
        found = [gap for key in keys for gap in history.missing(key)]
        if with_closed:
            lines = history.catalog.list_gaps(symbol=wanted, timeframe=bar, with_closed=True)
            found += [gap for gap in lines if gap.closed_ns is not None]
    if as_json:
        print_json([gap.model_dump(mode="json") for gap in found])
    else:
        render_gaps(_OUT, found)


@app.command()
def coverage(
    picture: Annotated[Path | None, typer.Option(help="Also draw a heat map over time into this PNG file.")] = None,
    timeframe: Annotated[str, typer.Option(help="Which bars the picture is of.")] = "1h",
    as_json: JsonOption = False,
) -> None:
    """Show how complete every series is."""
    from ratchet.cli.data_render import render_coverage  # noqa: PLC0415
    from ratchet.data.history import CandleHistory  # noqa: PLC0415
    from ratchet.data.history.coverage import coverage_over_time, coverage_table  # noqa: PLC0415
    from ratchet.data.pictures import coverage_picture  # noqa: PLC0415

    with closing(CandleHistory(load_settings().history_root, SystemClock(), read_only=True)) as history:
        keys = history.catalog.list_series()
        table = coverage_table(history, keys)
        drawn = [key for key in keys if key.timeframe == timeframe] if picture else []
        over_time = coverage_over_time(history, drawn) if drawn else None
    if as_json:
        print_json(table.to_dict(orient="records"))
    else:
        render_coverage(_OUT, table)
    if picture is not None:
        if over_time is None:
            raise NotFoundError(f"no {timeframe} series is stored; name another --timeframe")
        _write(picture, coverage_picture(over_time, title=f"{timeframe} bars that are there"))


@app.command()
def forget(
    symbol: Annotated[str, typer.Argument(help="For example BTC/USDT.")],
    venue: Annotated[str, typer.Option(help="As in `ratchet data coverage`.")],
    timeframe: TimeframeOption = "1h",
) -> None:
    """Strike a series out of the history; its files are set aside, and it can be collected anew."""
    from ratchet.data.history import CandleHistory, SeriesKey  # noqa: PLC0415
    from ratchet.market import parse_symbol  # noqa: PLC0415

    with closing(CandleHistory(load_settings().history_root, SystemClock(), read_only=True)) as history:
        key = SeriesKey(venue, parse_symbol(symbol), timeframe)
        if key not in history.catalog.list_series():
            raise NotFoundError(f"no {timeframe} series of {symbol} at {venue} is stored; see `ratchet data coverage`")
    with closing(CandleHistory(load_settings().history_root, SystemClock())) as history:
        history.forget(key)
    _OUT.print(f"{key.symbol} {key.timeframe} of {key.venue} is struck out; its files are in the folder unlisted")


@app.command()
def show(
    symbol: Annotated[str, typer.Argument(help="For example BTC/USDT.")],
    venue: Annotated[str | None, typer.Option(help="As in `ratchet data coverage`; default: the only one.")] = None,
    timeframe: TimeframeOption = "1h",
    start: Annotated[str | None, typer.Option(help="First bar drawn; default: 200 bars before the last.")] = None,
    end: Annotated[str | None, typer.Option(help="End of the last bar drawn.")] = None,
    picture: Annotated[Path | None, typer.Option(help="Draw into this PNG file instead of the terminal.")] = None,
) -> None:
    """Draw a symbol's candles and its gaps, in the terminal or as a picture."""
    from ratchet.cli.series_view import look_at  # noqa: PLC0415
    from ratchet.data.pictures import candle_picture, candle_text  # noqa: PLC0415

    view = look_at(load_settings(), symbol, venue=venue, timeframe=timeframe, start=start, end=end)
    if picture is not None:
        _write(picture, candle_picture(view.candles, view.gaps, title=view.title))
        return
    size = shutil.get_terminal_size((100, 30))
    _OUT.print(view.title, style="bold")
    drawing = candle_text(
        view.candles,
        view.gaps,
        width=max(40, min(size.columns, 160)),
        height=max(12, min(size.lines - 4, 34)),
        colour=_OUT.is_terminal,
    )
    typer.echo(drawing)


def _write(path: Path, payload: bytes) -> None:
    from ratchet.data.atomic import write_bytes  # noqa: PLC0415

    try:
        write_bytes(path, payload)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another file") from error
    _OUT.print(f"written to {path}", soft_wrap=True)
