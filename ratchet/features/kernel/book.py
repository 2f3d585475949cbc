"""Features of the order book: its state now, and against its last minute.

A book feature is missing (NaN) while no trusted book is known: none came yet, it was lost, or it gave no sign of life
for 30 s; such a lapse counts as a loss. It is also missing where the book shows fewer levels than it needs, and a
windowed one until its whole window lies after the first book or the resynchronisation. The bid side is 0, the ask 1.
"""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.flow import side_flow
from ratchet.features.kernel.tiles import (
    BEST_DEPTH,
    BOOK_LEVELS_SHOWN,
    BOOK_SEEN,
    BOOK_SINCE,
    COARSE_NS,
    COARSE_TILE,
    DEPTH,
    FINE_TILE,
    FLOW,
    MEAN_DEPTH,
    MID,
    N_BOOKS,
    N_COARSE_TILES,
    N_FINE_TILES,
    N_LEVELS,
    NEVER,
    SPREAD,
    VISIBLE,
    FloatArray,
    Market,
    advance,
    book_known,
    covers,
    level_at,
    tile_of,
    window_flow,
    window_level,
    window_span,
)

_SIDE: Final = 2 * N_LEVELS
_BPS: Final = 1e4


@formula
def take_book(market: Market, ts_ns: int, values: FloatArray) -> None:
    """Take the book after an update, `values` float64 (40,) as in a `BOOK` event.

    A book without a best bid below a best ask, both with a size, counts as lost.
    """
    bid, ask = values[0], values[_SIDE]
    if not (0.0 < bid < ask < math.inf and values[N_LEVELS] > 0.0 and values[_SIDE + N_LEVELS] > 0.0):
        lose_book(market, ts_ns)
        return
    advance(market, ts_ns)
    clock, fine, coarse = market.clock, market.fine, market.coarse
    tenth, second = clock[FINE_TILE] % N_FINE_TILES, clock[COARSE_TILE] % N_COARSE_TILES
    continues = book_known(market, ts_ns, 0)
    if not continues:
        clock[BOOK_SINCE] = ts_ns
    clock[BOOK_SEEN] = ts_ns
    n_shown, previous = 0, market.book
    is_shown = True
    for level in range(N_LEVELS):
        flow = _replace_level(previous, values, level)
        if continues:
            fine[FLOW + level, tenth] += flow
            coarse[FLOW + level, second] += flow
        is_shown = is_shown and previous[level + N_LEVELS] > 0.0 and previous[level + _SIDE + N_LEVELS] > 0.0
        n_shown += is_shown
    clock[BOOK_LEVELS_SHOWN] = n_shown
    previous[MID] = 0.5 * (bid + ask)
    _count_depth(market, tenth, second)


@formula
def _replace_level(book: FloatArray, values: FloatArray, level: int) -> float:
    """Write one level of the new book over the old one and return its order flow."""
    bid, ask = level, _SIDE + level
    old_bid, old_bid_size = book[bid], book[bid + N_LEVELS]
    old_ask, old_ask_size = book[ask], book[ask + N_LEVELS]
    has_bid, has_ask = values[bid + N_LEVELS] > 0.0, values[ask + N_LEVELS] > 0.0
    book[bid] = values[bid] if has_bid else 0.0
    book[bid + N_LEVELS] = values[bid + N_LEVELS] if has_bid else 0.0
    book[ask] = values[ask] if has_ask else math.inf
    book[ask + N_LEVELS] = values[ask + N_LEVELS] if has_ask else 0.0
    return side_flow(old_bid, old_bid_size, book[bid], book[bid + N_LEVELS]) - side_flow(
        -old_ask, old_ask_size, -book[ask], book[ask + N_LEVELS]
    )


@formula
def _count_depth(market: Market, tenth: int, second: int) -> None:
    book, fine, coarse = market.book, market.fine, market.coarse
    bids, asks = book[N_LEVELS:_SIDE], book[_SIDE + N_LEVELS : 2 * _SIDE]
    bid_5, ask_5, bid_10, ask_10 = 0.0, 0.0, 0.0, 0.0
    common, n_shown = 0.0, market.clock[BOOK_LEVELS_SHOWN]
    for level in range(N_LEVELS):
        bid_10 += bids[level]
        ask_10 += asks[level]
        if level < 5:
            bid_5, ask_5 = bid_10, ask_10
        if level < n_shown:
            common = bid_10 + ask_10
    book[VISIBLE] = bid_10 + ask_10
    coarse[SPREAD, second] = book[_SIDE] - book[0]
    coarse[DEPTH, second] = bid_5
    coarse[DEPTH + 1, second] = ask_5
    coarse[DEPTH + 2, second] = bid_10
    coarse[DEPTH + 3, second] = ask_10
    for tiles, place in ((fine, tenth), (coarse, second)):
        tiles[BEST_DEPTH, place] += 0.5 * (bids[0] + asks[0])
        tiles[MEAN_DEPTH, place] += common / (2 * n_shown)
        tiles[N_BOOKS, place] += 1.0


