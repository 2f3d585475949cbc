"""Sources of market data by URL."""

from __future__ import annotations

import asyncio
import math
from urllib.parse import parse_qsl, urlsplit

from ratchet.clock import Clock
from ratchet.errors import InputError
from ratchet.exchanges.pacing import Sleep
from ratchet.exchanges.simulated import SimulatedExchange
from ratchet.exchanges.venues import VENUES, VenueExchange
from ratchet.market.venue import Exchange

_SIMULATED = "simulated"
_KEYS = ("market", "timeout_s", "url")
_SCHEMES = (*VENUES, _SIMULATED)


def is_exchange_source(source: str) -> bool:
    """Tell whether a source names an exchange, simulated or real, and not a folder or file.

    >>> is_exchange_source("binance://?market=swap"), is_exchange_source("data/candles")
    (True, False)
    """
    return source.partition("://")[0] in _SCHEMES and "://" in source


def open_exchange(source: str, *, clock: Clock, sleep: Sleep = asyncio.sleep) -> Exchange:
    """Open `simulated://?seed=7...`, or a venue: `binance://`, `bybit://`, `coinbase://`, `kraken://`, `okx://`.

    A venue takes `market=spot` or `swap`, `timeout_s=10` (one reply), and `url=http://127.0.0.1:9123/binance`, which
    stands in for every `https://<host>` of the venue. Close what is returned.

    Raises:
        InputError: the source, a key or a value is not known.
        ConfigurationError: ccxt is not installed.
    """
    if not is_exchange_source(source):
        known = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise InputError(f"{source!r} is no exchange; the sources are {known}")
    if source.startswith(f"{_SIMULATED}://"):
        return SimulatedExchange.from_url(source)
    options = _options(source)
    return VenueExchange(
        source.partition("://")[0],
        clock=clock,
        sleep=sleep,
        market=options.get("market", "spot"),
        url=_address(source, options["url"]) if "url" in options else None,
        timeout_s=_seconds(source, options.get("timeout_s", "10")),
    )


def _options(source: str) -> dict[str, str]:
    rest = source.partition("://")[2]
    if rest and not rest.startswith("?"):
        raise InputError(f"{source!r}: write options as ?key=value after ://")
    options: dict[str, str] = {}
    for key, text in parse_qsl(rest[1:], keep_blank_values=True):
        if key not in _KEYS:
            raise InputError(f"{source}: unknown key {key!r}; the keys are {', '.join(_KEYS)}")
        if key in options:
            raise InputError(f"{source}: {key!r} is given twice")
        options[key] = text
    return options


def _address(source: str, text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise InputError(f"{source}: url={text} is no address such as http://127.0.0.1:9123/binance")
    return text


def _seconds(source: str, text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"{source}: timeout_s={text} is no number of seconds above 0")
    return seconds
