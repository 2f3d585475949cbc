"""Feature health: fresh, present, and distributed as in training.

The distance between two distributions is the population stability index over bins that hold a tenth of the training
rows each, sum((q - p) ln(q / p)); below 0.1 it is customarily called stable, above 0.25 shifted. Between two samples
of one distribution it is (1/n + 1/m) times a chi-squared variable with one degree of freedom less than there are bins
(Yurdakul and Naranjo, 2020, Statistical Properties of the Population Stability Index). Rows that follow each other in
time are alike and move it further; how far, the training rows tell. What does not exceed that noise is not flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.errors import InputError

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
"""Levels of `FeatureProfile.quantiles`."""

STABLE_BELOW, SHIFTED_ABOVE = 0.1, 0.25
"""The customary bands of the population stability index."""

MAX_NULL_CHANGE = 0.02
"""A share of missing values that moved by no more than this is no finding."""

_FALSE_ALARMS = 0.01  # aimed at: share of checks without any change in which some feature is flagged nevertheless
_N_BINS = 10
_N_BARS = 32
_FEWEST_ROWS = 20  # fewer values say nothing about a distribution
_MOST_LAGGED = 20_000  # so many of the newest rows show well enough how alike neighbours are
_HALF = 0.5  # added to each count, so that an empty bin has a finite logarithm


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FeatureProfile(_Frozen):
    """One feature in training.

    `noise_scale` and `noise_freedom` say how far chance moves the index of an unchanged feature: for independent
    values 1 and one less than there are bins. `edges` cut the axis into bins, the value on an
    edge belonging to the bin above, and `shares` are the training rows in each: ten bins where values do not repeat,
    a bin of its own for a value that more than a tenth of the rows share. `bars` are shares of equal steps between the
    1 % and the 99 % quantile, for pictures. All empty or None where the feature had no value at all.
    """

    name: str
    n_values: int
    noise_scale: float
    noise_freedom: float
    null_rate: float
    mean: float | None
    std: float | None
    quantiles: tuple[float, ...]
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    bars: tuple[float, ...]


class FeatureBaseline(_Frozen):
    """The features of the rows that a model was trained on; kept with it as JSON."""

    n_rows: int
    features: tuple[FeatureProfile, ...]


class FeatureCondition(_Frozen):
    """One feature now. `psi` and `noise` are None where the training or the present has too few values.

    `noise` is what the index of an unchanged feature stays below. `findings` says in words what is wrong, empty where
    nothing is.
    """

    name: str
    null_rate: float
    null_change: float
    psi: float | None
    noise: float | None
    band: Literal["stable", "moderate", "shifted", "unknown"]
    findings: tuple[str, ...]


class FeatureHealth(_Frozen):
    """All features now. `age_ns` is that of the newest row; below zero it lies in the future."""

    n_rows: int
    age_ns: int
    ttl_ns: int
    is_fresh: bool
    features: tuple[FeatureCondition, ...]

    @property
    def flagged(self) -> list[FeatureCondition]:
        """The features with findings."""
        return [feature for feature in self.features if feature.findings]

    @property
    def is_healthy(self) -> bool:
        """Whether the newest row is fresh and no feature has a finding."""
        return self.is_fresh and not self.flagged


def describe_features(values: NDArray[np.float32], names: Sequence[str]) -> FeatureBaseline:
    """Describe training rows, float32 (row, feature) in the order of time, NaN where a value is missing.

    Raises:
        InputError: no rows, an infinity, or not one column per name.
    """
    _refuse_unusable(values, len(names))
    profiles = tuple(_profile(name, column) for name, column in zip(names, values.T, strict=True))
    return FeatureBaseline(n_rows=len(values), features=profiles)


def check_features(
    baseline: FeatureBaseline, values: NDArray[np.float32], *, newest_ns: int, now_ns: int, ttl_ns: int
) -> FeatureHealth:
    """Compare recent rows with those of training.

    A feature is flagged where the index is above both 0.1 and the noise of these sample sizes, or where the share of
    missing values changed by more than `MAX_NULL_CHANGE` and more than chance. The limits aim at one check in 100 with
    some flag where nothing changed. That is met for independent rows; where neighbours are alike the noise is an
    estimate, flags are more frequent than that, and small shifts go unnoticed.

    Args:
        baseline: of the training rows.
        values: float32 (row, feature) in the order of time, columns as in the baseline.
        newest_ns: when the newest row was known.
        now_ns: the time now.
        ttl_ns: age from which the newest row is too old.

    Raises:
        InputError: no rows, an infinity, or another number of columns.
    """
    _refuse_unusable(values, len(baseline.features))
    pairs = zip(baseline.features, values.T, strict=True)
    age_ns = now_ns - newest_ns
    return FeatureHealth(
        n_rows=len(values),
        age_ns=age_ns,
        ttl_ns=ttl_ns,
        is_fresh=0 <= age_ns <= ttl_ns,
        features=tuple(_condition(profile, column, baseline) for profile, column in pairs),
    )


def _refuse_unusable(values: NDArray[np.float32], n_features: int) -> None:
    if values.ndim != 2 or values.shape[1] != n_features or len(values) == 0:
        raise InputError(f"feature rows have shape {values.shape}; {n_features} columns and a row are needed")
    if np.isinf(values).any():
        raise InputError("feature rows hold infinities; a feature is a finite number or missing (NaN)")


def _profile(name: str, column: NDArray[np.float32]) -> FeatureProfile:
    present = column[~np.isnan(column)]
    null_rate = 1.0 - len(present) / len(column)
    if not len(present):
        nothing: dict[str, tuple[float, ...]] = {"quantiles": (), "edges": (), "shares": (), "bars": ()}
        return FeatureProfile(
            name=name,
            n_values=0,
            noise_scale=1.0,
            noise_freedom=1.0,
            null_rate=null_rate,
            mean=None,
            std=None,
            **nothing,
        )
    exact = present.astype(np.float64)
    quantiles = np.quantile(exact, QUANTILES)
    edges = _bin_edges(present)
    bins = _bins(present, edges)
    scale, freedom = _noise_of(bins)
    bars = np.histogram(np.clip(exact, quantiles[1], quantiles[-2]), _N_BARS, (quantiles[1], quantiles[-2]))[0]
    return FeatureProfile(
        name=name,
        n_values=len(present),
        noise_scale=scale,
        noise_freedom=freedom,
        null_rate=null_rate,
        mean=float(exact.mean()),
        std=float(exact.std()),
        quantiles=tuple(quantiles.tolist()),
        edges=tuple(edges.astype(np.float64).tolist()),
        shares=tuple((np.bincount(bins, minlength=len(edges) + 1) / len(present)).tolist()),
        bars=tuple((bars / len(present)).tolist()),
    )


def _bin_edges(present: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return inner edges at the tenths; a value that is several tenths at once gets a bin of its own."""
    tenths = np.quantile(present, np.arange(1, _N_BINS) / _N_BINS, method="inverted_cdf").astype(np.float32)
    found, times = np.unique(tenths, return_counts=True)
    repeated = found[times > 1]
    return np.unique(np.concatenate((found, np.nextafter(repeated, np.float32(np.inf)))))


