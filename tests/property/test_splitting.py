"""What must hold for every split, over panels of symbols with own starts, ends and gaps."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from ratchet.data.splitting import DatasetSplit, split_train_val_test
from ratchet.errors import InputError
from ratchet.market import Timeframe
from ratchet.market.candles import RECORD_COLUMNS, as_candle_records

BAR = Timeframe.parse("1h")
START_NS = 1_704_067_200_000_000_000
SHARES = [(0.7, 0.15, 0.15), (0.5, 0.25, 0.25), (0.34, 0.33, 0.33)]


@st.composite
def panels(draw: st.DrawFn) -> pd.DataFrame:
    """Return candles of one to four symbols that start and end on their own, with holes, in any order."""
    frames = []
    for number in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, 60)), draw(st.integers(1, 120))
        rng = np.random.default_rng(draw(st.integers(0, 10_000)))
        bars = np.arange(start, start + length)[rng.random(length) > draw(st.sampled_from([0.0, 0.3]))]
        prices = dict.fromkeys(("open", "high", "low", "close", "volume"), rng.uniform(1, 2, len(bars)))
        frames.append(pd.DataFrame({"symbol": f"S{number}/USDT", "ts_event_ns": START_NS + bars * BAR.ns, **prices}))
    rows = pd.concat(frames, ignore_index=True)
    return rows.sample(frac=1, random_state=draw(st.integers(0, 100))).reset_index(drop=True)


@st.composite
def splits(draw: st.DrawFn) -> tuple[pd.DataFrame, DatasetSplit]:
    """Return candles and their split; histories too short for it are left out."""
    candles, shares = draw(panels()), draw(st.sampled_from(SHARES))
    horizon, embargo_bars = draw(st.integers(1, 12)), draw(st.integers(0, 8))
    try:
        split = split_train_val_test(candles, shares=shares, timeframe=BAR, horizon=horizon, embargo_bars=embargo_bars)
    except InputError:
        reject()
    return candles, split


@settings(max_examples=100, deadline=None)
@given(splits())
def test_no_label_reaches_a_later_part(case: tuple[pd.DataFrame, DatasetSplit]) -> None:
    """Every label of a part, known at the close of bar t + horizon, ends before any later part starts."""
    split = case[1]
    for index, part in enumerate(split.parts):
        exit_open_ns = part.rows["ts_event_ns"] + split.horizon * BAR.ns
        for later in split.parts[index + 1 :]:
            assert (exit_open_ns + BAR.ns < later.start_ns).all()
            assert (exit_open_ns + BAR.ns < later.rows["ts_event_ns"].min()).all()


@settings(max_examples=100, deadline=None)
@given(splits())
def test_every_row_is_in_exactly_one_place(case: tuple[pd.DataFrame, DatasetSplit]) -> None:
    """Rows, purged and embargoed of the three parts are, together, the input: nothing lost, nothing twice."""
    candles, split = case
    places = [frame for part in split.parts for frame in (part.rows, part.purged, part.embargoed)]
    together = pd.concat(places, ignore_index=True).sort_values(["symbol", "ts_event_ns"], ignore_index=True)
    pd.testing.assert_frame_equal(together, as_candle_records(candles, BAR))
    assert all(list(frame.columns) == list(RECORD_COLUMNS) for frame in places)


@settings(max_examples=100, deadline=None)
@given(splits())
def test_every_symbol_with_rows_in_a_period_is_there(case: tuple[pd.DataFrame, DatasetSplit]) -> None:
    """Only embargo and purge, which are times, take a row out of its period; no symbol is left out."""
    candles, split = case
    embargo_ns, label_ns = split.embargo_bars * BAR.ns, (split.horizon + 1) * BAR.ns
    for index, part in enumerate(split.parts):
        first_ns = part.start_ns + (embargo_ns if index else 0)
        last_ns = part.end_ns - (label_ns if index < 2 else 0)
        times_ns = candles["ts_event_ns"]
        inside = (times_ns >= first_ns) & ((times_ns < last_ns) if index < 2 else (times_ns < part.end_ns))
        assert set(part.rows["symbol"]) == set(candles["symbol"][inside])
        assert len(part.rows) == inside.sum()


@settings(max_examples=100, deadline=None)
@given(splits())
def test_the_cuts_are_one_for_all_and_keep_the_shares(case: tuple[pd.DataFrame, DatasetSplit]) -> None:
    """Periods follow each other without a hole, the embargo is kept, and each has its share of the bar times."""
    candles, split = case
    times = np.unique(candles["ts_event_ns"])
    for before, after in pairwise(split.parts):
        assert before.end_ns == after.start_ns
        assert after.rows["ts_event_ns"].min() >= after.start_ns + split.embargo_bars * BAR.ns
    for part, share in zip(split.parts, split.shares, strict=True):
        n_times = np.count_nonzero((times >= part.start_ns) & (times < part.end_ns))
        assert abs(n_times - share * len(times)) <= 1 + 1e-6
