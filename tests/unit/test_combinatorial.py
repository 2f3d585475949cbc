"""Combinatorial splits beside skfolio and a brute-force definition, and the accuracy of their paths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.combinatorial import CombinatorialPurgedSplit, combinatorial_validation
from ratchet.evaluation.validation import Fit, Predictor
from ratchet.evaluation.walk_forward import Fold
from ratchet.features.panel import Panel
from tests.panels import HOUR_NS, panel_of_returns, signal_panel, walk_returns

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


@pytest.mark.parametrize(
    ("n_groups", "n_test_groups", "n_splits", "n_paths"), [(6, 2, 15, 5), (10, 8, 45, 36), (4, 1, 4, 1), (3, 2, 3, 2)]
)
def test_splits_and_paths_are_as_many_as_there_are_choices(
    n_groups: int, n_test_groups: int, n_splits: int, n_paths: int
) -> None:
    splitter = CombinatorialPurgedSplit(n_groups, n_test_groups)

    assert (splitter.n_splits, splitter.n_paths) == (n_splits, n_paths)
    assert splitter.tested_groups().shape == (n_splits, n_test_groups)
    assert splitter.paths().shape == (n_paths, n_groups)


def test_three_groups_by_hand() -> None:
    """Labels of two bars: one sample is purged before each test block and one after it, and the embargo takes one."""
    decision = np.arange(12, dtype=np.int64)

    purged = CombinatorialPurgedSplit(3, 1).split(decision, decision + 2)
    apart = CombinatorialPurgedSplit(3, 1, embargo_ns=1).split(decision, decision + 2)

    assert [fold.test.tolist() for fold in purged] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert [fold.train.tolist() for fold in purged] == [
        [5, 6, 7, 8, 9, 10, 11],
        [0, 1, 2, 9, 10, 11],
        [0, 1, 2, 3, 4, 5, 6],
    ]
    assert [fold.train.tolist() for fold in apart] == [
        [6, 7, 8, 9, 10, 11],
        [0, 1, 2, 10, 11],
        [0, 1, 2, 3, 4, 5, 6],
    ]
    assert [(fold.test_start_ns, fold.test_end_ns, fold.train_end_ns) for fold in purged] == [
        (0, 3, 13),
        (4, 7, 13),
        (8, 11, 8),
    ]


@pytest.mark.parametrize(("n_groups", "n_test_groups"), [(3, 2), (6, 2), (6, 4), (10, 8)])
@pytest.mark.parametrize(("horizon", "embargo", "n_times"), [(1, 0, 120), (3, 0, 120), (4, 2, 127), (2, 5, 121)])
def test_the_splits_and_paths_are_those_of_skfolio(
    n_groups: int, n_test_groups: int, horizon: int, embargo: int, n_times: int
) -> None:
    """On one series with a fixed horizon, skfolio's purged size is ours less one, and embargoes are the same."""
    selection = pytest.importorskip("skfolio.model_selection")
    other = selection.CombinatorialPurgedCV(
        n_folds=n_groups, n_test_folds=n_test_groups, purged_size=horizon - 1, embargo_size=embargo
    )
    decision = np.arange(n_times, dtype=np.int64) * HOUR_NS
    splitter = CombinatorialPurgedSplit(n_groups, n_test_groups, embargo_ns=embargo * HOUR_NS)

    folds = splitter.split(decision, decision + horizon * HOUR_NS)

    theirs = list(other.split(np.zeros((n_times, 1))))
    assert [fold.test.tolist() for fold in folds] == [np.concatenate(tests).tolist() for _, tests in theirs]
    assert [fold.train.tolist() for fold in folds] == [train.tolist() for train, _ in theirs]
    assert splitter.n_paths == other.n_test_paths
    np.testing.assert_array_equal(splitter.paths(), other.recombined_paths.T)
    np.testing.assert_array_equal(splitter.tested_groups(), other.test_set_index)


@pytest.mark.parametrize(("n_groups", "n_test_groups"), [(6, 2), (7, 3), (5, 4), (5, 1)])
def test_every_path_tests_every_group_once_and_no_test_twice(n_groups: int, n_test_groups: int) -> None:
    splitter = CombinatorialPurgedSplit(n_groups, n_test_groups)
    tested = splitter.tested_groups()

    used = [(int(split), group) for path in splitter.paths() for group, split in enumerate(path)]

    assert all(group in tested[split] for split, group in used)
    assert len(set(used)) == len(used) == tested.size


