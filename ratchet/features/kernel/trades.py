"""Features of the trades: who trades, how fast, how large, and what it does to the price.

A trade feature is missing (NaN) while trades are not known (none came yet, or some were lost and none came since), and
a windowed one until its whole window lies after the first trade or the first one after the loss. A window without
trades gives flows, rates and variation 0; what has no neutral value is missing. Returns are from trade to trade, in
logs.
"""

from __future__ import annotations

import math
from typing import Final

from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.tiles import (
    BOUGHT,
    BUCKET_BOUGHT,
    BUCKET_SIZE,
    BUCKET_SOLD,
    BUCKETS,
    BUCKETS_KEPT,
    COARSE_NS,
    COARSE_TILE,
    FINE_TILE,
    GAP,
    GAP_SQUARES,
    LARGE,
    LAST_PRICE,
    LAST_RETURN,
    MID,
    N_BUCKETS,
    N_COARSE_TILES,
    N_FINE_TILES,
    N_TRADES,
    NEVER,
    RETURN,
    RETURN_PRODUCTS,
    RETURN_SQUARES,
    RUN,
    SIZE_SQUARES,
    SOLD,
    TRADE_SEEN,
    TRADES_SINCE,
    VALUE,
    FloatArray,
    Market,
    advance,
    book_known,
    covers,
    tile_of,
    window_flow,
    window_span,
)

_MINUTE: Final = 60
_BPS: Final = 1e4
_LARGE: Final = 5.0
"""A trade is large from this many times the mean size of the minute before it."""


@formula
def take_trade(market: Market, ts_ns: int, values: FloatArray) -> None:
    """Take a trade, `values` float64 (3,): price, size, side. One without a positive price and size is no trade."""
    price, size = values[0], values[1]
    if not (0.0 < price < math.inf and 0.0 < size < math.inf):
        return
    advance(market, ts_ns)
    clock, tape = market.clock, market.tape
    second = clock[COARSE_TILE] % N_COARSE_TILES
    side = 1.0 if values[2] > 0.0 else -1.0
    if clock[TRADES_SINCE] == NEVER:
        clock[TRADES_SINCE] = ts_ns
        tape[LAST_PRICE] = 0.0
        tape[LAST_RETURN] = 0.0
        tape[RUN] = 0.0
        tape[BUCKET_BOUGHT] = 0.0
        tape[BUCKET_SOLD] = 0.0
        tape[N_BUCKETS] = 0.0
    else:
        _count_move(market, second, math.log(price / tape[LAST_PRICE]), (ts_ns - clock[TRADE_SEEN]) / 1e9)
    _count_size(market, ts_ns, second, price, size, side)
    _fill_bucket(market, ts_ns, size, side)
    tape[RUN] = tape[RUN] + side if tape[RUN] * side > 0.0 else side
    tape[LAST_PRICE] = price
    clock[TRADE_SEEN] = ts_ns


@formula
def _count_move(market: Market, second: int, change: float, gap: float) -> None:
    coarse, tape = market.coarse, market.tape
    coarse[RETURN, second] += change
    coarse[RETURN_SQUARES, second] += change * change
    coarse[RETURN_PRODUCTS, second] += change * tape[LAST_RETURN]
    coarse[GAP, second] += gap
    coarse[GAP_SQUARES, second] += gap * gap
    tape[LAST_RETURN] = change


@formula
def _count_size(market: Market, ts_ns: int, second: int, price: float, size: float, side: float) -> None:
    coarse = market.coarse
    n_before = window_flow(market, N_TRADES, ts_ns, _MINUTE)
    volume = volume_of(market, ts_ns, _MINUTE)
    if n_before > 0.0 and size * n_before >= _LARGE * volume:
        coarse[LARGE, second] += size
    column = BOUGHT if side > 0.0 else SOLD
    n, total = coarse[N_TRADES, second], coarse[BOUGHT, second] + coarse[SOLD, second]
    if n > 0.0:
        coarse[SIZE_SQUARES, second] += (size - total / n) * (size - (total + size) / (n + 1.0))
    coarse[N_TRADES, second] = n + 1.0
    coarse[column, second] += size
    market.fine[column, market.clock[FINE_TILE] % N_FINE_TILES] += size
    coarse[VALUE, second] += price * size


