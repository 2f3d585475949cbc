"""The `ratchet` command: wiring of sub-commands, errors and exit codes. Heavy imports happen inside the commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from ratchet import __version__
from ratchet.cli import (
    check_commands,
    data_commands,
    evidence_commands,
    feature_commands,
    registry_commands,
    tracking_commands,
)
from ratchet.cli.output import stdout_console
from ratchet.errors import RatchetError
from ratchet.settings import load_settings, silence_telemetry

app = typer.Typer(
    name="ratchet",
    help="Keep trading models current, and never let a worse one through.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(data_commands.app, name="data")
app.add_typer(feature_commands.app, name="features")
app.add_typer(registry_commands.app, name="registry")
app.add_typer(check_commands.app, name="check")
app.add_typer(tracking_commands.app, name="runs")
for command in (evidence_commands.validate, evidence_commands.compare, evidence_commands.why):
    app.command()(command)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)


def main() -> None:
    """Run the command line; a `RatchetError` becomes one line on stderr and its exit code."""
    silence_telemetry(os.environ)
    try:
        app()
    except RatchetError as error:
        _ERR.print(f"[red]error[/red] {_one_line(error)}", markup=True, soft_wrap=True)
        raise SystemExit(error.exit_code) from None


def _one_line(error: RatchetError) -> str:
    return " ".join(str(error).split()).replace("[", r"\[")


@app.callback(invoke_without_command=False)
def _root() -> None:
    """Keep trading models current, and never let a worse one through."""


@app.command()
def version() -> None:
    """Print the version."""
    _OUT.print(__version__)


@app.command()
def run(
    source: Annotated[
        str,
        typer.Option(help="files:PATH, simulated:// (?seed=7&signal=0&shift=3000), or a venue such as binance://."),
    ] = "simulated://",
    symbols: Annotated[str | None, typer.Option(help="Comma separated, for example BTC/USDT,ETH/USDT.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of one bar, for example 15m, 1h, 1d.")] = "1h",
    horizon: Annotated[int, typer.Option(min=1, help="How many bars ahead the label ends.")] = 1,
    model: Annotated[str | None, typer.Option(help="Name in the registry; default: from the source.")] = None,
    preset: Annotated[str, typer.Option(help="Size of the training: small or standard.")] = "small",
    features: Annotated[str, typer.Option(help="Feature set: base, graph, alpha158, alpha360, core or full.")] = "base",
    as_json: JsonOption = False,
) -> None:
    """Turn the loop once: data, training, gate, registry, rollout, and a prediction from the server."""
    from ratchet.cli.loop import turn  # noqa: PLC0415
    from ratchet.cli.render import render_report  # noqa: PLC0415
    from ratchet.evaluation.turn import RetrainRequest  # noqa: PLC0415

    request = RetrainRequest.create(
        source=source,
        symbols=symbols.split(",") if symbols else None,
        timeframe=timeframe,
        horizon=horizon,
        model=model,
        preset=preset,
        features=features,
        reason="manual: ratchet run",
    )
    settings = load_settings()
    report = turn(settings, request, _ERR)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        render_report(_OUT, report, settings)


@app.command()
def up() -> None:
    """Start the Prefect server and worker, the MLflow UI and the model server, supervised."""
    from ratchet.cli.up import up as start  # noqa: PLC0415

    start(load_settings(), _OUT)


@app.command()
def down() -> None:
    """Stop what `ratchet up` started."""
    from ratchet.cli.up import down as stop  # noqa: PLC0415

    stop(load_settings(), _OUT)


@app.command()
def status(as_json: JsonOption = False) -> None:
    """Show the supervised processes, their health and where to look."""
    from ratchet.cli.render import render_status  # noqa: PLC0415
    from ratchet.cli.up import status as records  # noqa: PLC0415

    healthy = render_status(_OUT, records(load_settings()), as_json=as_json)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind to; default: the settings'.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; default: the settings'.")] = None,
) -> None:
    """Run the model server in the foreground."""
    from ratchet.cli.services import model_server_command  # noqa: PLC0415

    settings = load_settings()
    command = model_server_command(settings, host=host, port=port)
    os.execv(command[0], command)  # noqa: S606 - the server takes this process's place


@app.command()
def rollout(
    name: Annotated[str, typer.Argument(help="Name of the model, for example simulated-1h.")],
    version: Annotated[
        str, typer.Argument(help="vX.Y.Z, or staging: the one that a rollout left waiting.")
    ] = "staging",
) -> None:
    """Roll an approved version out to the running model server: canary, production, proof, or the way back."""
    from ratchet.cli.rolling import roll_out  # noqa: PLC0415

    _OUT.print(roll_out(load_settings(), name, version), soft_wrap=True)


@app.command()
def predict(
    symbol: Annotated[str, typer.Argument(help="For example BTC/USDT.")],
    model: Annotated[
        str | None, typer.Option(help="Model name; default: the newest one that covers the symbol.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the model server for a prediction from the symbol's latest window."""
    from ratchet.cli.render import render_prediction  # noqa: PLC0415
    from ratchet.client import ModelServerClient  # noqa: PLC0415
    from ratchet.market import parse_symbol  # noqa: PLC0415

    with ModelServerClient(load_settings().serving_url) as client:
        render_prediction(_OUT, client.predict(parse_symbol(symbol), model=model), as_json=as_json)


@app.command()
def doctor(as_json: JsonOption = False) -> None:
    """Say what is missing on this machine and how to get it."""
    from ratchet.cli.doctor import examine  # noqa: PLC0415
    from ratchet.cli.render import render_checks  # noqa: PLC0415

    healthy = render_checks(_OUT, examine(load_settings()), as_json=as_json)
    raise typer.Exit(0 if healthy else 1)
