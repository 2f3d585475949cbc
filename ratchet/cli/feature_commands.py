"""`ratchet features ...`: what features there are, whether they are healthy, and tables of them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ratchet.cli import stream_commands
from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock, parse_utc
from ratchet.errors import InputError, NotFoundError
from ratchet.settings import load_settings

app = typer.Typer(
    help="Look at features, check them, compute them over history and in real time.", no_args_is_help=True
)
app.add_typer(stream_commands.app)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
SetOption = Annotated[str, typer.Option("--set", help="Feature set: base, graph, core, full, alpha158 or alpha360.")]
ModelOption = Annotated[str | None, typer.Option(help="Model in the registry; default: the only one in production.")]

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)


@app.command("list")
def list_(
    name: SetOption = "full",
    family: Annotated[str | None, typer.Option(help="Only this family, for example book or graph.")] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Only features that no registered model uses, and the models.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List the features of a set: what they need, their warm-up, unit and version, and how many models use them."""
    from ratchet.cli.feature_render import render_features, render_usage  # noqa: PLC0415
    from ratchet.cli.feature_usage import usage  # noqa: PLC0415
    from ratchet.features.sets import FeatureSet  # noqa: PLC0415

    families = sorted({item.family for item in FeatureSet.named(name).definitions})
    if family not in {None, *families}:
        raise InputError(f"the set {name!r} has no family {family!r}; it has {', '.join(families)}")
    report = usage(load_settings(), SystemClock())
    used_by = {item.name: item.used_by for item in report.features if item.used_by}
    shown = [
        item
        for item in FeatureSet.named(name).definitions
        if family in {None, item.family} and not (unused and item.name in used_by)
    ]
    if as_json:
        print_json([{**_described(item), "used_by": list(used_by.get(item.name, ()))} for item in shown])
    else:
        render_features(_OUT, shown, used_by)
        if unused:
            render_usage(_OUT, report)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="The feature, for example rsi_14.")],
    picture: Annotated[Path | None, typer.Option(help="Also draw it, now beside training, into this PNG.")] = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show all that is known of one feature."""
    from ratchet.cli.feature_render import render_feature  # noqa: PLC0415
    from ratchet.cli.feature_usage import draw_feature, usage  # noqa: PLC0415
    from ratchet.features.sets import CATALOGUE  # noqa: PLC0415

    if name not in CATALOGUE:
        raise NotFoundError(f"no feature is called {name!r}; `ratchet features list` names them")
    settings, clock = load_settings(), SystemClock()
    if picture is not None:
        draw_feature(settings, clock, name, model, picture)
        _ERR.print(f"drawn: {picture}", soft_wrap=True)
    used_by = {item.name: item.used_by for item in usage(settings, clock).features}[name]
    if as_json:
        print_json({**_described(CATALOGUE[name]), "used_by": list(used_by)})
    else:
        render_feature(_OUT, CATALOGUE[name], used_by)


@app.command()
def check(
    model: ModelOption = None,
    bars: Annotated[int, typer.Option(min=50, help="How many of the newest bars of each symbol are compared.")] = 500,
    symbol: Annotated[str | None, typer.Option(help="Only this symbol; then chance is judged best.")] = None,
    pictures: Annotated[Path | None, typer.Option(help="Folder for an overview and a picture per feature.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List every feature, not only those with findings.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare a live model's features with its training: age, missing values, distribution. Exit 1 on findings."""
    from ratchet.cli.feature_render import render_health  # noqa: PLC0415
    from ratchet.cli.feature_usage import draw_all, examine  # noqa: PLC0415

    settings, clock = load_settings(), SystemClock()
    with _ERR.status("computing features"):
        examined = examine(settings, clock, model, n_bars=bars, symbol=symbol)
    if as_json:
        print_json(examined.health.model_dump(mode="json"))
    else:
        render_health(_OUT, examined.health, every=every)
    if pictures is not None:
        with _ERR.status("drawing"):
            n_drawn = draw_all(examined, pictures)
        _ERR.print(f"{n_drawn} pictures in {pictures}", soft_wrap=True)
    if not examined.health.is_healthy:
        raise typer.Exit(1)


