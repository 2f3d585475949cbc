"""`ratchet why`, `ratchet compare` and `ratchet validate`: what is live and why, and which model is better."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console

from ratchet.cli.output import stdout_console
from ratchet.clock import SystemClock, parse_utc
from ratchet.errors import InputError
from ratchet.settings import load_settings

_OUT = stdout_console()
_ERR = Console(stderr=True, highlight=False)

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]


def why(
    model: Annotated[str | None, typer.Argument(help="Name of the model; may be left out where there is one.")] = None,
    at: Annotated[
        str | None, typer.Option(help="Moment, ISO 8601, UTC unless it says otherwise; default: now.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Say what was in production at a moment, since when, who put it there, and on what evidence."""
    from ratchet.cli.evidence_render import render_explanation  # noqa: PLC0415
    from ratchet.registry import open_registry  # noqa: PLC0415
    from ratchet.rollout.explanation import explain, only_model  # noqa: PLC0415

    clock = SystemClock()
    at_ns = clock.now_ns() if at is None else _moment(at)
    with open_registry(load_settings(), clock, read_only=True) as registry:
        found = explain(registry, only_model(registry, model), at_ns)
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=2) + "\n")
    else:
        render_explanation(_OUT, found)


def compare(
    challenger: Annotated[str, typer.Argument(help="MODEL@VERSION, for example simulated-1h@v1.1.0.")],
    champion: Annotated[str, typer.Argument(help="MODEL@VERSION; the version may be production, previous or latest.")],
    as_json: JsonOption = False,
) -> None:
    """Score two versions again on the same kept bars, which neither was trained on, and compare them in pairs."""
    from ratchet.cli.evidence_render import render_comparison  # noqa: PLC0415
    from ratchet.evaluation.policy import load_policy  # noqa: PLC0415
    from ratchet.registry import open_registry  # noqa: PLC0415
    from ratchet.rollout.comparison import compare_models  # noqa: PLC0415

    settings = load_settings()
    with open_registry(settings, SystemClock(), read_only=True) as registry:
        report = compare_models(
            registry,
            settings,
            registry.get_model(*_version(challenger)),
            registry.get_model(*_version(champion)),
            policy=load_policy(settings.gate_policy),
        )
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
    else:
        render_comparison(_OUT, report)


def validate(
    source: Annotated[
        str, typer.Option(help="files:PATH, simulated:// (?seed=7&signal=0), or a venue such as binance://.")
    ] = "simulated://",
    symbols: Annotated[str | None, typer.Option(help="Comma separated, for example BTC/USDT,ETH/USDT.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of one bar, for example 15m, 1h, 1d.")] = "1h",
    horizon: Annotated[int, typer.Option(min=1, help="How many bars ahead the label ends.")] = 1,
    preset: Annotated[str, typer.Option(help="Size of the training: small or standard.")] = "small",
    features: Annotated[str, typer.Option(help="Feature set: base, graph, alpha158, alpha360, core or full.")] = "base",
    splits: Annotated[int, typer.Option(min=1, help="Test windows of the walk-forward.")] = 5,
    scheme: Annotated[str, typer.Option(help="expanding, or rolling: training windows of equal length.")] = "expanding",
    calendar: Annotated[
        str | None, typer.Option(help="week, month or quarter: test whole periods instead of equal windows.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Name under which the trial counts; default: from the source.")
    ] = None,
    combinatorial: Annotated[
        bool, typer.Option(help="Add combinatorial purged cross-validation with gradient boosting, 15 fits.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Validate a kind of model out of sample, with baselines, costs, intervals and leak probes; register nothing."""
    from ratchet.cli.loop import validate as run_validation  # noqa: PLC0415
    from ratchet.evaluation.turn import RetrainRequest  # noqa: PLC0415

    request = RetrainRequest.create(
        source=source,
        symbols=symbols.split(",") if symbols else None,
        timeframe=timeframe,
        horizon=horizon,
        model=model,
        preset=preset,
        features=features,
        n_splits=splits,
        scheme=scheme,
        calendar=calendar,
        reason="manual: ratchet validate",
    )
    report, text, folder = run_validation(load_settings(), request, combinatorial=combinatorial)
    if as_json:
        sys.stdout.write(report.model_dump_json(indent=2) + "\n")
        return
    from rich.markdown import Markdown  # noqa: PLC0415

    _OUT.print(Markdown(text))
    _OUT.print(f"report and pictures: {folder}", soft_wrap=True)


def _moment(text: str) -> int:
    try:
        return parse_utc(text)
    except ValueError as error:
        raise InputError(f"--at {text!r}: not a time; expected for example 2026-11-22T14:05 (UTC)") from error


def _version(text: str) -> tuple[str, str]:
    name, separator, version = text.partition("@")
    if not separator:
        raise InputError(
            f"{text!r}: expected MODEL@VERSION, for example simulated-1h@v1.1.0 or simulated-1h@production"
        )
    return name, version
