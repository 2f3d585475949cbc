"""`ratchet registry ...`: what is registered, what is live, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from ratchet.cli import registry_care
from ratchet.cli.catalog import show_in_mlflow
from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock, iso_utc
from ratchet.errors import NotFoundError
from ratchet.registry import FileRegistry, ModelVersion, open_registry
from ratchet.settings import load_settings

app = typer.Typer(
    help="List and inspect model versions, their evidence and their journal; roll back.", no_args_is_help=True
)
for command in (
    registry_care.card,
    registry_care.gate,
    registry_care.lineage,
    registry_care.point,
    registry_care.prune,
    registry_care.reconcile,
    registry_care.register,
    registry_care.transition,
    registry_care.verify,
):
    app.command()(command)

NameArgument = Annotated[str, typer.Argument(help="Name of the model, for example simulated-1h.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()
_STAGE_STYLE = {"production": "bold green", "staging": "yellow", "archived": "dim", "none": ""}


def _registry(*, read_only: bool = True) -> FileRegistry:
    return open_registry(load_settings(), SystemClock(), read_only=read_only)


@app.command("list")
def list_versions(
    name: Annotated[str | None, typer.Argument(help="Only this model.")] = None, as_json: JsonOption = False
) -> None:
    """List all versions with their stage and verdict."""
    versions = _registry().list_models(name)
    if name is not None and not versions:
        raise NotFoundError(f"no model named {name!r}; see `ratchet registry list`")
    if as_json:
        print_json([version.model_dump(mode="json") for version in versions])
        return
    if not versions:
        _OUT.print("No models yet. Turn the loop once with: ratchet run")
        return
    table = Table("model", "version", "stage", "gate", "accuracy", "created", "digest")
    for version in versions:
        table.add_row(*_row(version))
    _OUT.print(table)


def _row(version: ModelVersion) -> tuple[str, ...]:
    gate = version.gate_verdict or "-"
    accuracy = version.metrics.get("accuracy")
    style = _STAGE_STYLE.get(version.stage, "")
    stage = f"[{style}]{version.stage}[/{style}]" if style else version.stage
    shown = f"{accuracy:.1%}" if isinstance(accuracy, float) else "-"
    return version.name, version.version, stage, gate, shown, iso_utc(version.created_ns), version.digest[:12]


@app.command("show")
def show_version(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="vX.Y.Z, latest, production or staging.")] = "latest",
    as_json: JsonOption = False,
) -> None:
    """Show one version: metadata, metrics, the gate's reasons."""
    found = _registry().get_model(name, version)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    _OUT.print(f"[bold]{found.name} {found.version}[/bold]  stage {found.stage}  digest {found.digest[:12]}")
    _OUT.print(f"files   {found.folder}", soft_wrap=True)
    seal = f"{found.gate.verdict}, report {found.gate.digest[:12]}" if found.gate else "not judged"
    _OUT.print(f"gate    {seal}; the reasons: ratchet registry gate {found.name} {found.version}", soft_wrap=True)
    table = Table("metric", "value")
    for key, value in sorted(found.metrics.items()):
        table.add_row(key, f"{value:.6g}" if isinstance(value, float) else str(value))
    _OUT.print(table)


@app.command("history")
def show_history(name: NameArgument, as_json: JsonOption = False) -> None:
    """Show every change of a model's versions: when, what, who, why."""
    events = _registry().history(name)
    if not events:
        raise NotFoundError(f"no model named {name!r}; see `ratchet registry list`")
    if as_json:
        print_json([event.model_dump(mode="json") for event in events])
        return
    table = Table("when", "event", "version", "who", "why")
    for event in events:
        table.add_row(iso_utc(event.ts_ns), event.kind, event.version, event.actor, event.reason)
    _OUT.print(table)


@app.command("rollback")
def roll_back(
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "by hand",
    as_json: JsonOption = False,
) -> None:
    """Put the previous production version back."""
    with _registry(read_only=False) as registry:
        version = registry.rollback_to_previous(name, actor="cli", reason=reason)
        show_in_mlflow(registry, name)
    if as_json:
        print_json(version.model_dump(mode="json"))
    else:
        _OUT.print(f"{name} is back on {version.version}; a running server picks it up by itself")


@app.command("retire")
def retire(
    name: NameArgument,
    version: Annotated[
        str, typer.Argument(help="vX.Y.Z; neither in production, nor staged, nor the one to go back to.")
    ],
    reason: Annotated[str, typer.Option(help="Why; kept in the history.")] = "by hand",
    as_json: JsonOption = False,
) -> None:
    """Archive a version for good; its files stay."""
    with _registry(read_only=False) as registry:
        retired = registry.retire_model(name, version, actor="cli", reason=reason)
        show_in_mlflow(registry, name)
    if as_json:
        print_json(retired.model_dump(mode="json"))
    else:
        _OUT.print(f"{name} {retired.version} is retired")


@app.command("recover")
def recover(as_json: JsonOption = False) -> None:
    """Rebuild what is derived from the database (links), and remove left-overs of a crash."""
    with _registry(read_only=False) as registry:
        registry.recover()
        epoch = registry.epoch()
    if as_json:
        print_json({"epoch": epoch})
    else:
        _OUT.print("The registry's files agree with its database.")
