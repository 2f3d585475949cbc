"""Features of perpetual contracts: funding, open interest, basis and liquidations.

Each input has an age of its own: funding counts for 9 hours after it was last given, all others for 2. A feature is
missing (NaN) where an input never came or is older, and one that looks back until the input has been known over the
whole window without such a lapse. Windows are made of tiles of 15 minutes: "1 h" is the current one and the three
before it, and a change over 1 h is against the end of the tile four before the current one.

A feed of liquidations is silent where nothing is liquidated; its host must send zeros to say that it is alive.
"""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.tiles import (
    BASIS_LEVEL,
    FUNDING_LEVEL,
    INDEX,
    INTEREST_LEVEL,
    INTEREST_STEP,
    LONG_LIQUIDATIONS,
    MARK,
    N_QUARTER_TILES,
    NEVER,
    QUARTER_NS,
    QUARTER_TILE,
    SHORT_LIQUIDATIONS,
    SOURCES,
    FloatArray,
    Market,
    open_tile,
    sum_tiles,
    tile_of,
)

_FUNDING: Final = 0
_INTEREST: Final = 1
_MARK: Final = 2
_INDEX: Final = 3
_BASIS: Final = 4
"""Known as long as both mark and index price are."""
_LIQUIDATIONS: Final = 5

_HOUR_NS: Final = 3_600_000_000_000
_HOUR: Final = 4
_DAY: Final = 96
_BPS: Final = 1e4


@formula
def take_derivative(market: Market, ts_ns: int, values: FloatArray) -> None:
    """Take what a message says of a contract, `values` float64 (6,) as `DERIVATIVE_FIELDS`; NaN says nothing."""
    clock, quarters, tape = market.clock, market.quarters, market.tape
    tile = tile_of(ts_ns, QUARTER_NS)
    if tile > clock[QUARTER_TILE]:
        open_tile(quarters, N_QUARTER_TILES, FUNDING_LEVEL, clock[QUARTER_TILE], tile)
        clock[QUARTER_TILE] = tile
    place = clock[QUARTER_TILE] % N_QUARTER_TILES
    funding, interest, longs, shorts = values[0], values[1], values[4], values[5]
    if math.isfinite(funding):
        _see(market, _FUNDING, ts_ns)
        quarters[FUNDING_LEVEL, place] = funding
    if 0.0 < interest < math.inf:
        continues = _see(market, _INTEREST, ts_ns)
        tape[INTEREST_STEP] = math.log(interest / quarters[INTEREST_LEVEL, place]) if continues else math.nan
        quarters[INTEREST_LEVEL, place] = interest
    _take_prices(market, ts_ns, values[2], values[3])
    if longs >= 0.0 or shorts >= 0.0:
        _see(market, _LIQUIDATIONS, ts_ns)
        quarters[LONG_LIQUIDATIONS, place] += longs if longs >= 0.0 else 0.0
        quarters[SHORT_LIQUIDATIONS, place] += shorts if shorts >= 0.0 else 0.0


@formula
def _take_prices(market: Market, ts_ns: int, mark: float, index: float) -> None:
    has_mark, has_index = 0.0 < mark < math.inf, 0.0 < index < math.inf
    if has_mark:
        _see(market, _MARK, ts_ns)
        market.tape[MARK] = mark
    if has_index:
        _see(market, _INDEX, ts_ns)
        market.tape[INDEX] = index
    if (has_mark or has_index) and known(market, _MARK, ts_ns) and known(market, _INDEX, ts_ns):
        _see(market, _BASIS, ts_ns)
        clock = market.clock
        clock[SOURCES + 2 * _BASIS + 1] = min(clock[SOURCES + 2 * _MARK + 1], clock[SOURCES + 2 * _INDEX + 1])
        basis = (market.tape[MARK] / market.tape[INDEX] - 1.0) * _BPS
        market.quarters[BASIS_LEVEL, clock[QUARTER_TILE] % N_QUARTER_TILES] = basis


@formula
def known(market: Market, source: int, now_ns: int) -> bool:
    """Tell whether an input was given within its age."""
    seen = market.clock[SOURCES + 2 * source + 1]
    return bool(seen != NEVER and now_ns - seen <= (9 if source == _FUNDING else 2) * _HOUR_NS)


@formula
def _see(market: Market, source: int, ts_ns: int) -> bool:
    """Note that an input was given; tell whether it was known already."""
    continues = known(market, source, ts_ns)
    if not continues:
        market.clock[SOURCES + 2 * source] = ts_ns
    market.clock[SOURCES + 2 * source + 1] = ts_ns
    return continues


@formula
def known_over(m: Market, source: int, now_ns: int, n_tiles: int) -> bool:
    """Tell whether an input is known and has been since before the window of 15-minute tiles."""
    start_ns = (tile_of(now_ns, QUARTER_NS) - n_tiles + 1) * QUARTER_NS
    return known(m, source, now_ns) and bool(m.clock[SOURCES + 2 * source] <= start_ns)