@formula
def lose_book(market: Market, ts_ns: int) -> None:
    """Forget the book: something is missing from here to the next one."""
    market.clock[BOOK_SINCE] = NEVER


@formula
def confirm_book(market: Market, ts_ns: int) -> None:
    """Take a sign that the book is unchanged and trusted; a lost one stays lost."""
    clock = market.clock
    if clock[BOOK_SINCE] == NEVER:
        return
    if not book_known(market, ts_ns, 0):
        clock[BOOK_SINCE] = ts_ns
    clock[BOOK_SEEN] = ts_ns


@formula
def side_size(m: Market, side: int, n_levels: int) -> float:
    """Return the size of the best levels of a side."""
    total, first = 0.0, side * _SIDE + N_LEVELS
    for place in range(first, first + n_levels):
        total += m.book[place]
    return total


@formula
def distance_bps(m: Market, side: int, level: int) -> float:
    """Return how far a level is from the mid price."""
    return float(abs(m.book[side * _SIDE + level] - m.book[MID]) / m.book[MID] * _BPS)


@formula
def spread_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return best ask minus best bid over the mid price."""
    if not book_known(m, now_ns, 1):
        return math.nan
    return float((m.book[_SIDE] - m.book[0]) / m.book[MID] * _BPS)


@formula
def spread_z(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the spread against its values at the ends of the last 60 seconds; 0 where they are all the same.

    The spread is taken in prices, as it moves in ticks: a mid price that drifts must not look like a change.
    """
    if not (book_known(m, now_ns, 1) and covers(m.clock[BOOK_SINCE], now_ns, N_COARSE_TILES)):
        return math.nan
    mean = window_level(m, SPREAD, now_ns) / N_COARSE_TILES
    tile, squares = tile_of(now_ns, COARSE_NS), 0.0
    for before in range(N_COARSE_TILES):
        squares += (level_at(m, SPREAD, tile - before) - mean) ** 2
    deviation = math.sqrt(squares / N_COARSE_TILES)
    return 0.0 if deviation <= 1e-6 * mean else (m.book[_SIDE] - m.book[0] - mean) / deviation


@formula
def microprice_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the best prices weighted by the opposite sizes, against the mid price."""
    if not book_known(m, now_ns, 1):
        return math.nan
    bid, ask = m.book[N_LEVELS], m.book[_SIDE + N_LEVELS]
    return float(0.5 * (m.book[_SIDE] - m.book[0]) * (bid - ask) / (bid + ask) / m.book[MID] * _BPS)


@formula
def weighted_mid_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the mean bid and ask price of `p[0]` levels, weighted by the opposite sizes, against the mid price."""
    n_levels = int(p[0])
    if not book_known(m, now_ns, n_levels):
        return math.nan
    bid, ask = side_size(m, 0, n_levels), side_size(m, 1, n_levels)
    below, above = 0.0, 0.0
    for level in range(n_levels):
        below += distance_bps(m, 0, level) * m.book[N_LEVELS + level]
        above += distance_bps(m, 1, level) * m.book[_SIDE + N_LEVELS + level]
    return (above / ask * bid - below / bid * ask) / (bid + ask)


