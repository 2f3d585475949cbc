"""Eigenvalues and the leading eigenvector of small symmetric matrices.

Written out rather than left to a linear algebra library, whose results may differ in the last bit with the number of
its threads: the same window must give the same features in every process.
"""

from __future__ import annotations

import math

from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.compiling import formula

_MAX_STEPS = 1000
_SETTLED = 1e-14
_BISECTIONS = 60


@formula
def leading_vector(weights: FloatArray, vector: FloatArray, work: FloatArray) -> None:
    """Write the eigenvector of the largest eigenvalue to `vector`, with a root mean square of 1.

    `weights` float64 (n, n) is symmetric, not negative, with a zero diagonal. Power iteration from equal entries,
    shifted by the mean row sum so that it settles for two nodes as well; where all weights are zero they stay equal.
    """
    n = weights.shape[0]
    shift = 0.0
    for i in range(n):
        vector[i] = 1.0
        for j in range(n):
            shift += weights[i, j] / n
    for _ in range(_MAX_STEPS if shift > 0.0 else 0):
        for i in range(n):
            work[i] = shift * vector[i]
        for j in range(n):
            for i in range(n):
                work[i] += weights[j, i] * vector[j]
        squares = moved = 0.0
        for i in range(n):
            squares += work[i] * work[i]
        scale = 1.0 / math.sqrt(squares / n)
        for i in range(n):
            moved = max(moved, abs(work[i] * scale - vector[i]))
            vector[i] = work[i] * scale
        if moved < _SETTLED:
            break


@formula
def tridiagonalise(matrix: FloatArray, diagonal: FloatArray, beside: FloatArray, work: FloatArray) -> None:
    """Reduce a symmetric matrix, which is overwritten, to a tridiagonal one with the same eigenvalues.

    Householder reflections (Golub and Van Loan, Matrix Computations, 8.3). `beside[i]` is the entry between
    `diagonal[i]` and `diagonal[i + 1]`; all arrays but the matrix have n places.
    """
    n = matrix.shape[0]
    for k in range(n - 1):
        column = matrix[k]
        squares = 0.0
        for i in range(k + 1, n):
            squares += column[i] * column[i]
        beside[k] = -math.copysign(math.sqrt(squares), column[k + 1])
        diagonal[k] = column[k]
        column[k + 1] -= beside[k]
        length = squares - beside[k] * (column[k + 1] + beside[k])  # half the squared length of the reflection's axis
        if length > 0.0:
            _reflect(matrix, k, length, work)
    diagonal[n - 1] = matrix[n - 1, n - 1]


@formula
def _reflect(matrix: FloatArray, k: int, length: float, work: FloatArray) -> None:
    """Apply to the rest of the matrix, from both sides, the reflection whose axis is in row k."""
    n = matrix.shape[0]
    axis = matrix[k]
    for i in range(k + 1, n):
        work[i] = 0.0
    for j in range(k + 1, n):
        for i in range(k + 1, n):
            work[i] += matrix[j, i] * axis[j]
    overlap = 0.0
    for i in range(k + 1, n):
        work[i] /= length
        overlap += work[i] * axis[i]
    for i in range(k + 1, n):
        work[i] -= 0.5 * overlap / length * axis[i]
    for j in range(k + 1, n):
        for i in range(k + 1, n):
            matrix[j, i] -= axis[j] * work[i] + work[j] * axis[i]


@formula
def _n_above(diagonal: FloatArray, beside: FloatArray, limit: float) -> int:
    """Return how many eigenvalues of a tridiagonal matrix are above `limit`, by the signs of its pivots."""
    count, pivot = 0, 1.0
    for i in range(diagonal.shape[0]):
        coupling = beside[i - 1] * beside[i - 1] / pivot if i > 0 else 0.0
        pivot = diagonal[i] - limit - coupling
        if pivot == 0.0:
            pivot = -1e-300
        count += pivot > 0.0
    return count


@formula
def sum_of_largest(diagonal: FloatArray, beside: FloatArray, n_largest: int, greatest: float) -> float:
    """Return the sum of the largest eigenvalues, all between 0 and `greatest`, of a tridiagonal matrix by bisection."""
    result = 0.0
    for place in range(n_largest):
        low, high = 0.0, greatest
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            if _n_above(diagonal, beside, middle) > place:
                low = middle
            else:
                high = middle
        result += low
    return result
