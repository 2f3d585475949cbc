"""Folds on small timelines that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ratchet.errors import InputError, LeakageError
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage

TIMES = np.arange(10, dtype=np.int64)


def times_of(fold: Fold, decision: np.ndarray[Any, np.dtype[np.int64]]) -> tuple[list[int], list[int]]:
    return sorted(set(decision[fold.train].tolist())), sorted(set(decision[fold.test].tolist()))


def test_labels_that_end_after_the_first_test_decision_are_purged() -> None:
    """With labels of two bars, the last decision before each window is not trained on: its label ends inside."""
    folds = PurgedWalkForward(n_splits=2, min_train_share=0.6).split(TIMES, TIMES + 2)

    assert [times_of(fold, TIMES) for fold in folds] == [
        ([0, 1, 2, 3, 4], [6, 7]),
        ([0, 1, 2, 3, 4, 5, 6], [8, 9]),
    ]
    assert [fold.train_end_ns for fold in folds] == [6, 8]
    assert [(fold.test_start_ns, fold.test_end_ns) for fold in folds] == [(6, 7), (8, 9)]


def test_the_embargo_moves_the_end_of_training_further_back() -> None:
    """An embargo of three leaves out three more decisions than purging alone."""
    folds = PurgedWalkForward(n_splits=2, min_train_share=0.6, embargo_ns=3).split(TIMES, TIMES + 1)

    assert [times_of(fold, TIMES)[0] for fold in folds] == [[0, 1, 2], [0, 1, 2, 3, 4]]


def test_rolling_training_forgets_what_is_older_than_the_first_fold_was() -> None:
    """The rolling scheme keeps the training span of the first fold."""
    folds = PurgedWalkForward(n_splits=2, min_train_share=0.6, scheme="rolling").split(TIMES, TIMES + 1)

    assert [times_of(fold, TIMES)[0] for fold in folds] == [[0, 1, 2, 3, 4, 5], [2, 3, 4, 5, 6, 7]]


def test_all_symbols_of_one_moment_fall_on_the_same_side() -> None:
    """Folds are cut by time and not by row, in whatever order the rows come."""
    decision = np.repeat(TIMES, 3)[::-1].copy()
    folds = PurgedWalkForward(n_splits=3, min_train_share=0.4).split(decision, decision + 1)

    for fold in folds:
        train, test = times_of(fold, decision)
        assert not set(train) & set(test)
        assert len(fold.test) == 3 * len(test)


def test_a_history_too_short_for_the_windows_says_so() -> None:
    """Fewer decision times than windows is refused with both figures."""
    with pytest.raises(InputError, match="5 distinct decision times are too few for 5 test windows"):
        PurgedWalkForward(n_splits=5).split(TIMES[:5], TIMES[:5] + 1)


def test_an_embargo_that_leaves_no_training_sample_says_so() -> None:
    """A fold without training samples is refused, naming the fold and what to change."""
    with pytest.raises(InputError, match="fold 0 has no training sample"):
        PurgedWalkForward(n_splits=2, embargo_ns=7).split(TIMES, TIMES + 1)


@pytest.mark.parametrize(
    "wrong",
    [{"n_splits": 0}, {"embargo_ns": -1}, {"min_train_share": 1.0}, {"min_train_share": 0.0}, {"scheme": "shuffled"}],
)
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    """Each setting outside its range is refused when the splitter is made."""
    with pytest.raises(InputError):
        PurgedWalkForward(**wrong)


def test_a_fold_whose_training_labels_reach_into_the_test_is_refused() -> None:
    """The check looks at the samples, so that it holds for folds from elsewhere too."""
    fold = PurgedWalkForward(n_splits=2, min_train_share=0.6, embargo_ns=1).split(TIMES, TIMES + 2)[0]
    refuse_leakage(fold, TIMES, TIMES + 2, embargo_ns=1)

    with pytest.raises(LeakageError, match="fold 0: 1 of 5 training labels end later"):
        refuse_leakage(replace(fold, train=np.append(fold.train, 4)), TIMES, TIMES + 2, embargo_ns=1)
