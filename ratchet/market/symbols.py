"""Names of instruments and of bar lengths."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ratchet.clock import NS_PER_S
from ratchet.errors import InputError

_SYMBOL = re.compile(r"^[A-Z0-9]{1,20}/[A-Z0-9]{1,20}(:[A-Z0-9]{1,20})?$")
_TIMEFRAME = re.compile(r"^([1-9][0-9]{0,3})([smhdw])$")
_UNIT_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_YEAR_S = 365 * 86_400  # crypto markets never close


def parse_symbol(text: str) -> str:
    """Return the canonical form `BASE/QUOTE` (or `BASE/QUOTE:SETTLE`), upper case.

    >>> parse_symbol("btc/usdt")
    'BTC/USDT'

    Raises:
        InputError: the text is not a symbol.
    """
    symbol = text.strip().upper()
    if not _SYMBOL.match(symbol):
        raise InputError(f"{text!r} is not a symbol; write BASE/QUOTE, for example BTC/USDT")
    return symbol


def symbol_slug(symbol: str) -> str:
    """Return a form that is safe in paths and names.

    >>> symbol_slug("BTC/USDT:USDT")
    'BTC-USDT_USDT'
    """
    return parse_symbol(symbol).replace("/", "-").replace(":", "_")


@dataclass(frozen=True, slots=True)
class Timeframe:
    """Length of one bar.

    >>> Timeframe.parse("15m").ns
    900000000000
    """

    text: str
    seconds: int

    @classmethod
    def parse(cls, text: str) -> Timeframe:
        """Read `15m`, `1h`, `1d` and the like.

        Raises:
            InputError: the text is not a bar length.
        """
        match = _TIMEFRAME.match(text.strip().lower())
        if not match:
            raise InputError(f"{text!r} is not a timeframe; write for example 1m, 15m, 1h, 4h or 1d")
        return cls(text=match.group(0), seconds=int(match.group(1)) * _UNIT_S[match.group(2)])

    @property
    def ns(self) -> int:
        """Length in nanoseconds."""
        return self.seconds * NS_PER_S

    @property
    def bars_per_year(self) -> float:
        """How many bars a market that never closes has in 365 days."""
        return _YEAR_S / self.seconds
