"""Features as they were known at each moment of decision, joined to the rows that ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ratchet.errors import InputError
from ratchet.features.store.offline.engine import as_text, connect, parquet_source
from ratchet.features.store.offline.rows import read_values, require_times
from ratchet.features.store.offline.store import OfflineStore
from ratchet.features.store.offline.tables import FeatureTable

if TYPE_CHECKING:
    import pandas as pd
    from duckdb import DuckDBPyConnection
    from numpy.typing import NDArray

# Only the narrow columns go through DuckDB; the features are taken from their files by row number.
#
# A row is the newest from its known_ns on if no event after its own was known by then. Of these rows the one that was
# known last holds the newest event, which an ASOF join over all rows would miss where an old event is corrected late.
# Ties are safe: the window's frame includes all rows of one known_ns, so at most one of them is kept.
_NEWEST_KNOWN = """
WITH newest AS (
    SELECT symbol, ts_event_ns, known_ns, file_index, file_row_number
    FROM {source} {filter}
    QUALIFY ts_event_ns = max(ts_event_ns) OVER (PARTITION BY symbol ORDER BY known_ns)
)
SELECT spine.row, newest.* EXCLUDE (symbol)
FROM spine ASOF JOIN newest ON spine.symbol = newest.symbol AND spine.ts_ns >= newest.known_ns
"""


@dataclass(frozen=True, slots=True)
class ViewRequest:
    """What to join of one feature view."""

    view: str
    version: str
    features: tuple[str, ...] | None = None
    """None for all."""
    ttl_ns: int | None = None
    """How old the newest event may be at the moment of decision; None for any age."""


def join_features(store: OfflineStore, spine: pd.DataFrame, requests: Sequence[ViewRequest]) -> pd.DataFrame:
    """Return `spine` with the features that were known at each of its moments; its rows, order and index are kept.

    For each row: of the view's rows of that symbol with `known_ns` <= `ts_ns`, the one with the latest `ts_event_ns`,
    and of its corrections the one that was known last. Nothing that became known after `ts_ns` can change the answer.
    Where that row is older than the request's TTL, counted from its event, or where there is none, the features are
    NaN and its times missing; an older row never stands in.

    Adds float32 columns `<view>__<feature>`, or `<feature>` for a single request, and per view `<view>__ts_event_ns`
    and `<view>__known_ns` (Int64, ns UTC, missing where no row was found).

    Args:
        store: where the views are.
        spine: `symbol`, `ts_ns` (int64, ns UTC, when the decision is made) and whatever else.
        requests: one per view.

    Raises:
        InputError: a row of the spine has no symbol or time, a feature does not exist, or names clash.
        NotFoundError: there is no such view or version.
        ArtifactError: a table is damaged.
        ConfigurationError: DuckDB is missing, or the join needs more than the store's limits.
    """
    import pandas as pd  # noqa: PLC0415 - the package is imported by the model server, which has no pandas
    import pyarrow as pa  # noqa: PLC0415

    require_times("spine", spine, ("ts_ns",))
    asked = [_asked(store, request, is_alone=len(requests) == 1) for request in requests]
    names = [*map(str, spine.columns), *(name for one in asked for name in one.names)]
    if clashing := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"the joined columns {', '.join(clashing)} would appear twice; rename or join them apart")
    symbols = pa.array(spine["symbol"].astype(object), type=pa.string()).dictionary_encode()
    moments = pa.table(
        {
            "row": np.arange(len(spine)),
            "symbol": symbols,
            "ts_ns": spine["ts_ns"].to_numpy(),
        }
    )
    with connect(store.limits, store.spill_home) as connection:
        connection.register("spine", moments)
        joined = [
            _join(connection, store, one, set(symbols.dictionary.to_pylist()), spine["ts_ns"].to_numpy())
            for one in asked
        ]
    for added in joined:
        added.index = spine.index
    return pd.concat([spine, *joined], axis=1)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request, with the table and the features that it means."""

    request: ViewRequest
    table: FeatureTable
    features: tuple[str, ...]
    is_alone: bool

    @property
    def names(self) -> list[str]:
        """The columns to add: the features, then the two times."""
        view = self.request.view
        features = self.features if self.is_alone else [f"{view}__{name}" for name in self.features]
        return [*features, f"{view}__ts_event_ns", f"{view}__known_ns"]


def _asked(store: OfflineStore, request: ViewRequest, *, is_alone: bool) -> _Asked:
    table = store.table(request.view, request.version)
    features = table.features if request.features is None else request.features
    if unknown := [name for name in features if name not in table.features]:
        raise InputError(
            f"{request.view} {request.version[:16]} has no feature {', '.join(unknown)}; "
            f"it has {', '.join(table.features)}"
        )
    if request.ttl_ns is not None and request.ttl_ns < 0:
        raise InputError(f"{request.view}: a TTL of {request.ttl_ns} ns admits no row; give 0 or more")
    return _Asked(request, table, features, is_alone)


def _join(
    connection: DuckDBPyConnection, store: OfflineStore, one: _Asked, symbols: set[str], ts_ns: NDArray[np.int64]
) -> pd.DataFrame:
    """Return the columns that one request adds, in the spine's order."""
    import pandas as pd  # noqa: PLC0415 - as above

    last_ns = int(ts_ns.max(initial=0))
    batches = [batch for batch in one.table.batches if batch.meets((0, last_ns), (0, last_ns), symbols)]
    files = store.files(one.table, batches)
    found = _find(connection, one, files, symbols, ts_ns) if files else np.empty((5, 0), dtype=np.int64)
    row, event_ns, known_ns, file_index, file_row = found
    values = np.full((len(one.features), len(ts_ns)), np.nan, dtype=np.float32)
    for index, file in enumerate(files):
        is_here = file_index == index
        for target, column in zip(values, read_values(file, one.features, file_row[is_here]), strict=True):
            target[row[is_here]] = column
    added = pd.DataFrame(values.T, columns=one.names[:-2], copy=False)
    for name, found_ns in zip(one.names[-2:], (event_ns, known_ns), strict=True):
        times_ns, is_missing = np.zeros(len(ts_ns), dtype=np.int64), np.ones(len(ts_ns), dtype=np.bool_)
        times_ns[row], is_missing[row] = found_ns, False
        added[name] = pd.arrays.IntegerArray(times_ns, is_missing)
    return added


def _find(
    connection: DuckDBPyConnection, one: _Asked, files: Sequence[Path], symbols: set[str], ts_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return where the newest rows lie, the five columns of the query, (5, found)."""
    shared = symbols.intersection(one.table.symbols)
    # Names that stand in the query let DuckDB skip row groups; a filter that skips none costs a fifth of the time.
    is_part = len(shared) < len(one.table.symbols)
    query = _NEWEST_KNOWN.format(
        source=parquet_source(files),
        filter=f"WHERE symbol IN ({', '.join(map(as_text, sorted(shared)))})" if is_part else "",
    )
    columns = connection.sql(query).fetchnumpy()
    found = np.stack([np.asarray(column, dtype=np.int64) for column in columns.values()])
    if one.request.ttl_ns is not None:
        found = found[:, ts_ns[found[0]] - found[1] <= one.request.ttl_ns]
    return found
