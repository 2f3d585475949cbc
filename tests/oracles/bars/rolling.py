"""Rolling statistics whose value at a row is computed from that row's window alone.

Running sums would carry rounding errors along the whole history; here a row's result does not depend on where the
history starts. Windows are centred on their last value first, so a window of equal values has exactly zero spread.
All functions take and return float64 (time,); rows without a full window are NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ratchet.features.bars import FloatArray


def lagged(values: FloatArray, n: int) -> FloatArray:
    """Return the value `n` rows earlier."""
    out = np.full(len(values), np.nan)
    out[n:] = values[: max(len(values) - n, 0)]
    return out


def windows(values: FloatArray, n: int) -> FloatArray:
    """Return the trailing windows of length `n`, shape (time - n + 1, n), as a read-only view."""
    if len(values) < n:
        return np.empty((0, n))
    return sliding_window_view(values, n)


def aligned(per_window: FloatArray, n_rows: int) -> FloatArray:
    """Put one value per window back on the rows, NaN in front."""
    out = np.full(n_rows, np.nan)
    out[n_rows - len(per_window) :] = per_window
    return out


def rolling_sum(values: FloatArray, n: int) -> FloatArray:
    """Return the sum of the last `n` values."""
    return aligned(windows(values, n).sum(axis=1), len(values))


def rolling_mean(values: FloatArray, n: int) -> FloatArray:
    """Return the mean of the last `n` values."""
    return rolling_sum(values, n) / n


def deviations(values: FloatArray, n: int) -> FloatArray:
    """Return each window minus its mean, shape (time - n + 1, n); exactly zero for equal values."""
    frame = windows(values, n)
    from_last = frame - frame[:, -1:]
    centred: FloatArray = from_last - from_last.mean(axis=1, keepdims=True)
    return centred


def rolling_std(values: FloatArray, n: int, *, ddof: int = 0) -> FloatArray:
    """Return the standard deviation of the last `n` values."""
    variance = (deviations(values, n) ** 2).sum(axis=1) / (n - ddof)
    return aligned(np.sqrt(variance), len(values))


def ratio(numerator: FloatArray, denominator: FloatArray, otherwise: float) -> FloatArray:
    """Divide; where the denominator is exactly zero the result is `otherwise`, the feature's neutral value."""
    out = np.full(len(denominator), otherwise)
    np.divide(numerator, denominator, out=out, where=denominator != 0)
    return out
