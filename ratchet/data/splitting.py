"""One history cut by time into training, validation and test, without a label that reaches across a cut."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import iso_utc
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_candle_records, load_manifest, save_dataset
from ratchet.errors import InputError, LeakageError
from ratchet.market.candles import as_candle_records
from ratchet.market.symbols import Timeframe

PART_NAMES = ("train", "validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class SplitPart:
    """One part of a split: `[start_ns, end_ns)` in open times of bars, and the rows of that period.

    `rows`, `purged` and `embargoed` are frames of `RECORD_COLUMNS`, sorted by symbol and time; together they are all
    rows of the period. `purged` left because their labels reach the next part, `embargoed` because they follow the cut
    too closely.
    """

    name: str
    start_ns: int
    end_ns: int
    rows: pd.DataFrame
    purged: pd.DataFrame
    embargoed: pd.DataFrame

    def __str__(self) -> str:
        return (
            f"{self.name} {iso_utc(self.start_ns)} to {iso_utc(self.end_ns)}: {len(self.rows):,} rows of "
            f"{self.rows['symbol'].nunique()} symbols, {len(self.purged):,} purged, {len(self.embargoed):,} embargoed"
        )


@dataclass(frozen=True, slots=True, eq=False)
class DatasetSplit:
    """Three parts in order of time, and how they were cut; `parent` and `source` are None for a bare frame."""

    train: SplitPart
    validation: SplitPart
    test: SplitPart
    timeframe: Timeframe
    shares: tuple[float, float, float]
    horizon: int
    embargo_bars: int
    parent: DatasetRef | None
    source: str | None

    @property
    def parts(self) -> tuple[SplitPart, SplitPart, SplitPart]:
        """Training, validation and test."""
        return self.train, self.validation, self.test

    def __str__(self) -> str:
        return "\n".join(map(str, self.parts))


@dataclass(frozen=True, slots=True)
class SavedSplit:
    """The three parts as datasets."""

    train: DatasetRef
    validation: DatasetRef
    test: DatasetRef


def split_train_val_test(
    candles: pd.DataFrame | DatasetRef,
    *,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    timeframe: Timeframe,
    horizon: int,
    embargo_bars: int,
) -> DatasetSplit:
    """Cut candles, or a stored dataset, at two moments that are the same for all symbols.

    The shares are of the distinct bar times. The label of the bar that opens at t ends with the close of bar
    t + `horizon`, one horizon after the entry at the next open (`ratchet.features.labels`). A row is purged where that
    end lies at or after the next part's first open, and embargoed where it opens less than `embargo_bars` bars after
    the cut before it. Symbols that were delisted, or listed later, stay wherever they have rows. The split looks at no
    price, so that nothing of a later part enters an earlier one; `known_ns` is carried along, not used.

    Raises:
        InputError: shares that are not positive or do not add up to 1, a horizon below one bar, a negative embargo,
            another timeframe than the dataset's, or a part without a row left.
        NotFoundError: there is no such dataset.
        ArtifactError: the dataset was altered.
    """
    _check(shares, horizon, embargo_bars)
    parent, source = (candles, _source(candles, timeframe)) if isinstance(candles, DatasetRef) else (None, None)
    records = as_candle_records(load_candle_records(candles) if isinstance(candles, DatasetRef) else candles, timeframe)
    edges_ns = _edges_ns(records["ts_event_ns"].to_numpy(), shares, timeframe)
    parts = [
        _part(records, index, edges_ns, label_ns=(horizon + 1) * timeframe.ns, embargo_ns=embargo_bars * timeframe.ns)
        for index in range(len(PART_NAMES))
    ]
    for part in parts:
        if part.rows.empty:
            raise InputError(
                f"no row is left for {part.name}, {iso_utc(part.start_ns)} to {iso_utc(part.end_ns)}, with a horizon "
                f"of {horizon} and an embargo of {embargo_bars} bars; give a longer history or a larger share"
            )
    train, validation, test = parts
    split = DatasetSplit(train, validation, test, timeframe, shares, horizon, embargo_bars, parent, source)
    refuse_overlap(split)
    return split


def refuse_overlap(split: DatasetSplit) -> None:
    """Check a split, whoever made it, against its rows.

    Raises:
        LeakageError: a label of one part ends at or after the first open of a later one, or a part starts within the
            embargo.
    """
    label_ns = (split.horizon + 1) * split.timeframe.ns
    for before, after in pairwise(split.parts):
        end_ns = int(before.rows["ts_event_ns"].max()) + label_ns
        first_ns = int(after.rows["ts_event_ns"].min())
        if end_ns >= after.start_ns:
            raise LeakageError(
                f"the last label of {before.name} ends at {iso_utc(end_ns)}, but {after.name} starts at "
                f"{iso_utc(after.start_ns)}; purge the rows before it"
            )
        if first_ns < after.start_ns + split.embargo_bars * split.timeframe.ns:
            raise LeakageError(
                f"the first row of {after.name} opens at {iso_utc(first_ns)}, within the embargo of "
                f"{split.embargo_bars} bars after {iso_utc(after.start_ns)}; leave it out"
            )


def save_split(
    root: Path, split: DatasetSplit, *, source: str | None = None, made_at_ns: int | None = None
) -> SavedSplit:
    """Store the three parts as datasets whose parent is the dataset that was split; candles only.

    `source` defaults to that of the parent; the split of a bare frame needs one.

    Raises:
        InputError: no source is known, or what `save_dataset` refuses.
        LeakageError: the parts overlap.
        ArtifactError: one of the datasets exists but was altered.
    """
    named = source or split.source
    if named is None:
        raise InputError("the split was made from a frame; say with source= where its candles came from")
    refuse_overlap(split)
    shares = "/".join(f"{100 * share:g}" for share in split.shares)
    made_by = f"split {{}} {shares} purge {split.horizon} embargo {split.embargo_bars}"
    refs = [
        save_dataset(
            root,
            part.rows,
            source=named,
            timeframe=split.timeframe,
            parents=() if split.parent is None else (split.parent,),
            made_by=made_by.format(part.name),
            made_at_ns=made_at_ns,
        )
        for part in split.parts
    ]
    return SavedSplit(*refs)


def _check(shares: tuple[float, float, float], horizon: int, embargo_bars: int) -> None:
    if len(shares) != len(PART_NAMES) or not all(share > 0 for share in shares) or not math.isclose(sum(shares), 1.0):
        raise InputError(f"the shares must be three positive numbers that add up to 1, not {shares}")
    if horizon < 1:
        raise InputError(f"the horizon must be at least one bar, not {horizon}")
    if embargo_bars < 0:
        raise InputError(f"the embargo must not be negative, not {embargo_bars} bars")


def _source(ref: DatasetRef, timeframe: Timeframe) -> str:
    manifest = load_manifest(ref)
    if manifest.timeframe != timeframe.text:
        raise InputError(f"{ref.uri} has {manifest.timeframe} bars, not {timeframe.text}; split it with its timeframe")
    return manifest.source


def _edges_ns(times_ns: NDArray[np.int64], shares: tuple[float, float, float], timeframe: Timeframe) -> list[int]:
    """Return the start of each part, and the close of the last bar."""
    times = np.unique(times_ns)
    cuts = [math.ceil(round(share * len(times), 6)) for share in (shares[0], shares[0] + shares[1])]
    if len(times) < len(PART_NAMES) or not 0 < cuts[0] < cuts[1] < len(times):
        raise InputError(f"{len(times)} distinct bar times are too few for shares of {shares}; give a longer history")
    return [int(times[0]), int(times[cuts[0]]), int(times[cuts[1]]), int(times[-1]) + timeframe.ns]


def _part(records: pd.DataFrame, index: int, edges_ns: list[int], *, label_ns: int, embargo_ns: int) -> SplitPart:
    start_ns, end_ns = edges_ns[index], edges_ns[index + 1]
    times_ns = records["ts_event_ns"].to_numpy()
    is_inside = (times_ns >= start_ns) & (times_ns < end_ns)
    is_embargoed = is_inside & (times_ns < start_ns + embargo_ns) if index > 0 else np.zeros(len(records), dtype=bool)
    is_last = index == len(edges_ns) - 2
    is_purged = np.zeros(len(records), dtype=bool) if is_last else is_inside & (times_ns + label_ns >= end_ns)
    return SplitPart(
        name=PART_NAMES[index],
        start_ns=start_ns,
        end_ns=end_ns,
        rows=records[is_inside & ~is_embargoed & ~is_purged].reset_index(drop=True),
        purged=records[is_purged].reset_index(drop=True),
        embargoed=records[is_embargoed].reset_index(drop=True),
    )
