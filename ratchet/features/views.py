"""Feature views: a feature set of one venue's symbols at one bar length, as it is stored and served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ratchet.data.history import CandleHistory, SeriesKey, Span
from ratchet.errors import InputError
from ratchet.features.bars import Bars
from ratchet.features.history import EventTable, bar_table, merged, ordered_tables, replay, row_frame
from ratchet.features.sets import FeatureSet
from ratchet.features.store.offline import FeatureTableRef, OfflineStore
from ratchet.features.streaming.recorded import recorded_market
from ratchet.market.symbols import Timeframe


@dataclass(frozen=True, slots=True)
class FeatureView:
    """What a table of features is of; its entity is the symbol.

    >>> FeatureView("binance", Timeframe.parse("1m"), FeatureSet.named("core")).name
    'binance-1m-core'
    """

    venue: str
    timeframe: Timeframe
    features: FeatureSet
    own_name: str | None = None

    @property
    def name(self) -> str:
        """Name in the stores, by default of venue, timeframe and set; the schema hash tells versions of it apart."""
        return self.own_name or f"{self.venue}-{self.timeframe.text}-{self.features.name}"

    @property
    def version(self) -> str:
        """Content hash of the definitions."""
        return self.features.schema_hash


def compute_view(
    view: FeatureView, history: CandleHistory, recordings: Path, symbols: Sequence[str], *, span: Span, as_of_ns: int
) -> pd.DataFrame:
    """Compute the rows of a view whose bars open in `span`, from what was known at `as_of_ns`.

    Features begin at the start of the span: give it the warm-up too. Returns the frame that the offline store keeps.

    Raises:
        InputError: no bar of any of the symbols is stored.
        ArtifactError: a stored file was altered.
    """
    keys = [SeriesKey(view.venue, symbol, view.timeframe.text) for symbol in symbols]
    candles = history.candles(keys, as_of_ns=as_of_ns, span=span)
    if candles.empty:
        raise InputError(f"{view.venue}: no {view.timeframe.text} bar of {', '.join(symbols)} is stored; collect first")
    end_ns = int(candles["ts_event_ns"].max()) + view.timeframe.ns
    market: dict[str, EventTable] = {}
    if view.features.sources - {"bars", "universe"}:
        events = recorded_market(recordings, view.venue, symbols, int(candles["ts_event_ns"].min()), end_ns)
        market = {table.symbol: table for table in ordered_tables(events)}
    tables = []
    for symbol, rows in candles.groupby("symbol", sort=True):
        bars = bar_table(Bars.from_frame(rows, view.timeframe), rows["known_ns"].to_numpy(dtype="int64"))
        tables.append(merged(bars, market[str(symbol)]) if symbol in market else bars)
    universe = [table.symbol for table in tables]
    return row_frame(replay(view.features, view.timeframe, tables, universe=universe), view.features)


def materialize(
    view: FeatureView, store: OfflineStore, rows: pd.DataFrame, *, made_by: str, symbols: Sequence[str]
) -> FeatureTableRef:
    """Add rows to the offline store; rows that are there already change nothing.

    Raises:
        InputError: rows are there with other values, as recursive features have where they begin elsewhere and graph
            features where they relate to other symbols.
        ArtifactError, BusyError, UnavailableError: as `OfflineStore.write`.
    """
    lineage = {"made_by": made_by, "symbols": ",".join(symbols), "venue": view.venue}
    try:
        return store.write(view.name, view.version, rows, timeframe=view.timeframe.text, lineage=lineage)
    except InputError as error:
        raise InputError(
            f"{error}; another start or other symbols make another table: give it a name with --view"
        ) from error
