"""Statistics of the last values of a series: computed from the window alone, so nothing drifts.

`values` is a one-dimensional float64 array whose window is `values[end - n : end]`: a field of the bars or a memory
that `remember` fills. Spreads are measured from the window's last value, so equal values have exactly zero spread.
"""

from __future__ import annotations

from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.compiling import formula


@formula
def remember(memory: FloatArray, start: int, n: int, length: int, value: float) -> int:
    """Keep value number `n` (from 1) in `memory[start : start + 2 * length]`; return the end of the last `length`.

    Each value is written twice, `length` apart, so that the window is contiguous and in order.
    """
    place = start + (n - 1) % length
    memory[place] = value
    memory[place + length] = value
    return place + length + 1


@formula
def total(values: FloatArray, end: int, n: int) -> float:
    """Return the sum of the window; by pairs, as each addition to the result waits for the one before it."""
    result = values[end - 1] if n % 2 == 1 else 0.0
    for i in range(end - n, end - 1, 2):
        result += values[i] + values[i + 1]
    return result


@formula
def spread(values: FloatArray, end: int, n: int) -> tuple[float, float]:
    """Return the mean minus the last value, and the sum of squared deviations from the mean; (0, 0) for equal values.

    The squares around the last value less those of the mean: because the last value is in the window, that difference
    is never less than 1 / n of what it is taken from, so at most log10(n) digits cancel.
    """
    last = values[end - 1]
    sum_above = squares = 0.0
    for i in range(end - n, end - 1, 2):  # the last value, left out where n is odd, adds nothing
        first, second = values[i] - last, values[i + 1] - last
        sum_above += first + second
        squares += first * first + second * second
    mean_above = sum_above / n
    return mean_above, squares - sum_above * mean_above


@formula
def highest(values: FloatArray, end: int, n: int) -> float:
    """Return the largest value of the window."""
    result: float = values[end - n]
    for i in range(end - n + 1, end):
        result = max(result, values[i])
    return result


@formula
def lowest(values: FloatArray, end: int, n: int) -> float:
    """Return the smallest value of the window."""
    result: float = values[end - n]
    for i in range(end - n + 1, end):
        result = min(result, values[i])
    return result


@formula
def ratio(numerator: float, denominator: float, otherwise: float) -> float:
    """Divide; a denominator of exactly zero gives `otherwise`, the feature's neutral value."""
    return numerator / denominator if denominator != 0.0 else otherwise
