"""Learners that know their neighbours by heart: what a leak between training and test shows up in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.validation import Fit, Predictor
from ratchet.evaluation.walk_forward import Fold

if TYPE_CHECKING:
    from ratchet.features.panel import Panel

LEARNERS = ("gradient_boosting", "random_forest")
"""Names that `baseline_fit` takes."""


def baseline_fit(name: str = "gradient_boosting", *, seed: int = 0) -> Fit:
    """Return a fit that sees the features of the decision bar, of the training samples that moved.

    Unlike the baselines that a model must beat it is free to overfit: leaves are small, so that a test sample finds
    its neighbours among the training samples.

    Raises:
        InputError: there is no such learner.
    """
    if name not in LEARNERS:
        raise InputError(f"no learner is called {name!r}; there are {', '.join(LEARNERS)}")

    def fit(panel: Panel, fold: Fold) -> Predictor:
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415 - scikit-learn's

        moved = fold.train[panel.label[fold.train] != 0]
        model = _learner(name, seed)  # loads OpenMP, which is limited only once it is there
        with threadpool_limits(limits=1):  # OpenMP threads that wait for each other on a busy machine take minutes
            model.fit(panel.features[panel.end_row[moved]], panel.label[moved] > 0)

        def predict(asked: Panel, index: NDArray[np.int64]) -> NDArray[np.float64]:
            with threadpool_limits(limits=1):
                answer = model.predict_proba(asked.features[asked.end_row[index]])
            return np.asarray(answer[:, 1], dtype=np.float64)

        return predict

    return fit


def _learner(name: str, seed: int) -> Any:
    from sklearn.ensemble import (  # noqa: PLC0415 - scikit-learn is slow to import
        HistGradientBoostingClassifier,
        RandomForestClassifier,
    )

    if name == "random_forest":
        return RandomForestClassifier(25, max_features="sqrt", max_samples=0.6, random_state=seed)
    return HistGradientBoostingClassifier(
        max_iter=60,
        learning_rate=0.15,
        max_leaf_nodes=63,
        min_samples_leaf=10,
        max_bins=63,
        early_stopping=False,
        random_state=seed,
    )
