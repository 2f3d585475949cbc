"""Order-flow imbalance at the best prices and at each of ten levels.

After Cont, Kukanov and Stoikov, "The price impact of order book events" (2014), and for several levels Cont, Cucuringu
and Zhang, "Cross-impact of order flow imbalance in equity markets" (2023): flows are divided by the mean depth of the
book events in the window, so that they are free of the unit of volume. A window without a book event has flow 0.
"""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.tiles import (
    BEST_DEPTH,
    BOOK_SINCE,
    FLOW,
    MEAN_DEPTH,
    N_BOOKS,
    N_LEVELS,
    FloatArray,
    Market,
    book_known,
    covers,
    window_flow,
)


@formula
def side_flow(price: float, size: float, new_price: float, new_size: float) -> float:
    """Return what an update added to a level of the bids; for the asks, give prices with the opposite sign.

    A price that improves counts its whole size, one that retreats the whole size that was there, an unchanged one the
    difference.
    """
    flow = 0.0
    if new_price >= price:
        flow += new_size
    if new_price <= price:
        flow -= size
    return flow


@formula
def scaled_flow(m: Market, now_ns: int, column: int, depth: int, seconds: int) -> float:
    """Return a window's flow over its mean depth; 0 without a book event in it."""
    n_books = window_flow(m, N_BOOKS, now_ns, seconds)
    if n_books == 0.0:
        return 0.0
    return window_flow(m, column, now_ns, seconds) * n_books / window_flow(m, depth, now_ns, seconds)


@formula
def ofi(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the order-flow imbalance of the best prices over `p[0]` seconds (1, 10, 60) over their mean depth."""
    seconds = int(p[0])
    if not (book_known(m, now_ns, 1) and covers(m.clock[BOOK_SINCE], now_ns, seconds)):
        return math.nan
    return scaled_flow(m, now_ns, FLOW, BEST_DEPTH, seconds)


@formula
def level_ofi(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the order-flow imbalance of level `p[0]` (from 0) over `p[1]` seconds over all levels' mean depth."""
    level, seconds = int(p[0]), int(p[1])
    if not (book_known(m, now_ns, level + 1) and covers(m.clock[BOOK_SINCE], now_ns, seconds)):
        return math.nan
    return scaled_flow(m, now_ns, FLOW + level, MEAN_DEPTH, seconds)


@formula
def integrated_ofi(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the mean of `level_ofi` over the ten levels and `p[0]` seconds.

    All levels weigh the same: the first principal component that the literature takes has nearly equal weights and
    would have to be fitted, which is a model's work.
    """
    seconds = int(p[0])
    if not (book_known(m, now_ns, N_LEVELS) and covers(m.clock[BOOK_SINCE], now_ns, seconds)):
        return math.nan
    n_books = window_flow(m, N_BOOKS, now_ns, seconds)
    if n_books == 0.0:
        return 0.0
    total = 0.0
    for level in range(N_LEVELS):
        total += window_flow(m, FLOW + level, now_ns, seconds)
    return total / N_LEVELS * n_books / window_flow(m, MEAN_DEPTH, now_ns, seconds)


FORMULAS: Final = (ofi, level_ofi, integrated_ofi)
"""The formulas of the family; their names are those of the definitions."""
