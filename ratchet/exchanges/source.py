"""Where market data come from, as users write it: `binance://?market=swap`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from ratchet.errors import InputError

VENUES = ("binance", "bybit", "coinbase", "kraken", "okx")
MARKETS = ("spot", "swap")
"""Kinds of market; swaps are perpetuals that settle in their quote currency."""

_KEYS = ("market", "timeout_s", "url")


@dataclass(frozen=True, slots=True)
class VenueSource:
    """A venue, one of its markets, and the address that stands in for all of its hosts, if any."""

    venue: str
    market: str = "spot"
    url: str | None = None
    timeout_s: float = 10.0

    @property
    def name(self) -> str:
        """What it is called in messages and on disk: `binance`, `binance-swap`.

        What another address answers is other data and has another name, whatever the port: `binance-at-127-0-0-1`.
        """
        name = self.venue if self.market == "spot" else f"{self.venue}-{self.market}"
        if self.url is None:
            return name
        host = re.sub(r"[^a-z0-9]+", "-", (urlsplit(self.url).hostname or "").lower()).strip("-")
        return f"{name}-at-{host}"[:40].rstrip("-")


def parse_venue_source(source: str) -> VenueSource:
    """Read a source such as `kraken://` or `binance://?market=swap&url=http://127.0.0.1:9123/binance`.

    Raises:
        InputError: the venue, a key or its value is not known.
    """
    venue, mark, rest = source.partition("://")
    if venue not in VENUES or not mark:
        known = ", ".join(f"{name}://" for name in VENUES)
        raise InputError(f"{source!r} is no exchange; the exchanges are {known}")
    options = _options(source, rest)
    market = options.get("market", "spot")
    if market not in MARKETS:
        raise InputError(f"{source}: market={market!r} is not known; write {' or '.join(MARKETS)}")
    url = _address(source, options["url"]) if "url" in options else None
    return VenueSource(venue, market, url, _seconds(source, options.get("timeout_s", "10")))


def _options(source: str, rest: str) -> dict[str, str]:
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
