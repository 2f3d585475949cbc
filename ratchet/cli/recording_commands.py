"""`ratchet data record`, `replay`, `books` and `exchange`: order books and trades, and an exchange to try them on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock
from ratchet.errors import InputError
from ratchet.settings import load_settings

app = typer.Typer()

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)


@app.command()
def record(
    symbols: Annotated[
        str | None, typer.Option(help="Comma separated; default: the setting RATCHET_RECORDER__SYMBOLS.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="For example binance:// or okx://?market=swap.")] = None,
    seconds: Annotated[float | None, typer.Option(min=0.1, help="How long; default: until Ctrl-C.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Record order books and trades, verified message by message; survives being killed at any moment."""
    from dataclasses import asdict  # noqa: PLC0415

    from ratchet.cli.data_render import render_recording  # noqa: PLC0415
    from ratchet.ingestion import record_books  # noqa: PLC0415

    settings = load_settings()
    names = symbols.split(",") if symbols else settings.recorder.symbol_list
    if not names:
        raise InputError("no symbols to record; name them with --symbols BTC/USDT,ETH/USDT")
    venue = source or settings.recorder.source
    _ERR.print(f"recording {', '.join(names)} from {venue} below {settings.recordings_root}", soft_wrap=True)
    report = record_books(settings, venue, names, clock=SystemClock(), monotonic_ns=time.monotonic_ns, seconds=seconds)
    if as_json:
        print_json(asdict(report))
    else:
        render_recording(_OUT, report, settings.recordings_root)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(help="Lines of receive time in ns, a space, the message; .gz or plain.")],
    venue: Annotated[str, typer.Option(help="Whose messages they are, for example binance or binance-swap.")],
    symbol: Annotated[str, typer.Option(help="For example BTC/USDT.")],
    venue_id: Annotated[str | None, typer.Option(help="The venue's own name of it, for example BTCUSD_PERP.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put a raw recording through the recorder, as if it came in live."""
    from dataclasses import asdict  # noqa: PLC0415

    from ratchet.cli.data_render import render_recording  # noqa: PLC0415
    from ratchet.ingestion import replay_recording  # noqa: PLC0415

    settings = load_settings()
    report = replay_recording(settings, file, venue=venue, symbol=symbol, venue_id=venue_id)
    if as_json:
        print_json(asdict(report))
    else:
        render_recording(_OUT, report, settings.recordings_root)


@app.command()
def exchange(
    venue: Annotated[str, typer.Option(help="Whose dialect: binance, bybit, okx, kraken or coinbase.")] = "binance",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0: any free one.")] = 9123,
    market: Annotated[str, typer.Option(help="The market behind it, a simulated:// URL.")] = "simulated://",
) -> None:
    """Serve the simulated market over HTTP and WebSocket as if it were a venue, until Ctrl-C."""
    from ratchet.cli.market_server import serve_market  # noqa: PLC0415

    serve_market(
        market, venue=venue, port=port, clock=SystemClock(), announce=lambda text: _OUT.print(text, soft_wrap=True)
    )