@st.composite
def timelines(draw: st.DrawFn) -> tuple[IntArray, IntArray]:
    """Decisions and label ends of one to four symbols with own starts, gaps and horizons, in any order."""
    decision, t1 = [], []
    for _ in range(draw(st.integers(1, 4))):
        start, length = draw(st.integers(0, 20)), draw(st.integers(15, 60))
        rng = np.random.default_rng(draw(st.integers(0, 10_000)))
        times = np.arange(start, start + length)[rng.random(length) > draw(st.sampled_from([0.0, 0.3]))]
        decision.append(times)
        t1.append(times + rng.integers(1, draw(st.integers(1, 12)) + 1, len(times)))
    order = np.random.default_rng(draw(st.integers(0, 100))).permutation(sum(map(len, decision)))
    return np.concatenate(decision)[order], np.concatenate(t1)[order]


@st.composite
def splitters(draw: st.DrawFn) -> CombinatorialPurgedSplit:
    n_groups = draw(st.integers(2, 7))
    return CombinatorialPurgedSplit(n_groups, draw(st.integers(1, n_groups - 1)), embargo_ns=draw(st.integers(0, 8)))


def overlaps(first: IntArray, first_end: IntArray, second: IntArray, second_end: IntArray) -> BoolArray:
    """Whether the times from decision to label end of two sets of samples share a moment, bool (first, second)."""
    shares: BoolArray = (first[:, None] < second_end[None, :]) & (second[None, :] < first_end[:, None])
    return shares


@settings(max_examples=150, deadline=None)
@given(timelines(), splitters())
def test_no_training_label_overlaps_a_test_label_or_its_embargo(
    timeline: tuple[IntArray, IntArray], splitter: CombinatorialPurgedSplit
) -> None:
    """Sample by sample; and what is left out lies within a test group's time, its purge or its embargo."""
    decision, t1 = timeline
    try:
        folds = splitter.split(decision, t1)
    except InputError:
        return
    group, tested = splitter.groups(decision), splitter.tested_groups()
    for fold in folds:
        assert not overlaps(decision[fold.train], t1[fold.train], decision[fold.test], t1[fold.test]).any()
        assert set(group[fold.test].tolist()) == set(tested[fold.index].tolist())
        assert np.isin(group, tested[fold.index]).sum() == len(fold.test)
        usable = ~np.isin(group, tested[fold.index])
        for one in tested[fold.index].tolist():
            start, end = decision[group == one].min(), t1[group == one].max()
            embargoed = (decision >= end) & (decision < end + splitter.embargo_ns)
            usable &= ~embargoed & ~overlaps(decision, t1, np.array([start]), np.array([end]))[:, 0]
        assert fold.train.tolist() == np.flatnonzero(usable).tolist()


@settings(max_examples=100, deadline=None)
@given(timelines(), splitters())
def test_all_symbols_of_one_moment_fall_into_the_same_group(
    timeline: tuple[IntArray, IntArray], splitter: CombinatorialPurgedSplit
) -> None:
    """Groups follow one another in time, and none but the last is larger than another."""
    decision, _ = timeline
    group = splitter.groups(decision)
    order = np.argsort(decision, kind="stable")

    assert np.all(np.diff(group[order]) >= 0)
    assert all(len(set(group[decision == moment].tolist())) == 1 for moment in np.unique(decision))
    sizes = [len(np.unique(decision[group == one])) for one in range(splitter.n_groups)]
    assert set(sizes[:-1]) == {min(sizes)}


def knows_the_signal(panel: Panel, fold: Fold) -> Predictor:
    """A model that reads the planted feature: right with probability Phi(0.5) = 69.1 %."""

    def predict(seen: Panel, index: IntArray) -> NDArray[np.float64]:
        return np.where(seen.features[seen.end_row[index], 0] > 0, 0.7, 0.3)

    return predict


