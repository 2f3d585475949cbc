"""What a model has to beat: two naive rules and two learned standards, all fitted on the training samples only."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError

if TYPE_CHECKING:
    from ratchet.features.panel import Panel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

NAIVE_BASELINES = ("majority", "last_sign")
"""The rules that need no features; a first model must beat the better of them."""

BASELINES = (*NAIVE_BASELINES, "logistic", "gradient_boosting")
"""Every baseline that stands beside a model."""

_SIGNS = (-1, 0, 1)


def baseline_probabilities(panel: Panel, train: IntArray, test: IntArray, *, seed: int = 0) -> dict[str, FloatArray]:
    """Fit every baseline on the samples `train` that moved, and predict p_up, float64 (test,), for the samples `test`.

    `majority` answers the share of upward moves; `last_sign` the share of upward moves that followed a bar of the same
    sign, so it learns whether moves continue or reverse; `logistic` and `gradient_boosting` see the features of the
    decision bar, the former standardized by the training samples.

    Raises:
        InputError: no training sample moved beyond the cost band.
    """
    fitted = train[panel.label[train] != 0]
    if not len(fitted):
        raise InputError(
            f"none of {len(train)} training samples moved beyond the cost band; the baselines cannot learn"
        )
    is_up = panel.label[fitted] > 0
    share = float(is_up.mean())
    majority = np.full(len(test), share)
    naive = {"majority": majority, "last_sign": _last_sign(panel, fitted, test, is_up, share)}
    if is_up.all() or not is_up.any():
        return {**naive, "logistic": majority.copy(), "gradient_boosting": majority.copy()}
    return naive | _learned(panel, fitted, test, is_up, seed)


def _last_sign(panel: Panel, fitted: IntArray, test: IntArray, is_up: NDArray[np.bool_], share: float) -> FloatArray:
    before, now = np.sign(panel.last_return[fitted]), np.sign(panel.last_return[test])
    answer = np.full(len(test), share)
    for sign in _SIGNS:
        same = before == sign
        if same.any():
            answer[now == sign] = is_up[same].mean()
    return answer


def _learned(
    panel: Panel, fitted: IntArray, test: IntArray, is_up: NDArray[np.bool_], seed: int
) -> dict[str, FloatArray]:
    # Imported first: a library that loads its threads inside of the limit is not limited by it.
    import sklearn.ensemble  # noqa: PLC0415
    import sklearn.linear_model  # noqa: F401, PLC0415
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    seen, unseen = panel.features[panel.end_row[fitted]], panel.features[panel.end_row[test]]
    with threadpool_limits(limits=1):  # OpenMP threads that wait for each other on a busy machine take minutes
        return {
            "logistic": _logistic(seen, is_up, unseen),
            "gradient_boosting": _gradient_boosting(seen, is_up, unseen, seed),
        }


def _logistic(seen: NDArray[np.float32], is_up: NDArray[np.bool_], unseen: NDArray[np.float32]) -> FloatArray:
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - scikit-learn is slow to import
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.pipeline import make_pipeline  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a baseline short of its optimum is still a baseline
        return _up_column(model.fit(seen.astype(np.float64), is_up), unseen.astype(np.float64))


def _gradient_boosting(
    seen: NDArray[np.float32], is_up: NDArray[np.bool_], unseen: NDArray[np.float32], seed: int
) -> FloatArray:
    from sklearn.ensemble import HistGradientBoostingClassifier  # noqa: PLC0415 - scikit-learn is slow to import

    model = HistGradientBoostingClassifier(
        max_iter=100,
        learning_rate=0.05,
        max_leaf_nodes=15,
        min_samples_leaf=50,
        early_stopping=False,
        random_state=seed,
    )
    return _up_column(model.fit(seen, is_up), unseen)


def _up_column(model: Any, unseen: NDArray[Any]) -> FloatArray:
    return np.asarray(model.predict_proba(unseen)[:, 1], dtype=np.float64)
