"""Labels moved to other times: whoever predicts them still has seen them in training."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.bootstrap import Resampled, block_length, correct, resample_sums
from ratchet.evaluation.metrics import N_RESAMPLES, hits
from ratchet.evaluation.predictions import checked_probabilities
from ratchet.evaluation.records import Probe
from ratchet.evaluation.validation import Fit
from ratchet.evaluation.walk_forward import Fold

if TYPE_CHECKING:
    from ratchet.features.panel import Panel

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

_NEAREST_SHIFT = 0.25  # share of the history: no label stays near its place
_TOLERANCE = 0.01
_CONFIDENCE = 0.9995  # one-sided: the probe runs in every retraining and must not cry wolf; a leak is 20 points off
_ENOUGH_BLOCKS = 20  # of time, in the test windows together; further folds are not fitted
_FEWEST_BLOCKS = 6  # with fewer the interval is so wide that nothing could fall outside


class Splitter(Protocol):
    """What cuts a panel into folds, such as `PurgedWalkForward`."""

    def split(self, decision_ns: IntArray, t1_ns: IntArray) -> list[Fold]:
        """Return the folds, the last one being the latest."""


def shuffled_labels(panel: Panel, fit: Fit, walk_forward: Splitter, *, seed: int, max_train: int = 20_000) -> Probe:
    """Rotate the labels in time, fit on the last fold's training samples and judge on its test samples.

    Where the last fold is too short to tell, the folds before it are fitted too, and judged together.

    All symbols' labels move by the same number of bars, the last ones to the beginning, so that they overlap each other
    and move together as before, and no feature can know them. What remains to be predicted is what training labels
    tell about the test labels, and that is a leak of the split or of the fit. Balanced accuracy must lie around one
    half, within its 99.9 % interval (block bootstrap over times) and a point more. Skipped where all test windows
    together are too short.

    Args:
        panel: what the model is trained on.
        fit: the model's own, or a learner that overfits (`baseline_fit`).
        walk_forward: the splits that the model is judged on.
        seed: of the rotation and of the bootstrap.
        max_train: only so many of the latest training samples are used, a contiguous stretch of time.

    Raises:
        InputError: the history is too short for the folds.
        CandidateRejectedError: the model answered something that is not a probability per sample.
    """
    rotated = rotate_labels(panel, seed=seed)
    folds = _enough(panel, walk_forward.split(panel.decision_ns, panel.t1_ns), max_train)
    test = np.concatenate([fold.test for fold in folds])
    is_learnable = all(_has_both(rotated.label[fold.train]) for fold in folds) and _has_both(rotated.label[test])
    if _n_blocks(panel, test) < _FEWEST_BLOCKS or not is_learnable:
        reason = f"Shuffled labels tell nothing: {len(np.unique(panel.ts_ns[test]))} test times are too few."
        return Probe(name="shuffled_labels", status="skipped", value=None, low=None, high=None, n=0, reason=reason)
    answers = [checked_probabilities(fit(rotated, fold)(rotated, fold.test), len(fold.test)) for fold in folds]
    return _judge(rotated, test, np.concatenate(answers), seed)


def rotate_labels(panel: Panel, *, seed: int) -> Panel:
    """Return the panel with every label, return and band moved by the same random number of bars, in a circle.

    Features and times, label ends among them, stay. A sample whose new label would be of a bar that its symbol has no
    sample of gets label 0.
    """
    times, bar = np.unique(panel.ts_ns, return_inverse=True)
    n_times = len(times)
    nearest = int(_NEAREST_SHIFT * n_times)
    shift = int(np.random.default_rng(seed).integers(nearest, n_times - nearest + 1))
    key = panel.symbol_id.astype(np.int64) * n_times + bar
    wanted = panel.symbol_id.astype(np.int64) * n_times + (bar + shift) % n_times
    order = np.argsort(key)
    place = order[np.searchsorted(key, wanted, sorter=order).clip(max=len(key) - 1)]
    is_there = key[place] == wanted
    return replace(
        panel,
        label=np.where(is_there, panel.label[place], 0).astype(np.int8),
        ret=np.where(is_there, panel.ret[place], 0.0),
        band=np.where(is_there, panel.band[place], panel.band),
    )


def _enough(panel: Panel, folds: list[Fold], max_train: int) -> list[Fold]:
    """Return the latest folds, so many that their test windows have enough blocks, or all."""
    chosen: list[Fold] = []
    for fold in reversed(folds):
        chosen.append(_latest_part(panel, fold, max_train))
        if _n_blocks(panel, np.concatenate([part.test for part in chosen])) >= _ENOUGH_BLOCKS:
            break
    return chosen


def _n_blocks(panel: Panel, test: IntArray) -> float:
    n_times = len(np.unique(panel.ts_ns[test]))
    return n_times / block_length(n_times, panel.horizon)


def _latest_part(panel: Panel, fold: Fold, max_train: int) -> Fold:
    """Keep the latest stretch of time that has no more than `max_train` training samples."""
    last_ns = int(panel.decision_ns[fold.test].max())
    past = np.sort(panel.decision_ns[fold.train][panel.decision_ns[fold.train] <= last_ns])
    if len(past) <= max_train:
        return fold
    first_ns = int(past[-max_train])
    train = fold.train[(panel.decision_ns[fold.train] >= first_ns) & (panel.decision_ns[fold.train] <= last_ns)]
    test = fold.test[panel.decision_ns[fold.test] >= first_ns]
    return replace(
        fold,
        train=train,
        test=test,
        test_start_ns=int(panel.decision_ns[test].min()),
        train_end_ns=int(panel.t1_ns[train].max()),
    )


def _has_both(label: NDArray[np.int8]) -> bool:
    return bool((label > 0).any() and (label < 0).any())


def _judge(panel: Panel, test: IntArray, p_up: FloatArray, seed: int) -> Probe:
    score = _balanced_accuracy(panel, test, p_up, seed)
    low, high = score.bounds(_CONFIDENCE)
    least, most = 0.5 - (high - score.value) - _TOLERANCE, 0.5 + (score.value - low) + _TOLERANCE
    is_fair = least <= score.value <= most
    found = f"Labels moved to other times are predicted with a balanced accuracy of {score.value:.1%}"
    reason = (
        f"{found}, as by chance."
        if is_fair
        else f"{found} where chance gives {least:.1%} to {most:.1%}: training knows the test labels; purge by label "
        "end, and fit within the fold only."
    )
    return Probe(
        name="shuffled_labels",
        status="passed" if is_fair else "failed",
        value=score.value,
        low=least,
        high=most,
        n=int(np.count_nonzero(panel.label[test])),
        reason=reason,
    )


def _balanced_accuracy(panel: Panel, test: IntArray, p_up: FloatArray, seed: int) -> Resampled:
    """Return the mean of the shares of ups and of downs that were recognised, resampling times."""
    label = panel.label[test]
    hit = hits(label, p_up)
    times, row = np.unique(panel.ts_ns[test], return_inverse=True)
    weights = (hit * (label > 0), label > 0, hit * (label < 0), label < 0)
    per_time: FloatArray = np.column_stack(
        [np.bincount(row, weights=weight, minlength=len(times)).astype(np.float64) for weight in weights]
    )
    block = block_length(len(times), panel.horizon)
    sums = resample_sums(per_time, block=block, n_resamples=N_RESAMPLES, seed=seed)
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    resampled = _mean_recall(sums)
    point = float(_mean_recall(per_time.sum(axis=0)))
    return correct(point, resampled, n_times=len(times), block=block, overlap=panel.horizon)


def _mean_recall(sums: FloatArray) -> FloatArray:
    recall: FloatArray = 0.5 * (sums[..., 0] / sums[..., 1] + sums[..., 2] / sums[..., 3])
    return recall
