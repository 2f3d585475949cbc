"""Feature tables on the command line: what was built, what is stored, joins of files, what a stream did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from ratchet.clock import iso_utc
from ratchet.errors import InputError
from ratchet.features.store.joins import ViewRequest, join_features
from ratchet.features.store.offline import FeatureTableInfo, FeatureTableRef, OfflineStore
from ratchet.features.views import FeatureView
from ratchet.market import Timeframe, parse_symbol
from ratchet.settings import Settings


def render_table(console: Console, view: FeatureView, rows: pd.DataFrame, ref: FeatureTableRef) -> None:
    """Print what a table holds: by source, how many of its values are missing."""
    table = Table("needs", "features", "missing", title=f"{view.name}, version {view.version[:12]}")
    for source in sorted(view.features.sources):
        names = [item.name for item in view.features.definitions if item.source == source]
        missing = float(rows[names].isna().to_numpy().mean()) if len(rows) else 1.0
        style = "" if missing < 0.5 else "yellow" if missing < 1.0 else "red"
        table.add_row(source, str(len(names)), f"[{style}]{missing:.1%}[/{style}]" if style else f"{missing:.1%}")
    console.print(table)
    span = f"{iso_utc(int(rows['ts_event_ns'].min()))} to {iso_utc(int(rows['ts_event_ns'].max()))}"
    console.print(f"{len(rows):,} rows of {rows['symbol'].nunique()} symbols, {span}", soft_wrap=True)
    console.print(f"stored in {ref.uri}, digest {ref.digest[:16]}", soft_wrap=True)


def render_views(console: Console, found: Sequence[FeatureTableInfo]) -> None:
    """Print a line per stored table."""
    table = Table("view", "version", "bars", "symbols", "rows", "from", "to")
    for info in found:
        symbols = ", ".join(info.symbols[:4]) + (f" and {len(info.symbols) - 4} more" if len(info.symbols) > 4 else "")
        span = (iso_utc(info.first_event_ns), iso_utc(info.last_event_ns))
        table.add_row(info.ref.view, info.ref.version[:12], info.timeframe, symbols, f"{info.n_rows:,}", *span)
    console.print(table)


def render_stream(console: Console, counts: Mapping[str, Any]) -> None:
    """Print what a stream counted; durations in milliseconds."""
    for name, value in counts.items():
        if name.endswith("_ns") and isinstance(value, float):
            text = "-" if np.isnan(value) else f"{value / 1e6:,.3f} ms"
            console.print(f"{name.removesuffix('_ns').replace('_', ' '):<16}{text}")
        else:
            text = f"{value:,.0f}" if isinstance(value, int | float) else str(value)
            console.print(f"{name.replace('_', ' '):<16}{text}", soft_wrap=True)


def join_files(settings: Settings, spine: Path, out: Path, views: Sequence[str], ttl: str | None) -> tuple[int, int]:
    """Join features to the rows of a file and write another; return the rows, and those that have features.

    Raises:
        InputError: a file cannot be read or written, or has not the columns.
        NotFoundError: there is no such view or version.
    """
    store = OfflineStore(settings.features_root)
    ttl_ns = None if ttl is None else Timeframe.parse(ttl).ns
    requests = [_request(store, view, ttl_ns) for view in views]
    joined = join_features(store, _read_spine(spine), requests)
    times = [f"{request.view}__ts_event_ns" for request in requests]
    _write(out, joined)
    return len(joined), int(joined[times].notna().any(axis=1).sum())


def _request(store: OfflineStore, text: str, ttl_ns: int | None) -> ViewRequest:
    view, _, prefix = text.partition("@")
    found = [info for info in store.versions(view) if info.ref.version.startswith(prefix)]
    if len(found) != 1:
        there_are = ", ".join(info.ref.version[:12] for info in store.versions(view))
        raise InputError(f"view {text}: name one version as {view}@VERSION; stored are {there_are}")
    return ViewRequest(view, found[0].ref.version, ttl_ns=ttl_ns)


def _read_spine(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
        if "ts_ns" not in frame and "time" in frame:
            times = pd.to_datetime(frame["time"], utc=True, format="ISO8601")
            frame = frame.assign(ts_ns=times.astype("datetime64[ns, UTC]").astype("int64"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error})") from error
    if not {"symbol", "ts_ns"} <= set(frame.columns):
        raise InputError(f"{path}: needs the columns symbol and ts_ns (ns UTC) or time (ISO 8601)")
    return frame.assign(symbol=[parse_symbol(str(symbol)) for symbol in frame["symbol"]])


def _write(path: Path, frame: pd.DataFrame) -> None:
    try:
        if path.suffix == ".parquet":
            frame.to_parquet(path, index=False)
        else:
            frame.to_csv(path, index=False)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error})") from error
