"""Where a stream comes from, as users write it."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from ratchet.errors import InputError

_VENUES = ("binance", "bybit", "coinbase", "kraken", "okx")
_MARKETS = ("spot", "swap")
_OPTIONS = {"url", "market", "timeout_s"}


@dataclass(frozen=True, slots=True)
class StreamSource:
    """A venue, one of its markets, and the address that stands in for all of its hosts, if any."""

    venue: str
    market: str
    url: str | None
    timeout_s: float

    @property
    def name(self) -> str:
        """What it is called in messages and on disk: `binance`, `binance-swap`."""
        return self.venue if self.market == "spot" else f"{self.venue}-{self.market}"


def parse_source(source: str) -> StreamSource:
    """Read a source such as `kraken://` or `binance://?market=swap&url=http://127.0.0.1:9123/binance`.

    Raises:
        InputError: the venue, an option or its value is not known.
    """
    parts = urlsplit(source)
    if parts.scheme not in _VENUES or parts.netloc or parts.path:
        raise InputError(f"{source!r}: no such stream; write one of {', '.join(f'{name}://' for name in _VENUES)}")
    options = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    unknown = options.keys() - _OPTIONS
    if unknown:
        raise InputError(f"{source!r}: no option {', '.join(sorted(unknown))}; known are {', '.join(sorted(_OPTIONS))}")
    market = options.get("market", "spot")
    if market not in _MARKETS:
        raise InputError(f"{source!r}: no market {market!r}; known are {', '.join(_MARKETS)}")
    try:
        timeout_s = float(options.get("timeout_s", "10"))
    except ValueError as error:
        raise InputError(f"{source!r}: timeout_s is not a number of seconds") from error
    return StreamSource(parts.scheme, market, options.get("url"), timeout_s)
