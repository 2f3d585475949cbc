"""Which venues there are, and what each is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ratchet.errors import InputError
from ratchet.exchanges.source import MARKETS, VENUES
from ratchet.exchanges.venues.binance import Binance
from ratchet.exchanges.venues.bybit import Bybit
from ratchet.exchanges.venues.coinbase import Coinbase
from ratchet.exchanges.venues.dialect import Dialect
from ratchet.exchanges.venues.kraken import Kraken
from ratchet.exchanges.venues.kraken_futures import KrakenFutures
from ratchet.exchanges.venues.okx import Okx

_DIALECTS: Mapping[str, Callable[[bool], Dialect]] = {
    "binance": lambda is_swap: Binance(is_swap=is_swap),
    "bybit": lambda is_swap: Bybit(is_swap=is_swap),
    "coinbase": lambda _: Coinbase(),
    "kraken": lambda is_swap: KrakenFutures() if is_swap else Kraken(),
    "okx": lambda is_swap: Okx(is_swap=is_swap),
}


def open_dialect(venue: str, market: str) -> Dialect:
    """Return the dialect of a venue's market.

    Raises:
        InputError: no such venue or kind of market.
    """
    if venue not in _DIALECTS:
        raise InputError(f"{venue!r} is not a known venue; the venues are {', '.join(VENUES)}")
    if market not in MARKETS:
        raise InputError(f"market={market!r} is not known; write {' or '.join(MARKETS)}")
    return _DIALECTS[venue](market == "swap")
