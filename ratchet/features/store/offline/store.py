"""The offline store: per view and version an immutable, growing set of rows that say what was known when.

A row holds `symbol`, `ts_event_ns` (the time as of which it holds, for example the close of its bar), `known_ns` (when
it could first be known, never before its event) and one float32 column per feature, NaN where declared missing. A row
of the same symbol and event with a later `known_ns` corrects the earlier one from then on; both are kept.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ratchet.data.atomic import fsync_folder, sha256_bytes, write_bytes
from ratchet.data.lock import hold
from ratchet.errors import BusyError, InputError, NotFoundError, UnavailableError
from ratchet.features.store.offline.engine import EngineLimits, connect, parquet_source, quoted
from ratchet.features.store.offline.rows import KEY, feature_names, read_parquet, to_parquet, unstored
from ratchet.features.store.offline.tables import (
    TABLE_FILE,
    Batch,
    FeatureTable,
    FeatureTableInfo,
    FeatureTableRef,
    read_table,
    verified_file,
    write_table,
)

if TYPE_CHECKING:
    import pandas as pd

_VIEW = re.compile(r"[a-z0-9_-]{1,100}")
_VERSION = re.compile(r"[0-9a-f]{64}")
_END_NS = 2**63 - 1
_NEWEST = """
SELECT {columns} FROM {source}
WHERE ts_event_ns BETWEEN ? AND ? AND known_ns <= ? AND list_contains(?::VARCHAR[], symbol)
QUALIFY known_ns = max(known_ns) OVER (PARTITION BY symbol, ts_event_ns)
ORDER BY symbol, ts_event_ns
"""
_LOCK_FILE = ".lock"
_PATIENCE_S = 60.0


class OfflineStore:
    """Feature tables below `root`, read by any number of processes while one at a time adds to a table.

    Each batch is a file and a line of the table's manifest, which is rewritten with it: add rows by the hour or day
    rather than one by one. Every file is compared with its digest each time it is read.

    Args:
        root: the folder of the tables, for example `var/features`.
        limits: what a query may take.
        spill_home: where queries put what does not fit into memory; None for `root/.spill`.
    """

    def __init__(self, root: Path, *, limits: EngineLimits | None = None, spill_home: Path | None = None) -> None:
        self.root = root.expanduser().resolve()
        self.limits = limits or EngineLimits()
        self.spill_home = spill_home or self.root / ".spill"

    def write(
        self, view: str, version: str, rows: pd.DataFrame, *, timeframe: str, lineage: Mapping[str, str]
    ) -> FeatureTableRef:
        """Add a batch of rows and return the table's reference; rows that are stored already are left out.

        A reader sees the batch whole or not at all; a process killed at any moment leaves the table as it was, and what
        it left is removed by the next write. Once the call has returned the batch survives a power cut.

        Args:
            view: name of the feature view: lower case, digits, `_` and `-`.
            version: content hash of the feature set, 64 hex; versions stand side by side.
            rows: `symbol`, `ts_event_ns`, `known_ns` and float32 features, in any order.
            timeframe: length of the bars, for example `1m`.
            lineage: from what the batch was made; kept beside it, not part of the table's digest.

        Raises:
            InputError: a name, a row or a column cannot be stored (see `rows.feature_names`), the table has other
                features or another timeframe, or a row is stored with other values under the same `known_ns`.
            ArtifactError: the table is damaged.
            BusyError: another process has been writing to the table for a minute.
            UnavailableError: the folder cannot be written.
        """
        from ratchet.market.symbols import Timeframe  # noqa: PLC0415 - `ratchet.market` loads pandas

        features = feature_names(view, rows)
        timeframe = Timeframe.parse(timeframe).text
        folder = self._folder(view, version)
        with self._only_writer(folder):
            stored = read_table(folder)
            table = stored or FeatureTable(
                view=view, version=version, timeframe=timeframe, features=features, batches=()
            )
            _require_alike(table, features, timeframe)
            _sweep(folder, table)
            fresh = unstored(view, _overlapping(folder, table, rows), rows[[*KEY, *table.features]])
            if fresh.empty:
                return table.ref(folder)
            payload = to_parquet(fresh)
            batch = _describe(fresh, sha256_bytes(payload), lineage)
            write_bytes(folder / batch.file_name, payload)
            (folder / batch.file_name).chmod(0o444)
            table = table.with_batch(batch)
            write_table(folder, table)
            if stored is None:
                for parent in (folder.parent, self.root, self.root.parent):
                    fsync_folder(parent)
            return table.ref(folder)

    def views(self) -> list[str]:
        """Return the names of the views that have a table, sorted."""
        return sorted({path.parent.parent.name for path in self.root.glob(f"*/{'[0-9a-f]' * 16}/{TABLE_FILE}")})

    def versions(self, view: str) -> list[FeatureTableInfo]:
        """Return the versions of a view, sorted by hash.

        Raises:
            NotFoundError: there is no such view; names those that there are.
            ArtifactError: a manifest is damaged.
        """
        _require_view(view)
        folders = sorted((self.root / view).glob("[0-9a-f]" * 16))
        found = [table.info(folder) for folder in folders if (table := read_table(folder))]
        if not found:
            raise NotFoundError(
                f"no feature view {view} in {self.root}; stored are: {', '.join(self.views()) or 'none'}"
            )
        return found

    def table(self, view: str, version: str) -> FeatureTable:
        """Return the manifest of a table.

        Raises:
            NotFoundError: there is no such view or version; names those that there are.
            ArtifactError: the manifest is damaged.
        """
        found = read_table(self._folder(view, version))
        if found is not None and found.version == version:
            return found
        there_are = ", ".join(info.ref.version[:16] for info in self.versions(view))
        raise NotFoundError(f"feature view {view} has no version {version[:16]}; stored are: {there_are}")

    def files(self, table: FeatureTable, batches: Collection[Batch] | None = None) -> list[Path]:
        """Return the verified Parquet files of a table, or of some of its batches.

        Raises:
            ArtifactError: a file is missing or was altered.
        """
        folder = self._folder(table.view, table.version)
        return [verified_file(folder, batch) for batch in (table.batches if batches is None else batches)]

    def read(
        self,
        view: str,
        version: str,
        *,
        symbols: Collection[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
        known_by_ns: int | None = None,
    ) -> pd.DataFrame:
        """Return `symbol`, `ts_event_ns`, `known_ns` and the features, sorted by symbol and event.

        Of each event the newest correction is returned that was known by then; with `known_by_ns` nothing is returned
        that was not known at that moment.

        Args:
            view: name of the feature view.
            version: content hash of the feature set.
            symbols: None for all.
            start_ns: first event, ns UTC.
            end_ns: the moment before which the last event lies, ns UTC.
            known_by_ns: the moment as of which to read, ns UTC; None for everything that is stored.

        Raises:
            NotFoundError: there is no such view or version.
            ArtifactError: the table is damaged.
            ConfigurationError: DuckDB is missing, or the query needs more than its limits.
        """
        table = self.table(view, version)
        events = (0 if start_ns is None else start_ns, _END_NS if end_ns is None else end_ns - 1)
        by_ns = _END_NS if known_by_ns is None else known_by_ns
        wanted = set(table.symbols if symbols is None else symbols)
        chosen = [batch for batch in table.batches if batch.meets(events, (0, by_ns), wanted)]
        files = self.files(table, chosen or table.batches[:1])  # without rows, one file still gives the columns
        with connect(self.limits, self.spill_home) as connection:
            columns = ", ".join(map(quoted, (*KEY, *table.features)))
            query = _NEWEST.format(columns=columns, source=parquet_source(files))
            rows: pd.DataFrame = connection.sql(query, params=[*events, by_ns, sorted(wanted)]).df()
        return rows

    def _folder(self, view: str, version: str) -> Path:
        _require_view(view)
        if not _VERSION.fullmatch(version):
            raise InputError(f"{version!r} is no version of a feature view; give the 64 hex digits of its content hash")
        return self.root / view / version[:16]

    @contextmanager
    def _only_writer(self, folder: Path) -> Iterator[None]:
        try:
            with hold(folder / _LOCK_FILE, patience_s=_PATIENCE_S) as is_held:
                if not is_held:
                    raise BusyError(f"{folder}: another process is writing to it; try again later")
                yield
        except OSError as error:
            raise UnavailableError(f"{folder}: cannot be written: {error.strerror}") from error


def _require_view(view: str) -> None:
    if not _VIEW.fullmatch(view):
        raise InputError(f"{view!r} is no name of a feature view; use a-z, 0-9, _ and -")


def _require_alike(table: FeatureTable, features: tuple[str, ...], timeframe: str) -> None:
    where = f"{table.view} {table.version[:16]}"
    if table.timeframe != timeframe:
        raise InputError(f"{where} holds {table.timeframe} bars, not {timeframe}; another timeframe is another version")
    if differing := sorted(set(table.features) ^ set(features)):
        raise InputError(
            f"{where}: stored and given columns differ in {', '.join(differing)}; a set has its own version"
        )


def _sweep(folder: Path, table: FeatureTable) -> None:
    """Remove what killed writers left; the caller holds the lock."""
    named = {batch.file_name for batch in table.batches}
    for path in (*folder.glob("*.parquet"), *folder.glob(".*.tmp")):
        if path.name not in named:
            path.unlink()


def _overlapping(folder: Path, table: FeatureTable, rows: pd.DataFrame) -> list[pd.DataFrame]:
    """Return the batches that may hold rows with the keys of `rows`; a batch of later events meets none."""
    events, known = _extent(rows["ts_event_ns"]), _extent(rows["known_ns"])
    symbols = set(rows["symbol"].unique())
    met = [batch for batch in table.batches if batch.meets(events, known, symbols)]
    return [read_parquet(verified_file(folder, batch), events) for batch in met]


def _describe(rows: pd.DataFrame, file_digest: str, lineage: Mapping[str, str]) -> Batch:
    events, known = _extent(rows["ts_event_ns"]), _extent(rows["known_ns"])
    return Batch(
        file_digest=file_digest,
        n_rows=len(rows),
        symbols=tuple(sorted(rows["symbol"].unique())),
        first_event_ns=events[0],
        last_event_ns=events[1],
        first_known_ns=known[0],
        last_known_ns=known[1],
        lineage=dict(lineage),
    )


def _extent(times_ns: pd.Series) -> tuple[int, int]:
    return int(times_ns.min()), int(times_ns.max())
