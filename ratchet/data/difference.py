"""What changed between two datasets: rows gained, lost and revised, per table and symbol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.clock import iso_utc
from ratchet.data.manifest import DatasetManifest, DatasetRef, Table
from ratchet.data.snapshots import load_manifest, load_partition

_N_EXAMPLES = 5


class Change(BaseModel):
    """One value that differs; the values as text, so that NaN and whole numbers keep their looks."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    ts_event_ns: int
    column: str
    a: str
    b: str

    def __str__(self) -> str:
        return f"{iso_utc(self.ts_event_ns)} {self.column} {self.a} -> {self.b}"


class SymbolDiff(BaseModel):
    """How the rows of one table and symbol differ; ranges are the first and last `ts_event_ns`, None for no row."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    table: Table
    symbol: str
    n_only_a: int
    n_only_b: int
    n_changed: int
    only_a_ns: tuple[int, int] | None
    only_b_ns: tuple[int, int] | None
    changed_ns: tuple[int, int] | None
    changed_columns: dict[str, int]
    """Column -> rows in which it differs; a column that only one side has counts every common row."""
    examples: tuple[Change, ...]
    """The first few values that differ, in order of time."""

    def __str__(self) -> str:
        said = [f"{self.table} {self.symbol}:"]
        counts = ((self.n_only_a, self.only_a_ns, "only in a"), (self.n_only_b, self.only_b_ns, "only in b"))
        said += [f"{n:,} rows {where} ({_period(range_ns)});" for n, range_ns, where in counts if range_ns]
        if self.changed_ns:
            columns = ", ".join(f"{name} in {n:,}" for name, n in self.changed_columns.items())
            said.append(f"{self.n_changed:,} rows changed ({_period(self.changed_ns)}): {columns};")
        lines = [" ".join(said).rstrip(";"), *(f"  {example}" for example in self.examples)]
        return "\n".join(lines)


class DatasetDiff(BaseModel):
    """What dataset b has otherwise than dataset a; symbols without a difference are left out."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    a: str
    b: str
    source: tuple[str, str] | None
    """Both sources, where they differ."""
    timeframe: tuple[str, str] | None
    """Both timeframes, where they differ."""
    symbols: tuple[SymbolDiff, ...]
    n_equal_partitions: int
    """Partitions with equal content, which were not read."""
    n_compared_partitions: int

    @property
    def is_empty(self) -> bool:
        """Whether both hold the same rows from the same source."""
        return not self.symbols and self.source is None and self.timeframe is None

    def __str__(self) -> str:
        head = f"{self.a[:12]} -> {self.b[:12]}: {self.n_equal_partitions} partitions equal"
        both = [("source", self.source), ("timeframe", self.timeframe)]
        changed = [f"{name}: {pair[0]} -> {pair[1]}" for name, pair in both if pair]
        return "\n".join([head, *changed, *(map(str, self.symbols) if self.symbols else ["no row differs"])])


def diff_datasets(a: DatasetRef, b: DatasetRef) -> DatasetDiff:
    """Compare two datasets row by row; partitions with equal content are not read.

    Rows are matched by time, trades by time and `trade_id` where they have one; of several rows with one key the first
    is matched with the first. NaN equals NaN.

    Raises:
        NotFoundError: one of the datasets is not there.
        ArtifactError: one of the datasets was altered.
    """
    left, right = load_manifest(a), load_manifest(b)
    paths = sorted(left.partitions.keys() | right.partitions.keys())
    before, after = left.contents(), right.contents()
    differing = [path for path in paths if before.get(path) != after.get(path)]
    found: dict[tuple[Table, str], _Tally] = {}
    for path in differing:
        partition = left.partitions.get(path) or right.partitions[path]
        tally = found.setdefault((partition.table, partition.symbol), _Tally())
        _compare(tally, partition.table, _rows(a, left, path), _rows(b, right, path))
    return DatasetDiff(
        a=a.digest,
        b=b.digest,
        source=(left.source, right.source) if left.source != right.source else None,
        timeframe=(left.timeframe, right.timeframe) if left.timeframe != right.timeframe else None,
        symbols=tuple(tally.summary(table, symbol) for (table, symbol), tally in sorted(found.items())),
        n_equal_partitions=len(paths) - len(differing),
        n_compared_partitions=len(differing),
    )


