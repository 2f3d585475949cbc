"""How good the probabilities are: shares of right directions, losses, calibration and rank correlation.

All figures come from sums per moment, which are resampled together once, so every interval is seen under the same draws
(`ratchet.evaluation.bootstrap`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.bootstrap import FloatArray, block_length, correct, resample_sums
from ratchet.evaluation.metrics import N_RESAMPLES, Metric, accuracy, hits, to_metric
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import CalibrationBin, Confusion, Scores

_CLIP = 1e-7  # keeps the log loss of a certain and wrong answer finite
_N_BINS = 10
_MIN_BIN_ROWS = 50
_VANISHING = 1e-12  # variance below this share of the second moment is rounding

Sums = Mapping[str, FloatArray]
Statistic = Callable[[Sums], FloatArray]


def score(rows: Predictions, *, seed: int, n_resamples: int = N_RESAMPLES) -> Scores:
    """Score the probabilities of all rows, with 95 % intervals that respect overlapping labels and alike symbols.

    Only rows that moved beyond the cost band count, but for the information coefficient, which ranks all rows. A p_up
    of exactly 0.5 is half a hit in the accuracy and in both recalls. The balanced accuracy is the mean of the recalls
    of up and down; where only one direction occurred, that one's recall. The log loss clips p_up at 1e-7. The
    information coefficient is Spearman's, over all times and symbols at once, and 0 where p_up or the return never
    varies; resamples keep the ranks of the whole sample, which is right for correlations near 0, as those of markets
    are, and an approximation for strong ones. Calibration bins are deciles of p_up, merged until each holds 50 rows, or
    one bin where fewer moved; the last includes its upper edge.

    Args:
        rows: out-of-sample predictions.
        seed: of the resampling.
        n_resamples: bootstrap resamples.

    Raises:
        InputError: no row moved beyond the cost band.
    """
    right = accuracy(rows.label, rows.p_up)
    moved = rows.label != 0
    is_up, p_up = rows.label[moved] > 0, rows.p_up[moved]
    edges = _calibration_edges(p_up)
    member = np.searchsorted(edges, p_up, side="right")
    columns = _losses(is_up, p_up, hits(rows.label, rows.p_up)[moved])
    for index in range(len(edges) + 1):
        inside = (member == index).astype(np.float64)
        columns |= {f"n_{index}": inside, f"up_{index}": inside * is_up}
    resampled = _Resampling.draw(rows, moved, columns, seed=seed, n_resamples=n_resamples)
    calibration = _calibration(resampled, edges, member, p_up)
    balanced = _balanced_accuracy if 0 < np.count_nonzero(is_up) < len(is_up) else _accuracy
    return Scores(
        n_moves=len(p_up),
        accuracy=resampled.metric(_accuracy, low=0.0, high=1.0, value=right),
        balanced_accuracy=resampled.metric(balanced, low=0.0, high=1.0),
        log_loss=resampled.metric(lambda sums: _per_move(sums, "log_loss"), low=0.0),
        brier=resampled.metric(lambda sums: _per_move(sums, "brier"), low=0.0, high=1.0),
        calibration_error=sum(one.n * abs(one.share_up.value - one.mean_p_up) for one in calibration) / len(p_up),
        information_coefficient=resampled.metric(_correlation, low=-1.0, high=1.0),
        confusion=_confusion(is_up, p_up),
        calibration=calibration,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Resampling:
    """Sums of every column over the sample, float64 (1,), and over each resample, float64 (resample,)."""

    sample: Sums
    draws: Sums
    n_times: int
    block: int
    horizon: int

    @classmethod
    def draw(
        cls, rows: Predictions, moved: NDArray[np.bool_], columns: Sums, *, seed: int, n_resamples: int
    ) -> _Resampling:
        times, row = np.unique(rows.ts_ns, return_inverse=True)
        per_time = {name: _sum_by(row[moved], value, len(times)) for name, value in columns.items()}
        per_time |= {name: _sum_by(row, value, len(times)) for name, value in _rank_products(rows).items()}
        block = block_length(len(times), rows.horizon)
        sums = resample_sums(np.column_stack([*per_time.values()]), block=block, n_resamples=n_resamples, seed=seed)
        return cls(
            sample={name: value.sum(keepdims=True) for name, value in per_time.items()},
            draws=dict(zip(per_time, sums.T, strict=True)),
            n_times=len(times),
            block=block,
            horizon=rows.horizon,
        )

    def metric(
        self, statistic: Statistic, *, low: float = -np.inf, high: float = np.inf, value: float | None = None
    ) -> Metric:
        """Return a statistic of the sums with its interval, kept within what the statistic can be.

        A resample without a row to judge says nothing and is left out.
        """
        point = float(statistic(self.sample)[0]) if value is None else value
        drawn = statistic(self.draws)
        error = correct(point, drawn[np.isfinite(drawn)], n_times=self.n_times, block=self.block, overlap=self.horizon)
        found = to_metric(error)
        return Metric(value=point, low=max(found.low, low), high=min(found.high, high))


def _losses(is_up: NDArray[np.bool_], p_up: FloatArray, hit: FloatArray) -> dict[str, FloatArray]:
    """Return what is summed over moves, each (move,)."""
    clipped = np.clip(p_up, _CLIP, 1.0 - _CLIP)
    return {
        "up": is_up.astype(np.float64),
        "down": (~is_up).astype(np.float64),
        "up_hit": hit * is_up,
        "down_hit": hit * ~is_up,
        "log_loss": -np.log(np.where(is_up, clipped, 1.0 - clipped)),
        "brier": np.square(p_up - is_up),
    }


def _sum_by(row: NDArray[np.intp], value: FloatArray, n_times: int) -> FloatArray:
    return np.asarray(np.bincount(row, weights=value, minlength=n_times), dtype=np.float64)


def _ratio(total: FloatArray, count: FloatArray) -> FloatArray:
    """Return total over count, and NaN where nothing was counted."""
    ratio: FloatArray = np.where(count > 0, total / np.maximum(count, 1.0), np.nan)
    return ratio


def _per_move(sums: Sums, name: str) -> FloatArray:
    return _ratio(sums[name], sums["up"] + sums["down"])


def _accuracy(sums: Sums) -> FloatArray:
    return _ratio(sums["up_hit"] + sums["down_hit"], sums["up"] + sums["down"])


def _balanced_accuracy(sums: Sums) -> FloatArray:
    return 0.5 * (_ratio(sums["up_hit"], sums["up"]) + _ratio(sums["down_hit"], sums["down"]))


def _rank_products(rows: Predictions) -> dict[str, FloatArray]:
    """Return what a correlation of ranks is summed from; ranks are scaled to [-0.5, 0.5], ties share their mean."""
    from scipy.stats import rankdata  # noqa: PLC0415 - scipy is slow to import

    x, y = ((rankdata(value) - 0.5) / len(rows) - 0.5 for value in (rows.p_up, rows.ret))
    return {"n": np.ones(len(rows)), "x": x, "y": y, "xx": x * x, "yy": y * y, "xy": x * y}


def _correlation(sums: Sums) -> FloatArray:
    n = sums["n"]
    x, y = sums["x"] / n, sums["y"] / n
    x_variance, y_variance = sums["xx"] / n - x * x, sums["yy"] / n - y * y
    varies = (x_variance > _VANISHING * sums["xx"] / n) & (y_variance > _VANISHING * sums["yy"] / n)
    scale = np.sqrt(np.where(varies, x_variance * y_variance, 1.0))
    return np.where(varies, (sums["xy"] / n - x * y) / scale, 0.0)


def _calibration_edges(p_up: FloatArray) -> FloatArray:
    """Return the inner edges of the bins: deciles, of which those are kept that leave every bin rows enough."""
    edges = np.unique(np.quantile(p_up, np.arange(1, _N_BINS) / _N_BINS))
    below = np.searchsorted(np.sort(p_up), edges, side="left")
    kept: list[int] = []
    for index, n_below in enumerate(below):
        start = below[kept[-1]] if kept else 0
        if n_below - start >= _MIN_BIN_ROWS and len(p_up) - n_below >= _MIN_BIN_ROWS:
            kept.append(index)
    return np.asarray(edges[kept], dtype=np.float64)


def _calibration(
    resampled: _Resampling, edges: FloatArray, member: NDArray[np.intp], p_up: FloatArray
) -> tuple[CalibrationBin, ...]:
    bounds = np.concatenate([[0.0], edges, [1.0]])
    return tuple(
        CalibrationBin(
            low=float(bounds[index]),
            high=float(bounds[index + 1]),
            n=int(np.count_nonzero(member == index)),
            mean_p_up=float(p_up[member == index].mean()),
            share_up=resampled.metric(_share_up(index), low=0.0, high=1.0),
        )
        for index in range(len(edges) + 1)
    )


def _share_up(index: int) -> Statistic:
    return lambda sums: _ratio(sums[f"up_{index}"], sums[f"n_{index}"])


def _confusion(is_up: NDArray[np.bool_], p_up: FloatArray) -> Confusion:
    said_up = p_up > 0.5
    return Confusion(
        up_as_up=int(np.count_nonzero(is_up & said_up)),
        up_as_down=int(np.count_nonzero(is_up & ~said_up)),
        down_as_up=int(np.count_nonzero(~is_up & said_up)),
        down_as_down=int(np.count_nonzero(~is_up & ~said_up)),
    )