@formula
def _fill_bucket(market: Market, ts_ns: int, size: float, side: float) -> None:
    """Put a trade into the open bucket; the trade that fills it closes it, whatever runs over stays in it.

    A bucket is opened for a twentieth of the last minute's volume, so that the buckets kept span about a minute.
    """
    tape = market.tape
    if tape[BUCKET_BOUGHT] + tape[BUCKET_SOLD] == 0.0:
        if not covers(market.clock[TRADES_SINCE], ts_ns, _MINUTE):
            return
        tape[BUCKET_SIZE] = volume_of(market, ts_ns, _MINUTE) / BUCKETS_KEPT
    tape[BUCKET_BOUGHT if side > 0.0 else BUCKET_SOLD] += size
    filled = tape[BUCKET_BOUGHT] + tape[BUCKET_SOLD]
    if filled >= tape[BUCKET_SIZE]:
        place = BUCKETS + int(tape[N_BUCKETS]) % BUCKETS_KEPT
        tape[place] = abs(tape[BUCKET_BOUGHT] - tape[BUCKET_SOLD])
        tape[place + BUCKETS_KEPT] = filled
        tape[N_BUCKETS] += 1.0
        tape[BUCKET_BOUGHT] = 0.0
        tape[BUCKET_SOLD] = 0.0


@formula
def lose_trades(market: Market, ts_ns: int) -> None:
    """Note that trades are missing from here to the next one."""
    market.clock[TRADES_SINCE] = NEVER


@formula
def volume_of(m: Market, now_ns: int, seconds: int) -> float:
    """Return the traded volume of a window."""
    return window_flow(m, BOUGHT, now_ns, seconds) + window_flow(m, SOLD, now_ns, seconds)


