"""Folds as they must not be: shuffled, so that overlapping labels lie on both sides of every cut."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.walk_forward import Fold


class ShuffledFolds:
    """Plain shuffled K-fold, the mutant of `PurgedWalkForward`."""

    def __init__(self, n_splits: int = 5) -> None:
        self._n_splits = n_splits

    def split(self, decision_ns: NDArray[np.int64], t1_ns: NDArray[np.int64]) -> list[Fold]:
        """Return folds whose training samples surround their test samples."""
        from sklearn.model_selection import KFold  # noqa: PLC0415

        cuts = KFold(self._n_splits, shuffle=True, random_state=0).split(decision_ns)
        return [
            Fold(
                index=index,
                train=train,
                test=test,
                test_start_ns=int(decision_ns[test].min()),
                test_end_ns=int(decision_ns[test].max()),
                train_end_ns=int(t1_ns[train].max()),
            )
            for index, (train, test) in enumerate(cuts)
        ]
