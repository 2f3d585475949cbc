"""The graph features of one bar with numpy and networkx, written from their descriptions and apart from the kernel."""

from __future__ import annotations

import networkx as nx
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
_N_LAGS = 3


def graph_features(
    returns: FloatArray, ofi: FloatArray, *, btc: int | None, eth: int | None, short: int, long: int
) -> dict[str, FloatArray]:
    """Return each feature by name without its prefix and windows, float64 (symbol,); `returns` (time, symbol)."""
    n_symbols = returns.shape[1]
    members = [i for i in range(n_symbols) if np.isfinite(returns[-long:, i]).all()]
    window = returns[-long:, members]
    columns: dict[str, FloatArray] = {}
    if members:
        columns |= _market(window)
    for name, reference in (("btc", btc), ("eth", eth)):
        if reference in members:
            columns |= _reference(window, members.index(reference), name, short)
    if btc in members:
        columns |= _leads(returns, members, members.index(btc), long)
        columns |= _btc(window, members.index(btc), short)
    if len(members) > 1:
        columns |= _network(window, ofi[members], members.index(btc) if btc in members else None)
    return {name: _on_all_symbols(values, members, n_symbols) for name, values in columns.items()}


def _on_all_symbols(values: FloatArray, members: list[int], n_symbols: int) -> FloatArray:
    out = np.full(n_symbols, np.nan)
    out[members] = values
    return out


def _correlate(x: FloatArray, y: FloatArray) -> float:
    return 0.0 if np.std(x) <= 1e-12 or np.std(y) <= 1e-12 else float(np.corrcoef(x, y)[0, 1])


def _slope(values: FloatArray, on: FloatArray) -> float:
    return 0.0 if np.std(on) <= 1e-12 else float(np.cov(values, on)[0, 1] / np.var(on, ddof=1))


def _market(window: FloatArray) -> dict[str, FloatArray]:
    market = window.mean(axis=1)
    beta = np.array([_slope(column, market) for column in window.T])
    return {"beta_market": beta, "residual_market": window[-1] - beta * market[-1]}


def _reference(window: FloatArray, place: int, name: str, short: int) -> dict[str, FloatArray]:
    def against(part: FloatArray) -> FloatArray:
        values = np.array([_correlate(column, part[:, place]) for column in part.T])
        values[place] = 1.0
        return values

    return {f"corr_{name}_short": against(window[-short:]), f"corr_{name}_long": against(window)}


def _btc(window: FloatArray, place: int, short: int) -> dict[str, FloatArray]:
    beta = np.array([_slope(column, window[:, place]) for column in window.T])
    recent = np.array([_slope(column, window[-short:, place]) for column in window[-short:].T])
    return {
        "beta_btc": beta,
        "residual_btc": window[-1] - beta * window[-1, place],
        "beta_change": recent - beta,
    }


def _leads(returns: FloatArray, members: list[int], place: int, long: int) -> dict[str, FloatArray]:
    columns = {}
    for lag in range(1, _N_LAGS + 1):
        earlier = returns[: len(returns) - lag, members[place]][-long:]
        if len(earlier) == long and np.isfinite(earlier).all():
            values = [_correlate(column, earlier) for column in returns[-long:, members].T]
            columns[f"btc_lead_{lag}"] = np.array(values)
    return columns


def _correlations(window: FloatArray) -> FloatArray:
    n = window.shape[1]
    matrix = np.eye(n)
    for i in range(n):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = _correlate(window[:, i], window[:, j])
    return matrix


def _neighbours(matrix: FloatArray, values: FloatArray) -> FloatArray:
    known = np.isfinite(values)
    out = np.full(len(values), np.nan)
    for i in range(len(values)):
        others = [j for j in range(len(values)) if j != i and known[j]]
        weight = np.abs(matrix[i, others]).sum()
        if others:
            out[i] = matrix[i, others] @ values[others] / weight if weight > 0 else 0.0
    return out


def _network(window: FloatArray, ofi: FloatArray, btc: int | None) -> dict[str, FloatArray]:
    matrix, n = _correlations(window), window.shape[1]
    graph, distances = nx.Graph(), nx.Graph()
    for i in range(n):
        for j in range(i):
            graph.add_edge(i, j, weight=abs(matrix[i, j]))
            distances.add_edge(i, j, weight=np.sqrt(2 * (1 - matrix[i, j])))
    tree = nx.minimum_spanning_tree(distances, algorithm="kruskal")
    weights = nx.to_numpy_array(graph, nodelist=range(n))
    strength = np.array([graph.degree(i, weight="weight") for i in range(n)]) / (n - 1)
    clustering = nx.clustering(graph, weight="weight") if weights.any() else dict.fromkeys(range(n), 0.0)
    eigenvalues = np.linalg.eigvalsh(matrix)[::-1]
    columns = {
        f"neighbour_return_{n_bars}": _neighbours(matrix, window[-n_bars:].sum(axis=0)) for n_bars in (1, 5, 15, 60)
    }
    columns |= {
        "neighbour_ofi": _neighbours(matrix, ofi),
        "strength": strength,
        "centrality": _centrality(graph, n) if weights.any() else np.ones(n),
        "clustering": np.array([clustering[i] for i in range(n)]),
        "tree_degree": np.array([float(tree.degree(i)) for i in range(n)]),
        "absorption_ratio": np.full(n, eigenvalues[: max(n // 5, 1)].sum() / n),
        "mean_correlation": np.full(n, weights.sum() / (n * (n - 1))),
    }
    if btc is not None:
        ways = nx.single_source_dijkstra_path_length(tree, btc, weight="weight")
        columns["tree_distance_btc"] = np.array([ways[i] for i in range(n)])
    return columns


def _centrality(graph: nx.Graph, n: int) -> FloatArray:
    if n == 2:  # networkx asks a solver that wants more than two nodes
        return np.ones(2)
    entries = nx.eigenvector_centrality_numpy(graph, weight="weight")
    vector = np.array([entries[i] for i in range(n)])
    scaled: FloatArray = vector / np.sqrt(np.mean(vector**2))
    return scaled
