"""Technical indicators that remember: smoothed, adaptive and path-dependent ones, with TA-Lib's arithmetic and seeds.

Each holds its whole past in a few slots, so the value depends weakly on where the history starts; the definitions' warm
up says how long. TA-Lib's threshold of zero is taken relative to the price.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratchet.features.kernel.bars import CLOSE, HIGH, LOW, VOLUME, FloatArray
from ratchet.features.kernel.candle import location
from ratchet.features.kernel.compiling import formula
from ratchet.features.kernel.smoothing import exponential, wilder
from ratchet.features.kernel.volatility import true_range
from ratchet.features.kernel.windows import highest, lowest, ratio, remember, total

_PRICE_RESOLUTION: Final = 1e-12
"""Relative differences of prices below this are rounding."""
_RSI_RESOLUTION: Final = 1e-9
"""Differences of an RSI below this are rounding."""
_NO_MOVEMENT: Final = 1e-14
"""Price changes that add up to less than this, relative to the price, are none; TA-Lib's threshold."""
_KAMA_FAST: Final = 2.0 / (2.0 + 1.0)
_KAMA_SLOW: Final = 2.0 / (30.0 + 1.0)


@formula
def _strength(bars: FloatArray, end: int, n: int, period: int, s: FloatArray) -> float:
    """Update the mean gain `s[0]` and loss `s[1]`; return (gain - loss) / (gain + loss)."""
    if n < 2:
        return math.nan
    change = bars[CLOSE, end - 1] - bars[CLOSE, end - 2]
    gain = wilder(s, 0, max(change, 0.0), n - 1, period)
    loss = wilder(s, 1, max(-change, 0.0), n - 1, period)
    if gain + loss < _NO_MOVEMENT * bars[CLOSE, end - 1]:
        return 0.0
    return (gain - loss) / (gain + loss)