def _bins(present: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.searchsorted(edges, present, side="right")


def _noise_of(bins: NDArray[np.int64]) -> tuple[float, float]:
    """Return scale and degrees of freedom of the index between two stretches of an unchanged series.

    The index is a sum of squares of bin shares. Neighbours that are alike make the shares vary more than a count of
    independent values would, some bins more than others; scale and freedom fit the mean and the variance of that sum
    (Satterthwaite), from the covariance of the shares of overlapping blocks.
    """
    recent = bins[-_MOST_LAGGED:]
    n_block = max(1, round(len(recent) ** (2 / 3)))
    inside = (recent[:, None] == np.unique(recent)).astype(np.float64)
    share = inside.mean(axis=0)
    total = np.cumsum((inside - share) / np.sqrt(share), axis=0)
    sums = total[n_block:] - total[:-n_block]
    covariance = sums.T @ sums / max(len(sums) * n_block, 1)
    trace, squares = float(np.trace(covariance)), float(np.sum(covariance**2))
    if inside.shape[1] < 2 or not squares > 0:
        return 1.0, 1.0  # one value throughout: there is nothing that chance could move
    return max(1.0, squares / trace), trace**2 / squares


def _edges(profile: FeatureProfile) -> NDArray[np.float32]:
    return np.array(profile.edges, dtype=np.float32)


def _condition(profile: FeatureProfile, column: NDArray[np.float32], baseline: FeatureBaseline) -> FeatureCondition:
    present = column[~np.isnan(column)]
    null_rate = 1.0 - len(present) / len(column)
    change = null_rate - profile.null_rate
    findings = []
    if abs(change) > max(MAX_NULL_CHANGE, _null_noise(profile.null_rate, null_rate, baseline, len(column))):
        findings.append(f"missing values went from {profile.null_rate:.1%} to {null_rate:.1%}")
    psi, noise = _stability(profile, present, len(baseline.features))
    if psi is not None and noise is not None and psi > max(STABLE_BELOW, noise):
        findings.append(f"its distribution moved, PSI {psi:.2f} where chance stays below {noise:.2f}")
    if psi is not None and _is_stuck(profile, present, len(baseline.features)):
        findings.append(f"it stands still at {present[0]:g}")
    return FeatureCondition(
        name=profile.name,
        null_rate=null_rate,
        null_change=change,
        psi=psi,
        noise=noise,
        band=_band(psi),
        findings=tuple(findings),
    )


def _is_stuck(profile: FeatureProfile, present: NDArray[np.float32], n_features: int) -> bool:
    """Tell whether one value throughout is less likely than a false alarm, by how often training had its bin."""
    if np.ptp(present) > 0:
        return False
    bin_share = profile.shares[int(_bins(present[:1], _edges(profile))[0])]
    return bool(bin_share ** (len(present) / profile.noise_scale) < _FALSE_ALARMS / n_features)


def _band(psi: float | None) -> Literal["stable", "moderate", "shifted", "unknown"]:
    if psi is None:
        return "unknown"
    if psi < STABLE_BELOW:
        return "stable"
    return "moderate" if psi <= SHIFTED_ABOVE else "shifted"


def _null_noise(before: float, now: float, baseline: FeatureBaseline, n_rows: int) -> float:
    from scipy.special import ndtri  # noqa: PLC0415 - slow to import

    pooled = (before * baseline.n_rows + now * n_rows) / (baseline.n_rows + n_rows)
    reach = -float(ndtri(_FALSE_ALARMS / len(baseline.features) / 2))
    return reach * float(np.sqrt(pooled * (1.0 - pooled) * (1.0 / baseline.n_rows + 1.0 / n_rows)))


def _stability(
    profile: FeatureProfile, present: NDArray[np.float32], n_features: int
) -> tuple[float | None, float | None]:
    """Return the index, and what it stays below by chance where nothing changed."""
    from scipy.special import chdtri  # noqa: PLC0415 - slow to import

    if min(profile.n_values, len(present)) < _FEWEST_ROWS:
        return None, None
    n_bins = len(profile.shares)
    counts = np.bincount(_bins(present, _edges(profile)), minlength=n_bins)
    trained = (np.array(profile.shares) * profile.n_values + _HALF) / (profile.n_values + _HALF * n_bins)
    current = (counts + _HALF) / (len(present) + _HALF * n_bins)
    psi = float(np.sum((current - trained) * np.log(current / trained)))
    reach = profile.noise_scale * float(chdtri(profile.noise_freedom, _FALSE_ALARMS / n_features))
    return psi, (1.0 / len(present) + 1.0 / profile.n_values) * reach
