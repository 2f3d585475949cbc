"""`ratchet registry ...`, the part that keeps a registry sound: journal, MLflow's copy, retention, lineage."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from ratchet.cli.catalog import show_in_mlflow
from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock
from ratchet.errors import ArtifactError, InputError
from ratchet.registry import FileRegistry, open_registry
from ratchet.settings import load_settings

NameArgument = Annotated[str, typer.Argument(help="Name of the model, for example simulated-1h.")]
VersionArgument = Annotated[str, typer.Argument(help="vX.Y.Z, latest, production, staging, previous or a pointer.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept in the history.")]

_OUT = stdout_console()
_GIVEN_SEPARATELY = ("metadata.json", "metrics.json")


def _registry(*, read_only: bool = True) -> FileRegistry:
    return open_registry(load_settings(), SystemClock(), read_only=read_only)


def register(
    name: NameArgument,
    folder: Annotated[Path, typer.Argument(help="With model.onnx, golden.json, metadata.json, metrics.json ...")],
    reason: ReasonOption = "by hand",
    as_json: JsonOption = False,
) -> None:
    """Register the files of a folder as a new version, after inspecting them in a process with limits."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected one with model.onnx, golden.json and metadata.json")
    files: dict[str, Path | bytes] = {
        path.name: path for path in sorted(folder.iterdir()) if path.name not in _GIVEN_SEPARATELY
    }
    with _registry(read_only=False) as registry:
        version = registry.register_model(
            name,
            files,
            _json_object(folder / "metadata.json"),
            _json_object(folder / "metrics.json") if (folder / "metrics.json").exists() else {},
            actor="cli",
            reason=reason,
        )
    if as_json:
        print_json(version.model_dump(mode="json"))
        return
    verdict = version.gate_verdict or "no report of the gate, so it can be neither staged nor promoted"
    _OUT.print(f"{version.name} {version.version} is registered; gate: {verdict}", soft_wrap=True)


def verify(as_json: JsonOption = False) -> None:
    """Check the whole journal's chain of hashes and every file of every version."""
    with _registry() as registry:
        n_events = registry.verify_history()
        versions = [version for version in registry.list_models() if not version.is_pruned]
        altered = {}
        for version in versions:
            try:
                registry.verify_version(version)
            except ArtifactError as error:
                altered[f"{version.name} {version.version}"] = str(error)
    if as_json:
        print_json({"n_events": n_events, "n_versions": len(versions), "altered": altered})
    else:
        _OUT.print(f"{n_events} journal entries, the chain of hashes is unbroken")
        _OUT.print(f"{len(versions) - len(altered)} of {len(versions)} versions have the files that were registered")
        for reason in altered.values():
            _OUT.print(f"[red]✗[/red] {reason}", soft_wrap=True)
    raise typer.Exit(ArtifactError.exit_code if altered else 0)