@app.command()
def audit(
    model: ModelOption = None,
    report: Annotated[Path | None, typer.Option(help="Also write the report as Markdown into this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute the features again that answers were given on, and compare. Exit 1 where they differ."""
    from ratchet.cli.feature_render import render_skew  # noqa: PLC0415
    from ratchet.data.atomic import write_bytes  # noqa: PLC0415
    from ratchet.rollout.skew import audit_live_model  # noqa: PLC0415

    with _ERR.status("computing features"):
        found = audit_live_model(load_settings(), SystemClock(), model)
    if as_json:
        print_json({**found.report.model_dump(mode="json"), "n_lost": found.n_lost})
    else:
        render_skew(_OUT, found.report, n_lost=found.n_lost)
    if report is not None:
        write_bytes(report, found.report.to_markdown().encode())
    if found.report.alarm:
        raise typer.Exit(1)


@app.command()
def build(
    symbols: Annotated[str, typer.Option(help="Comma separated, for example BTC/USDT,ETH/USDT.")],
    venue: Annotated[str, typer.Option(help="As in `ratchet data coverage`, for example binance.")] = "binance",
    timeframe: Annotated[str, typer.Option(help="Length of one bar.")] = "1h",
    name: SetOption = "base",
    start: Annotated[str | None, typer.Option(help="First bar; the warm-up begins here. Default: all.")] = None,
    end: Annotated[str | None, typer.Option(help="Where the last bar closes; default: now.")] = None,
    view_name: Annotated[
        str | None, typer.Option("--view", help="Name of the table; default: of venue, timeframe and set.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compute features over stored candles, books and trades, and keep them as a versioned table."""
    from ratchet.cli.feature_tables import render_table  # noqa: PLC0415
    from ratchet.data.history import CandleHistory, Span  # noqa: PLC0415
    from ratchet.features.sets import FeatureSet  # noqa: PLC0415
    from ratchet.features.store.offline import OfflineStore  # noqa: PLC0415
    from ratchet.features.views import FeatureView, compute_view, materialize  # noqa: PLC0415
    from ratchet.market import Timeframe, parse_symbol  # noqa: PLC0415

    settings, clock = load_settings(), SystemClock()
    view = FeatureView(venue, Timeframe.parse(timeframe), FeatureSet.named(name), view_name)
    names = [parse_symbol(symbol) for symbol in symbols.split(",")]
    span = Span(_time("start", start, 0), _time("end", end, clock.now_ns()))
    with (
        _ERR.status(f"computing {len(view.features.names)} features; the first time, their formulas are compiled"),
        closing(CandleHistory(settings.history_root, clock, read_only=True)) as history,
    ):
        rows = compute_view(view, history, settings.recordings_root, names, span=span, as_of_ns=clock.now_ns())
        store = OfflineStore(settings.features_root)
        ref = materialize(view, store, rows, made_by="ratchet features build", symbols=names)
    if as_json:
        print_json({**ref.model_dump(mode="json"), "n_rows": len(rows)})
    else:
        render_table(_OUT, view, rows, ref)


@app.command()
def views(as_json: JsonOption = False) -> None:
    """List the stored feature tables: view, version, symbols, rows, and from when to when."""
    from dataclasses import asdict  # noqa: PLC0415

    from ratchet.cli.feature_tables import render_views  # noqa: PLC0415
    from ratchet.features.store.offline import OfflineStore  # noqa: PLC0415

    store = OfflineStore(load_settings().features_root)
    found = [info for view in store.views() for info in store.versions(view)]
    if as_json:
        print_json([{**asdict(info), "ref": info.ref.model_dump(mode="json")} for info in found])
    else:
        render_views(_OUT, found)


@app.command()
def join(
    spine: Annotated[Path, typer.Argument(help="CSV or Parquet with columns symbol and ts_ns or time.")],
    out: Annotated[Path, typer.Argument(help="Parquet or CSV file to write.")],
    view: Annotated[list[str], typer.Option(help="View, or view@version; may be given several times.")],
    ttl: Annotated[str | None, typer.Option(help="Longest age of a row, for example 5m; default: any.")] = None,
) -> None:
    """Join features to decisions as they were known at each decision's time."""
    from ratchet.cli.feature_tables import join_files  # noqa: PLC0415

    n_rows, n_found = join_files(load_settings(), spine, out, view, ttl)
    _ERR.print(f"{out}: {n_rows:,} rows, {n_found:,} with features", soft_wrap=True)


def _described(item: object) -> dict[str, object]:
    from dataclasses import asdict  # noqa: PLC0415

    from ratchet.features.definitions import FeatureDefinition  # noqa: PLC0415

    if not isinstance(item, FeatureDefinition):
        raise TypeError(item)
    return {**asdict(item), "params": dict(item.params), "version": item.version}


def _time(option: str, text: str | None, default_ns: int) -> int:
    try:
        return default_ns if text is None else parse_utc(text)
    except ValueError as error:
        raise InputError(f"{option} {text!r} is not a time; write for example 2024-01-31") from error
