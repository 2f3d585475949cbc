"""`ratchet data list`, `save`, `merge`, `split`, `diff`, `lineage` and `validate`: immutable datasets."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated, cast

import typer

from ratchet.cli.output import print_json, stdout_console
from ratchet.clock import SystemClock
from ratchet.data.manifest import DatasetRef
from ratchet.errors import InputError, NotFoundError
from ratchet.settings import Settings, load_settings

app = typer.Typer()

DatasetArgument = Annotated[str, typer.Argument(help="The first letters of a dataset's digest, as `list` shows them.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines instead of tables.")]

_OUT = stdout_console()


def find_dataset(settings: Settings, text: str) -> DatasetRef:
    """Return the stored dataset whose digest begins with `text`.

    Raises:
        NotFoundError: there is none.
        InputError: several do.
    """
    from ratchet.data.snapshots import list_datasets  # noqa: PLC0415

    stored = [item for item in list_datasets(settings.root) if item.manifest and item.manifest.digest.startswith(text)]
    if not stored:
        raise NotFoundError(f"no dataset begins with {text!r}; see `ratchet data list`")
    if len(stored) > 1:
        raise InputError(f"{len(stored)} datasets begin with {text!r}; write more of the digest")
    manifest = stored[0].manifest
    return DatasetRef(uri=stored[0].folder, digest=manifest.digest if manifest else "")


@app.command("list")
def list_stored(as_json: JsonOption = False) -> None:
    """List the stored datasets."""
    from ratchet.cli.data_render import render_datasets  # noqa: PLC0415
    from ratchet.data.snapshots import list_datasets  # noqa: PLC0415

    stored = list_datasets(load_settings().root)
    if as_json:
        print_json([item.model_dump(mode="json") for item in stored])
    else:
        render_datasets(_OUT, stored)


@app.command()
def save(
    venue: Annotated[str | None, typer.Option(help="As in `ratchet data coverage`; default: the only one.")] = None,
    symbols: Annotated[str | None, typer.Option(help="Comma separated; default: all of the venue.")] = None,
    timeframe: Annotated[str, typer.Option(help="Length of one bar.")] = "1h",
    as_of: Annotated[
        str | None, typer.Option(help="As it was known then, for example 2024-06-01; default: now.")
    ] = None,
    fill_no_trades: Annotated[bool, typer.Option(help="Make up bars without trades, each one flagged.")] = False,
    with_books: Annotated[bool, typer.Option(help="Add recorded books, at each bar's close, and trades.")] = False,
) -> None:
    """Cut an immutable dataset from the history, as it was known at a time."""
    from ratchet.data.history import CandleHistory, CollectionRequest  # noqa: PLC0415
    from ratchet.data.history.cutting import cut_dataset  # noqa: PLC0415

    settings, clock = load_settings(), SystemClock()
    names = symbols.split(",") if symbols else None
    asked = CollectionRequest.create(source="", symbols=names, timeframe=timeframe, end=as_of)
    with closing(CandleHistory(settings.history_root, clock, read_only=True)) as history:
        keys = [
            key
            for key in history.catalog.list_series()
            if key.timeframe == asked.timeframe
            and venue in {None, key.venue}
            and (asked.symbols is None or key.symbol in asked.symbols)
        ]
        absent = set(asked.symbols or ()) - {key.symbol for key in keys}
        if absent or not keys:
            what = ", ".join(sorted(absent)) or "anything"
            raise NotFoundError(f"no {timeframe} series of {what} is stored; see `ratchet data coverage`")
        as_of_ns = clock.now_ns() if asked.end_ns is None else asked.end_ns
        ref = cut_dataset(
            settings.root,
            history,
            keys,
            as_of_ns=as_of_ns,
            fill_no_trades=fill_no_trades,
            recordings=settings.recordings_root if with_books else None,
        )
    _OUT.print(f"dataset {ref.digest[:16]} in {ref.uri}", soft_wrap=True)


@app.command()
def validate(
    dataset: DatasetArgument,
    reference: Annotated[
        str | None, typer.Option(help="Another dataset, of a second venue, to compare closes with.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="auto: Great Expectations up to a million rows; great_expectations or vectorized.")
    ] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Let the quality gate judge a dataset; bad rows go to quarantine; the exit code is 3 when the gate fails."""
    from ratchet.cli.data_render import render_quality  # noqa: PLC0415
    from ratchet.data.quality import Engine, QualityPolicy, judge_dataset  # noqa: PLC0415

    settings = load_settings()
    other = find_dataset(settings, reference) if reference else None
    policy = QualityPolicy.model_validate(settings.quality.model_dump())
    chosen = cast("Engine", engine)  # open_gate refuses what is none
    ref = find_dataset(settings, dataset)
    reports = judge_dataset(settings.root, ref, policy, engine=chosen, reference=other).reports
    if as_json:
        print_json([report.model_dump(mode="json") for report in reports])
    else:
        render_quality(_OUT, reports)
        if any(report.n_quarantined for report in reports):
            _OUT.print(
                f"bad rows, with their reasons: {settings.root / 'quarantine' / ref.digest[:16]}", soft_wrap=True
            )


