"""`ratchet run`: one turn of the retrain flow in this process, with a model server to roll out to."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from ratchet.cli.companions import model_server, prefect_server
from ratchet.client import ModelServerClient
from ratchet.clock import SystemClock
from ratchet.data.collection import collect_from_files
from ratchet.errors import RatchetError
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.turn import AnsweredPrediction, RetrainRequest, TurnReport
from ratchet.exchanges.factory import open_exchange
from ratchet.market import Timeframe
from ratchet.settings import Settings

_FLOW_ENVIRONMENT = {
    # The tasks narrate for people, and an error ends in one line; Prefect's own log goes to its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
_FAMILIAR = "BTC/USDT"


def turn(settings: Settings, request: RetrainRequest, console: Console) -> TurnReport:
    """Run the retrain flow once and end with a prediction from the model server.

    Servers that are already running are used and left running; others are started for this turn.

    Raises:
        InputError: the source cannot be used.
        ConfigurationError: the model server's port is taken by another program.
        RatchetError: whatever stopped the flow.
    """
    started = time.perf_counter()
    _look_at_source(request)
    with model_server(settings) as is_own, prefect_server(settings) as environment:
        used = "of this run" if is_own else "already running"
        console.print(f"[green]✓[/green] serve       model server on {settings.serving_url}, {used}", soft_wrap=True)
        _apply({**environment, **_FLOW_ENVIRONMENT})
        report = _flow(request)
        prediction = _ask(settings, report, console)
    return report.model_copy(update={"prediction": prediction, "elapsed_s": time.perf_counter() - started})


def validate(settings: Settings, request: RetrainRequest, *, combinatorial: bool) -> tuple[EvaluationReport, str, Path]:
    """Run the validation flow once; return the evidence, its text, and the folder with the report and its pictures.

    Raises:
        InputError: the source cannot be used.
        RatchetError: whatever stopped the flow.
    """
    _look_at_source(request)
    with prefect_server(settings) as environment:
        _apply({**environment, **_FLOW_ENVIRONMENT})
        from flows.validate import validate as flow  # noqa: PLC0415 - Prefect reads its environment when imported
        from tasks.delivery import deliver_pending  # noqa: PLC0415
        from tasks.evidence import evidence_folder  # noqa: PLC0415

        asked = request.model_dump(mode="json", exclude={"event_id"})
        try:
            evidence, training = flow(**asked, combinatorial=combinatorial)
        finally:
            deliver_pending()
    folder = evidence_folder(training)
    return evidence, (folder / "validation.md").read_text(encoding="utf-8"), folder


def _look_at_source(request: RetrainRequest) -> None:
    """Find out now, before any service is started, what would stop the collection later."""
    if request.source_kind == "files":
        timeframe, now_ns = Timeframe.parse(request.timeframe), SystemClock().now_ns()
        collect_from_files(request.files_path, symbols=request.symbols, timeframe=timeframe, end_ns=now_ns)
    else:
        asyncio.run(open_exchange(request.source, clock=SystemClock()).close())


def _apply(environment: Mapping[str, str | None]) -> None:
    """Set variables of this process, and remove those that are None."""
    for name, value in environment.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def _flow(request: RetrainRequest) -> TurnReport:
    from flows.retrain import retrain  # noqa: PLC0415 - Prefect reads its environment when imported
    from tasks.delivery import deliver_pending  # noqa: PLC0415

    try:
        report: TurnReport = retrain(
            source=request.source,
            symbols=list(request.symbols) if request.symbols else None,
            timeframe=request.timeframe,
            horizon=request.horizon,
            model=request.model,
            preset=request.preset,
            features=request.features,
            n_splits=request.n_splits,
            scheme=request.scheme,
            calendar=request.calendar,
            reason=request.reason,
        )
    finally:
        deliver_pending()
    return report


def _ask(settings: Settings, report: TurnReport, console: Console) -> AnsweredPrediction | None:
    """Return a prediction by symbol from production; None, with the reason said, where there is none to be had."""
    if report.rollout.production_version is None:
        return None
    symbol = _FAMILIAR if _FAMILIAR in report.dataset.symbols else report.dataset.symbols[0]
    try:
        with ModelServerClient(settings.serving_url) as client:
            client.predict(symbol, model=report.model_name)  # the first answer warms the connection
            started = time.perf_counter()
            answer = client.predict(symbol, model=report.model_name)
            elapsed_ms = (time.perf_counter() - started) * 1e3
    except RatchetError as error:  # the turn is finished and registered; its report must not be lost
        console.print(f"[yellow]![/yellow] no prediction for {symbol}: {error}", soft_wrap=True)
        return None
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