def reconcile(
    mend: Annotated[bool, typer.Option(help="Set right what can be derived from the registry.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Compare MLflow's model registry with ours, which decides, and mend what differs; exit 1 if something is left."""
    from dataclasses import asdict  # noqa: PLC0415

    from ratchet.registry.catalog import open_catalog  # noqa: PLC0415
    from ratchet.registry.reconcile import reconcile as compare  # noqa: PLC0415

    with _registry() as registry:
        report = compare(registry, open_catalog(load_settings(), SystemClock()), mend=mend)
    if as_json:
        print_json({"checked": report.checked, "drifts": [asdict(drift) for drift in report.drifts]})
    else:
        table = Table("what", "version", "expected", "found", "mended")
        for drift in report.drifts:
            table.add_row(
                drift.kind,
                f"{drift.name} {drift.version}",
                drift.expected,
                drift.found,
                "yes" if drift.is_mended else "no",
            )
        if report.drifts:
            _OUT.print(table)
        _OUT.print(f"{report.checked} versions checked, {len(report.drifts)} differences")
    raise typer.Exit(1 if report.is_alarm else 0)


def transition(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="vX.Y.Z")],
    stage: Annotated[str, typer.Argument(help="Staging, Production or Archived.")],
    reason: ReasonOption = "by hand",
    as_json: JsonOption = False,
) -> None:
    """Move a version between MLflow's four stages by the registry's rules, and show it in MLflow.

    `ratchet rollout` is the way to production that also asks the server; this one asks for the gate's report alone.
    """
    from ratchet.registry.catalog import open_catalog  # noqa: PLC0415
    from ratchet.registry.mlflow_show import SHOWN  # noqa: PLC0415

    wanted = next((known for known in SHOWN.values() if known.lower() == stage.lower()), None)
    if wanted is None:
        raise InputError(f"stage {stage!r}: there are {', '.join(SHOWN.values())}")
    with _registry(read_only=False) as registry:
        catalog = open_catalog(load_settings(), SystemClock())
        done = catalog.transition_model_stage(registry, name, version, wanted, actor="cli", reason=reason)
    if as_json:
        print_json({"version": done.version.model_dump(mode="json"), "is_shown": done.is_shown})
        return
    shown = "and MLflow shows it" if done.is_shown else "MLflow shows it after: ratchet registry reconcile"
    _OUT.print(f"{name} {version} is in {wanted}; {shown}", soft_wrap=True)


def lineage(
    name: NameArgument,
    version: VersionArgument = "latest",
    export: Annotated[str, typer.Option(help="mermaid, dot or json.")] = "mermaid",
) -> None:
    """Show what a version was made from and where it was live: dataset, run, parent, gate report, deployments."""
    from ratchet.registry.lineage import lineage as trace  # noqa: PLC0415

    with _registry() as registry:
        graph = trace(registry, name, registry.get_model(name, version).version)
    match export:
        case "mermaid":
            text = graph.to_mermaid()
        case "dot":
            text = graph.to_dot()
        case "json":
            text = graph.model_dump_json(indent=2)
        case _:
            raise InputError(f"--export {export!r}: there are mermaid, dot and json")
    sys.stdout.write(text.rstrip() + "\n")


def prune(
    name: NameArgument,
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest versions keep their files.")] = 20,
    reason: ReasonOption = "retention",
    as_json: JsonOption = False,
) -> None:
    """Delete the files of old versions that nothing refers to; records stay, and so does what a rollback needs."""
    with _registry(read_only=False) as registry:
        registry.get_model(name)
        pruned = registry.prune_models(name, keep=keep, actor="cli", reason=reason)
        show_in_mlflow(registry, name)
    if as_json:
        print_json([version.version for version in pruned])
    else:
        _OUT.print(f"{name}: files of {len(pruned)} versions deleted {', '.join(item.version for item in pruned)}")


def point(
    name: NameArgument,
    pointer: Annotated[str, typer.Argument(help="challenger, or experiment-...")],
    version: Annotated[str | None, typer.Argument(help="vX.Y.Z; left out, the pointer is taken away.")] = None,
    reason: ReasonOption = "by hand",
    as_json: JsonOption = False,
) -> None:
    """Put a pointer on a version, which then can be neither retired nor pruned, or take it away."""
    with _registry(read_only=False) as registry:
        if version is None:
            registry.release_pointer(name, pointer, actor="cli", reason=reason)
        else:
            registry.set_pointer(name, pointer, version, actor="cli", reason=reason)
        pointers = registry.pointers(name)
        show_in_mlflow(registry, name)
    if as_json:
        print_json(pointers)
        return
    _OUT.print(", ".join(f"{key} {value}" for key, value in sorted(pointers.items())) or f"{name} has no pointers")


def card(
    name: NameArgument,
    version: VersionArgument = "latest",
    html: Annotated[Path | None, typer.Option(help="Write the card with its pictures to this file instead.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the model card that was sealed with a version."""
    with _registry() as registry:
        found = registry.get_model(name, version)
        content = registry.read_file(found, "card.md" if html is None else "card.html")
    if html is not None:
        try:
            html.write_bytes(content)
        except OSError as error:
            raise InputError(f"{html}: cannot be written: {error.strerror or error}") from error
    if as_json:
        shown = str(html) if html is not None else content.decode()
        print_json({"name": found.name, "version": found.version, "stage": found.stage, "card": shown})
        return
    if html is not None:
        _OUT.print(f"{found.name} {found.version}: {html}", soft_wrap=True)
        return
    from rich.markdown import Markdown  # noqa: PLC0415

    _OUT.print(f"[bold]{found.name} {found.version}[/bold], stage {found.stage}")
    _OUT.print(Markdown(content.decode()))


def gate(name: NameArgument, version: VersionArgument = "latest", as_json: JsonOption = False) -> None:
    """Show the gate's report on a version, after checking its seal."""
    from ratchet.cli.evidence_render import VERDICT_STYLE, render_criteria  # noqa: PLC0415
    from ratchet.evaluation.gate import GateReport  # noqa: PLC0415
    from ratchet.registry.evidence import GATE_FILE  # noqa: PLC0415

    with _registry() as registry:
        found = registry.get_model(name, version)
        content = registry.read_file(found, GATE_FILE)
    if as_json:
        sys.stdout.write(content.decode().rstrip() + "\n")
        return
    try:
        report = GateReport.model_validate_json(content)
    except ValueError as error:
        raise ArtifactError(f"{found.name} {found.version}: {GATE_FILE} is not a whole report of the gate") from error
    style = VERDICT_STYLE[report.verdict]
    seal = "intact" if report.is_sealed else "[red]BROKEN[/red]"
    _OUT.print(f"[bold]{found.name} {found.version}[/bold]  [{style}]{report.verdict}[/{style}]  seal {seal}")
    render_criteria(_OUT, report.criteria)


def _json_object(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a JSON object is needed")
    return content
