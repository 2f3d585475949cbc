"""What defines a simulated market."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from ratchet.clock import NS_PER_S, iso_utc, parse_utc
from ratchet.errors import InputError
from ratchet.market import Timeframe

SCHEME = "simulated://"
MAX_SYMBOLS = 500
_START_NS = 1_704_067_200 * NS_PER_S  # 2024-01-01
_LISTED = {
    "BTC/USDT": 42_000.0,
    "ETH/USDT": 2_300.0,
    "SOL/USDT": 100.0,
    "XRP/USDT": 0.6,
    "BNB/USDT": 310.0,
    "DOGE/USDT": 0.09,
    "ADA/USDT": 0.55,
    "AVAX/USDT": 36.0,
    "LINK/USDT": 15.0,
    "DOT/USDT": 7.5,
    "LTC/USDT": 70.0,
    "TRX/USDT": 0.11,
}
_UNLISTED_PRICE = 10.0


@dataclass(frozen=True)
class SimulatedMarketConfig:
    """Everything that determines a simulated market; equal configurations give equal numbers.

    `signal_strength` scales the planted drift, in standard deviations of one bar. With the default, the best possible
    predictor is right in about 70 % of the next bars that move by more than 10 bps, and in 68 % of all. `correlation`
    is the share of a bar's noise variance that all symbols have in common. `sigma_bps` is the usual deviation of that
    noise in one HOUR; other timeframes scale it by the square root of time. From bar `shift_at_bar` on, the signal has
    the opposite sign and volatility is doubled. `start_ns` is the open of the first bar.

    >>> SimulatedMarketConfig(n_symbols=2).symbols
    ('BTC/USDT', 'ETH/USDT')

    Raises:
        InputError: a value is out of range, or `start_ns` is not a whole number of bars after 1970-01-01.
    """

    seed: int = 7
    has_signal: bool = True
    n_bars: int = 4_000
    n_symbols: int = 6
    timeframe: str = "1h"
    start_ns: int = _START_NS
    shift_at_bar: int | None = None
    signal_strength: float = 1.15
    correlation: float = 0.5
    sigma_bps: float = 60.0

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**32, f"seed={self.seed} must be from 0 to 4294967295")
        _require(self.n_bars >= 1, f"bars={self.n_bars} must be at least 1")
        _require(1 <= self.n_symbols <= MAX_SYMBOLS, f"symbols={self.n_symbols} must be from 1 to {MAX_SYMBOLS}")
        _require(self.shift_at_bar is None or self.shift_at_bar >= 0, f"shift={self.shift_at_bar} must not be negative")
        _require(0 <= self.signal_strength <= 5, f"strength={self.signal_strength} must be from 0 to 5")
        _require(0 <= self.correlation <= 1, f"correlation={self.correlation} must be from 0 to 1")
        _require(1 <= self.sigma_bps <= 1_000, f"sigma_bps={self.sigma_bps} must be from 1 to 1000")
        _require(self.end_ns < 2**63, "the last bar must close before the year 2262")
        nearest_ns = max(0, round(self.start_ns / self.bar.ns)) * self.bar.ns
        _require(self.start_ns == nearest_ns, f"no {self.timeframe} bar opens at start; use {iso_utc(nearest_ns)}")

    @property
    def bar(self) -> Timeframe:
        """Length of one bar."""
        return Timeframe.parse(self.timeframe)

    @property
    def end_ns(self) -> int:
        """Close of the last bar."""
        return self.start_ns + self.n_bars * self.bar.ns

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols in order of joining: the first ones are the same however many follow."""
        unlisted = (f"SIM{index}/USDT" for index in range(len(_LISTED), self.n_symbols))
        return (*_LISTED, *unlisted)[: self.n_symbols]

    @property
    def start_prices(self) -> tuple[float, ...]:
        """Opening price of the first bar per symbol, in quote currency."""
        return tuple(_LISTED.get(symbol, _UNLISTED_PRICE) for symbol in self.symbols)

    @property
    def base_sigma(self) -> float:
        """Usual standard deviation of one bar's log return."""
        return self.sigma_bps / 1e4 * math.sqrt(self.bar.seconds / 3_600)

    @property
    def strength(self) -> float:
        """Strength of the signal in effect: zero where there is none."""
        return self.signal_strength if self.has_signal else 0.0

    def to_url(self) -> str:
        """Return the URL from which `from_url` makes an equal configuration.

        >>> SimulatedMarketConfig(seed=3, n_bars=500).to_url()
        'simulated://?seed=3&signal=1&bars=500&symbols=6&timeframe=1h'
        """
        default = SimulatedMarketConfig()
        query = {
            key: _write(getattr(self, name))
            for key, name in _KEYS.items()
            if key in _ALWAYS_WRITTEN or getattr(self, name) != getattr(default, name)
        }
        if "start" in query:
            query["start"] = iso_utc(self.start_ns)
        return f"{SCHEME}?{urlencode(query, safe=':')}"

    @classmethod
    def from_url(cls, url: str) -> SimulatedMarketConfig:
        """Read `simulated://?seed=7&signal=1&bars=4000&symbols=6&timeframe=1h&start=2024-01-01&shift=3000`.

        Further keys: `strength`, `correlation`, `sigma_bps`. A key that is left out keeps its default.

        Raises:
            InputError: not such a URL, an unknown or repeated key, or a value that cannot be used.
        """
        rest = url.removeprefix(SCHEME)
        if rest == url or not (rest == "" or rest.startswith("?")):
            raise InputError(f"{url!r} is not a simulated market; write for example {SCHEME}?seed=7&bars=4000")
        values: dict[str, Any] = {}
        for key, text in parse_qsl(rest[1:], keep_blank_values=True):
            if key not in _KEYS:
                raise InputError(f"{url}: unknown key {key!r}; the keys are {', '.join(sorted(_KEYS))}")
            if _KEYS[key] in values:
                raise InputError(f"{url}: {key!r} is given twice")
            values[_KEYS[key]] = _read(url, key, text)
        return cls(**values)


_KEYS = {
    "seed": "seed",
    "signal": "has_signal",
    "bars": "n_bars",
    "symbols": "n_symbols",
    "timeframe": "timeframe",
    "start": "start_ns",
    "shift": "shift_at_bar",
    "strength": "signal_strength",
    "correlation": "correlation",
    "sigma_bps": "sigma_bps",
}
"""Keys of the URL, in the order in which they are written, and the fields they stand for."""

_ALWAYS_WRITTEN = ("seed", "signal", "bars", "symbols", "timeframe")


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"simulated market: {message}")


def _write(value: object) -> str:
    return str(int(value)) if isinstance(value, bool) else str(value)


def _read(url: str, key: str, text: str) -> object:
    read, expected = _READERS.get(key, (int, "a whole number"))
    try:
        return read(text)
    except (ValueError, KeyError) as error:
        raise InputError(f"{url}: {key}={text} cannot be read; write {expected}") from error


def _read_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


_READERS: dict[str, tuple[Callable[[str], object], str]] = {
    "signal": ({"0": False, "1": True}.__getitem__, "0 or 1"),
    "timeframe": (str, "a bar length such as 1h"),
    "start": (parse_utc, "an ISO date such as 2024-01-01"),
    "strength": (_read_number, "a number"),
    "correlation": (_read_number, "a number"),
    "sigma_bps": (_read_number, "a number"),
}
