"""How the command line shows collections, gaps, coverage, recordings and datasets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ratchet.clock import iso_utc
from ratchet.data.books import RecordingReport
from ratchet.data.history import CollectionReport, Gap, GapKind
from ratchet.data.quality import QualityReport
from ratchet.data.snapshots import StoredDataset

_KIND_STYLE = {
    GapKind.FETCH_FAILURE: "bold red",
    GapKind.EXCHANGE_OUTAGE: "yellow",
    GapKind.NO_TRADES: "cyan",
    GapKind.NOT_LISTED: "dim",
}
_SEVERITY_STYLE = {"critical": "bold red", "row": "yellow", "warn": "dim"}
_FULL = 0.999
_A_WEEK_MS = 7 * 86_400_000  # further away it is no clock that is wrong but a market of another time


def render_collection(console: Console, report: CollectionReport) -> None:
    """Print what came of a collection, a row per symbol."""
    table = _table("symbol", "bars", "new", "corrected", "repaired", "quarantined", "missing", "until")
    for item in report.series:
        missing = [f"{n_bars:,} {_words(kind)}" for kind, n_bars in item.n_missing.items()]
        numbers = [item.n_bars, item.n_new, item.n_revised, item.n_repaired, item.n_refused]
        table.add_row(item.symbol, *(f"{n:,}" for n in numbers), "\n".join(missing) or "-", _short(item.end_ns))
    console.print(table)
    skew = f", its clock {report.skew_ms:+,.0f} ms from this machine's" if abs(report.skew_ms) < _A_WEEK_MS else ""
    console.print(f"{report.venue} {report.timeframe} as of {iso_utc(report.as_of_ns)}{skew}", soft_wrap=True)
    console.print(f"digest {report.digest[:16]}: the same data give the same digest", soft_wrap=True)
    for item in report.series:
        for path in item.quarantine:
            console.print(f"[yellow]![/yellow] {item.symbol}: rows that cannot be true are in {path}", soft_wrap=True)


def render_gaps(console: Console, gaps: Sequence[Gap]) -> None:
    """Print lines of the gap ledger."""
    if not gaps:
        console.print("No gaps: every bar that was asked for is there.")
        return
    table = _table("venue", "symbol", "bar", "from", "to", "bars", "what", "asked", "evidence")
    for gap in gaps:
        style = "dim" if gap.closed_ns else _KIND_STYLE[gap.kind]
        what = f"[{style}]{_words(gap.kind)}{', closed' if gap.closed_ns else ''}[/{style}]"
        bounds = (_short(gap.start_ns), _short(gap.end_ns))
        row = (gap.venue, gap.symbol, gap.timeframe, *bounds, f"{gap.n_bars:,}", what, str(gap.attempts))
        table.add_row(*row, escape(gap.evidence))
    console.print(table)


def render_coverage(console: Console, coverage: pd.DataFrame) -> None:
    """Print how complete each series is."""
    if coverage.empty:
        console.print("Nothing is stored yet. Begin with: ratchet data collect")
        return
    table = _table("venue", "symbol", "bar", "bars", "there", "missing", "first", "last")
    for row in coverage.to_dict(orient="records"):
        missing = [f"{row[kind.value]:,} {_words(kind)}" for kind in GapKind if row[kind.value]]
        style = "green" if row["share"] >= _FULL else "yellow"
        bounds = [_short(int(ns)) if pd.notna(ns) else "-" for ns in (row["first_ns"], row["last_ns"])]
        there = f"[{style}]{row['share']:.2%}[/{style}]"
        name = (str(row["venue"]), str(row["symbol"]), str(row["timeframe"]))
        table.add_row(*name, f"{row['n_bars']:,}", there, "\n".join(missing) or "-", *bounds)
    console.print(table)


def render_recording(console: Console, report: RecordingReport, root: Path) -> None:
    """Print what a recording or a replay counted."""
    console.print(f"{report.n_messages:,} messages, {report.n_segments} segments below {root}", soft_wrap=True)
    console.print(", ".join(f"{n:,} {kind}" for kind, n in sorted(report.n_events.items())) or "nothing recorded")
    lost = f"{report.n_gaps} gaps, {report.n_resyncs} resyncs, {report.n_stalls} stalls"
    console.print(f"{lost}, {report.n_crossed} crossed, {report.n_checksum_failures} wrong checksums")
    if report.n_quotes_matched:
        share = report.n_quotes_agreed / report.n_quotes_matched
        console.print(f"best quotes that equal the rebuilt book: {share:.2%} of {report.n_quotes_matched:,}")
    if report.skew:
        low, middle, high = (ns / 1e6 for ns in (report.skew.min_ns, report.skew.median_ns, report.skew.max_ns))
        console.print(f"received minus venue time: {middle:.1f} ms ({low:.1f} to {high:.1f})")
    for gap in report.gaps[:10]:
        console.print(
            f"[yellow]![/yellow] {gap.symbol} {iso_utc(gap.noticed_ns)}: {escape(gap.reason)}", soft_wrap=True
        )


def render_datasets(console: Console, datasets: Sequence[StoredDataset]) -> None:
    """Print the stored datasets."""
    if not datasets:
        console.print("No datasets yet. Make one with: ratchet data save, or ratchet run")
        return
    table = _table("dataset", "source", "bar", "symbols", "candles", "from", "to")
    for stored in datasets:
        if stored.manifest is None:
            table.add_row(Path(stored.folder).name, f"[red]{escape(stored.problem)}[/red]")
            continue
        manifest = stored.manifest
        n_rows = f"{sum(manifest.n_rows.values()):,}"
        bounds = (_short(manifest.start_ns), _short(manifest.end_ns))
        names = ", ".join(manifest.symbols[:4]) + (", ..." if len(manifest.symbols) > 4 else "")
        table.add_row(manifest.digest[:16], escape(manifest.source), manifest.timeframe, names, n_rows, *bounds)
    console.print(table)


def render_quality(console: Console, reports: Sequence[QualityReport]) -> None:
    """Print the quality gate's verdicts."""
    for report in reports:
        verdict = "[green]passed[/green]" if report.passed else "[red]failed[/red]"
        counts = f"{report.n_rows:,} rows judged by {report.engine}, {report.n_quarantined:,} to quarantine"
        console.print(f"{report.table}: {verdict}; {counts}", soft_wrap=True)
        for failure in report.failures:
            line = f"{failure.check}, {failure.n_rows:,} {failure.subject}s: {failure.reason}"
            console.print(
                f"  [{_SEVERITY_STYLE[failure.severity]}]{failure.severity}[/] {escape(line)}", soft_wrap=True
            )
            for example in failure.sample[:2]:
                console.print(f"    {escape(example)}", style="dim", soft_wrap=True)
        if report.docs_path:
            console.print(f"  Data Docs: {report.docs_path}", soft_wrap=True)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    numbers = {"bars", "new", "corrected", "repaired", "quarantined", "candles", "there", "asked"}
    for name in columns:
        table.add_column(
            name,
            justify="right" if name in numbers else "left",
            no_wrap=name not in {"missing", "evidence", "source", "symbols", "venue"},
        )
    return table


def _short(ts_ns: int) -> str:
    return iso_utc(ts_ns)[:16].replace("T", " ")


def _words(kind: GapKind) -> str:
    return kind.value.replace("_", " ")
