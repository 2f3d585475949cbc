"""`ratchet runs`: what was trained, what is best, what waits for MLflow, what a crash left open."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Column, Table
from rich.text import Text

from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock, iso_utc
from ratchet.errors import InputError, UnavailableError
from ratchet.settings import load_settings
from ratchet.tracking import SpooledTracker, open_tracker

app = typer.Typer(help="List runs, find the best one, and look after what waits for MLflow.", no_args_is_help=True)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()
_ID_WIDTH = 32


def _tracker() -> SpooledTracker:
    return open_tracker(load_settings(), SystemClock(), default_tags={})


@app.command("list")
def list_runs(
    experiment: Annotated[str | None, typer.Option(help="Only this experiment.")] = None, as_json: JsonOption = False
) -> None:
    """List the runs that were started below this home, whether MLflow has them or not."""
    spool = _tracker().spool
    waiting = spool.waiting()
    rows = [
        {
            "run_id": run.run_id,
            "experiment": run.experiment,
            "run_name": run.run_name,
            "status": run.status,
            "start_ns": run.start_ns,
            "parent_run_id": run.parent_run_id,
            "mlflow_run_id": run.mlflow_run_id,
            "n_waiting": waiting.get(run.run_id, 0),
        }
        for run in spool.runs(experiment)
    ]
    if as_json:
        print_json(rows)
        return
    table = _table_of_runs("experiment", "name", "status", "started", "waiting")
    for row in rows:
        started, n_waiting = iso_utc(int(str(row["start_ns"]))), str(row["n_waiting"])
        cells = (*(str(row[key]) for key in ("run_id", "experiment", "run_name", "status")), started, n_waiting)
        table.add_row(*map(Text, cells))
    _OUT.print(table if rows else "No runs yet.")


@app.command("best")
def best_run(
    experiment: Annotated[str, typer.Argument(help="Name of the experiment, for example simulated-1h.")],
    metric: Annotated[str, typer.Argument(help="Key of the metric, for example accuracy.")],
    minimize: Annotated[bool, typer.Option("--minimize", help="Less is better, as of a loss.")] = False,
    where: Annotated[
        list[str] | None, typer.Option(help="KEY=VALUE that a tag or parameter must have; may be given more often.")
    ] = None,
    nested: Annotated[
        bool, typer.Option("--nested", help="Let runs within a run count too, such as the folds of a walk-forward.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the finished run with the best value of a metric; folds, and what is flagged as leaking, do not count."""
    filters = dict(_pair(text) for text in where or [])
    run = _tracker().get_best_run(experiment, metric, not minimize, filters, nested=nested)
    if as_json:
        print_json(None if run is None else run.model_dump(mode="json"))
        return
    if run is None:
        _OUT.print(f"No finished run of {experiment} has a finite {metric}.", markup=False)
        return
    _OUT.print(f"{run.run_id}  {run.run_name}  started {iso_utc(run.start_ns)}", markup=False, soft_wrap=True)
    table = Table("metric", "value")
    for key, value in sorted(run.metrics.items()):
        table.add_row(key, f"{value:.6g}")
    _OUT.print(table)


def _table_of_runs(*others: str) -> Table:
    """Return a table whose first column shows run ids whole; on a narrow terminal the other columns break lines."""
    ids = Column("run", no_wrap=True, min_width=_ID_WIDTH)
    return Table(ids, *(Column(name, overflow="fold") for name in others))


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise InputError(f"--where {text}: write KEY=VALUE, for example --where preset=small")
    return key, value


@app.command("pending")
def show_pending(as_json: JsonOption = False) -> None:
    """Show what has not reached MLflow yet, and what it refused for good, with its reasons."""
    spool = _tracker().spool
    waiting, refused = spool.waiting(), spool.set_aside()
    if as_json:
        shown = [{"run_id": one.run_id, "kind": one.kind, "body": one.body, "reason": one.reason} for one in refused]
        print_json({"n_waiting": sum(waiting.values()), "waiting": waiting, "set_aside": shown})
        return
    _OUT.print(f"{sum(waiting.values())} records of {len(waiting)} runs wait, {len(refused)} were set aside")
    if refused:
        table = _table_of_runs("what", "reason")
        for one in refused:
            table.add_row(*map(Text, (one.run_id, f"{one.kind} {one.body}", one.reason or "")))
        _OUT.print(table)


@app.command("replay")
def replay(
    timeout_s: Annotated[float, typer.Option("--timeout", min=0, help="How many seconds to go on.")] = 60.0,
    set_aside: Annotated[bool, typer.Option("--set-aside", help="Try again what MLflow refused, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Deliver now what waits for MLflow."""
    tracker = _tracker()
    if set_aside:
        tracker.spool.retry_set_aside()
    n_before = tracker.pending()
    n_waiting = tracker.flush(timeout_s)
    n_refused = len(tracker.spool.set_aside())
    if as_json:
        print_json({"n_before": n_before, "n_waiting": n_waiting, "n_set_aside": n_refused})
    else:
        _OUT.print(f"{n_before} records waited, {n_waiting} still wait, {n_refused} are set aside")
    if n_waiting:
        raise UnavailableError(f"{n_waiting} records still wait; look whether MLflow answers, then try again")


@app.command("reap")
def reap_runs(
    minutes: Annotated[float, typer.Option(min=0, help="How long a run of another host may be silent.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Close as KILLED the runs that crashed processes left open."""
    tracker = _tracker()
    closed = tracker.reap(minutes * 60)
    n_waiting = tracker.flush(30)
    if as_json:
        print_json({"closed": closed, "n_waiting": n_waiting})
        return
    _OUT.print(f"{len(closed)} runs closed" + (f": {', '.join(closed)}" if closed else ""), soft_wrap=True)