@dataclass
class _Tally:
    """Differences of one table and symbol, collected over its years."""

    only_a_ns: list[NDArray[np.int64]] = field(default_factory=list)
    only_b_ns: list[NDArray[np.int64]] = field(default_factory=list)
    changed_ns: list[NDArray[np.int64]] = field(default_factory=list)
    columns: Counter[str] = field(default_factory=Counter)
    examples: list[Change] = field(default_factory=list)

    def summary(self, table: Table, symbol: str) -> SymbolDiff:
        return SymbolDiff(
            table=table,
            symbol=symbol,
            n_only_a=sum(map(len, self.only_a_ns)),
            n_only_b=sum(map(len, self.only_b_ns)),
            n_changed=sum(map(len, self.changed_ns)),
            only_a_ns=_range(self.only_a_ns),
            only_b_ns=_range(self.only_b_ns),
            changed_ns=_range(self.changed_ns),
            changed_columns=dict(self.columns),
            examples=tuple(self.examples[:_N_EXAMPLES]),
        )


def _rows(ref: DatasetRef, manifest: DatasetManifest, path: str) -> pd.DataFrame:
    if path not in manifest.partitions:
        return pd.DataFrame({"ts_event_ns": np.empty(0, dtype=np.int64)})
    return load_partition(ref, manifest, path)


def _compare(tally: _Tally, table: Table, a: pd.DataFrame, b: pd.DataFrame) -> None:
    has_ids = table == "trades" and "trade_id" in a and "trade_id" in b
    left, right = (_keys(rows, ["ts_event_ns", "trade_id"] if has_ids else ["ts_event_ns"]) for rows in (a, b))
    at = left.get_indexer(right)
    is_common = at >= 0
    only_a = np.ones(len(a), dtype=bool)
    only_a[at[is_common]] = False
    tally.only_a_ns.append(a["ts_event_ns"].to_numpy()[only_a])
    tally.only_b_ns.append(b["ts_event_ns"].to_numpy()[~is_common])
    _compare_values(tally, a.iloc[at[is_common]], b[is_common])


def _keys(rows: pd.DataFrame, names: list[str]) -> pd.MultiIndex:
    return pd.MultiIndex.from_frame(rows[names].assign(occurrence=rows.groupby(names, dropna=False).cumcount()))


def _compare_values(tally: _Tally, a: pd.DataFrame, b: pd.DataFrame) -> None:
    """Compare rows that belong together, in the same order."""
    times_ns = b["ts_event_ns"].to_numpy()
    is_changed = np.zeros(len(b), dtype=bool)
    differing: list[tuple[int, str]] = []
    for name in list(dict.fromkeys([*a.columns, *b.columns])):
        differs = _differs(a, b, name)
        if differs.any():
            tally.columns[name] += int(np.count_nonzero(differs))
            is_changed |= differs
            differing += [(int(row), name) for row in np.flatnonzero(differs)[:_N_EXAMPLES]]
    tally.changed_ns.append(times_ns[is_changed])
    for row, name in sorted(differing, key=lambda one: one[0])[:_N_EXAMPLES]:
        values = [str(rows[name].iloc[row]) if name in rows else "absent" for rows in (a, b)]
        tally.examples.append(Change(ts_event_ns=int(times_ns[row]), column=name, a=values[0], b=values[1]))


def _differs(a: pd.DataFrame, b: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    if name not in a or name not in b:
        return np.ones(len(b), dtype=bool)
    left, right = a[name].to_numpy(), b[name].to_numpy()
    same = (left == right) | (pd.isna(left) & pd.isna(right))
    return ~np.asarray(same, dtype=bool)


def _range(times_ns: Sequence[NDArray[np.int64]]) -> tuple[int, int] | None:
    every = np.concatenate(times_ns) if times_ns else np.empty(0, dtype=np.int64)
    return (int(every.min()), int(every.max())) if len(every) else None


def _period(range_ns: tuple[int, int] | None) -> str:
    return f"{iso_utc(range_ns[0])} to {iso_utc(range_ns[1])}" if range_ns else ""