def copies_the_neighbour(panel: Panel, fold: Fold) -> Predictor:
    """A model that answers the label of the training sample of the same symbol that is nearest in time."""

    def predict(seen: Panel, index: IntArray) -> NDArray[np.float64]:
        answer = np.empty(len(index))
        for symbol in range(len(seen.symbols)):
            known = fold.train[seen.symbol_id[fold.train] == symbol]
            asked = seen.symbol_id[index] == symbol
            times, wanted = seen.ts_ns[known], seen.ts_ns[index[asked]]
            after = np.clip(np.searchsorted(times, wanted), 1, len(times) - 1)
            nearest = np.where(wanted - times[after - 1] <= times[after] - wanted, after - 1, after)
            answer[asked] = 0.5 + 0.4 * seen.label[known[nearest]]
        return answer

    return predict


def without_purging(fit: Fit) -> Fit:
    """The same model, but trained on everything that is not tested."""

    def leaky(panel: Panel, fold: Fold) -> Predictor:
        everything = np.setdiff1d(np.arange(len(panel)), fold.test)
        return fit(panel, replace(fold, train=everything))

    return leaky


def test_each_path_finds_the_accuracy_of_a_model_of_known_quality() -> None:
    panel = signal_panel(n_symbols=2, n_bars=600, strength=0.5)
    splitter = CombinatorialPurgedSplit(6, 2, embargo_ns=2 * HOUR_NS)
    done: list[int] = []

    result = combinatorial_validation(panel, knows_the_signal, splitter, on_split=lambda fold: done.append(fold.index))

    assert (result.n_groups, result.n_test_groups, result.n_splits) == (6, 2, 15)
    assert done == list(range(15))
    assert len(result.accuracies) == 5
    assert len(set(result.accuracies)) == 1  # nothing is fitted, so all paths are the same
    assert result.accuracies[0] == pytest.approx(0.691, abs=0.05)


def test_a_path_is_put_together_from_the_splits_that_test_its_groups() -> None:
    """A model that is right in one split alone raises just the paths that use that split, by the groups they take."""
    panel = signal_panel(n_symbols=1, n_bars=301)
    splitter = CombinatorialPurgedSplit(4, 2)
    group = splitter.groups(panel.decision_ns)

    def right_in_split_two(seen: Panel, fold: Fold) -> Predictor:
        sign = 1.0 if fold.index == 2 else -1.0
        return lambda _, index: np.asarray(0.5 + 0.4 * sign * seen.label[index], dtype=np.float64)

    found = combinatorial_validation(panel, right_in_split_two, splitter).accuracies

    expected = [np.isin(group, np.flatnonzero(path == 2)).mean() for path in splitter.paths()]
    assert found == pytest.approx(expected)
    assert sum(found) == pytest.approx(0.5, abs=0.01)  # two of four groups, each in one path


def test_copying_the_neighbour_pays_without_purging_and_not_with_it() -> None:
    """On random walks whose labels overlap over 24 bars nothing can be predicted; only a leak says otherwise."""
    panel = panel_of_returns(walk_returns(8, 1500, seed=11), np.zeros((8, 1500, 1)), horizon=24)
    splitter = CombinatorialPurgedSplit(20, 2)

    honest = combinatorial_validation(panel, copies_the_neighbour, splitter)
    leaky = combinatorial_validation(panel, without_purging(copies_the_neighbour), splitter)

    assert np.mean(honest.accuracies) == pytest.approx(0.5, abs=0.03)
    assert np.mean(leaky.accuracies) > 0.54


@pytest.mark.parametrize("wrong", [(3, 3, 0), (3, 0, 0), (6, 2, -1), (20, 10, 0)])
def test_settings_that_make_no_sense_are_refused(wrong: tuple[int, int, int]) -> None:
    with pytest.raises(InputError):
        CombinatorialPurgedSplit(*wrong)


def test_a_history_too_short_for_the_groups_says_so() -> None:
    short = np.arange(5, dtype=np.int64)

    with pytest.raises(InputError, match="5 distinct decision times are too few for 6 groups"):
        CombinatorialPurgedSplit().split(short, short + 1)
    with pytest.raises(InputError, match="split 0 has no training sample"):
        CombinatorialPurgedSplit(3, 2).split(np.arange(9, dtype=np.int64), np.arange(9, dtype=np.int64) + 6)