@formula
def quarter_level(m: Market, column: int, tile: int) -> float:
    """Return a level as it was at the end of a 15-minute tile."""
    return float(m.quarters[column, min(tile, m.clock[QUARTER_TILE]) % N_QUARTER_TILES])


@formula
def liquidated(m: Market, column: int, now_ns: int, n_tiles: int) -> float:
    """Return the liquidations of a side over a window of 15-minute tiles."""
    first = tile_of(now_ns, QUARTER_NS) - n_tiles + 1
    return sum_tiles(m.quarters, N_QUARTER_TILES, column, first, m.clock[QUARTER_TILE])


@formula
def funding_rate_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the last funding rate, as given per interval."""
    if not known(m, _FUNDING, now_ns):
        return math.nan
    return quarter_level(m, FUNDING_LEVEL, tile_of(now_ns, QUARTER_NS)) * _BPS


@formula
def funding_change_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the change of the funding rate over `p[0]` tiles of 15 minutes."""
    n_tiles, tile = int(p[0]), tile_of(now_ns, QUARTER_NS)
    if not known_over(m, _FUNDING, now_ns, n_tiles):
        return math.nan
    return (quarter_level(m, FUNDING_LEVEL, tile) - quarter_level(m, FUNDING_LEVEL, tile - n_tiles)) * _BPS


@formula
def interest_step(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the log change of open interest from the message before to the last one."""
    return float(m.tape[INTEREST_STEP]) if known(m, _INTEREST, now_ns) else math.nan


@formula
def interest_change(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the log change of open interest over `p[0]` tiles of 15 minutes."""
    n_tiles, tile = int(p[0]), tile_of(now_ns, QUARTER_NS)
    if not known_over(m, _INTEREST, now_ns, n_tiles):
        return math.nan
    return math.log(quarter_level(m, INTEREST_LEVEL, tile) / quarter_level(m, INTEREST_LEVEL, tile - n_tiles))


@formula
def basis_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the mark price over the index price, minus 1."""
    return quarter_level(m, BASIS_LEVEL, tile_of(now_ns, QUARTER_NS)) if known(m, _BASIS, now_ns) else math.nan


@formula
def basis_change_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the change of the basis over `p[0]` tiles of 15 minutes."""
    n_tiles, tile = int(p[0]), tile_of(now_ns, QUARTER_NS)
    if not known_over(m, _BASIS, now_ns, n_tiles):
        return math.nan
    return quarter_level(m, BASIS_LEVEL, tile) - quarter_level(m, BASIS_LEVEL, tile - n_tiles)


@formula
def basis_deviation_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the basis less its mean at the ends of the 15-minute tiles of a day."""
    if not known_over(m, _BASIS, now_ns, _DAY):
        return math.nan
    tile, total = tile_of(now_ns, QUARTER_NS), 0.0
    for before in range(_DAY):
        total += quarter_level(m, BASIS_LEVEL, tile - before)
    return quarter_level(m, BASIS_LEVEL, tile) - total / _DAY


@formula
def liquidation_imbalance(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return long minus short liquidations over their sum in `p[0]` tiles of 15 minutes; 0 where there were none."""
    n_tiles = int(p[0])
    if not known_over(m, _LIQUIDATIONS, now_ns, n_tiles):
        return math.nan
    longs = liquidated(m, LONG_LIQUIDATIONS, now_ns, n_tiles)
    shorts = liquidated(m, SHORT_LIQUIDATIONS, now_ns, n_tiles)
    return (longs - shorts) / (longs + shorts) if longs + shorts > 0.0 else 0.0


@formula
def liquidation_intensity(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return log(1 + x) of the liquidations of an hour in basis points of the value of open interest.

    Open interest counts as base units, valued at the mark price.
    """
    if not (known_over(m, _LIQUIDATIONS, now_ns, _HOUR) and known(m, _INTEREST, now_ns) and known(m, _MARK, now_ns)):
        return math.nan
    total = liquidated(m, LONG_LIQUIDATIONS, now_ns, _HOUR) + liquidated(m, SHORT_LIQUIDATIONS, now_ns, _HOUR)
    value = quarter_level(m, INTEREST_LEVEL, tile_of(now_ns, QUARTER_NS)) * m.tape[MARK]
    return math.log1p(total / value * _BPS)


@formula
def liquidation_surge(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the share of a day's liquidations that fell into its last hour; missing where there were none."""
    if not known_over(m, _LIQUIDATIONS, now_ns, _DAY):
        return math.nan
    hour = liquidated(m, LONG_LIQUIDATIONS, now_ns, _HOUR) + liquidated(m, SHORT_LIQUIDATIONS, now_ns, _HOUR)
    day = liquidated(m, LONG_LIQUIDATIONS, now_ns, _DAY) + liquidated(m, SHORT_LIQUIDATIONS, now_ns, _DAY)
    return hour / day if day > 0.0 else math.nan


FORMULAS: Final = (
    funding_rate_bps,
    funding_change_bps,
    interest_step,
    interest_change,
    basis_bps,
    basis_change_bps,
    basis_deviation_bps,
    liquidation_imbalance,
    liquidation_intensity,
    liquidation_surge,
)
"""The formulas of the family; their names are those of the definitions."""
