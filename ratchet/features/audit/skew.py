"""Skew: what the server answered from, beside what the same features are when computed from history.

Vectors are compared in float32, feature by feature. Answers that rested on the same window are one observation: a bar
that a thousand callers asked about is no thousand proofs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.errors import InputError
from ratchet.features.audit.served_log import ServedVector

Recompute: TypeAlias = Callable[[str, str, int], NDArray[np.float32] | None]
"""(view, symbol, ts_event_ns of the last bar) -> float32 (feature,), or None where history does not reach."""

_Z_95 = 1.959963984540054
_ALIKE = 0.99  # two columns that agree in this share of windows are taken for the same feature


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Frozen):
    """`n` of `total`, as a share with Wilson's 95 % interval; 0 with the interval 0 to 1 where the total is 0."""

    n: int
    total: int
    value: float
    low: float
    high: float

    @classmethod
    def of(cls, n: int, total: int) -> Share:
        """Count.

        >>> share = Share.of(0, 100)
        >>> share.low, round(share.high, 3)
        (0.0, 0.037)
        """
        if total == 0:
            return cls(n=0, total=0, value=0.0, low=0.0, high=1.0)
        value, z2 = n / total, _Z_95**2
        middle = (value + z2 / (2 * total)) / (1 + z2 / total)
        reach = _Z_95 / (1 + z2 / total) * math.sqrt(value * (1 - value) / total + z2 / (4 * total**2))
        low = 0.0 if n == 0 else middle - reach
        return cls(n=n, total=total, value=value, low=low, high=1.0 if n == total else middle + reach)


class FeatureSkew(_Frozen):
    """How one feature compares over all windows.

    `largest_difference` is relative to the larger of the two values and of the feature's usual size (its median
    absolute value), so that a value that happens to be near zero is no false alarm; None where no window has both
    values. `n_one_sided` of the mismatches have a value on one side only. `resembles` names the feature whose
    recomputed values were served instead, where there is one.
    """

    name: str
    n_compared: int
    n_mismatched: int
    n_one_sided: int
    rate: float
    largest_difference: float | None
    resembles: str | None


class SkewReport(_Frozen):
    """What an audit found.

    `windows` counts distinct windows with at least one mismatch among those compared; `n_answers` all answers in the
    log, `n_answers_mismatched` those that rested on such a window. `n_unknown` windows could not be recomputed and
    count neither way. `n_rewritten` bars were served from more than one window by the same version: what was stored
    for them changed after it was used. `alarm` is raised where the rate of any feature is above `max_mismatch_rate`.
    """

    tolerance: float
    max_mismatch_rate: float
    n_answers: int
    n_answers_mismatched: int
    n_unknown: int
    n_rewritten: int
    windows: Share
    features: tuple[FeatureSkew, ...]
    alarm: bool
    verdict: Literal["agrees", "skew", "nothing compared"]

    @property
    def mismatched(self) -> list[FeatureSkew]:
        """The features that differ somewhere, the most frequent first."""
        found = [feature for feature in self.features if feature.n_mismatched]
        return sorted(found, key=lambda feature: (-feature.rate, feature.name))

    def to_markdown(self) -> str:
        """Return the report as a Markdown document."""
        share = self.windows
        lines = [
            "# Skew audit",
            "",
            (
                f"**{self.verdict}**: {share.n:,} of {share.total:,} windows differ from history: {share.value:.3%} "
                f"(95 % interval {share.low:.3%} to {share.high:.3%})."
            ),
            "",
            (
                f"- answers in the log: {self.n_answers:,}, resting on a window that differs: "
                f"{self.n_answers_mismatched:,}"
            ),
            f"- windows that could not be recomputed: {self.n_unknown:,}",
            f"- bars whose stored window changed after it was used: {self.n_rewritten:,}",
            (
                f"- alarm above {self.max_mismatch_rate:.3%} for any of {len(self.features)} features; "
                f"values agree within {self.tolerance:g}, relative"
            ),
            "",
        ]
        if not self.mismatched:
            return "\n".join(lines)
        lines += ["| feature | differs | of | rate | one-sided | largest difference | resembles |"]
        lines += ["|---|---:|---:|---:|---:|---:|---|"]
        lines += [f"| {' | '.join(_cells(feature))} |" for feature in self.mismatched]
        return "\n".join([*lines, ""])


