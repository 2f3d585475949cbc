"""A symbol's place in the graph whose edges are correlations.

All functions take the members' correlations, or their absolute values with a zero diagonal as `weights`, float64 (n, n)
with n > 1, and write columns of `rows` float64 (n, column). Sources: minimum spanning tree on the distance
sqrt(2 (1 - correlation)), Mantegna (1999), doi 10.1007/s100510050929; weighted clustering, Onnela, Saramaki, Kertesz
and Kaski (2005), doi 10.1103/PhysRevE.71.065103; absorption ratio, Kritzman, Li, Page and Rigobon (2011), "Principal
Components as a Measure of Systemic Risk".
"""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.compiling import formula, section
from ratchet.features.kernel.spectrum import leading_vector, sum_of_largest, tridiagonalise
from ratchet.features.kernel.windows import ratio

NEIGHBOUR_RETURN: Final = 11
NEIGHBOUR_OFI: Final = 15
STRENGTH: Final = 16
CENTRALITY: Final = 17
CLUSTERING: Final = 18
TREE_DEGREE: Final = 19
TREE_DISTANCE: Final = 20
ABSORPTION: Final = 21
MEAN_CORRELATION: Final = 22

_HORIZONS = (1, 5, 15, 60)


@formula
def _fill(rows: FloatArray, column: int, value: float) -> None:
    for i in range(rows.shape[0]):
        rows[i, column] = value


@formula
def _copy(values: FloatArray, column: int, rows: FloatArray) -> None:
    for i in range(rows.shape[0]):
        rows[i, column] = values[i]


@section
def _ask(correlation: FloatArray, values: FloatArray, column: int, rows: FloatArray) -> None:
    """Write the mean of the other members' values weighted by the correlation with them, over the absolute weights.

    Others without a value are left out; where none has one the result is NaN, where all correlations are 0 it is 0.
    """
    n = correlation.shape[0]
    for i in range(n):
        total = weights = 0.0
        n_values = 0
        for j in range(n):
            if j != i and math.isfinite(values[j]):
                total += correlation[i, j] * values[j]
                weights += abs(correlation[i, j])
                n_values += 1
        if n_values > 0:
            rows[i, column] = ratio(total, weights, 0.0)


@formula
def _measure_weights(weights: FloatArray, rows: FloatArray) -> None:
    """Write each member's mean edge and the mean of all edges."""
    n = weights.shape[0]
    mean = 0.0
    for i in range(n):
        strength = 0.0
        for j in range(n):
            strength += weights[i, j] / (n - 1)
        rows[i, STRENGTH] = strength
        mean += strength / n
    _fill(rows, MEAN_CORRELATION, mean)


@formula
def _measure_clustering(weights: FloatArray, work: FloatArray, sums: FloatArray, rows: FloatArray) -> None:
    """Write the mean over all pairs of others of the triangle's geometric mean, edges as shares of the largest."""
    n = weights.shape[0]
    largest = 0.0
    for i in range(n):
        for j in range(n):
            largest = max(largest, weights[i, j])
    for i in range(n):
        for j in range(n):
            work[i, j] = ratio(weights[i, j], largest, 0.0) ** (1.0 / 3.0)
    for i in range(n):
        for k in range(n):
            sums[k] = 0.0
        for j in range(n):
            for k in range(n):
                sums[k] += work[i, j] * work[j, k]
        triangles = 0.0
        for k in range(n):
            triangles += sums[k] * work[i, k]
        rows[i, CLUSTERING] = ratio(triangles, float((n - 1) * (n - 2)), 0.0)


@formula
def _distance(correlation: float) -> float:
    return math.sqrt(2.0 * (1.0 - correlation))


@formula
def _grow_tree(correlation: FloatArray, root: int, vectors: FloatArray, rows: FloatArray) -> None:
    """Write each member's degree in the minimum spanning tree, and its distance from the root along it (Prim).

    Of several equally near members the first joins. `vectors` float64 (3, n) holds the distances to the tree, of the
    tree's members those to the root, and which member of the tree is nearest: -1 once a member itself.
    """
    n = correlation.shape[0]
    to_tree, to_root, nearest = vectors[0], vectors[1], vectors[2]
    for i in range(n):
        to_tree[i] = _distance(correlation[i, root])
        nearest[i] = root
        rows[i, TREE_DEGREE] = 0.0
    nearest[root] = -1.0
    to_root[root] = 0.0
    for _ in range(n - 1):
        best = -1
        for i in range(n):
            if nearest[i] >= 0.0 and (best < 0 or to_tree[i] < to_tree[best]):
                best = i
        parent = int(nearest[best])
        nearest[best] = -1.0
        to_root[best] = to_root[parent] + to_tree[best]
        rows[best, TREE_DEGREE] += 1.0
        rows[parent, TREE_DEGREE] += 1.0
        for i in range(n):
            distance = _distance(correlation[i, best])
            if nearest[i] >= 0.0 and distance < to_tree[i]:
                to_tree[i] = distance
                nearest[i] = best


@formula
def ask_neighbours(
    correlation: FloatArray, window: FloatArray, flow: FloatArray, sums: FloatArray, rows: FloatArray
) -> None:
    """Write the neighbours' returns over 1, 5, 15 and 60 bars of `window` float64 (time, n), and their order flow."""
    n_rows, n = window.shape
    for k in range(len(_HORIZONS)):
        for i in range(n):
            sums[i] = 0.0
        for row in range(n_rows - min(_HORIZONS[k], n_rows), n_rows):
            for i in range(n):
                sums[i] += window[row, i]
        _ask(correlation, sums, NEIGHBOUR_RETURN + k, rows)
    _ask(correlation, flow, NEIGHBOUR_OFI, rows)


@section
def measure_network(
    correlation: FloatArray, weights: FloatArray, btc: int, work: FloatArray, vectors: FloatArray, rows: FloatArray
) -> None:
    """Write strength, centrality, clustering, the tree's columns and the absorption ratio.

    The absorption ratio is the share of the variance of standardised returns that the n // 5 largest principal
    components (at least one) explain. `btc` is -1 where it is no member. Overwrites `correlation`; `work` float64
    (n, n) and `vectors` float64 (3, n) are memory.
    """
    n = weights.shape[0]
    _measure_weights(weights, rows)
    leading_vector(weights, vectors[0], vectors[1])
    _copy(vectors[0], CENTRALITY, rows)
    _measure_clustering(weights, work, vectors[0], rows)
    _grow_tree(correlation, max(btc, 0), vectors, rows)
    if btc >= 0:
        _copy(vectors[1], TREE_DISTANCE, rows)
    tridiagonalise(correlation, vectors[0], vectors[1], vectors[2])
    absorbed = sum_of_largest(vectors[0], vectors[1], max(n // 5, 1), float(n))
    _fill(rows, ABSORPTION, absorbed / n)
