"""Keep the candle history of a venue current, and show how complete it is."""

from __future__ import annotations

import base64
from contextlib import closing

from prefect import task
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.cache_policies import NO_CACHE

from ratchet.clock import Clock, SystemClock, iso_utc
from ratchet.data.atomic import write_bytes
from ratchet.data.history import CandleHistory, CollectionReport, CollectionRequest, Gap, SeriesKey
from ratchet.data.history.coverage import coverage_over_time
from ratchet.data.history.cutting import cut_dataset
from ratchet.data.manifest import DatasetRef
from ratchet.data.pictures import coverage_picture
from ratchet.errors import UnavailableError
from ratchet.ingestion import PATIENCE_S, collect_history
from ratchet.settings import Settings, load_settings
from tasks.narration import narrate
from tasks.retrying import is_worth_retrying

_N_LISTED_GAPS = 50


@task(
    name="collect history",
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=is_worth_retrying,
    timeout_seconds=6 * 3_600,
    cache_policy=NO_CACHE,
)
def update_history(request: CollectionRequest) -> CollectionReport:
    """Fetch what is missing of the history; what came before a failure is kept.

    Raises:
        UnavailableError: nothing at all could be fetched of any symbol.
    """
    with narrate("collect") as narration:
        report = collect_history(
            load_settings(),
            request,
            SystemClock(),
            lambda symbol, n_bars: narration.advance(n_bars, symbol),
            patience_s=PATIENCE_S,
        )
        missing = sum(sum(item.n_missing.values()) for item in report.series)
        narration.conclude(f"{report.n_new:,} new bars of {len(report.series)} symbols, {missing:,} missing")
    if report.failures and not any(item.n_bars for item in report.series):
        raise UnavailableError(f"{report.venue}: nothing could be fetched; {report.failures[0].evidence}")
    return report


@task(name="cut dataset", cache_policy=NO_CACHE)
def cut_history(report: CollectionReport, *, fill_no_trades: bool, with_books: bool) -> DatasetRef:
    """Store what is known now as an immutable dataset; nothing new gives the dataset that is there."""
    settings, clock = load_settings(), SystemClock()
    with narrate("cut") as narration, closing(_open(settings, clock)) as history:
        ref = cut_dataset(
            settings.root,
            history,
            _keys(report),
            as_of_ns=report.known_at_ns,
            fill_no_trades=fill_no_trades,
            recordings=settings.recordings_root if with_books else None,
        )
        narration.conclude(f"dataset {ref.digest[:16]}")
    return ref


@task(name="show coverage", cache_policy=NO_CACHE)
def publish_coverage(report: CollectionReport, dataset: DatasetRef) -> None:
    """Put a coverage table, and the gap ledger under a heat map, into the Prefect UI; the picture on disk too."""
    settings = load_settings()
    with closing(_open(settings, SystemClock())) as history:
        coverage = coverage_over_time(history, _keys(report))
    title = f"{report.venue} {report.timeframe}: bars that are there"
    picture = coverage_picture(coverage, title=title)
    path = settings.root / "market" / "pictures" / f"coverage-{report.venue}-{report.timeframe}.png"
    write_bytes(path, picture)
    key = f"{report.venue}-{report.timeframe}".lower()
    create_table_artifact(key=f"coverage-{key}", table=_coverage_rows(report), description=title)
    create_markdown_artifact(
        _ledger(report, dataset, picture), key=f"gaps-{key}", description=f"What is missing, and why; picture: {path}"
    )


def _open(settings: Settings, clock: Clock) -> CandleHistory:
    return CandleHistory(settings.history_root, clock, read_only=True)


def _keys(report: CollectionReport) -> list[SeriesKey]:
    return [SeriesKey(report.venue, item.symbol, report.timeframe) for item in report.series]


def _coverage_rows(report: CollectionReport) -> list[dict[str, object]]:
    return [
        {
            "symbol": item.symbol,
            "coverage": f"{item.n_bars / item.n_wanted:.3%}" if item.n_wanted else "-",
            "bars": item.n_bars,
            "new": item.n_new,
            "corrected": item.n_revised,
            "repaired": item.n_repaired,
            "in quarantine": item.n_refused,
            **{kind.value.replace("_", " "): n_bars for kind, n_bars in item.n_missing.items()},
            "from": iso_utc(item.start_ns),
            "to": iso_utc(item.end_ns),
        }
        for item in report.series
    ]


def _ledger(report: CollectionReport, dataset: DatasetRef, picture: bytes) -> str:
    gaps = [gap for item in report.series for gap in item.gaps]
    lines = [
        f"# Gaps of {report.venue} {report.timeframe}",
        f"![coverage](data:image/png;base64,{base64.b64encode(picture).decode()})",
        "",
        f"- as of {iso_utc(report.as_of_ns)}, the venue's clock {report.skew_ms:+.0f} ms from this machine's",
        f"- dataset `{dataset.digest}`",
        f"- {len(gaps)} gaps, {len(report.failures)} of them to be asked for again; {report.n_gaps_closed} closed now",
        "",
        "| symbol | from | to | bars | what | evidence | asked |",
        "|---|---|---|---|---|---|---|",
        *(_gap_row(gap) for gap in gaps[:_N_LISTED_GAPS]),
    ]
    if len(gaps) > _N_LISTED_GAPS:
        lines.append(f"\nand {len(gaps) - _N_LISTED_GAPS} more: `ratchet data gaps`")
    return "\n".join(lines)


def _gap_row(gap: Gap) -> str:
    what = gap.kind.value.replace("_", " ")
    bounds = f"{iso_utc(gap.start_ns)} | {iso_utc(gap.end_ns)}"
    return f"| {gap.symbol} | {bounds} | {gap.n_bars} | {what} | {gap.evidence} | {gap.attempts} |"
