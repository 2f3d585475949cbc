"""What is remembered of a symbol's market, and how windows of time are read from it.

Time is cut into tiles aligned to absolute time: 100 ms (fine), 1 s (coarse), 15 minutes (derivatives). A tile holds
totals of what happened in it (flows) or the last value in it (levels, carried through silent tiles). It ends with its
last nanosecond included: 12:00:01 sharp belongs to the second that it ends. A window of n tiles at a moment is the tile
of that moment, as far as it has come, and the n - 1 before it: "10 s" spans more than 9 and up to 10 seconds, and
exactly 10 at the close of a bar. When a tile is opened, the totals of the closed ones before it are summed anew;
nothing is ever subtracted, so a value does not depend on what has left its window.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.features.kernel.compiling import formula

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

N_LEVELS: Final = 10
"""Price levels on each side, as in a `BOOK` event."""

FINE_NS: Final = 100_000_000
COARSE_NS: Final = 1_000_000_000
QUARTER_NS: Final = 900_000_000_000
N_FINE_TILES: Final = 10
N_COARSE_TILES: Final = 60
N_QUARTER_TILES: Final = 97

NEVER: Final = -1
BOOK_MAX_AGE_NS: Final = 30_000_000_000
"""A book without a sign of life for longer than this is not known any more."""

# Columns of the fine and the coarse tiles: what flows ...
FLOW: Final = 0
"""Order flow of level 0; the other levels follow."""
BEST_DEPTH: Final = 10
"""Mean size of best bid and best ask, summed over book events."""
MEAN_DEPTH: Final = 11
"""Mean size of all levels that both sides show, summed over book events."""
N_BOOKS: Final = 12
BOUGHT: Final = 13
SOLD: Final = 14
N_FINE: Final = 15
# ... in the coarse tiles only ...
N_TRADES: Final = 15
VALUE: Final = 16
LARGE: Final = 17
SIZE_SQUARES: Final = 18
"""Squared deviations of the tile's trade sizes from their mean."""
RETURN: Final = 19
RETURN_SQUARES: Final = 20
RETURN_PRODUCTS: Final = 21
GAP: Final = 22
GAP_SQUARES: Final = 23
# ... and what lasts.
SPREAD: Final = 24
DEPTH: Final = 25
"""Sizes of bid L5; ask L5, bid L10 and ask L10 follow."""
N_COARSE: Final = 29

# Columns of the 15-minute tiles.
LONG_LIQUIDATIONS: Final = 0
SHORT_LIQUIDATIONS: Final = 1
FUNDING_LEVEL: Final = 2
INTEREST_LEVEL: Final = 3
BASIS_LEVEL: Final = 4
N_QUARTER: Final = 5

# Places in `book`: as in a `BOOK` event, then what many formulas need.
MID: Final = 40
VISIBLE: Final = 41
"""The sum of all visible sizes."""

# Places in `clock`.
BOOK_SINCE: Final = 0
BOOK_SEEN: Final = 1
BOOK_LEVELS_SHOWN: Final = 2
TRADES_SINCE: Final = 3
TRADE_SEEN: Final = 4
FINE_TILE: Final = 5
COARSE_TILE: Final = 6
QUARTER_TILE: Final = 7
SOURCES: Final = 8
"""(since, seen) of each derivatives source, see `derivatives.py`."""
N_CLOCK: Final = 20

# Places in `tape`.
LAST_PRICE: Final = 0
LAST_RETURN: Final = 1
RUN: Final = 2
BUCKET_BOUGHT: Final = 3
BUCKET_SOLD: Final = 4
BUCKET_SIZE: Final = 5
N_BUCKETS: Final = 6
MARK: Final = 7
INDEX: Final = 8
INTEREST_STEP: Final = 9
BUCKETS: Final = 10
"""The last buckets: net volume of each, then total volume of each."""
BUCKETS_KEPT: Final = 20
N_TAPE: Final = BUCKETS + 2 * BUCKETS_KEPT


class Market(NamedTuple):
    """A symbol's book, tiles and tape: about 20 KB of arrays that updates change in place.

    `book` float64 (42,): the best levels, absent ones with size 0 at price 0 (bid) or infinity (ask), the mid price,
    the sum of sizes. `fine` float64 (column, 11): tiles, then the total of the closed ones. `coarse` float64 (column,
    62): tiles, then the totals of the closed 9 and 59. `quarters` float64 (column, 97). `clock` int64: times and tile
    numbers. `tape` float64: what is remembered of single trades and messages.
    """

    book: FloatArray
    fine: FloatArray
    coarse: FloatArray
    quarters: FloatArray
    clock: IntArray
    tape: FloatArray


def new_market() -> Market:
    """Return the state of a symbol of which nothing has been seen."""
    clock = np.full(N_CLOCK, NEVER, dtype=np.int64)
    return Market(
        book=np.zeros(VISIBLE + 1),
        fine=np.zeros((N_FINE, N_FINE_TILES + 1)),
        coarse=np.zeros((N_COARSE, N_COARSE_TILES + 2)),
        quarters=np.zeros((N_QUARTER, N_QUARTER_TILES)),
        clock=clock,
        tape=np.zeros(N_TAPE),
    )


