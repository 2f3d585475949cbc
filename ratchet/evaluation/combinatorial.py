"""Combinatorial purged cross-validation: many histories out of one, as a second opinion beside the walk-forward.

It trains on the future too, so that it says how steady a recipe is and not what trading it would have earned.
(Lopez de Prado, 2018, Advances in financial machine learning, chapter 12.)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.metrics import accuracy
from ratchet.evaluation.predictions import checked_probabilities
from ratchet.evaluation.records import PathResult
from ratchet.evaluation.walk_forward import Fold

if TYPE_CHECKING:
    from ratchet.evaluation.validation import Fit
    from ratchet.features.panel import Panel

IntArray = NDArray[np.int64]

_MOST_SPLITS = 1_000


@dataclass(frozen=True, slots=True)
class CombinatorialPurgedSplit:
    """Cuts a panel into `n_groups` stretches of time and tests every choice of `n_test_groups` of them.

    Groups have equal numbers of distinct decision times, the last one also the rest, so that all symbols of one moment
    fall on the same side. Every other sample trains unless the time from its decision to its label's end overlaps that
    of a test group, from the group's first decision to its last label end. After each test group, decisions within
    `embargo_ns` do not train either; let it cover the features' window, which still sees the test there.
    """

    n_groups: int = 6
    n_test_groups: int = 2
    embargo_ns: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.n_test_groups < self.n_groups:
            raise InputError(f"{self.n_test_groups} of {self.n_groups} groups cannot be tested and the rest trained on")
        if self.n_splits > _MOST_SPLITS:
            raise InputError(
                f"{self.n_test_groups} of {self.n_groups} groups make {self.n_splits} splits, each a training; "
                f"at most {_MOST_SPLITS} are allowed"
            )
        if self.embargo_ns < 0:
            raise InputError(f"the embargo must not be negative, not {self.embargo_ns} ns")

    @property
    def n_splits(self) -> int:
        """How many trainings there are."""
        return math.comb(self.n_groups, self.n_test_groups)

    @property
    def n_paths(self) -> int:
        """How often each group is tested, and so how many histories there are that test all groups once."""
        return math.comb(self.n_groups - 1, self.n_test_groups - 1)

    def tested_groups(self) -> IntArray:
        """Return the groups that each split tests, int64 (split, tested)."""
        return np.array(list(combinations(range(self.n_groups), self.n_test_groups)), dtype=np.int64)

    def paths(self) -> IntArray:
        """Return for each path which split tests which group, int64 (path, group); no split's test is used twice."""
        tested = self.tested_groups()
        return np.column_stack([np.flatnonzero((tested == group).any(axis=1)) for group in range(self.n_groups)])

    def groups(self, decision_ns: IntArray) -> IntArray:
        """Return each sample's group, int64 (sample,), from its decision (ns UTC, any order).

        Raises:
            InputError: fewer distinct times than groups.
        """
        times, moment = np.unique(decision_ns, return_inverse=True)
        size = len(times) // self.n_groups
        if size < 1:
            raise InputError(f"{len(times)} distinct decision times are too few for {self.n_groups} groups")
        groups: IntArray = np.minimum(moment // size, self.n_groups - 1).astype(np.int64)
        return groups

    def split(self, decision_ns: IntArray, t1_ns: IntArray) -> list[Fold]:
        """Return one fold per split, in the order of `tested_groups`; `train_end_ns` may lie after the test.

        Args:
            decision_ns: when each sample's decision is taken, int64 ns UTC (sample,); any order.
            t1_ns: when each sample's label ends, int64 ns UTC (sample,).

        Raises:
            InputError: fewer distinct times than groups, or a split without a single training sample.
        """
        group = self.groups(decision_ns)
        clear = np.array([self._is_clear(group == tested, decision_ns, t1_ns) for tested in range(self.n_groups)])
        return [
            _fold(index, np.flatnonzero(clear[tested].all(axis=0)), np.isin(group, tested), decision_ns, t1_ns)
            for index, tested in enumerate(self.tested_groups())
        ]

    def _is_clear(self, is_test: NDArray[np.bool_], decision_ns: IntArray, t1_ns: IntArray) -> NDArray[np.bool_]:
        """Say of each sample whether it may train while the given group is tested, bool (sample,)."""
        start_ns, end_ns = decision_ns[is_test].min(), t1_ns[is_test].max()
        clear: NDArray[np.bool_] = (t1_ns <= start_ns) | (decision_ns >= end_ns + self.embargo_ns)
        return clear & ~is_test


def combinatorial_validation(
    panel: Panel,
    fit: Fit,
    splitter: CombinatorialPurgedSplit,
    *,
    on_split: Callable[[Fold], None] | None = None,
) -> PathResult:
    """Fit on every split and return the accuracy of every path.

    Args:
        fit: as for `walk_forward_validation`; called once per split, must use `fold.train` only. Training labels may
            end after the test, so nothing may be inferred from `fold.train_end_ns`.
        on_split: told of each split when it is done.

    Raises:
        InputError: the history is too short for the groups, or nothing moved beyond the cost band.
        CandidateRejectedError: the model answered something that is not a probability per sample.
    """
    group, paths = splitter.groups(panel.decision_ns), splitter.paths()
    p_up = np.full((splitter.n_paths, len(panel)), np.nan)
    for fold in splitter.split(panel.decision_ns, panel.t1_ns):
        answered = checked_probabilities(fit(panel, fold)(panel, fold.test), len(fold.test))
        path_of_group = np.argmax(paths == fold.index, axis=0)
        p_up[path_of_group[group[fold.test]], fold.test] = answered
        if on_split is not None:
            on_split(fold)
    return PathResult(
        n_groups=splitter.n_groups,
        n_test_groups=splitter.n_test_groups,
        n_splits=splitter.n_splits,
        accuracies=tuple(accuracy(panel.label, path) for path in p_up),
    )


def _fold(index: int, train: IntArray, is_test: NDArray[np.bool_], decision_ns: IntArray, t1_ns: IntArray) -> Fold:
    if not len(train):
        raise InputError(
            f"split {index} has no training sample: labels and embargo reach over all groups that are not tested; "
            "give a longer history, fewer test groups, or a shorter embargo or horizon"
        )
    test = np.flatnonzero(is_test)
    return Fold(
        index=index,
        train=train,
        test=test,
        test_start_ns=int(decision_ns[test].min()),
        test_end_ns=int(decision_ns[test].max()),
        train_end_ns=int(t1_ns[train].max()),
    )
