"""File names: whatever symbol and timeframe a tool writes into a name is read back."""

from __future__ import annotations

from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st

from ratchet.data.filenames import read_name
from ratchet.market import Timeframe, parse_symbol

BASES = st.from_regex(r"[A-Z]{2,6}[0-9]?|1000[A-Z]{3,5}", fullmatch=True)
QUOTES = st.sampled_from(["USDT", "USDC", "FDUSD", "EUR", "BTC"])
TIMEFRAMES = st.sampled_from(["1s", "1m", "3m", "15m", "1h", "4h", "12h", "1d", "1w"])
ENDINGS = st.sampled_from([".feather", ".parquet", ".csv", ".csv.gz", ".json"])


@given(BASES, QUOTES, TIMEFRAMES, ENDINGS, st.booleans())
def test_freqtrade_names_are_read_back(base: str, quote: str, timeframe: str, ending: str, is_future: bool) -> None:
    """A name in freqtrade's pattern gives exactly the pair, the settlement currency and the timeframe in it."""
    symbol, name = f"{base}/{quote}", f"{base}_{quote}-{timeframe}"
    if is_future:
        symbol, name = f"{symbol}:{quote}", f"{base}_{quote}_{quote}-{timeframe}-futures"
    file = read_name(Path(name + ending), [symbol])
    assert (file.symbol, file.timeframe, file.other_kind) == (symbol, Timeframe.parse(timeframe), None)


@given(st.text(min_size=1, max_size=30).filter(lambda text: "/" not in text and "\x00" not in text))
@example("币安人生USDT-1h.csv")
@example("A" * 40 + "USDT.csv")
def test_any_name_can_be_read(name: str) -> None:
    """No file name makes reading fail, and what is read is a symbol or nothing."""
    symbol = read_name(Path(name)).symbol
    assert symbol is None or parse_symbol(symbol) == symbol
