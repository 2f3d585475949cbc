"""Folds on small timelines that can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest

from ratchet.errors import InputError, LeakageError
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward, refuse_leakage

TIMES = np.arange(10, dtype=np.int64)
DAY_NS = 86_400_000_000_000


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


def days(first: str, end: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """One decision at the start of each day from `first` to the day before `end`, ns UTC."""
    return np.arange(first, end, dtype="datetime64[D]").astype("datetime64[ns]").astype(np.int64)


def windows_of(folds: list[Fold]) -> list[tuple[str, str]]:
    """First and last day of each test window."""
    stamps = [(fold.test_start_ns, fold.test_end_ns) for fold in folds]
    return [(str(np.datetime64(start, "ns"))[:10], str(np.datetime64(end, "ns"))[:10]) for start, end in stamps]


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        ("week", [("2024-04-29", "2024-05-05"), ("2024-05-06", "2024-05-12")]),
        ("month", [("2024-03-01", "2024-03-31"), ("2024-04-01", "2024-04-30")]),
        ("quarter", [("2023-10-01", "2023-12-31"), ("2024-01-01", "2024-03-31")]),
    ],
)
def test_calendar_windows_are_the_last_whole_periods(
    window: Literal["week", "month", "quarter"], expected: list[tuple[str, str]]
) -> None:
    """Two weeks from Monday to Sunday, two months, or two quarters; the one that 15 May is in has not ended."""
    decision = days("2023-01-10", "2024-05-16")

    folds = PurgedWalkForward(n_splits=2, window=window).split(decision, decision + DAY_NS)

    assert windows_of(folds) == expected
    assert [fold.train_end_ns for fold in folds] == [fold.test_start_ns for fold in folds]


@pytest.mark.parametrize("horizon", [1, 40])
def test_a_period_is_whole_once_its_last_decision_is_there(horizon: int) -> None:
    """Of daily decisions, March is whole with that of the 31st, and not with that of the 30th, whenever labels end."""
    march, earlier = days("2023-10-01", "2024-04-01"), days("2023-10-01", "2024-03-31")
    splitter = PurgedWalkForward(n_splits=1, min_train_share=0.2, window="month")

    assert windows_of(splitter.split(march, march + horizon * DAY_NS)) == [("2024-03-01", "2024-03-31")]
    assert windows_of(splitter.split(earlier, earlier + horizon * DAY_NS)) == [("2024-02-01", "2024-02-29")]


def test_periods_without_a_decision_are_no_windows() -> None:
    """A hole over all of February makes January and March neighbours."""
    decision = np.concatenate([days("2023-10-01", "2024-02-01"), days("2024-03-01", "2024-04-02")])

    folds = PurgedWalkForward(n_splits=2, window="month").split(decision, decision + DAY_NS)

    assert windows_of(folds) == [("2024-01-01", "2024-01-31"), ("2024-03-01", "2024-03-31")]
    assert len(folds[1].train) == len(days("2023-10-01", "2024-02-01"))


def test_rolling_calendar_windows_train_on_as_many_times_as_the_first() -> None:
    """Training keeps the number of decision times that the first window trains on."""
    decision = days("2023-01-01", "2024-01-02")

    folds = PurgedWalkForward(n_splits=3, scheme="rolling", window="quarter", min_train_share=0.2).split(
        decision, decision + DAY_NS
    )

    assert [len(fold.train) for fold in folds] == [90, 90, 90]
    assert windows_of(folds)[0] == ("2023-04-01", "2023-06-30")


def test_too_few_whole_periods_say_so() -> None:
    """The first periods train, the last has not ended, and what is left is counted."""
    decision = days("2023-01-01", "2023-06-20")

    with pytest.raises(InputError, match="the history has 2 whole calendar months after a training share"):
        PurgedWalkForward(n_splits=3, window="month").split(decision, decision + DAY_NS)


@pytest.mark.parametrize("scheme", ["expanding", "rolling"])
@pytest.mark.parametrize(("horizon", "embargo"), [(1, 0), (3, 0), (2, 4)])
def test_equal_windows_are_those_of_skfolio(
    scheme: Literal["expanding", "rolling"], horizon: int, embargo: int
) -> None:
    """On one series with a fixed horizon, skfolio purges horizon - 1 + embargo bars where we compare times."""
    selection = pytest.importorskip("skfolio.model_selection")
    purged = horizon - 1 + embargo
    other = selection.WalkForward(
        train_size=40 - purged, test_size=12, purged_size=purged, expand_train=scheme == "expanding"
    )
    decision = np.arange(100, dtype=np.int64) * DAY_NS

    folds = PurgedWalkForward(n_splits=5, embargo_ns=embargo * DAY_NS, scheme=scheme).split(
        decision, decision + horizon * DAY_NS
    )

    theirs = [(train.tolist(), test.tolist()) for train, test in other.split(np.zeros((100, 1)))]
    assert [(fold.train.tolist(), fold.test.tolist()) for fold in folds] == theirs


@pytest.mark.parametrize(("window", "freq"), [("month", "MS"), ("quarter", "QS"), ("week", "W-MON")])
@pytest.mark.parametrize("horizon", [1, 3])
def test_calendar_windows_are_those_of_skfolio(
    window: Literal["week", "month", "quarter"], freq: str, horizon: int
) -> None:
    """On one daily series; skfolio tests every period after the first ones, we the last three."""
    selection = pytest.importorskip("skfolio.model_selection")
    index = pd.date_range("2022-01-01", "2023-05-17", freq="D")
    decision = index.to_numpy().astype("datetime64[ns]").astype(np.int64)
    other = selection.WalkForward(train_size=1, test_size=1, freq=freq, purged_size=horizon - 1, expand_train=True)

    folds = PurgedWalkForward(n_splits=3, min_train_share=0.2, window=window).split(
        decision, decision + horizon * DAY_NS
    )

    theirs = list(other.split(pd.DataFrame(np.zeros((len(index), 1)), index=index)))[-3:]
    assert [fold.test.tolist() for fold in folds] == [test.tolist() for _, test in theirs]
    assert [fold.train.tolist() for fold in folds] == [train.tolist() for train, _ in theirs]


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_splits": 0},
        {"embargo_ns": -1},
        {"min_train_share": 1.0},
        {"min_train_share": 0.0},
        {"scheme": "shuffled"},
        {"window": "year"},
    ],
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