@app.command()
def merge(
    dataset: DatasetArgument,
    files: Annotated[Path, typer.Argument(help="A file or folder of candles, or the digest of another dataset.")],
    timeframe: Annotated[str, typer.Option(help="Length of one bar.")] = "1h",
) -> None:
    """Join a dataset with candles from files or from another dataset; of two values the one known later counts."""
    from ratchet.data.collection import collect_from_files  # noqa: PLC0415
    from ratchet.data.merging import merge_with_existing_dataset  # noqa: PLC0415
    from ratchet.data.snapshots import load_candle_records  # noqa: PLC0415
    from ratchet.market import Timeframe  # noqa: PLC0415

    settings, bar, now_ns = load_settings(), Timeframe.parse(timeframe), SystemClock().now_ns()
    existing = find_dataset(settings, dataset)
    try:
        other = None if files.exists() else find_dataset(settings, str(files))
    except NotFoundError as error:
        raise NotFoundError(f"{files}: no such file or folder, and no dataset that begins so") from error
    new = (
        load_candle_records(other)
        if other
        else collect_from_files(files, symbols=None, timeframe=bar, end_ns=now_ns).candles
    )
    result = merge_with_existing_dataset(
        settings.root,
        existing,
        new,
        timeframe=bar,
        other_parents=(other,) if other else (),
        made_by=f"merge {files}",
        made_at_ns=now_ns,
    )
    _OUT.print(str(result), soft_wrap=True)


@app.command()
def split(
    dataset: DatasetArgument,
    shares: Annotated[str, typer.Option(help="Training, validation and test.")] = "0.7,0.15,0.15",
    horizon: Annotated[int, typer.Option(min=1, help="Bars until a label ends; so much is purged.")] = 1,
    embargo: Annotated[int, typer.Option(min=0, help="Bars left out after each cut.")] = 24,
) -> None:
    """Split a dataset by time into training, validation and test, purged and with an embargo."""
    from ratchet.data.snapshots import load_manifest  # noqa: PLC0415
    from ratchet.data.splitting import save_split, split_train_val_test  # noqa: PLC0415
    from ratchet.market import Timeframe  # noqa: PLC0415

    settings = load_settings()
    ref = find_dataset(settings, dataset)
    try:
        train, validation, test = (float(part) for part in shares.split(","))
    except ValueError as error:
        raise InputError(f"--shares {shares!r}: write three numbers such as 0.7,0.15,0.15") from error
    parts = split_train_val_test(
        ref,
        shares=(train, validation, test),
        timeframe=Timeframe.parse(load_manifest(ref).timeframe),
        horizon=horizon,
        embargo_bars=embargo,
    )
    saved = save_split(settings.root, parts, made_at_ns=SystemClock().now_ns())
    for part, kept in zip(parts.parts, (saved.train, saved.validation, saved.test), strict=True):
        _OUT.print(f"{part}; dataset {kept.digest[:16]}", soft_wrap=True)


@app.command()
def diff(before: DatasetArgument, after: DatasetArgument, as_json: JsonOption = False) -> None:
    """Show what one dataset has otherwise than another."""
    from ratchet.data.difference import diff_datasets  # noqa: PLC0415

    settings = load_settings()
    found = diff_datasets(find_dataset(settings, before), find_dataset(settings, after))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _OUT.print(str(found), markup=False, soft_wrap=True)


@app.command()
def lineage(dataset: DatasetArgument, as_json: JsonOption = False) -> None:
    """Show from what a dataset was made, down to what was collected."""
    from ratchet.data.lineage import lineage as trace  # noqa: PLC0415

    settings = load_settings()
    found = trace(settings.root, find_dataset(settings, dataset))
    if as_json:
        print_json(found.model_dump(mode="json"))
    else:
        _OUT.print(str(found), markup=False, soft_wrap=True)
