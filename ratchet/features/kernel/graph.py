"""Features of a symbol among the others: correlations, lead and lag, and its place in the graph that they form.

Members of the graph are the symbols with a return in each of the last `long` bars; the others' features are NaN, and
they have no part in the members' ones. The edges are the members' correlations over these bars; a member that did not
move has correlation 0 with all others. The market is the mean of the members' returns, each symbol's own among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ratchet.features.kernel.bars import FloatArray
from ratchet.features.kernel.compiling import SOURCE_DIGEST, entry_point, formula
from ratchet.features.kernel.graph_network import ask_neighbours, measure_network
from ratchet.features.kernel.graph_relations import (
    BTC_LEAD,
    correlation_of,
    covariances,
    follow,
    relate_to_market,
    relate_to_references,
)

N_GRAPH_FEATURES: Final = 24
N_LAGS: Final = 3
"""How many bars before the long window the first reference's lead is looked for."""

IntArray = NDArray[np.int64]


@formula
def _find_members(returns: FloatArray, long: int, members: IntArray) -> int:
    """Write the columns that are finite in the last `long` rows to `members`; return how many there are."""
    n_members = 0
    for symbol in range(returns.shape[1]):
        is_member = True
        for row in range(returns.shape[0] - long, returns.shape[0]):
            is_member = is_member and math.isfinite(returns[row, symbol])
        if is_member:
            members[n_members] = symbol
            n_members += 1
    return n_members


@formula
def _forget(rows: FloatArray) -> None:
    for i in range(rows.shape[0]):
        for column in range(rows.shape[1]):
            rows[i, column] = math.nan


@formula
def _place(members: IntArray, symbol: int) -> int:
    """Return the symbol's place among the members, -1 where it is none."""
    for place in range(members.shape[0]):
        if members[place] == symbol:
            return place
    return -1


@formula
def _weigh(covariance: FloatArray, correlation: FloatArray, weights: FloatArray) -> None:
    """Write the correlations, and their absolute values with a zero diagonal."""
    for i in range(covariance.shape[0]):
        for j in range(covariance.shape[0]):
            value = correlation_of(covariance[i, j], covariance[i, i], covariance[j, j])
            correlation[i, j] = value if i != j else 1.0
            weights[i, j] = abs(value) if i != j else 0.0


@formula
def _gather(returns: FloatArray, members: IntArray, window: FloatArray) -> None:
    """Write the members' last returns, as many rows as `window` has."""
    start = returns.shape[0] - window.shape[0]
    for row in range(window.shape[0]):
        for i in range(members.shape[0]):
            window[row, i] = returns[start + row, members[i]]


def _entry_point(digest: int) -> Callable[[FloatArray, FloatArray, int, int, int, int], FloatArray]:
    @entry_point
    def graph_features(returns: FloatArray, ofi: FloatArray, btc: int, eth: int, short: int, long: int) -> FloatArray:
        end, n_symbols = returns.shape
        out = np.empty((n_symbols, N_GRAPH_FEATURES))
        every = np.empty(n_symbols, dtype=np.int64)
        members = every[: _find_members(returns, long, every) if digest != 0 else 0]
        n = members.shape[0]
        rows, window, flow = np.empty((n, N_GRAPH_FEATURES)), np.empty((long, n)), np.empty(n)
        _forget(out)
        _forget(rows)
        if n == 0:
            return out
        _gather(returns, members, window)
        for i in range(n):
            flow[i] = ofi[members[i]]
        matrices, vectors = np.empty((4, n, n)), np.empty((3, n))
        covariance, recent, correlation, weights = matrices[0], matrices[1], matrices[2], matrices[3]
        covariances(window, covariance, vectors[0], vectors[1])
        covariances(window[long - short :], recent, vectors[0], vectors[1])
        place_btc, place_eth = _place(members, btc), _place(members, eth)
        relate_to_market(covariance, window[long - 1], rows)
        relate_to_references(recent, covariance, window[long - 1], place_btc, place_eth, rows)
        if place_btc >= 0:
            for lag in range(1, min(N_LAGS, end - long) + 1):
                follow(window, returns[end - long - lag : end - lag, btc], BTC_LEAD + lag - 1, rows)
        if n > 1:
            _weigh(covariance, correlation, weights)
            ask_neighbours(correlation, window, flow, vectors[0], rows)
            measure_network(correlation, weights, place_btc, recent, vectors, rows)
        for i in range(n):
            for column in range(N_GRAPH_FEATURES):
                out[members[i], column] = rows[i, column]
        return out

    return graph_features


graph_features = _entry_point(SOURCE_DIGEST)
"""`graph_features(returns, ofi, btc, eth, short, long) -> float64 (symbol, 24)`: the features after the last bar.

`returns` float64 (time, symbol), contiguous, has log returns over one bar, the oldest first, NaN where there is none:
at least `long` rows of them and `N_LAGS` more for the leads; `ofi` float64 (symbol,) the order flow imbalance, NaN
where it is not known; `btc` and `eth` the references' columns, -1 where there is none; 2 <= `short` <= `long` are
windows in bars. The columns are in the order of `ratchet.features.catalogue.graph`; NaN is a feature whose sources are
missing.
"""
