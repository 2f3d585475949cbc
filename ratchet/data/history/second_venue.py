"""A second opinion on prices: the same symbols, bars and time from another venue of the history."""

from __future__ import annotations

from pathlib import Path

from ratchet.data.history.candles import CandleHistory
from ratchet.data.history.cutting import cut_dataset
from ratchet.data.history.series import SeriesKey, Span
from ratchet.data.manifest import DatasetManifest, DatasetRef


def cut_second_venue(
    root: Path, history: CandleHistory, manifest: DatasetManifest, *, as_of_ns: int
) -> DatasetRef | None:
    """Return a dataset of the venue that shares most symbols with `manifest`; None where no other venue has one.

    A venue that shares none of its period is no second opinion. Of venues that share as many, the first by name.
    """
    span = Span(manifest.start_ns, manifest.end_ns)
    shared: dict[str, list[SeriesKey]] = {}
    for key in history.catalog.list_series():
        if key.timeframe == manifest.timeframe and key.symbol in manifest.symbols and key.venue != manifest.source:
            shared.setdefault(key.venue, []).append(key)
    for venue in sorted(shared, key=lambda name: (-len(shared[name]), name)):
        if not history.candles(shared[venue], as_of_ns=as_of_ns, span=span).empty:
            return cut_dataset(root, history, shared[venue], as_of_ns=as_of_ns, span=span)
    return None
