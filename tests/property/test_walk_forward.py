"""What must hold for every walk-forward, over panels of several symbols, horizons, gaps and embargoes."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage

IntArray = NDArray[np.int64]


@st.composite
def timelines(draw: st.DrawFn) -> tuple[IntArray, IntArray]:
    """Decisions and label ends of one to four symbols with own starts, gaps and horizons, in any order."""
    decision, t1 = [], []
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, 20)), draw(st.integers(15, 60))
        horizon = draw(st.integers(1, 12))
        rng = np.random.default_rng(draw(st.integers(0, 10_000)))
        times = np.arange(start, start + length)[rng.random(length) > draw(st.sampled_from([0.0, 0.3]))]
        decision.append(times)
        t1.append(times + rng.integers(1, horizon + 1, len(times)))
    order = np.random.default_rng(draw(st.integers(0, 100))).permutation(sum(map(len, decision)))
    return np.concatenate(decision)[order], np.concatenate(t1)[order]


splitters = st.builds(
    PurgedWalkForward,
    n_splits=st.integers(1, 6),
    embargo_ns=st.integers(0, 8),
    min_train_share=st.floats(0.3, 0.8),
    scheme=st.sampled_from(["expanding", "rolling"]),
)


DAY_NS = 86_400_000_000_000

calendar_splitters = st.builds(
    PurgedWalkForward,
    n_splits=st.integers(1, 4),
    embargo_ns=st.integers(0, 8).map(lambda days: days * DAY_NS),
    min_train_share=st.floats(0.1, 0.8),
    scheme=st.sampled_from(["expanding", "rolling"]),
    window=st.sampled_from(["week", "month", "quarter"]),
)


@st.composite
def calendar_timelines(draw: st.DrawFn) -> tuple[IntArray, IntArray]:
    """The same timelines, each step of which takes some hours to some days, from any day of some years."""
    decision, t1 = draw(timelines())
    step = draw(st.sampled_from([8, 24, 72])) * DAY_NS // 24
    start = draw(st.integers(16_000, 20_000)) * DAY_NS
    return start + decision * step, start + t1 * step


def folds_or_nothing(splitter: PurgedWalkForward, decision: IntArray, t1: IntArray) -> list[Fold]:
    try:
        return splitter.split(decision, t1)
    except InputError:
        return []


@settings(max_examples=200, deadline=None)
@given(timelines(), splitters)
def test_no_training_label_overlaps_the_test_window_or_its_embargo(
    timeline: tuple[IntArray, IntArray], splitter: PurgedWalkForward
) -> None:
    """Every training label, embargo included, has ended when the first test decision is taken."""
    decision, t1 = timeline
    for fold in folds_or_nothing(splitter, decision, t1):
        first = decision[fold.test].min()
        assert np.all(t1[fold.train] + splitter.embargo_ns <= first)
        assert fold.train_end_ns == t1[fold.train].max()
        assert not set(fold.train.tolist()) & set(fold.test.tolist())
        refuse_leakage(fold, decision, t1, embargo_ns=splitter.embargo_ns)


@settings(max_examples=200, deadline=None)
@given(timelines(), splitters)
def test_the_windows_cover_the_test_span_once_and_in_order(
    timeline: tuple[IntArray, IntArray], splitter: PurgedWalkForward
) -> None:
    """Every sample after the first test decision is tested in exactly one window, and windows follow one another."""
    decision, t1 = timeline
    folds = folds_or_nothing(splitter, decision, t1)
    if not folds:
        return
    tested = np.concatenate([fold.test for fold in folds])
    assert sorted(tested.tolist()) == np.flatnonzero(decision >= folds[0].test_start_ns).tolist()
    assert len(folds) == splitter.n_splits
    for before, after in pairwise(folds):
        assert before.test_end_ns < after.test_start_ns
    assert len(set(decision[decision < folds[0].test_start_ns].tolist())) >= splitter.min_train_share * len(
        set(decision.tolist())
    )


@settings(max_examples=100, deadline=None)
@given(timelines(), splitters)
def test_expanding_training_drops_nothing_that_it_could_use(
    timeline: tuple[IntArray, IntArray], splitter: PurgedWalkForward
) -> None:
    """The expanding scheme equals the definition, sample by sample; the rolling one is a subset of it."""
    decision, t1 = timeline
    for fold in folds_or_nothing(splitter, decision, t1):
        usable = [i for i in range(len(decision)) if t1[i] + splitter.embargo_ns <= fold.test_start_ns]
        if splitter.scheme == "expanding":
            assert fold.train.tolist() == usable
        else:
            assert set(fold.train.tolist()) <= set(usable)


@settings(max_examples=50, deadline=None)
@given(timelines(), splitters, st.integers(0, 100))
def test_the_order_of_the_rows_does_not_matter(
    timeline: tuple[IntArray, IntArray], splitter: PurgedWalkForward, seed: int
) -> None:
    """Shuffled rows give the same folds of the same samples."""
    decision, t1 = timeline
    order = np.random.default_rng(seed).permutation(len(decision))
    straight = folds_or_nothing(splitter, decision, t1)
    shuffled = folds_or_nothing(splitter, decision[order], t1[order])

    def samples(fold: Fold, positions: NDArray[Any]) -> tuple[set[int], set[int]]:
        return set(positions[fold.train].tolist()), set(positions[fold.test].tolist())

    same = np.arange(len(decision))
    assert [samples(fold, same) for fold in straight] == [samples(fold, order) for fold in shuffled]


def period_of(time_ns: int, window: str | None) -> tuple[int, int]:
    """Year and number of the week, month or quarter (UTC), by the standard library's calendar."""
    moment = datetime.fromtimestamp(time_ns / 1e9, UTC)
    if window == "week":
        year, week, _ = moment.isocalendar()
        return year, week
    return moment.year, moment.month if window == "month" else (moment.month - 1) // 3


@settings(max_examples=200, deadline=None)
@given(calendar_timelines(), calendar_splitters)
def test_calendar_windows_are_the_last_whole_periods_and_leak_nothing(
    timeline: tuple[IntArray, IntArray], splitter: PurgedWalkForward
) -> None:
    """Each window holds all samples of one period, after which one more decision would fall, and nothing else."""
    decision, t1 = timeline
    folds = folds_or_nothing(splitter, decision, t1)
    if not folds:
        return
    period = [period_of(moment, splitter.window) for moment in decision.tolist()]
    times = np.unique(decision)
    running = period_of(int(times[-1] + np.diff(times).min()), splitter.window)
    whole = sorted({one for one in period if one < running})[-splitter.n_splits :]
    tested = [sorted({period[i] for i in fold.test.tolist()}) for fold in folds]
    assert tested == [[one] for one in whole]
    assert sum(len(fold.test) for fold in folds) == sum(one in whole for one in period)
    first_ns = folds[0].test_start_ns
    assert np.count_nonzero(times < first_ns) >= splitter.min_train_share * len(times)
    for fold in folds:
        refuse_leakage(fold, decision, t1, embargo_ns=splitter.embargo_ns)
        usable = np.flatnonzero(t1 + splitter.embargo_ns <= fold.test_start_ns)
        assert set(fold.train.tolist()) <= set(usable.tolist())
        assert splitter.scheme == "rolling" or len(fold.train) == len(usable)
