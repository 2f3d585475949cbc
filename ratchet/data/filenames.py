"""What a candle file's name tells: format, symbol, timeframe, kind of content."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ratchet.errors import InputError
from ratchet.market.symbols import Timeframe, parse_symbol

FileFormat = Literal["feather", "parquet", "csv", "json"]

FORMATS: dict[str, FileFormat] = {
    ".feather": "feather",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".json": "json",
    ".json.gz": "json",
}
"""File endings that can be read."""

# TUSD is left out: USDTUSD would become USD/TUSD. It is still understood where the name separates base and quote.
_JOINED_QUOTES = ("FDUSD", "USDT", "USDC", "BUSD", "USDE", "USD", "EUR", "GBP", "TRY", "BRL", "JPY", "AUD", "DAI")
_SUFFIXES = (*_JOINED_QUOTES, "BTC", "ETH", "BNB")
_QUOTES = frozenset({*_SUFFIXES, "TUSD", "USDP", "KRW", "CHF", "CAD", "RUB", "XRP", "TRX", "SOL"})
_OTHER_KINDS = frozenset({"MARK", "INDEX", "PREMIUMINDEX", "FUNDING", "TRADES", "AGGTRADES", "BOOKTICKER"})
_NOISE_WORDS = """
ALL CANDLE CANDLES DATA FULL HISTORICAL HISTORY KLINE KLINES OHLC OHLCV PART PRICES RATE TEST TRAIN
CM FUTURES LINEAR PERP PERPETUAL SPOT SWAP UM D DAILY DAY HOUR HOURLY MINUTE
"""
_NOISE = frozenset(_NOISE_WORDS.split())
_SEPARATORS = re.compile(r"[-_. ()]+")
_TIMEFRAME = re.compile(r"^([1-9]\d{0,3})(s|m|h|d|w|H|D|W|M|Mo|mo|min)$")
_FREQTRADE = re.compile(r"^[A-Z0-9]+(_[A-Z0-9]+){1,2}-\d")  # every word before the dash is part of the symbol
_MONTH = Timeframe(text="1M", seconds=30 * 86_400)


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file and what its name tells; None where it tells nothing."""

    path: Path
    symbol: str | None
    timeframe: Timeframe | None
    other_kind: str | None
    """What the file holds instead of traded candles: mark, index, funding, trades."""


def file_format(path: Path) -> FileFormat | None:
    """Return the format that the file's ending names, or None."""
    name = path.name.lower()
    return next((kind for ending, kind in FORMATS.items() if name.endswith(ending)), None)


def read_name(path: Path, requested: Sequence[str] = ()) -> NamedFile:
    """Read symbol and timeframe from a file's name; `requested` symbols are recognised even with a rare quote.

    >>> read_name(Path("XRP_USDT_USDT-1h-futures.feather")).symbol
    'XRP/USDT:USDT'
    >>> read_name(Path("BTCUSDT_15m.parquet")).timeframe.text
    '15m'
    """
    ending = max((e for e in FORMATS if path.name.lower().endswith(e)), key=len, default=path.suffix)
    tokens = [token for token in _SEPARATORS.split(path.name[: len(path.name) - len(ending)]) if token]
    frames = [index for index, token in enumerate(tokens) if _TIMEFRAME.match(token)]
    timeframe = _token_timeframe(tokens.pop(frames[-1])) if frames else None
    words = [token.upper() for token in tokens]
    n_before = frames[-1] if frames else 0
    if _FREQTRADE.match(path.name):
        before, others = words[:n_before], words[n_before:]
    else:
        before, others = _telling(words[:n_before]), words
    return NamedFile(
        path=path,
        symbol=symbol_from_words(before, requested) or symbol_from_words(_telling(words), requested),
        timeframe=timeframe,
        other_kind=next((word.lower() for word in others if word in _OTHER_KINDS), None),
    )


def symbol_from_text(text: str, requested: Sequence[str] = ()) -> str | None:
    """Read `BTC/USDT`, `BTC-USDT`, `BTCUSDT` or `BTC/USDT:USDT` as a symbol; None where that is not possible.

    >>> symbol_from_text("btc-usdt")
    'BTC/USDT'
    """
    return symbol_from_words([word for word in re.split(r"[-_./: ]+", text.strip().upper()) if word], requested)


def symbol_from_words(words: Sequence[str], requested: Iterable[str] = ()) -> str | None:
    """Find the symbol that the last or the first of some upper-case words spell; a venue's name may stand beside it."""
    spans = [list(words[start:]) for start in range(len(words))] + [list(words[:end]) for end in range(len(words))]
    spelled = {re.sub(r"[/:]", "", symbol): symbol for symbol in requested}
    found = (spelled.get("".join(span)) or _symbol_of(span) for span in spans)
    return next((symbol for symbol in found if symbol), None)


def _telling(words: Sequence[str]) -> list[str]:
    """Leave out dates and words that belong to no symbol."""
    return [word for word in words if not word.isdigit() and word not in _NOISE | _OTHER_KINDS]


def _symbol_of(words: list[str]) -> str | None:
    match words:
        case [pair]:
            splits = (f"{pair.removesuffix(quote)}/{quote}" for quote in _SUFFIXES if pair.endswith(quote))
            return next(filter(_is_symbol, splits), None)
        case [base, quote] if quote in _QUOTES and _is_symbol(f"{base}/{quote}"):
            return f"{base}/{quote}"
        case [base, quote, settle] if quote in _QUOTES and settle in (base, quote) and _is_symbol(f"{base}/{quote}"):
            return f"{base}/{quote}:{settle}"
    return None


def _is_symbol(text: str) -> bool:
    try:
        return parse_symbol(text) == text
    except InputError:
        return False


def _token_timeframe(token: str) -> Timeframe:
    if token in ("1M", "1Mo", "1mo"):
        return _MONTH
    return Timeframe.parse(token.lower().replace("min", "m").replace("mo", "m"))