@formula
def rsi(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return (RSI of `p[0]` bars - 50) / 50, -1..1, 0 on flat prices; TA-Lib calls that scale CMO."""
    return _strength(bars, end, n, int(p[0]), s)


@formula
def stochastic_rsi_k(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return where the RSI lies in its own range of `p[0]` bars, 0..1; 0.5 where the RSI does not vary."""
    period = int(p[0])
    strength = _strength(bars, end, n, period, s)
    last = remember(s, 2, n, period, strength)
    low = lowest(s, last, period)
    spread = highest(s, last, period) - low
    return (strength - low) / spread if spread > _RSI_RESOLUTION else 0.5


@formula
def stochastic_rsi_d(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the mean of the stochastic RSI's %K over `p[1]` bars, 0..1."""
    smooth = int(p[1])
    position = stochastic_rsi_k(bars, end, n, p, s)
    last = remember(s, 2 + 2 * int(p[0]), n, smooth, position)
    return total(s, last, smooth) / smooth


@formula
def _update_macd(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Update fast `s[0]` and slow mean `s[1]` and the signal `s[2]`; return the line, in units of price.

    The fast mean is seeded by the closes up to the bar where the slow one begins, and the signal by the first lines.
    """
    slow = int(p[1])
    fast = exponential(s, 0, bars[CLOSE, end - 1], n - slow + int(p[0]), int(p[0]))
    line = fast - exponential(s, 1, bars[CLOSE, end - 1], n, slow)
    exponential(s, 2, line, n - slow + 1, int(p[2]))
    return line


@formula
def macd_line(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the MACD line of `p[0]` and `p[1]` bars over the close."""
    close: float = bars[CLOSE, end - 1]
    return _update_macd(bars, end, n, p, s) / close


@formula
def macd_signal(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the MACD line's mean of `p[2]` bars over the close."""
    _update_macd(bars, end, n, p, s)
    signal: float = s[2] / bars[CLOSE, end - 1]
    return signal


@formula
def macd_histogram(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return MACD line minus signal, over the close."""
    line = _update_macd(bars, end, n, p, s)
    difference: float = (line - s[2]) / bars[CLOSE, end - 1]
    return difference


@formula
def _wilder_as_exponential(s: FloatArray, slot: int, value: float, count: int, period: int) -> float:
    """Smooth with weight 1 / period, seeded by the 2 * period - 1 values of the exponential mean of that weight."""
    return exponential(s, slot, value, count, 2 * period - 1)


@formula
def _directional(bars: FloatArray, end: int, n: int, period: int, slot: int, sign: float, s: FloatArray) -> float:
    """Update the mean movement up (sign 1) or down (-1) in `s[slot]`, the mean true range after it; return the ratio.

    On a tie of both directions, common with ticks, neither counts; TA-Lib lets the last digit of the price decide.
    """
    i = end - 1
    up, down = bars[HIGH, i] - bars[HIGH, i - 1], bars[LOW, i - 1] - bars[LOW, i]
    extension, opposite = (up, down) if sign > 0.0 else (down, up)
    rounding = _PRICE_RESOLUTION * bars[CLOSE, i]
    movement = extension if extension > rounding and extension > opposite + rounding else 0.0
    moved = _wilder_as_exponential(s, slot, movement, n - 1, period)
    return ratio(moved, _wilder_as_exponential(s, slot + 1, true_range(bars, i), n - 1, period), 0.0)


@formula
def plus_di(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the positive directional indicator of `p[0]` bars, 0..1; 0 where the true range is zero."""
    return _directional(bars, end, n, int(p[0]), 0, 1.0, s)


@formula
def minus_di(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the negative directional indicator of `p[0]` bars, 0..1; 0 where the true range is zero."""
    return _directional(bars, end, n, int(p[0]), 0, -1.0, s)


@formula
def adx(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the average directional index of `p[0]` bars, 0..1."""
    period = int(p[0])
    plus = _directional(bars, end, n, period, 0, 1.0, s)
    minus = _directional(bars, end, n, period, 2, -1.0, s)
    # The indicators exist from bar 2 * period on.
    return _wilder_as_exponential(s, 4, ratio(abs(plus - minus), plus + minus, 0.0), n - 2 * period + 1, period)


@formula
def trix(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the one-bar rate of change of a triple exponential mean of `p[0]` bars, in percent."""
    period = int(p[0])
    previous: float = s[2]
    once = exponential(s, 0, bars[CLOSE, end - 1], n, period)
    twice = exponential(s, 1, once, n - period + 1, period)
    thrice = exponential(s, 2, twice, n - 2 * (period - 1), period)
    return (thrice / previous - 1.0) * 100.0


@formula
def ema_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close over its exponential mean of `p[0]` bars, minus 1."""
    close: float = bars[CLOSE, end - 1]
    return close / exponential(s, 0, close, n, int(p[0])) - 1.0


@formula
def kama_ratio(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close over Kaufman's adaptive mean of `p[0]` bars, minus 1; `s[0]` is the mean.

    The mean begins at the close before the first full window. A market that does not move counts as efficient.
    """
    period = int(p[0])
    close, previous = float(bars[CLOSE, end - 1]), float(s[0])
    if n <= period:
        s[0] = close
        return math.nan
    path = 0.0
    for i in range(end - period, end):
        path += abs(bars[CLOSE, i] - bars[CLOSE, i - 1])
    way = abs(close - bars[CLOSE, end - 1 - period])
    efficiency = way / path if path > way and path > _NO_MOVEMENT * close else 1.0
    weight = efficiency * (_KAMA_FAST - _KAMA_SLOW) + _KAMA_SLOW
    mean = previous + (close - previous) * (weight * weight)
    s[0] = mean
    return close / mean - 1.0


@formula
def _start_stop(bars: FloatArray, i: int, acceleration: float, s: FloatArray) -> None:
    """Begin at the second bar: long unless its low extends further than its high, from the first bar's extreme."""
    down, up = bars[LOW, i - 1] - bars[LOW, i], bars[HIGH, i] - bars[HIGH, i - 1]
    if down > 0.0 and down > up:
        s[0], s[1], s[2] = -1.0, -bars[HIGH, i - 1], -bars[LOW, i]
    else:
        s[0], s[1], s[2] = 1.0, bars[LOW, i - 1], bars[HIGH, i]
    s[3] = acceleration


@formula
def sar_distance(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the close's distance from the parabolic stop, over the close; its sign is the trend (Wilder 1978).

    `p` is acceleration and its maximum; `s` is side (1 long, -1 short), next stop, extreme, acceleration. Short is long
    with all prices negated: `near` is the bar's end on the stop's side, `far` the other.
    """
    if n < 2:
        return math.nan
    i = end - 1
    step = min(p[0], p[1])
    if n == 2:
        _start_stop(bars, i, step, s)
    before = i if n == 2 else i - 1  # TA-Lib takes the first bar that has a stop as its own predecessor
    is_hit = bars[LOW, i] <= s[1] if s[0] > 0.0 else -bars[HIGH, i] <= s[1]
    if is_hit:
        s[0] = -s[0]
    is_long = s[0] > 0.0
    near, far = (bars[LOW, i], bars[HIGH, i]) if is_long else (-bars[HIGH, i], -bars[LOW, i])
    limit = min(near, bars[LOW, before] if is_long else -bars[HIGH, before])
    if is_hit:
        s[1] = min(-s[2], limit)
        s[2], s[3] = far, step
    stop = s[0] * s[1]
    if not is_hit and far > s[2]:
        s[2], s[3] = far, min(s[3] + step, p[1])
    s[1] = min(s[1] + s[3] * (s[2] - s[1]), limit)
    distance: float = 1.0 - stop / bars[CLOSE, i]
    return distance


@formula
def chaikin_oscillator(bars: FloatArray, end: int, n: int, p: FloatArray, s: FloatArray) -> float:
    """Return the Chaikin oscillator (ADOSC) of `p[0]` and `p[1]` bars over a mean volume of `p[2]`; 0 without volume.

    The difference of two exponential means of a running total is written as means of its steps: with a = 2 / (n + 1),
    total - EMA(total) = (1 - a) / a * EMA(step), and (1 - a) / a = (n - 1) / 2. So no total grows with the history.
    """
    fast, slow = int(p[0]), int(p[1])
    flow = location(bars, end - 1) * bars[VOLUME, end - 1]
    lag_fast = 0.5 * (fast - 1) * exponential(s, 0, flow, n, fast)
    lag_slow = 0.5 * (slow - 1) * exponential(s, 1, flow, n, slow)
    return ratio(lag_slow - lag_fast, exponential(s, 2, bars[VOLUME, end - 1], n, int(p[2])), 0.0)


FORMULAS: Final = (
    rsi,
    stochastic_rsi_k,
    stochastic_rsi_d,
    macd_line,
    macd_signal,
    macd_histogram,
    plus_di,
    minus_di,
    adx,
    trix,
    ema_ratio,
    kama_ratio,
    sar_distance,
    chaikin_oscillator,
)
"""The recursive formulas of the family `indicator`; their names are those of the definitions."""

SLOTS: Final[Mapping[str, Callable[[Sequence[float]], int]]] = {
    "rsi": lambda params: 2,
    "stochastic_rsi_k": lambda params: 2 + 2 * int(params[0]),
    "stochastic_rsi_d": lambda params: 2 + 2 * int(params[0]) + 2 * int(params[1]),
    "macd_line": lambda params: 3,
    "macd_signal": lambda params: 3,
    "macd_histogram": lambda params: 3,
    "plus_di": lambda params: 2,
    "minus_di": lambda params: 2,
    "adx": lambda params: 5,
    "trix": lambda params: 3,
    "ema_ratio": lambda params: 1,
    "kama_ratio": lambda params: 1,
    "sar_distance": lambda params: 4,
    "chaikin_oscillator": lambda params: 3,
}
"""How much memory a formula has, from its parameters."""
