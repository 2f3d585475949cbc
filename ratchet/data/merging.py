"""Union of a stored dataset and newly collected candles; conflicts are decided by when a value became known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import iso_utc
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_books, load_candle_records, load_manifest, load_trades, save_dataset
from ratchet.errors import InputError
from ratchet.market.candles import PRICE_COLUMNS, as_candle_records
from ratchet.market.symbols import Timeframe

Policy = Literal["newest_known", "keep_existing"]

_KEY = ["symbol", "ts_event_ns"]
_VALUES = (*PRICE_COLUMNS, "volume")


@dataclass(frozen=True, slots=True)
class MergeResult:
    """The merged dataset, and what became of the new rows: each is counted once."""

    ref: DatasetRef
    n_added: int
    """Bars that the existing dataset did not have."""
    n_revised: int
    """Bars whose new values replaced other ones."""
    n_kept: int
    """Bars whose new values lost against other, existing ones."""
    n_unchanged: int
    """Bars whose values were the same."""

    def __str__(self) -> str:
        return (
            f"dataset {self.ref.digest[:12]}: {self.n_added:,} bars added, {self.n_revised:,} revised, "
            f"{self.n_kept:,} conflicts kept as they were, {self.n_unchanged:,} unchanged"
        )


def merge_with_existing_dataset(
    root: Path,
    existing: DatasetRef,
    new: pd.DataFrame,
    *,
    timeframe: Timeframe,
    policy: Policy = "newest_known",
    other_parents: Sequence[DatasetRef] = (),
    made_by: str = "merge",
    made_at_ns: int | None = None,
) -> MergeResult:
    """Store the union, by symbol and time, of a dataset and new candles; nothing of either is lost.

    With `newest_known` a bar with differing values takes those with the later `known_ns`, on a tie the new ones; a bar
    that was traded always beats one that was made up. Equal values keep the earlier `known_ns`. With `keep_existing`
    the existing bar always stays. The replaced values remain in the existing dataset, which becomes a parent. Source,
    books and trades are those of the existing dataset; symbols that only one side has stay.

    Args:
        root: the home folder; the result lies in `root/datasets`.
        existing: a stored dataset.
        new: a candle frame, with or without `known_ns` and `is_filled`; without, each bar is known at its close.
        timeframe: length of the bars of both.
        policy: what decides between differing values.
        other_parents: stored datasets from which `new` was taken.
        made_by: what the lineage says about how the result was made.
        made_at_ns: when, ns UTC, where that matters.

    Raises:
        InputError: another timeframe, a bar that one side has twice, or what `save_dataset` refuses.
        NotFoundError: the existing dataset is not there.
        ArtifactError: the existing dataset was altered.
    """
    manifest = load_manifest(existing)
    if manifest.timeframe != timeframe.text:
        raise InputError(
            f"{existing.uri} has {manifest.timeframe} bars, not {timeframe.text}; merge bars of one length"
        )
    old, fresh = load_candle_records(existing), as_candle_records(new, timeframe)
    _refuse_twice(old, f"dataset {existing.digest[:12]}")
    _refuse_twice(fresh, "the new candles")
    merged, is_known, is_same, wins = _merge(old, fresh, policy)
    ref = save_dataset(
        root,
        merged,
        source=manifest.source,
        timeframe=timeframe,
        books=load_books(existing),
        trades=load_trades(existing),
        parents=(existing, *other_parents),
        made_by=made_by,
        made_at_ns=made_at_ns,
    )
    return MergeResult(
        ref=ref,
        n_added=int(np.count_nonzero(~is_known)),
        n_revised=int(np.count_nonzero(wins)),
        n_kept=int(np.count_nonzero(~is_same & ~wins)),
        n_unchanged=int(np.count_nonzero(is_same)),
    )


def _merge(
    old: pd.DataFrame, fresh: pd.DataFrame, policy: Policy
) -> tuple[pd.DataFrame, NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the union; for each fresh row whether the bar was there; for those bars whether it is same, or wins."""
    at = _positions(old, fresh)
    is_known = at >= 0
    rival, at = fresh[is_known], at[is_known]
    twin = old.iloc[at]
    is_same = _same(twin, rival)
    wins = np.zeros(len(rival), dtype=bool) if policy == "keep_existing" else ~is_same & _beats(rival, twin)
    replaced, gained = at[wins], rival[wins]
    if policy == "newest_known":
        known_ns = old["known_ns"].to_numpy().copy()
        known_ns[at[is_same]] = np.minimum(known_ns[at[is_same]], rival["known_ns"].to_numpy()[is_same])
        old = old.assign(known_ns=known_ns)
    stays = np.ones(len(old), dtype=bool)
    stays[replaced] = False
    return pd.concat([old[stays], gained, fresh[~is_known]], ignore_index=True), is_known, is_same, wins


def _positions(old: pd.DataFrame, fresh: pd.DataFrame) -> NDArray[np.int64]:
    """Return where in `old` each fresh bar lies, -1 for nowhere; both are sorted by time within a symbol."""
    times_ns, fresh_ns = old["ts_event_ns"].to_numpy(), fresh["ts_event_ns"].to_numpy()
    rows_of = old.groupby("symbol", sort=False).indices
    at = np.full(len(fresh), -1, dtype=np.int64)
    for symbol, rows in fresh.groupby("symbol", sort=False).indices.items():
        if symbol in rows_of:
            own = rows_of[symbol]
            nearest = own[np.minimum(np.searchsorted(times_ns[own], fresh_ns[rows]), len(own) - 1)]
            at[rows] = np.where(times_ns[nearest] == fresh_ns[rows], nearest, -1)
    return at


def _same(left: pd.DataFrame, right: pd.DataFrame) -> NDArray[np.bool_]:
    same = left["is_filled"].to_numpy() == right["is_filled"].to_numpy()
    for name in _VALUES:
        a, b = left[name].to_numpy(), right[name].to_numpy()
        same &= (a == b) | (np.isnan(a) & np.isnan(b))
    return np.asarray(same, dtype=bool)


def _beats(rival: pd.DataFrame, twin: pd.DataFrame) -> NDArray[np.bool_]:
    made_up, was_made_up = rival["is_filled"].to_numpy(), twin["is_filled"].to_numpy()
    is_later = rival["known_ns"].to_numpy() >= twin["known_ns"].to_numpy()
    return np.asarray(np.where(made_up == was_made_up, is_later, was_made_up), dtype=bool)


def _refuse_twice(rows: pd.DataFrame, where: str) -> None:
    twice = rows.duplicated(_KEY).to_numpy()
    if twice.any():
        first = rows.iloc[int(twice.argmax())]
        raise InputError(
            f"{where}: {np.count_nonzero(twice)} bars appear twice, the first is {first['symbol']} "
            f"{iso_utc(int(first['ts_event_ns']))}; let the quality gate judge them first"
        )
