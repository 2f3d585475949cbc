"""`ratchet run`: one turn of the retrain flow in this process, with a model server to roll out to."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from ratchet.cli.services import model_server_command, prefect_environment
from ratchet.client import ModelServerClient
from ratchet.data.collection import collect_from_files
from ratchet.errors import ConfigurationError, RatchetError, UnavailableError
from ratchet.evaluation.turn import AnsweredPrediction, RetrainRequest, TurnReport
from ratchet.exchanges import SimulatedMarketConfig
from ratchet.market import Timeframe
from ratchet.settings import Settings

_FLOW_ENVIRONMENT = {
    # A first start creates Prefect's database, which takes longer than its own default allows on a busy machine.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    # The tasks narrate for people, and an error ends in one line; Prefect's own log goes to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}
_FAMILIAR = "BTC/USDT"
_SERVER_START_S = 60.0
_SERVER_STOP_S = 15.0


def turn(settings: Settings, request: RetrainRequest, console: Console) -> TurnReport:
    """Run the retrain flow once and end with a prediction from the model server.

    A server that is already running is used and left running; otherwise one is started for this turn.

    Raises:
        InputError: the source cannot be used.
        ConfigurationError: the server's port is taken by another program.
        RatchetError: whatever stopped the flow.
    """
    started = time.perf_counter()
    _look_at_source(request)
    os.environ.update(prefect_environment(settings) | _FLOW_ENVIRONMENT)
    with _model_server(settings, console):
        report = _flow(request)
        prediction = _ask(settings, report)
    return report.model_copy(update={"prediction": prediction, "elapsed_s": time.perf_counter() - started})


def _look_at_source(request: RetrainRequest) -> None:
    """Find out now, before any service is started, what would stop the collection later."""
    if request.source_kind == "files":
        collect_from_files(request.files_path, symbols=request.symbols, timeframe=Timeframe.parse(request.timeframe))
    else:
        SimulatedMarketConfig.from_url(request.source)


def _flow(request: RetrainRequest) -> TurnReport:
    from flows.retrain import retrain  # noqa: PLC0415 - Prefect reads its environment when imported

    report: TurnReport = retrain(
        source=request.source,
        symbols=list(request.symbols) if request.symbols else None,
        timeframe=request.timeframe,
        horizon=request.horizon,
        model=request.model,
        preset=request.preset,
        reason=request.reason,
    )
    return report


@contextmanager
def _model_server(settings: Settings, console: Console) -> Iterator[None]:
    """Use the running model server of this home, or run one for the duration of the block."""
    if _is_running(settings):
        yield
        return
    log = settings.root / "logs" / "model-server.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        command = [*model_server_command(settings), "--with-parent"]  # a killed run must not leave it behind
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)  # noqa: S603
        try:
            _await_server(settings, process, log)
            console.print(f"[green]✓[/green] serve       model server on {settings.serving_url} for this run")
            yield
        finally:
            _stop(process)


def _is_running(settings: Settings) -> bool:
    """Tell whether a model server answers; one that serves another home folder must not be used.

    Raises:
        ConfigurationError: the server belongs to another home folder.
    """
    with ModelServerClient(settings.serving_url) as client:
        try:
            home = client.health().home
        except RatchetError:
            return False
    if Path(home) != settings.root:
        raise ConfigurationError(
            f"the model server on {settings.serving_url} serves {home}, not {settings.root}; "
            "stop it, or choose another port with RATCHET_SERVING__PORT"
        )
    return True


def _await_server(settings: Settings, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _SERVER_START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise ConfigurationError(
                f"the model server did not start on {settings.serving_url} (is the port taken?); see {log}, "
                "or choose another port with RATCHET_SERVING__PORT"
            )
        if _is_running(settings):
            return
        time.sleep(0.2)
    raise UnavailableError(f"the model server did not answer within {_SERVER_START_S:.0f} s; see {log}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_SERVER_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ask(settings: Settings, report: TurnReport) -> AnsweredPrediction | None:
    """Return a prediction by symbol from production, None where nothing is in production."""
    if report.rollout.production_version is None:
        return None
    symbols = report.dataset.symbols
    symbol = _FAMILIAR if _FAMILIAR in symbols else symbols[0]
    with ModelServerClient(settings.serving_url) as client:
        client.predict(symbol, model=report.model_name)  # the first answer warms the connection
        started = time.perf_counter()
        answer = client.predict(symbol, model=report.model_name)
        elapsed_ms = (time.perf_counter() - started) * 1e3
    return AnsweredPrediction(
        symbol=symbol,
        model=answer.model,
        version=answer.version,
        p_up=answer.p_up,
        direction=answer.direction,
        advice=answer.advice,
        as_of=answer.as_of,
        round_trip_ms=elapsed_ms,
    )
