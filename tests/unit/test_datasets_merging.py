"""Merging new candles into a stored dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.data.lineage import lineage
from ratchet.data.manifest import DatasetRef
from ratchet.data.merging import MergeResult, Policy, merge_with_existing_dataset
from ratchet.data.snapshots import (
    load_books,
    load_candle_records,
    load_candles,
    load_manifest,
    load_trades,
    save_dataset,
)
from ratchet.errors import InputError
from ratchet.market import Timeframe
from ratchet.market.candles import as_candle_records
from tests.candle_paths import HOUR, START_NS, random_candles

BTC, ETH, OLD = "BTC/USDT", "ETH/USDT", "LUNA/USDT"


def _save(root: Path, candles: pd.DataFrame) -> DatasetRef:
    return save_dataset(root, candles, source="test", timeframe=HOUR)


def _merge(root: Path, existing: DatasetRef, new: pd.DataFrame, policy: Policy = "newest_known") -> MergeResult:
    return merge_with_existing_dataset(root, existing, new, timeframe=HOUR, policy=policy)


def _counts(result: MergeResult) -> tuple[int, int, int, int]:
    return result.n_added, result.n_revised, result.n_kept, result.n_unchanged


def _changed(candles: pd.DataFrame, *rows: int, late_ns: int = 0, is_filled: bool = False) -> pd.DataFrame:
    """Return records in which some rows have another close, known `late_ns` after the bar's close."""
    records = as_candle_records(candles, HOUR)
    hit = records.index.isin(rows)
    return records.assign(
        close=np.where(hit, 1.0, records["close"]),
        known_ns=records["known_ns"] + np.where(hit, late_ns, 0),
        is_filled=hit & is_filled,
    )


def test_the_union_keeps_every_bar_and_every_symbol(tmp_path: Path) -> None:
    """An overlapping update extends one symbol, brings another, and leaves the delisted one."""
    btc, gone = random_candles(50, seed=1, symbol=BTC), random_candles(20, seed=2, symbol=OLD)
    fresh = random_candles(10, seed=3, symbol=ETH)
    existing = _save(tmp_path, pd.concat([btc.head(40), gone]))
    result = _merge(tmp_path, existing, pd.concat([btc.tail(15), fresh]))
    assert _counts(result) == (20, 0, 0, 5)
    expected = pd.concat([btc, fresh, gone], ignore_index=True)
    pd.testing.assert_frame_equal(load_candles(result.ref), expected)
    (_, way) = lineage(tmp_path, result.ref).steps
    assert way.digest == existing.digest
    assert load_manifest(result.ref).made_by == "merge"
    assert "20 bars added" in str(result)


@pytest.mark.parametrize(
    ("policy", "late_ns", "wins"),
    [
        ("newest_known", HOUR.ns, True),
        ("newest_known", 0, True),
        ("keep_existing", HOUR.ns, False),
    ],
)
def test_conflicts_are_decided_by_the_policy(tmp_path: Path, policy: Policy, late_ns: int, wins: bool) -> None:
    """A revision known later, or at the same time, replaces the value; with keep_existing it never does."""
    candles = random_candles(10, seed=1)
    existing = _save(tmp_path, candles)
    result = _merge(tmp_path, existing, _changed(candles, 3, 6, late_ns=late_ns), policy)
    assert _counts(result) == ((0, 2, 0, 8) if wins else (0, 0, 2, 8))
    close = load_candles(result.ref)["close"]
    assert close[3] == (1.0 if wins else candles["close"][3])
    assert (result.ref == existing) is not wins
    assert load_candles(existing)["close"][3] == candles["close"][3]


def test_an_older_value_does_not_replace_a_newer_one(tmp_path: Path) -> None:
    """A dataset with a late revision keeps it against what was known earlier, whichever side is merged into which."""
    candles = random_candles(10, seed=1)
    revised = _changed(candles, 4, late_ns=5 * HOUR.ns)
    one = _merge(tmp_path, _save(tmp_path, revised), candles)
    other = _merge(tmp_path, _save(tmp_path, candles), revised)
    assert (_counts(one), _counts(other)) == ((0, 0, 1, 9), (0, 1, 0, 9))
    assert one.ref == other.ref
    assert load_candles(one.ref, known_at_ns=START_NS + 9 * HOUR.ns)["ts_event_ns"].tolist() == [
        START_NS + row * HOUR.ns for row in range(9) if row != 4
    ]


def test_a_traded_bar_beats_a_made_up_one(tmp_path: Path) -> None:
    """A bar that was filled in later does not replace the real one, and the real one replaces it."""
    candles = random_candles(10, seed=1)
    filled = _changed(candles, 4, late_ns=HOUR.ns, is_filled=True)
    onto_real = _merge(tmp_path, _save(tmp_path, candles), filled)
    onto_filled = _merge(tmp_path, _save(tmp_path, filled), candles)
    assert (_counts(onto_real), _counts(onto_filled)) == ((0, 0, 1, 9), (0, 1, 0, 9))
    assert onto_real.ref == onto_filled.ref
    assert not load_candle_records(onto_real.ref)["is_filled"].any()


def test_the_same_values_again_change_nothing(tmp_path: Path) -> None:
    """Values fetched again later, missing ones included, give the same dataset: they were known before."""
    candles = random_candles(10, seed=1)
    candles = candles.assign(volume=candles["volume"].where(candles.index != 2))
    existing = _save(tmp_path, candles)
    again = as_candle_records(candles, HOUR).assign(known_ns=START_NS + 100 * HOUR.ns)
    result = _merge(tmp_path, existing, again)
    assert result.ref == existing
    assert _counts(result) == (0, 0, 0, 10)
    (step,) = lineage(tmp_path, existing).steps
    assert [(way.made_by, way.parents) for way in step.ways] == [("", ()), ("merge", ())]


def test_books_and_trades_of_the_existing_dataset_stay(tmp_path: Path) -> None:
    """A merge of candles loses neither books nor trades."""
    candles = random_candles(10, seed=1)
    trades = pd.DataFrame({"symbol": BTC, "ts_event_ns": START_NS + np.arange(4), "price": np.arange(4.0)})
    books = pd.DataFrame({"symbol": BTC, "ts_event_ns": START_NS + np.arange(2), "bid_price_0": np.arange(2.0)})
    existing = save_dataset(tmp_path, candles.head(8), source="test", timeframe=HOUR, books=books, trades=trades)
    merged = _merge(tmp_path, existing, candles.tail(2)).ref
    for frame, loaded in ((trades, load_trades(merged)), (books, load_books(merged))):
        assert loaded is not None
        pd.testing.assert_frame_equal(loaded, frame)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    """Another timeframe, or a bar that comes twice, is an InputError."""
    candles = random_candles(10, seed=1)
    existing = _save(tmp_path, candles)
    with pytest.raises(InputError, match="has 1h bars, not 2h"):
        merge_with_existing_dataset(tmp_path, existing, candles, timeframe=Timeframe.parse("2h"))
    twice = pd.concat([candles, candles.iloc[[5]]])
    with pytest.raises(InputError, match="the new candles: 1 bars appear twice, the first is BTC/USDT 2024-01-01T05"):
        _merge(tmp_path, existing, twice)
    doubled = _save(tmp_path, twice)
    with pytest.raises(InputError, match="appear twice"):
        _merge(tmp_path, doubled, candles)
