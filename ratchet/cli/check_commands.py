"""`ratchet check ...`: whether the pipeline sees the future."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock
from ratchet.errors import InputError, LeakageError
from ratchet.settings import load_settings

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.evaluation.records import LeakReport
    from ratchet.features.sets import FeatureSet
    from ratchet.market import Timeframe

app = typer.Typer(help="Search the pipeline for knowledge of the future.", no_args_is_help=True)

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)
_STATUS_STYLE = {"passed": "green", "failed": "bold red", "skipped": "yellow"}


@app.callback()
def _root() -> None:
    """Search the pipeline for knowledge of the future."""


@app.command()
def leaks(
    features: Annotated[str, typer.Option(help="Feature set: base, graph, alpha158 or alpha360.")] = "base",
    timeframe: Annotated[str, typer.Option(help="Length of one bar.")] = "1h",
    horizon: Annotated[int, typer.Option(min=1, help="How many bars ahead the label ends.")] = 24,
    bars: Annotated[int, typer.Option(min=1, help="Bars of the random walk, or newest bars of each symbol.")] = 6_000,
    source: Annotated[
        str | None, typer.Option(help="files:PATH or simulated://; default: random walks.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is drawn; the same seed finds the same.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of a table.")] = False,
) -> None:
    """Let the pipeline predict random walks, or search the features and labels of a source. Exit 4 on a leak."""
    from ratchet.features.sets import FeatureSet  # noqa: PLC0415
    from ratchet.market import Timeframe  # noqa: PLC0415

    chosen, bar = FeatureSet.named(features), Timeframe.parse(timeframe)
    if source is None:
        report = _canary(chosen, bar, horizon, bars, seed)
    else:
        report = _search(source, chosen, bar, horizon, bars, seed)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        _render(report)
    failed = [probe.name.replace("_", " ") for probe in report.probes if probe.status == "failed"]
    if failed:
        raise LeakageError(f"the pipeline sees the future, says the probe {', '.join(failed)}")


def _canary(features: FeatureSet, timeframe: Timeframe, horizon: int, n_bars: int, seed: int) -> LeakReport:
    from ratchet.evaluation.probes.learners import baseline_fit  # noqa: PLC0415
    from ratchet.evaluation.probes.random_walk import random_walk_canary  # noqa: PLC0415
    from ratchet.evaluation.records import LeakReport  # noqa: PLC0415

    with _ERR.status("predicting random walks"):
        probe = random_walk_canary(
            features, timeframe=timeframe, horizon=horizon, learner=baseline_fit(seed=seed), n_bars=n_bars, seed=seed
        )
    return LeakReport(probes=(probe,), seed=seed)


def _search(
    source: str, features: FeatureSet, timeframe: Timeframe, horizon: int, n_bars: int, seed: int
) -> LeakReport:
    from ratchet.evaluation.probes.leaks import find_leaks  # noqa: PLC0415
    from ratchet.evaluation.walk_forward import PurgedWalkForward  # noqa: PLC0415
    from ratchet.features.panel import build_panel  # noqa: PLC0415

    with _ERR.status(f"reading {source}") as status:
        candles = _candles(source, timeframe, n_bars)
        status.update(f"computing {len(features.names)} features of {len(candles):,} bars")
        costs = load_settings().costs
        panel = build_panel(
            candles, features, timeframe=timeframe, horizon=horizon, window=1, round_trip_bps=costs.round_trip_bps
        )
        status.update(f"searching {len(panel):,} samples for leaks")
        folds = PurgedWalkForward(n_splits=5, embargo_ns=horizon * timeframe.ns)
        return find_leaks(candles, features, panel, folds, timeframe=timeframe, seed=seed)


def _candles(source: str, timeframe: Timeframe, n_bars: int) -> pd.DataFrame:
    """Return the newest `n_bars` of each symbol of a source."""
    from ratchet.data.collection import collect_from_exchange, collect_from_files  # noqa: PLC0415
    from ratchet.exchanges.simulated import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig  # noqa: PLC0415

    if source.startswith("files:"):
        path = Path(source.removeprefix("files:")).expanduser()
        end_ns = SystemClock().now_ns()
        return collect_from_files(path, symbols=None, timeframe=timeframe, n_bars=n_bars, end_ns=end_ns).candles
    if not source.startswith("simulated://"):
        raise InputError(f"source {source!r} is neither files:PATH nor simulated://; collect a venue's candles first")
    config = replace(SimulatedMarketConfig.from_url(source), timeframe=timeframe.text, n_bars=n_bars)
    exchange = SimulatedExchange(SimulatedMarket(config))
    collecting = collect_from_exchange(exchange, None, timeframe, config.start_ns, config.end_ns, recent_bars=0)
    return asyncio.run(collecting).candles


def _render(report: LeakReport) -> None:
    table = Table("probe", "status", "value", "accepted", "rows", "finding")
    for probe in report.probes:
        style = _STATUS_STYLE[probe.status]
        value = "-" if probe.value is None else f"{probe.value:.4g}"
        accepted = "-" if probe.low is None or probe.high is None else f"{probe.low:.4g} to {probe.high:.4g}"
        name = probe.name.replace("_", " ")
        table.add_row(name, f"[{style}]{probe.status}[/{style}]", value, accepted, f"{probe.n:,}", probe.reason)
    _OUT.print(table)
