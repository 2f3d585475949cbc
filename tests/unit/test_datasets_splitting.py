"""Splitting by time: known cuts, refusals, and the parts as datasets."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from ratchet.data.lineage import lineage
from ratchet.data.snapshots import load_candle_records, load_candles, load_manifest, save_dataset
from ratchet.data.splitting import DatasetSplit, refuse_overlap, save_split, split_train_val_test
from ratchet.errors import InputError, LeakageError
from ratchet.features.labels import label_horizon
from ratchet.market import Timeframe
from tests.candle_paths import HOUR, START_NS, random_candles


def _panel() -> pd.DataFrame:
    frames = [
        random_candles(1_000, seed=1),
        random_candles(300, seed=2, symbol="LUNA/USDT"),
        random_candles(1_000, seed=3, symbol="NEW/USDT").tail(200),
    ]
    return pd.concat(frames, ignore_index=True)


def _split(candles: pd.DataFrame, *, horizon: int = 24, embargo_bars: int = 24) -> DatasetSplit:
    return split_train_val_test(candles, timeframe=HOUR, horizon=horizon, embargo_bars=embargo_bars)


def _bars(part: pd.DataFrame) -> tuple[int, int]:
    return tuple(int((time_ns - START_NS) // HOUR.ns) for time_ns in part["ts_event_ns"].agg(["min", "max"]))  # type: ignore[return-value]


def test_the_cuts_are_where_they_are_expected() -> None:
    """Of 1,000 bars with horizon and embargo 24: 700/150/150, 25 purged before each cut, 24 embargoed after it."""
    split = _split(random_candles(1_000, seed=1))
    assert [_bars(part.rows) for part in split.parts] == [(0, 674), (724, 824), (874, 999)]
    assert [len(part.purged) for part in split.parts] == [25, 25, 0]
    assert [len(part.embargoed) for part in split.parts] == [0, 24, 24]
    assert str(split.train).startswith("train 2024-01-01T00:00:00Z to 2024-01-30T04:00:00Z: 675 rows of 1 symbols")


def test_labels_of_the_library_end_before_validation() -> None:
    """The label ends that the features compute on the whole history lie before validation for every training row."""
    candles = random_candles(400, seed=1)
    split = _split(candles, horizon=7, embargo_bars=0)
    t1_ns = pd.Series(label_horizon(candles, 7, HOUR, 10.0).t1_ns, index=candles["ts_event_ns"])
    assert (t1_ns[split.train.rows["ts_event_ns"]] < split.validation.start_ns).all()
    assert (t1_ns[split.train.purged["ts_event_ns"]] >= split.validation.start_ns).all()


def test_symbols_stay_where_they_have_rows() -> None:
    """A symbol that was delisted in the training period is there only, a new one only later."""
    split = _split(_panel())
    assert [sorted(part.rows["symbol"].unique()) for part in split.parts] == [
        ["BTC/USDT", "LUNA/USDT"],
        ["BTC/USDT", "NEW/USDT"],
        ["BTC/USDT", "NEW/USDT"],
    ]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"shares": (0.7, 0.2, 0.2)}, "add up to 1"),
        ({"shares": (1.0, 0.0, 0.0)}, "three positive numbers"),
        ({"horizon": 0}, "at least one bar"),
        ({"embargo_bars": -1}, "must not be negative"),
        ({"horizon": 699}, "no row is left for train"),
        ({"horizon": 100, "embargo_bars": 50}, "no row is left for validation"),
        ({"embargo_bars": 150}, "no row is left for"),
    ],
)
def test_what_does_not_fit_is_refused(change: dict[str, object], expected: str) -> None:
    """Wrong shares, horizons and embargoes, and an empty part, are an InputError that names them."""
    arguments: dict[str, object] = {"horizon": 24, "embargo_bars": 24, "timeframe": HOUR, **change}
    with pytest.raises(InputError, match=expected):
        split_train_val_test(random_candles(1_000, seed=1), **arguments)  # type: ignore[arg-type]


def test_a_history_of_two_bars_is_refused() -> None:
    """Three parts need three bars."""
    with pytest.raises(InputError, match="2 distinct bar times are too few"):
        _split(random_candles(2, seed=1), horizon=1, embargo_bars=0)


def test_overlapping_parts_are_refused(tmp_path: Path) -> None:
    """A split into which somebody put purged or embargoed rows back is a LeakageError, also on saving."""
    split = _split(random_candles(1_000, seed=1))
    train = replace(split.train, rows=pd.concat([split.train.rows, split.train.purged.head(1)]))
    with pytest.raises(LeakageError, match="the last label of train ends at 2024-01-30T04:00:00Z"):
        refuse_overlap(replace(split, train=train))
    with pytest.raises(LeakageError, match="last label of train"):
        save_split(tmp_path, replace(split, train=train), source="test")
    test = replace(split.test, rows=pd.concat([split.test.embargoed.tail(1), split.test.rows]))
    with pytest.raises(LeakageError, match="within the embargo of 24 bars"):
        refuse_overlap(replace(split, test=test))


def test_parts_are_saved_with_their_parent(tmp_path: Path) -> None:
    """Each part is a dataset with the parent's source, when each row became known, and a lineage that says how."""
    candles = _panel()
    known = candles.assign(known_ns=candles["ts_event_ns"] + 3 * HOUR.ns)
    parent = save_dataset(tmp_path, known, source="venue", timeframe=HOUR)
    split = split_train_val_test(parent, timeframe=HOUR, horizon=24, embargo_bars=24)
    saved = save_split(tmp_path, split, made_at_ns=START_NS)
    for ref, part in zip((saved.train, saved.validation, saved.test), split.parts, strict=True):
        pd.testing.assert_frame_equal(load_candle_records(ref), part.rows)
        manifest = load_manifest(ref)
        assert (manifest.source, manifest.parents) == ("venue", (parent.digest,))
        assert manifest.made_by == f"split {part.name} 70/15/15 purge 24 embargo 24"
        assert lineage(tmp_path, ref).roots == (parent.digest,)
    with pytest.raises(InputError, match="has 1h bars, not 2h"):
        split_train_val_test(parent, timeframe=Timeframe.parse("2h"), horizon=1, embargo_bars=0)


def test_a_bare_frame_needs_a_source_to_be_saved(tmp_path: Path) -> None:
    """Where the candles came from must be said once."""
    split = _split(random_candles(1_000, seed=1))
    with pytest.raises(InputError, match="source="):
        save_split(tmp_path, split)
    assert len(load_candles(save_split(tmp_path, split, source="test").test)) == 126
