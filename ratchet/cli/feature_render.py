"""How the command line shows features: what there is, who uses it, whether it is healthy, and skew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ratchet.clock import NS_PER_S
from ratchet.features.audit.health import FeatureCondition, FeatureHealth
from ratchet.features.audit.skew import SkewReport
from ratchet.features.audit.usage import UsageReport
from ratchet.features.definitions import FeatureDefinition

_BAND_STYLE = {"stable": "green", "moderate": "yellow", "shifted": "red", "unknown": "dim"}
_VERDICT_STYLE = {"agrees": "bold green", "skew": "bold red", "nothing compared": "bold yellow"}
_NUMBERS = {"warm-up", "used by", "missing", "change", "PSI", "chance", "differs", "of", "rate", "one-sided", "largest"}
_MAX_NAMED = 12


def render_features(
    console: Console, definitions: Sequence[FeatureDefinition], used_by: Mapping[str, Sequence[str]]
) -> None:
    """Print a line per feature; `used_by` has the models of those that are used, by feature."""
    table = _table("feature", "family", "needs", "warm-up", "unit", "version", "used by")
    for item in definitions:
        name = f"[dim]{item.name} (deprecated)[/dim]" if item.deprecated else item.name
        users = str(len(used_by.get(item.name, ()))) if used_by.get(item.name) else "-"
        table.add_row(name, item.family, item.source, str(item.warmup_bars), escape(item.unit), item.version, users)
    console.print(table)
    console.print(f"{len(definitions):,} features")


def render_feature(console: Console, definition: FeatureDefinition, used_by: Sequence[str]) -> None:
    """Print all that is known of one feature."""
    params = ", ".join(f"{name} {value:g}" for name, value in definition.params) or "none"
    lines = {
        "what": definition.description,
        "family": f"{definition.family}, needs {definition.source}: {', '.join(definition.inputs)}",
        "formula": f"{definition.formula}, parameters: {params}",
        "warm-up": f"{definition.warmup_bars} bars{', recursive' if definition.is_recursive else ''}",
        "unit": definition.unit,
        "version": f"{definition.version}, revision {definition.revision}",
        "owner": definition.owner,
        "used by": _named(used_by) or "no registered model",
    }
    if definition.deprecated:
        lines["deprecated"] = definition.deprecated
    console.print(f"[bold]{definition.name}[/bold]")
    for title, text in lines.items():
        console.print(f"{title:<11}{escape(text)}", soft_wrap=True)


def render_health(console: Console, health: FeatureHealth, *, every: bool = False) -> None:
    """Print how features compare with training: those with findings, or `every` one."""
    shown = health.features if every else health.flagged
    if shown:
        table = _table("feature", "missing", "change", "PSI", "chance", "band", "finding")
        for item in sorted(shown, key=lambda condition: -(condition.psi or 0.0)):
            table.add_row(item.name, *_condition_cells(item))
        console.print(table)
    age = f"newest row {_duration(health.age_ns)} old, may be {_duration(health.ttl_ns)}"
    if health.age_ns < 0:
        age = f"newest row {_duration(-health.age_ns)} in the future"
    style = "green" if health.is_fresh else "bold red"
    n_flagged, n_all = len(health.flagged), len(health.features)
    console.print(f"[{style}]{age}[/{style}]; {n_flagged} of {n_all} features flagged in {health.n_rows:,} rows")


def render_skew(console: Console, report: SkewReport, *, n_lost: int = 0) -> None:
    """Print what a skew audit found; `n_lost` answers never reached the log."""
    if report.mismatched:
        table = _table("feature", "differs", "of", "rate", "one-sided", "largest", "resembles")
        for item in report.mismatched:
            counts = (f"{item.n_mismatched:,}", f"{item.n_compared:,}", f"{item.rate:.2%}", f"{item.n_one_sided:,}")
            largest = "-" if item.largest_difference is None else f"{item.largest_difference:.1e}"
            table.add_row(item.name, *counts, largest, item.resembles or "-")
        console.print(table)
    share, style = report.windows, _VERDICT_STYLE[report.verdict]
    interval = f" ({share.value:.2%}, 95 % interval {share.low:.2%} to {share.high:.2%})" if share.total else ""
    console.print(
        f"[{style}]{report.verdict}[/{style}]: {share.n:,} of {share.total:,} windows differ from history{interval}",
        soft_wrap=True,
    )
    console.print(
        f"{report.n_answers:,} answers in the log, {report.n_answers_mismatched:,} of them on a window that differs; "
        f"{report.n_unknown:,} windows not in history, {report.n_rewritten:,} bars rewritten after use, "
        f"{n_lost:,} answers not logged",
        soft_wrap=True,
    )


def render_usage(console: Console, report: UsageReport) -> None:
    """Print which sets the models use, and which features are unused, deprecated or gone."""
    table = _table("model", "version", "stage", "set", "view")
    for model in report.models:
        known = model.set_name or f"[yellow]none of today's ({model.schema_hash[:12]})[/yellow]"
        table.add_row(model.model, model.version, model.stage, known, escape(model.feature_view))
    if report.models:
        console.print(table)
    console.print(f"{len(report.unused):,} of {len(report.features):,} features unused", soft_wrap=True)
    for feature in report.deprecated_in_use:
        _warn(console, f"{feature.name} is deprecated ({feature.deprecated}) and used by {_named(feature.used_by)}")
    for name, users in report.unknown.items():
        _warn(console, f"{name} is in no catalogue any more and used by {_named(users)}")


def _condition_cells(item: FeatureCondition) -> list[str]:
    style = _BAND_STYLE[item.band]
    psi = "-" if item.psi is None else f"{item.psi:.2f}"
    noise = "-" if item.noise is None else f"{item.noise:.2f}"
    findings = "\n".join(item.findings) or "-"
    return [
        f"{item.null_rate:.1%}",
        f"{item.null_change:+.1%}",
        psi,
        noise,
        f"[{style}]{item.band}[/{style}]",
        findings,
    ]


def _warn(console: Console, text: str) -> None:
    console.print(f"[yellow]![/yellow] {escape(text)}", soft_wrap=True)


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MAX_NAMED} more" if len(names) > _MAX_NAMED else ""
    return ", ".join(names[:_MAX_NAMED]) + more


def _duration(ns: int) -> str:
    seconds = ns / NS_PER_S
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.1f} s"


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in columns:
        table.add_column(
            name, justify="right" if name in _NUMBERS else "left", no_wrap=name not in {"unit", "finding", "view"}
        )
    return table
