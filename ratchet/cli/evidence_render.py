"""How explanations and comparisons look on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ratchet.clock import iso_utc
from ratchet.evaluation.comparison import ComparisonReport
from ratchet.evaluation.criteria import Criterion
from ratchet.evaluation.records import Slice
from ratchet.rollout.explanation import Explanation

VERDICT_STYLE = {"approve": "bold green", "reject": "bold red", "inconclusive": "bold yellow"}
STATUS_MARK = {"passed": "[green]✓[/green]", "failed": "[red]✗[/red]", "inconclusive": "[yellow]?[/yellow]"}


def render_explanation(console: Console, found: Explanation) -> None:
    """Print what was live, since when, who put it there and on what evidence."""
    _line(console, iso_utc(found.at_ns), f"[bold]{found.model} {found.version or 'nothing in production'}[/bold]")
    if found.event is None:
        _line(console, "why", "nothing had been promoted yet")
    else:
        event = found.event
        until = f", until {iso_utc(found.until_ns)}" if found.until_ns is not None else ", to this day"
        _line(console, "since", f"{iso_utc(event.ts_ns)}{until}")
        _line(console, "by", f"{event.kind} (journal entry {event.epoch}) by {escape(event.actor)}")
        _line(console, "why", escape(event.reason))
        _line(console, "replaced", event.previous or "nothing")
    if found.gate is not None:
        gate = found.gate
        style = VERDICT_STYLE[gate.verdict]
        against = gate.champion or "the baselines, nothing was in production"
        _line(console, "gate", f"[{style}]{gate.verdict}[/{style}] at {iso_utc(gate.issued_ns)}, against {against}")
        render_criteria(console, gate.criteria)
    _line(console, "evidence", f"{found.evidence_note}; {found.n_events} journal entries, chain unbroken")


def render_comparison(console: Console, report: ComparisonReport) -> None:
    """Print a paired comparison."""
    style = VERDICT_STYLE[report.verdict]
    console.rule(f"{report.challenger} against {report.champion}")
    window = f"{iso_utc(report.window.start_ns)} to {iso_utc(report.window.end_ns)}"
    _line(console, "window", f"{window}: {report.n:,} moves, about {report.n_blocks:.0f} independent stretches")
    _line(console, "accuracy", f"{report.accuracy:.1%} against {report.champion_accuracy:.1%}")
    _line(console, "net Sharpe", f"{report.net_sharpe:.2f} against {report.champion_net_sharpe:.2f} a year")
    render_criteria(console, report.criteria)
    others = report.second_opinions
    rows = "" if others.mcnemar is None else f", McNemar {others.mcnemar:.3f} (two-sided)"
    _line(
        console,
        "other tests",
        f"p-values: Diebold-Mariano {_p(others.diebold_mariano)}, Sharpe by HAC {_p(others.sharpe_hac)}{rows}",
    )
    if report.slices:
        console.print(_slice_table(report.slices))
    _line(console, "verdict", f"[{style}]{report.verdict}[/{style}]")


def render_criteria(console: Console, criteria: Sequence[Criterion]) -> None:
    """Print each criterion with its mark and reason."""
    for criterion in criteria:
        mark = STATUS_MARK[criterion.status]
        console.print(f"{'':<12} {mark} {criterion.name:<24} {escape(criterion.reason)}", soft_wrap=True)


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _slice_table(slices: Sequence[Slice]) -> Table:
    table = Table("slice", "moves", "accuracy (95 %)", "gain over the champion (95 %)", box=box.SIMPLE_HEAD)
    for part in slices:
        own, gain = part.accuracy, part.gain_over_champion
        table.add_row(
            f"{part.kind} {part.name}",
            f"{part.n_moves:,}",
            f"{own.value:.1%} ({own.low:.1%} to {own.high:.1%})",
            "-" if gain is None else f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})",
        )
    return table


def _line(console: Console, title: str, text: str) -> None:
    console.print(f"[dim]{title:<12}[/dim] {text}", soft_wrap=True)