@formula
def signed_volume_ratio(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return bought minus sold volume over their sum in `p[0]` seconds (1, 10, 60); 0 without trades."""
    seconds = int(p[0])
    if not covers(m.clock[TRADES_SINCE], now_ns, seconds):
        return math.nan
    bought, sold = window_flow(m, BOUGHT, now_ns, seconds), window_flow(m, SOLD, now_ns, seconds)
    return (bought - sold) / (bought + sold) if bought + sold > 0.0 else 0.0


@formula
def trade_rate(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return trades per second over `p[0]` seconds (10, 60)."""
    seconds = int(p[0])
    if not covers(m.clock[TRADES_SINCE], now_ns, seconds):
        return math.nan
    return window_flow(m, N_TRADES, now_ns, seconds) / window_span(now_ns, seconds)


@formula
def mean_size_z(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the mean trade size of 10 s less that of 60 s, over the deviation of the sizes in 60 s.

    0 where sizes are the same to a millionth; missing without a trade in the last 10 s.
    """
    n_recent = window_flow(m, N_TRADES, now_ns, 10)
    if not covers(m.clock[TRADES_SINCE], now_ns, _MINUTE) or n_recent == 0.0:
        return math.nan
    n, volume = window_flow(m, N_TRADES, now_ns, _MINUTE), volume_of(m, now_ns, _MINUTE)
    mean, squares = volume / n, window_flow(m, SIZE_SQUARES, now_ns, _MINUTE)
    for tile in range(tile_of(now_ns, COARSE_NS) - _MINUTE + 1, m.clock[COARSE_TILE] + 1):
        place = tile % N_COARSE_TILES
        n_tile = m.coarse[N_TRADES, place]
        if n_tile > 0.0:
            squares += n_tile * ((m.coarse[BOUGHT, place] + m.coarse[SOLD, place]) / n_tile - mean) ** 2
    deviation = math.sqrt(squares / n)
    return 0.0 if deviation <= 1e-6 * mean else float((volume_of(m, now_ns, 10) / n_recent - mean) / deviation)


@formula
def vwap_mid_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the volume-weighted mean trade price of `p[0]` seconds (10, 60) against the mid price of the book."""
    seconds = int(p[0])
    volume = volume_of(m, now_ns, seconds)
    if not (covers(m.clock[TRADES_SINCE], now_ns, seconds) and book_known(m, now_ns, 1)) or volume == 0.0:
        return math.nan
    return (window_flow(m, VALUE, now_ns, seconds) / volume / float(m.book[MID]) - 1.0) * _BPS


@formula
def large_trade_share(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the share of 60 s of volume in trades of 5 times the mean size of the minute before each, or more.

    Trades must be known for two minutes: each one's own minute counts.
    """
    volume = volume_of(m, now_ns, _MINUTE)
    if not covers(m.clock[TRADES_SINCE], now_ns, 2 * _MINUTE - 1) or volume == 0.0:
        return math.nan
    return window_flow(m, LARGE, now_ns, _MINUTE) / volume


@formula
def kyle_lambda(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the price impact of net volume: the regression of the returns of 60 seconds on their net volumes.

    Through the origin, in basis points for the mean volume of a second. Missing where no second had net volume.
    """
    if not covers(m.clock[TRADES_SINCE], now_ns, _MINUTE):
        return math.nan
    product, square, volumes = 0.0, 0.0, 0.0
    for tile in range(tile_of(now_ns, COARSE_NS) - _MINUTE + 1, m.clock[COARSE_TILE] + 1):
        place = tile % N_COARSE_TILES
        bought, sold = m.coarse[BOUGHT, place], m.coarse[SOLD, place]
        product += (bought - sold) * m.coarse[RETURN, place]
        square += (bought - sold) ** 2
        volumes += (bought + sold) ** 2
    if square <= 1e-12 * volumes:
        return math.nan
    return product / square * volume_of(m, now_ns, _MINUTE) / _MINUTE * _BPS


@formula
def amihud_illiquidity(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the mean of absolute return over traded value of the seconds with trades among 60, times their mean value.

    In basis points: how far the value of a mean second moves the price. Missing without trades.
    """
    if not covers(m.clock[TRADES_SINCE], now_ns, _MINUTE):
        return math.nan
    ratio, value, n_tiles = 0.0, 0.0, 0
    for tile in range(tile_of(now_ns, COARSE_NS) - _MINUTE + 1, m.clock[COARSE_TILE] + 1):
        place = tile % N_COARSE_TILES
        traded = m.coarse[VALUE, place]
        if traded > 0.0:
            ratio += abs(m.coarse[RETURN, place]) / traded
            value += traded
            n_tiles += 1
    return math.nan if n_tiles == 0 else ratio * value / n_tiles / n_tiles * _BPS


@formula
def roll_spread_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the spread that the bounce of trade prices implies over 60 s; 0 where returns do not alternate.

    Roll, "A simple implicit measure of the effective bid-ask spread" (1984): twice the root of minus the covariance of
    successive returns, their means taken as 0. A covariance below a billionth of the variance is rounding.
    """
    n = window_flow(m, N_TRADES, now_ns, _MINUTE)
    if not covers(m.clock[TRADES_SINCE], now_ns, _MINUTE) or n == 0.0:
        return math.nan
    bounce = -window_flow(m, RETURN_PRODUCTS, now_ns, _MINUTE)
    if bounce <= 1e-9 * window_flow(m, RETURN_SQUARES, now_ns, _MINUTE):
        return 0.0
    return 2.0 * math.sqrt(bounce / n) * _BPS


@formula
def toxicity(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the net share of the volume in the last 20 buckets of volume.

    After Easley, Lopez de Prado and O'Hara, "Flow toxicity and liquidity in a high-frequency world" (2012), with the
    takers' sides as the venue says them and buckets that follow the last minute's volume.
    """
    if m.clock[TRADES_SINCE] == NEVER or m.tape[N_BUCKETS] < BUCKETS_KEPT:
        return math.nan
    net, total = 0.0, 0.0
    for place in range(BUCKETS, BUCKETS + BUCKETS_KEPT):
        net += m.tape[place]
        total += m.tape[place + BUCKETS_KEPT]
    return net / total


@formula
def signed_run(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return how many trades in a row were of the last one's side, negative where takers sold."""
    return math.nan if m.clock[TRADES_SINCE] == NEVER else float(m.tape[RUN])


@formula
def interarrival_mean(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the mean seconds from the trade before to each trade of the last 60 s; missing without trades."""
    n = window_flow(m, N_TRADES, now_ns, _MINUTE)
    if not covers(m.clock[TRADES_SINCE], now_ns, _MINUTE) or n == 0.0:
        return math.nan
    return window_flow(m, GAP, now_ns, _MINUTE) / n


@formula
def interarrival_cv(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the deviation of those times over their mean: 1 for independent arrivals, 0 for regular ones.

    Below 1e-5 it is rounding and counts as 0; missing with fewer than two times, or where all are 0.
    """
    n, total = window_flow(m, N_TRADES, now_ns, _MINUTE), window_flow(m, GAP, now_ns, _MINUTE)
    if not covers(m.clock[TRADES_SINCE], now_ns, _MINUTE) or n < 2.0 or total == 0.0:
        return math.nan
    variation = window_flow(m, GAP_SQUARES, now_ns, _MINUTE) * n / (total * total) - 1.0
    return math.sqrt(variation) if variation > 1e-10 else 0.0


@formula
def tick_volatility_bps(m: Market, now_ns: int, p: FloatArray) -> float:
    """Return the root of the summed squared returns of `p[0]` seconds (10, 60), 0 without trades."""
    seconds = int(p[0])
    if not covers(m.clock[TRADES_SINCE], now_ns, seconds):
        return math.nan
    return math.sqrt(window_flow(m, RETURN_SQUARES, now_ns, seconds)) * _BPS


FORMULAS: Final = (
    signed_volume_ratio,
    trade_rate,
    mean_size_z,
    vwap_mid_bps,
    large_trade_share,
    kyle_lambda,
    amihud_illiquidity,
    roll_spread_bps,
    toxicity,
    signed_run,
    interarrival_mean,
    interarrival_cv,
    tick_volatility_bps,
)
"""The formulas of the family; their names are those of the definitions."""
