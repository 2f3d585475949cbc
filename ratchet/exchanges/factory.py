"""Sources of market data by URL."""

from __future__ import annotations

import asyncio

from ratchet.clock import Clock
from ratchet.errors import InputError
from ratchet.exchanges.pacing import Sleep
from ratchet.exchanges.simulated import SimulatedExchange
from ratchet.exchanges.source import VENUES, parse_venue_source
from ratchet.exchanges.venues import VenueExchange
from ratchet.market.venue import Exchange

_SIMULATED = "simulated"


def is_exchange_source(source: str) -> bool:
    """Tell whether a source names an exchange, simulated or real, and not a folder or file.

    >>> is_exchange_source("binance://?market=swap"), is_exchange_source("data/candles")
    (True, False)
    """
    return source.partition("://")[0] in (*VENUES, _SIMULATED) and "://" in source


def open_exchange(source: str, *, clock: Clock, sleep: Sleep = asyncio.sleep) -> Exchange:
    """Open `simulated://?seed=7...`, or a venue: `binance://`, `bybit://`, `coinbase://`, `kraken://`, `okx://`.

    A venue takes `market=spot` or `swap`, `timeout_s=10` (one reply), and `url=http://127.0.0.1:9123/binance`, which
    stands in for every `https://<host>` of the venue. Close what is returned.

    Raises:
        InputError: the source, a key or a value is not known.
        ConfigurationError: ccxt is not installed.
    """
    if not is_exchange_source(source):
        known = ", ".join(f"{scheme}://" for scheme in (*VENUES, _SIMULATED))
        raise InputError(f"{source!r} is no exchange; the sources are {known}")
    if source.startswith(f"{_SIMULATED}://"):
        return SimulatedExchange.from_url(source)
    wanted = parse_venue_source(source)
    return VenueExchange(
        wanted.venue, clock=clock, sleep=sleep, market=wanted.market, url=wanted.url, timeout_s=wanted.timeout_s
    )