@formula
def imbalance(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return bid minus ask size of `p[0]` levels over their sum."""
    n_levels = int(p[0])
    if not book_known(m, now_ns, n_levels):
        return math.nan
    bid, ask = side_size(m, 0, n_levels), side_size(m, 1, n_levels)
    return (bid - ask) / (bid + ask)


@formula
def log_depth(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the log of side `p[0]`'s size in `p[1]` levels (5, 10) over its mean at the ends of 60 seconds."""
    side, n_levels = int(p[0]), int(p[1])
    if not (book_known(m, now_ns, n_levels) and covers(m.clock[BOOK_SINCE], now_ns, N_COARSE_TILES)):
        return math.nan
    mean = window_level(m, DEPTH + side + (2 if n_levels == N_LEVELS else 0), now_ns) / N_COARSE_TILES
    return math.log(side_size(m, side, n_levels) / mean)


@formula
def book_slope(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the slope of side `p[0]`: its share of the ten levels' size, cumulated, per basis point from the mid.

    The least-squares line through the origin: steep where the size stands near the mid price.
    """
    if not book_known(m, now_ns, N_LEVELS):
        return math.nan
    side = int(p[0])
    total, size, product, square = side_size(m, side, N_LEVELS), 0.0, 0.0, 0.0
    for level in range(N_LEVELS):
        size += m.book[side * _SIDE + N_LEVELS + level]
        distance = distance_bps(m, side, level)
        product += distance * size / total
        square += distance * distance
    return product / square


@formula
def level_gap_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the distance between the best two prices of side `p[0]` over the mid price."""
    if not book_known(m, now_ns, 2):
        return math.nan
    first = int(p[0]) * _SIDE
    return float(abs(m.book[first] - m.book[first + 1]) / m.book[MID] * _BPS)


@formula
def fill_cost_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return how far from the mid price an order for `p[1]` of quote currency would fill on side `p[0]`, on average.

    What the visible levels cannot fill is taken at the worst of them: then the cost is a lower bound. Sizes count as
    base units.
    """
    if not book_known(m, now_ns, 1):
        return math.nan
    first, wanted = int(p[0]) * _SIDE, p[1]
    rest, quantity, price = wanted, 0.0, 0.0
    for place in range(first, first + N_LEVELS):
        if m.book[place + N_LEVELS] == 0.0 or rest == 0.0:
            break
        price = m.book[place]
        value = min(rest, price * m.book[place + N_LEVELS])
        quantity += value / price
        rest -= value
    quantity += rest / price
    return float(abs(wanted / quantity / m.book[MID] - 1.0) * _BPS)


@formula
def imbalance_change(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the imbalance of five levels less that at the end of the second `p[0]` before the current one."""
    seconds = int(p[0])
    if not (book_known(m, now_ns, 5) and covers(m.clock[BOOK_SINCE], now_ns, seconds)):
        return math.nan
    bid, ask = side_size(m, 0, 5), side_size(m, 1, 5)
    tile = tile_of(now_ns, COARSE_NS) - seconds
    old_bid, old_ask = level_at(m, DEPTH, tile), level_at(m, DEPTH + 1, tile)
    return (bid - ask) / (bid + ask) - (old_bid - old_ask) / (old_bid + old_ask)


@formula
def book_rate(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return book updates per second over `p[0]` seconds (10, 60)."""
    seconds = int(p[0])
    if not (book_known(m, now_ns, 1) and covers(m.clock[BOOK_SINCE], now_ns, seconds)):
        return math.nan
    return window_flow(m, N_BOOKS, now_ns, seconds) / window_span(now_ns, seconds)


@formula
def book_pressure(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the imbalance of all levels, each weighing the less the farther it is from the mid price."""
    if not book_known(m, now_ns, N_LEVELS):
        return math.nan
    bid, ask = 0.0, 0.0
    for level in range(N_LEVELS):
        bid += m.book[N_LEVELS + level] / distance_bps(m, 0, level)
        ask += m.book[_SIDE + N_LEVELS + level] / distance_bps(m, 1, level)
    return (bid - ask) / (bid + ask)


@formula
def depth_entropy(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the entropy of the twenty sizes' shares over its maximum: 1 where all are equal."""
    if not book_known(m, now_ns, N_LEVELS):
        return math.nan
    entropy = 0.0
    for side in range(2):
        for level in range(N_LEVELS):
            share = m.book[side * _SIDE + N_LEVELS + level] / m.book[VISIBLE]
            entropy -= share * math.log(share)
    return entropy / math.log(2.0 * N_LEVELS)


@formula
def depth_distance_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return how far level `p[1]` of side `p[0]` is from the mid price; missing where the level is."""
    side, level = int(p[0]), int(p[1])
    if not book_known(m, now_ns, 1) or m.book[side * _SIDE + N_LEVELS + level] == 0.0:
        return math.nan
    return distance_bps(m, side, level)


@formula
def depth_share(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the size of level `p[1]` of side `p[0]` over the sum of all visible sizes; missing where the level is."""
    size = m.book[int(p[0]) * _SIDE + N_LEVELS + int(p[1])]
    if not book_known(m, now_ns, 1) or size == 0.0:
        return math.nan
    return float(size / m.book[VISIBLE])


FORMULAS: Final = (
    spread_bps,
    spread_z,
    microprice_bps,
    weighted_mid_bps,
    imbalance,
    log_depth,
    book_slope,
    level_gap_bps,
    fill_cost_bps,
    imbalance_change,
    book_rate,
    book_pressure,
    depth_entropy,
    depth_distance_bps,
    depth_share,
)
"""The formulas of the family; their names are those of the definitions."""
