"""The stationary bootstrap by running sums draws as the reference implementation does."""

from __future__ import annotations

import numpy as np
import pytest
from arch.bootstrap import StationaryBootstrap
from numpy.typing import NDArray

from ratchet.evaluation.bootstrap import resample_sums


@pytest.mark.parametrize(("n_times", "block"), [(60, 10), (1_500, 12), (1_500, 1)])
def test_sums_are_distributed_as_those_of_the_reference(n_times: int, block: int) -> None:
    """Mean, spread and the correlation between columns agree with arch's, up to the error of the simulation."""
    rng = np.random.default_rng(0)
    smooth = np.convolve(rng.normal(size=n_times + 5), np.ones(6), "valid")
    series = np.column_stack([smooth, smooth + rng.normal(size=n_times)])
    n_resamples = 4_000
    ours = resample_sums(series, block=block, n_resamples=n_resamples, seed=1)
    reference = StationaryBootstrap(block, series, seed=np.random.default_rng(2))
    theirs = reference.apply(lambda sample: sample.sum(axis=0), n_resamples)
    spread = theirs.std(axis=0)
    assert np.abs(ours.mean(axis=0) - series.sum(axis=0)).max() < 4 * spread.max() / np.sqrt(n_resamples)
    assert np.allclose(ours.std(axis=0) / spread, 1.0, atol=0.06)
    assert _correlation(ours) == pytest.approx(_correlation(theirs), abs=0.03)


def _correlation(columns: NDArray[np.float64]) -> float:
    return float(np.atleast_2d(np.corrcoef(columns.T))[0, 1])


def test_a_resample_holds_as_many_moments_as_the_sample() -> None:
    """The sum of ones is their number, whatever blocks were drawn, and the same seed draws the same."""
    ones = np.ones((97, 1))
    sums = resample_sums(ones, block=7, n_resamples=300, seed=3)
    assert np.array_equal(sums, np.full((300, 1), 97.0))
    noise = np.random.default_rng(1).normal(size=(97, 2))
    first, again, other = (resample_sums(noise, block=7, n_resamples=50, seed=seed) for seed in (5, 5, 6))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