@formula
def tile_of(ts_ns: int, tile_ns: int) -> int:
    """Return the number of the tile of a moment: tile n is what lies after n and up to n + 1 times its length."""
    return (ts_ns - 1) // tile_ns


@formula
def open_tile(tiles: FloatArray, n_tiles: int, first_level: int, current: int, tile: int) -> None:
    """Make `tile` the current one of a ring: flows start at 0, levels are carried from the tile `current`."""
    source = current % n_tiles
    for opened in range(tile - min(tile - current, n_tiles) + 1, tile + 1):
        place = opened % n_tiles
        for column in range(first_level):
            tiles[column, place] = 0.0
        for column in range(first_level, tiles.shape[0]):
            tiles[column, place] = tiles[column, source]


@formula
def sum_tiles(tiles: FloatArray, n_tiles: int, column: int, first: int, last: int) -> float:
    """Return the sum over the tiles `first` to `last`, the oldest first."""
    total = 0.0
    place = first % n_tiles
    for _ in range(last - first + 1):
        total += tiles[column, place]
        place += 1
        if place == n_tiles:
            place = 0
    return total


@formula
def advance(market: Market, ts_ns: int) -> None:
    """Open the tiles of a moment, if they are not open yet, and sum up those that have closed."""
    clock, fine, coarse = market.clock, market.fine, market.coarse
    tile = tile_of(ts_ns, FINE_NS)
    if tile <= clock[FINE_TILE]:
        return
    open_tile(fine, N_FINE_TILES, N_FINE, clock[FINE_TILE], tile)
    clock[FINE_TILE] = tile
    for column in range(N_FINE):
        fine[column, N_FINE_TILES] = sum_tiles(fine, N_FINE_TILES, column, tile - 9, tile - 1)
    tile = tile_of(ts_ns, COARSE_NS)
    if tile <= clock[COARSE_TILE]:
        return
    open_tile(coarse, N_COARSE_TILES, SPREAD, clock[COARSE_TILE], tile)
    clock[COARSE_TILE] = tile
    for column in range(N_COARSE):
        coarse[column, N_COARSE_TILES] = sum_tiles(coarse, N_COARSE_TILES, column, tile - 9, tile - 1)
        coarse[column, N_COARSE_TILES + 1] = sum_tiles(coarse, N_COARSE_TILES, column, tile - 59, tile - 1)


@formula
def window_flow(market: Market, column: int, now_ns: int, seconds: int) -> float:
    """Return what flowed in the window of 1 s (fine tiles), 10 s or 60 s (coarse tiles)."""
    if seconds == 1:
        tiles, n_tiles, closed, window = market.fine, N_FINE_TILES, N_FINE_TILES, N_FINE_TILES
        current, tile = market.clock[FINE_TILE], tile_of(now_ns, FINE_NS)
    else:
        tiles, n_tiles, window = market.coarse, N_COARSE_TILES, seconds
        closed = N_COARSE_TILES + (0 if seconds == 10 else 1)
        current, tile = market.clock[COARSE_TILE], tile_of(now_ns, COARSE_NS)
    if tile == current:
        return float(tiles[column, closed] + tiles[column, current % n_tiles])
    return sum_tiles(tiles, n_tiles, column, tile - window + 1, current)


@formula
def window_level(market: Market, column: int, now_ns: int) -> float:
    """Return the sum of a level over the 60 tiles of the last minute, the last of them as it is now."""
    tile, current = tile_of(now_ns, COARSE_NS), market.clock[COARSE_TILE]
    latest = float(market.coarse[column, current % N_COARSE_TILES])
    if tile == current:
        return float(market.coarse[column, N_COARSE_TILES + 1]) + latest
    first = tile - N_COARSE_TILES + 1
    closed = sum_tiles(market.coarse, N_COARSE_TILES, column, first, current)
    return closed + float(tile - max(current, first - 1)) * latest


@formula
def level_at(market: Market, column: int, tile: int) -> float:
    """Return a level as it was at the end of a coarse tile."""
    return float(market.coarse[column, min(tile, market.clock[COARSE_TILE]) % N_COARSE_TILES])


@formula
def covers(since_ns: int, now_ns: int, seconds: int) -> bool:
    """Tell whether a source has been known without interruption since before the window."""
    if since_ns == NEVER:
        return False
    if seconds == 1:
        return since_ns <= (tile_of(now_ns, FINE_NS) - N_FINE_TILES + 1) * FINE_NS
    return since_ns <= (tile_of(now_ns, COARSE_NS) - seconds + 1) * COARSE_NS


@formula
def window_span(now_ns: int, seconds: int) -> float:
    """Return how many seconds of a window of coarse tiles have passed: more than `seconds` - 1."""
    return (now_ns - (tile_of(now_ns, COARSE_NS) - seconds + 1) * COARSE_NS) / 1e9


@formula
def book_known(market: Market, now_ns: int, n_levels: int) -> bool:
    """Tell whether the book is trusted, has given a sign of life lately and shows `n_levels` on both sides."""
    clock = market.clock
    is_fresh = clock[BOOK_SINCE] != NEVER and now_ns - clock[BOOK_SEEN] <= BOOK_MAX_AGE_NS
    return bool(is_fresh and clock[BOOK_LEVELS_SHOWN] >= n_levels)
