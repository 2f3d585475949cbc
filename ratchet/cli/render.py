"""How the command line shows things to people, and to machines with `--json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ratchet.cli.doctor import Check
from ratchet.cli.output import print_json
from ratchet.cli.up import ServiceStatus
from ratchet.client.answers import ServedPrediction
from ratchet.clock import iso_utc
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.turn import TurnReport
from ratchet.evaluation.validation import FoldResult
from ratchet.settings import Settings

_LARGE = 10.0  # a Sharpe ratio that needs no decimals
_VERDICT_STYLE = {"approve": "bold green", "reject": "bold red", "inconclusive": "bold yellow"}
_STATUS_MARK = {"passed": "[green]✓[/green]", "failed": "[red]✗[/red]", "inconclusive": "[yellow]?[/yellow]"}
_CHECK_MARK = {"ok": "[green]✓[/green]", "warn": "[yellow]![/yellow]", "missing": "[red]✗[/red]"}


def render_report(console: Console, report: TurnReport, settings: Settings) -> None:
    """Print the whole report of one turn."""
    _render_dataset(console, report)
    console.print(_fold_table(report))
    console.print(_baseline_table(report))
    _render_gate(console, report)
    _render_remarks(console, report)
    _render_outcome(console, report)
    _render_places(console, report, settings)


def _render_dataset(console: Console, report: TurnReport) -> None:
    data = report.dataset
    console.rule(f"[bold]{report.model_name}[/bold]")
    _line(console, "dataset", f"{data.digest[:16]}: {data.n_rows:,} candles, {data.n_quarantined} rows quarantined")
    _line(console, "", f"{', '.join(data.symbols)}; {iso_utc(data.start_ns)} to {iso_utc(data.end_ns)}")
    _line(console, "", escape(data.source))


def _fold_table(report: TurnReport) -> Table:
    """One row per fold and one pooled; accuracy counts moves beyond the cost band, Sharpe is net of costs."""
    pooled = report.validation.pooled
    best = pooled.bayes_accuracy is not None
    table = Table(
        title="Walk-forward, out of sample (95 % intervals)",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("fold")
    table.add_column("test window", no_wrap=True)
    for name in ("accuracy", "net Sharpe", *map(_title, pooled.baselines), *(["best expected"] if best else [])):
        table.add_column(name, justify="right", no_wrap=name in ("accuracy", "net Sharpe"))
    for fold in report.validation.folds:
        table.add_row(*_fold_row(fold), end_section=fold is report.validation.folds[-1])
    cells = [f"{metric.value:.1%}" for metric in pooled.baselines.values()]
    cells += [f"{pooled.bayes_accuracy:.1%}"] if pooled.bayes_accuracy is not None else []
    table.add_row("all", f"{pooled.n_moves:,} moves", _share(pooled.accuracy), _number(pooled.net_sharpe), *cells)
    return table


def _fold_row(fold: FoldResult) -> list[str]:
    window = f"{iso_utc(fold.test_start_ns)[2:10]} to {iso_utc(fold.test_end_ns)[5:10]}"
    cells = [f"{value:.1%}" for value in fold.baselines.values()]
    cells += [f"{fold.bayes_accuracy:.1%}"] if fold.bayes_accuracy is not None else []
    return [str(fold.index + 1), window, _share(fold.accuracy), _number(fold.net_sharpe), *cells]


def _baseline_table(report: TurnReport) -> Table:
    """What the network adds to each baseline, paired on the same rows."""
    pooled = report.validation.pooled
    table = Table(
        title="Beside the baselines, all folds",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column("baseline")
    table.add_column("its accuracy", justify="right")
    table.add_column("network minus baseline, points", justify="right")
    for name, metric in pooled.baselines.items():
        gain = pooled.gain_over[name]
        added = f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"
        table.add_row(_title(name), _share(metric), added)
    return table


def _title(name: str) -> str:
    return name.replace("_", " ")


def _share(metric: Metric) -> str:
    return f"{metric.value:.1%} ({100 * metric.low:.1f}-{100 * metric.high:.1f})"


def _number(metric: Metric) -> str:
    return (
        f"{metric.value:.0f} ({metric.low:.0f} to {metric.high:.0f})"
        if abs(metric.value) >= _LARGE
        else f"{metric.value:.1f} ({metric.low:.1f} to {metric.high:.1f})"
    )


def _line(console: Console, title: str, text: str) -> None:
    console.print(f"[bold]{title:<8}[/bold] {text}", soft_wrap=True)


def _render_gate(console: Console, report: TurnReport) -> None:
    gate = report.gate
    style = _VERDICT_STYLE[gate.verdict]
    against = gate.champion or "the baselines, as nothing is in production yet"
    _line(console, "gate", f"[{style}]{gate.verdict}[/{style}], against {against}")
    for criterion in gate.criteria:
        _line(console, "", f"{_STATUS_MARK[criterion.status]} {_title(criterion.name)}: {escape(criterion.reason)}")


def _render_remarks(console: Console, report: TurnReport) -> None:
    for remark in report.remarks:
        _line(console, "", f"[yellow]![/yellow] {escape(remark)}")


def _render_outcome(console: Console, report: TurnReport) -> None:
    candidate, latency, rollout = report.candidate, report.candidate.latency, report.rollout
    parity = f"within {candidate.parity_max_abs_diff:.0e} of torch on {candidate.n_parity_windows} windows"
    _line(
        console,
        "version",
        f"{report.model_name} {report.version}: ONNX {candidate.size_bytes / 1024:.0f} KiB, {parity}",
    )
    if latency is None:
        _line(console, "latency", f"not measured: {escape(candidate.infra.error or 'the artifact did not load')}")
    else:
        bound = f"95 % upper bound {latency.p99_upper_ms:.2f} ms, n={latency.n}"
        _line(console, "latency", f"p50 {latency.p50_ms:.2f} ms, p99 {latency.p99_ms:.2f} ms as served ({bound})")
    _line(console, "rollout", f"{rollout.verdict}: {escape(rollout.reason)}")
    _line(console, "live", rollout.production_version or "nothing is in production")
    if answer := report.prediction:
        said = f"P(up) {answer.p_up:.3f}, {answer.direction}, advice {answer.advice}"
        by = f"by {answer.model} {answer.version}, {answer.round_trip_ms:.1f} ms over HTTP"
        _line(console, "answer", f"{answer.symbol} as of {answer.as_of}: {said}, {by}")


def _render_places(console: Console, report: TurnReport, settings: Settings) -> None:
    taken = f" in {report.elapsed_s:.0f} s" if report.elapsed_s is not None else ""
    _line(
        console,
        "look at",
        f"Prefect UI {settings.prefect_api_url.removesuffix('/api')}, MLflow {settings.mlflow_ui_url}",
    )
    _line(console, "", f"model server {settings.serving_url}; start all three with [bold]ratchet up[/bold]")
    _line(console, "", f"[bold]ratchet registry show {report.model_name}[/bold]")
    _line(console, "", f"in MLflow the run with the tag ratchet.run_key {report.run_id}")
    _line(console, "done", f"turn finished{taken}; files below {escape(str(settings.root))}")


def render_status(console: Console, services: Sequence[ServiceStatus], *, as_json: bool) -> bool:
    """Print the supervised services; return whether all are healthy."""
    healthy = all(service.is_healthy for service in services)
    if as_json:
        print_json([asdict(service) for service in services])
        return healthy
    table = Table("service", "state", "pid", "restarts", "up for", "where")
    for service in services:
        uptime = f"{service.uptime_s:.0f} s" if service.uptime_s is not None else "-"
        style = "green" if service.is_healthy else "yellow"
        where = (f"[{style}]{service.state}[/{style}]", str(service.pid or "-"), str(service.restarts), uptime)
        table.add_row(service.name, *where, service.url or "-")
    console.print(table)
    console.print(f"logs: {escape(str(Path(services[0].log).parent))}" if services else "", soft_wrap=True)
    return healthy


def render_prediction(console: Console, answer: ServedPrediction, *, as_json: bool) -> None:
    """Print one prediction."""
    if as_json:
        print_json(answer.model_dump(mode="json"))
        return
    console.print(f"[bold]{answer.symbol}[/bold]  P(up) {answer.p_up:.4f}  {answer.direction}  advice {answer.advice}")
    console.print(f"reason   {answer.reason}", soft_wrap=True)
    console.print(f"model    {answer.model} {answer.version}, digest {answer.digest[:12]}")
    console.print(f"as of    {answer.as_of}, valid until {answer.valid_until}")
    split = ", ".join(f"{part} {value:.2f}" for part, value in answer.latency_ms.items())
    console.print(f"latency  {split} ms")


def render_checks(console: Console, checks: Sequence[Check], *, as_json: bool) -> bool:
    """Print what `ratchet doctor` found; return whether nothing is missing."""
    healthy = all(check.status != "missing" for check in checks)
    if as_json:
        print_json([asdict(check) for check in checks])
        return healthy
    for check in checks:
        console.print(f"{_CHECK_MARK[check.status]} {check.name:<22} {escape(check.detail)}", soft_wrap=True)
        if check.status != "ok" and check.remedy:
            console.print(f"  [dim]{escape(check.remedy)}[/dim]", soft_wrap=True)
    console.print("Ready." if healthy else "Something is missing; see above.")
    return healthy
