"""The family `graph`: a symbol among all symbols that are followed.

References are Bitcoin and Ether; without them, or in a symbol without a return in each of the last 240 bars, features
are missing. All are computed by `ratchet.features.kernel.graph.graph_features`, whose columns are in this order.
"""

from __future__ import annotations

from ratchet.features.definitions import FeatureDefinition, define

SHORT_WINDOW = 60
LONG_WINDOW = 240

_CORRELATION = "-1..1"
_LOG = "log ratio"
_OFI = "order flow imbalance"

_COLUMNS: tuple[tuple[str, int, str, str], ...] = (
    ("corr_btc_60", 0, _CORRELATION, "Correlation of 60 returns with Bitcoin's."),
    ("corr_btc_240", 0, _CORRELATION, "Correlation of 240 returns with Bitcoin's."),
    ("corr_eth_60", 0, _CORRELATION, "Correlation of 60 returns with Ether's."),
    ("corr_eth_240", 0, _CORRELATION, "Correlation of 240 returns with Ether's."),
    ("beta_btc", 0, "slope", "Slope of 240 returns on Bitcoin's."),
    ("beta_market", 0, "slope", "Slope of 240 returns on the mean of all symbols' returns."),
    ("residual_btc", 0, _LOG, "Last return minus beta_btc times Bitcoin's."),
    ("residual_market", 0, _LOG, "Last return minus beta_market times the mean of all symbols' returns."),
    ("btc_lead_1", 1, _CORRELATION, "Correlation of 240 returns with Bitcoin's one bar earlier."),
    ("btc_lead_2", 2, _CORRELATION, "Correlation of 240 returns with Bitcoin's two bars earlier."),
    ("btc_lead_3", 3, _CORRELATION, "Correlation of 240 returns with Bitcoin's three bars earlier."),
    ("neighbour_return_1", 0, _LOG, "Mean return of the others over 1 bar, weighted by correlation."),
    ("neighbour_return_5", 0, _LOG, "Mean return of the others over 5 bars, weighted by correlation."),
    ("neighbour_return_15", 0, _LOG, "Mean return of the others over 15 bars, weighted by correlation."),
    ("neighbour_return_60", 0, _LOG, "Mean return of the others over 60 bars, weighted by correlation."),
    ("neighbour_ofi", 0, _OFI, "Mean order flow imbalance of the others whose book is known, weighted by correlation."),
    ("strength", 0, "0..1", "Mean absolute correlation with the others."),
    ("centrality", 0, "root mean square 1", "Entry of the leading eigenvector of the absolute correlations."),
    ("clustering", 0, "0..1", "Mean geometric mean of the triangles' edges, as shares of the largest edge."),
    ("tree_degree", 0, "edges", "Edges in the minimum spanning tree of the distances sqrt(2 (1 - correlation))."),
    ("tree_distance_btc", 0, "distance", "Length of the way to Bitcoin along the minimum spanning tree."),
    ("absorption_ratio", 0, "0..1", "Share of all variance in the largest fifth of the principal components."),
    ("mean_correlation", 0, "0..1", "Mean absolute correlation of all pairs of symbols."),
    ("beta_change", 0, "slope", "Slope of 60 returns on Bitcoin's minus that of 240."),
)
"""Name, bars needed besides the long window, unit, description."""

GRAPH_FEATURES: tuple[FeatureDefinition, ...] = tuple(
    define(
        f"graph_{name}",
        "close bid_price bid_size ask_price ask_size" if name == "neighbour_ofi" else "close",
        LONG_WINDOW + more,
        unit,
        description,
        family="graph",
        source="universe",
        formula="graph_features",
        column=column,
        short=SHORT_WINDOW,
        long=LONG_WINDOW,
    )
    for column, (name, more, unit, description) in enumerate(_COLUMNS)
)
"""24 features; `graph_beta_change` shows a symbol that leaves its habit, the others are named in its description."""