def audit_served(
    served: Iterable[ServedVector],
    recompute: Recompute,
    names: Sequence[str],
    *,
    tolerance: float = 1e-5,
    max_mismatch_rate: float = 1e-3,
) -> SkewReport:
    """Compare served vectors with what `recompute` returns for the same bar.

    Args:
        served: vectors of one feature schema.
        recompute: computes from history; called once per window.
        names: the features, in the order of the vectors.
        tolerance: largest relative difference that counts as equal; NaN equals NaN and nothing else.
        max_mismatch_rate: share of windows above which a feature raises the alarm.

    Raises:
        InputError: a vector has another number of features than `names`, or vectors are of several schemas.
    """
    answers = list(served)
    _refuse_foreign(answers, names)
    distinct = {_window_key(vector): vector for vector in answers}
    pairs = [(key, vector, recompute(*key[:3])) for key, vector in distinct.items()]
    known = [(key, vector.values, found) for key, vector, found in pairs if found is not None]
    shape = (len(known), len(names))
    left = np.array([values for _, values, _ in known], dtype=np.float64).reshape(shape)
    right = np.array([found for _, _, found in known], dtype=np.float64).reshape(shape)
    features, differs = _compare_all(names, left, right, tolerance)
    wrong = {known[row][0] for row in np.flatnonzero(differs.any(axis=1))}
    alarm = any(feature.rate > max_mismatch_rate for feature in features)
    return SkewReport(
        tolerance=tolerance,
        max_mismatch_rate=max_mismatch_rate,
        n_answers=len(answers),
        n_answers_mismatched=sum(_window_key(vector) in wrong for vector in answers),
        n_unknown=len(pairs) - len(known),
        n_rewritten=_count_rewritten(answers),
        windows=Share.of(len(wrong), len(known)),
        features=features,
        alarm=alarm,
        verdict="nothing compared" if not known else "skew" if alarm else "agrees",
    )


def _refuse_foreign(answers: Sequence[ServedVector], names: Sequence[str]) -> None:
    for vector in answers:
        if vector.values.shape != (len(names),):
            raise InputError(
                f"{vector.model} {vector.version} was served {vector.values.shape} features of {vector.symbol}, the "
                f"schema has {len(names)}; audit the vectors of one schema at a time"
            )
    schemas = {vector.schema_hash[:12] for vector in answers}
    if len(schemas) > 1:
        raise InputError(f"vectors of the schemas {', '.join(sorted(schemas))}; audit one schema at a time")


def _window_key(vector: ServedVector) -> tuple[str, str, int, str]:
    return vector.view, vector.symbol, vector.ts_event_ns, vector.window_sha256


def _count_rewritten(answers: Iterable[ServedVector]) -> int:
    digests: dict[tuple[str, ...], set[str]] = {}
    for vector in answers:
        bar = (vector.view, vector.model, vector.version, vector.symbol, str(vector.ts_event_ns))
        digests.setdefault(bar, set()).add(vector.window_sha256)
    return sum(len(found) > 1 for found in digests.values())


def _usual_size(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the median absolute value of each column; 0 for a column without values."""
    finite = np.where(np.isfinite(values), np.abs(values), np.nan)
    has_value = ~np.isnan(finite).all(axis=0) if len(values) else np.zeros(values.shape[1], dtype=bool)
    size = np.zeros(values.shape[1])
    size[has_value] = np.nanmedian(finite[:, has_value], axis=0)
    return size


def _relative(left: NDArray[np.float64], right: NDArray[np.float64], size: float) -> NDArray[np.float64]:
    """Return |left - right| over the largest of both and `size`: 0 where equal (NaN too), NaN where one-sided."""
    scale = np.maximum(np.maximum(np.abs(left), np.abs(right)), size)
    is_equal = (left == right) | (np.isnan(left) & np.isnan(right))
    with np.errstate(invalid="ignore"):
        return np.where(is_equal, 0.0, np.abs(left - right) / np.where(scale > 0, scale, 1.0))


def _compare_all(
    names: Sequence[str], left: NDArray[np.float64], right: NDArray[np.float64], tolerance: float
) -> tuple[tuple[FeatureSkew, ...], NDArray[np.bool_]]:
    """Return a line per feature, and which values differ (window, feature)."""
    size = _usual_size(right)
    gaps = np.stack([_relative(left[:, i], right[:, i], size[i]) for i in range(len(names))], axis=1)
    differs = ~(gaps <= tolerance)
    features = []
    for column, name in enumerate(names):
        wrong, has_both = differs[:, column], np.isfinite(left[:, column]) & np.isfinite(right[:, column])
        original = _resembling(left[:, column], right, size, tolerance) if wrong.any() else None
        feature = FeatureSkew(
            name=name,
            n_compared=len(left),
            n_mismatched=int(wrong.sum()),
            n_one_sided=int((wrong & ~has_both).sum()),
            rate=float(wrong.mean()) if len(left) else 0.0,
            largest_difference=float(gaps[has_both, column].max()) if has_both.any() else None,
            resembles=None if original is None else names[original],
        )
        features.append(feature)
    return tuple(features), differs


def _resembling(
    column: NDArray[np.float64], recomputed: NDArray[np.float64], size: NDArray[np.float64], tolerance: float
) -> int | None:
    """Return the recomputed column that the served one is, unless it is constant and tells nothing."""
    if len(column) < 2 or not np.ptp(column) > 0:
        return None
    for other in range(recomputed.shape[1]):
        if (_relative(column, recomputed[:, other], size[other]) <= tolerance).mean() >= _ALIKE:
            return other
    return None


def _cells(feature: FeatureSkew) -> list[str]:
    largest = "-" if feature.largest_difference is None else f"{feature.largest_difference:.2g}"
    counts = [f"{feature.n_mismatched:,}", f"{feature.n_compared:,}", f"{feature.rate:.2%}", f"{feature.n_one_sided:,}"]
    return [feature.name, *counts, largest, feature.resembles or "-"]
