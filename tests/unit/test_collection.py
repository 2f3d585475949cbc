"""Collection: everything in the period exactly once, closed bars only, and clear words when there is nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest

from ratchet.data.collection import Collected, collect_from_exchange, collect_from_files
from ratchet.errors import InputError, UnavailableError
from ratchet.exchanges import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.microstructure import TRADES_PER_BAR, order_books, trades
from ratchet.market import Timeframe, as_candle_frame

CONFIG = SimulatedMarketConfig(n_bars=230, n_symbols=3)
MARKET = SimulatedMarket(CONFIG)
HOUR = Timeframe.parse("1h")


def collect(
    exchange: SimulatedExchange,
    symbols: Sequence[str] | None = None,
    start_ns: int = CONFIG.start_ns,
    end_ns: int = CONFIG.end_ns,
    recent_bars: int = 0,
) -> Collected:
    return asyncio.run(collect_from_exchange(exchange, symbols, HOUR, start_ns, end_ns, recent_bars=recent_bars))


def whole(make: Callable[[SimulatedMarket, str, int, int], pd.DataFrame], first_bar: int, n_bars: int) -> pd.DataFrame:
    frames = [make(MARKET, symbol, first_bar, n_bars) for symbol in sorted(CONFIG.symbols)]
    return pd.concat(frames, ignore_index=True)


@pytest.mark.parametrize("page_size", [1, 7, 229, 230, 231, 1_000])
def test_paging_returns_every_row_exactly_once(page_size: int) -> None:
    """Whatever the page size, candles, books and trades equal the market's own, without a hole or a repetition."""
    recent = 3 if page_size == 1 else 40
    collected = collect(SimulatedExchange(MARKET, page_size=page_size), recent_bars=recent)
    pd.testing.assert_frame_equal(collected.candles, MARKET.candles(), check_exact=True)
    assert collected.books is not None
    assert collected.trades is not None
    pd.testing.assert_frame_equal(collected.books, whole(order_books, 230 - recent, recent), check_exact=True)
    pd.testing.assert_frame_equal(collected.trades, whole(trades, 230 - recent, recent), check_exact=True)


def test_only_closed_candles_are_collected() -> None:
    """In the middle of a bar the venue offers the bars before it, and no book or trade of its future."""
    now_ns = CONFIG.start_ns + 100 * HOUR.ns + HOUR.ns // 2
    exchange = SimulatedExchange(MARKET, now_ns=now_ns)
    collected = collect(exchange, recent_bars=10)
    assert (collected.candles["ts_event_ns"] + HOUR.ns).max() == CONFIG.start_ns + 100 * HOUR.ns
    assert collected.trades is not None
    assert len(collected.trades) == 3 * 10 * TRADES_PER_BAR
    late = asyncio.run(exchange.fetch_trades("BTC/USDT", now_ns - HOUR.ns // 2, 100))
    assert 0 < len(late) < TRADES_PER_BAR
    assert (late["ts_event_ns"] < now_ns).all()


def test_the_period_is_kept_to_the_bar() -> None:
    """Bars open at or after the start and close by the end; a bar that closes one nanosecond later is left out."""
    start_ns, end_ns = CONFIG.start_ns + 10 * HOUR.ns, CONFIG.start_ns + 20 * HOUR.ns
    exchange = SimulatedExchange(MARKET)
    for earlier, expected in ((0, 10), (1, 9)):
        collected = collect(exchange, ["BTC/USDT"], start_ns, end_ns - earlier, recent_bars=500)
        assert len(collected.candles) == expected
        assert collected.candles["ts_event_ns"].iloc[0] == start_ns
        assert collected.books is not None
        assert len(collected.books) == expected
    assert len(collect(exchange, ["BTC/USDT"], start_ns - 1, end_ns).candles) == 10
    assert len(collect(exchange, ["BTC/USDT"], start_ns + 1, end_ns).candles) == 9


def test_the_source_makes_the_same_data_again() -> None:
    """The source that is recorded is a URL from which an equal collection follows."""
    first = collect(SimulatedExchange(MARKET))
    again = collect(SimulatedExchange.from_url(first.source))
    pd.testing.assert_frame_equal(first.candles, again.candles, check_exact=True)


def test_no_books_or_trades_unless_asked_for() -> None:
    """recent_bars=0 collects candles alone."""
    collected = collect(SimulatedExchange(MARKET))
    assert collected.books is None
    assert collected.trades is None


def test_symbols_are_chosen_normalised_and_taken_once() -> None:
    """Symbols may be written in lower case or twice; the frame has each once, and no other."""
    collected = collect(SimulatedExchange(MARKET), ["eth/usdt", "ETH/USDT"])
    assert collected.candles["symbol"].value_counts().to_dict() == {"ETH/USDT": 230}


class StuckExchange(SimulatedExchange):
    """A venue that answers its first page whatever is asked for."""

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        return await super().fetch_candles(symbol, timeframe, 0, 10)


class NewestFirstExchange(SimulatedExchange):
    """A venue that answers its pages newest first."""

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        return (await super().fetch_candles(symbol, timeframe, since_ns, limit)).iloc[::-1]


class DownExchange(SimulatedExchange):
    """A venue that refuses one symbol at once and never answers for the others."""

    async def fetch_candles(self, symbol: str, timeframe: Timeframe, since_ns: int, limit: int) -> pd.DataFrame:
        if symbol == "SOL/USDT":
            raise UnavailableError("the venue is down")
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize("kind", [StuckExchange, NewestFirstExchange])
def test_pages_that_do_not_advance_end_in_an_error(kind: type[SimulatedExchange]) -> None:
    """A venue that repeats or reverses its pages can neither loop for ever nor put rows in twice."""
    with pytest.raises(UnavailableError, match="out of order"):
        collect(kind(MARKET))


def test_one_failing_symbol_stops_the_others() -> None:
    """The venue's own error comes out, without waiting for symbols that are still being fetched."""
    with pytest.raises(UnavailableError, match="the venue is down"):
        collect(DownExchange(MARKET))


def test_what_cannot_be_collected_is_named() -> None:
    """Unknown symbols, other timeframes, empty periods and periods without candles are refused in one line each."""
    exchange = SimulatedExchange(MARKET)
    with pytest.raises(InputError, match="does not list PEPE/USDT; it has BTC/USDT, ETH/USDT, SOL/USDT"):
        collect(exchange, ["PEPE/USDT", "BTC/USDT"])
    with pytest.raises(InputError, match="no symbol was asked for"):
        collect(exchange, [])
    with pytest.raises(InputError, match="no 1h bar fits between 2024-01-01T00:00:00Z"):
        collect(exchange, end_ns=CONFIG.start_ns + HOUR.ns - 1)
    with pytest.raises(InputError, match="no closed 1h candle of BTC/USDT, ETH/USDT, SOL/USDT between"):
        collect(exchange, start_ns=CONFIG.end_ns, end_ns=CONFIG.end_ns + 5 * HOUR.ns)
    with pytest.raises(InputError, match="recent_bars=-1"):
        collect(exchange, recent_bars=-1)
    with pytest.raises(InputError, match="has no 5m candles, only 1h"):
        asyncio.run(exchange.fetch_candles("BTC/USDT", Timeframe.parse("5m"), 0, 10))
    with pytest.raises(InputError, match="limit=0"):
        asyncio.run(exchange.fetch_trades("BTC/USDT", 0, 0))


def test_a_venue_pages_from_any_time() -> None:
    """Before the first bar the page starts with it; at and after the end it is empty, with the columns in place."""
    exchange = SimulatedExchange(MARKET)

    async def ask() -> None:
        for fetch in (exchange.fetch_order_books, exchange.fetch_trades):
            early = await fetch("BTC/USDT", 0, 5)
            assert len(early) == 5
            assert early["ts_event_ns"].iloc[0] < CONFIG.start_ns + HOUR.ns
            for since_ns in (CONFIG.end_ns, CONFIG.end_ns + 10**18):
                late = await fetch("BTC/USDT", since_ns, 5)
                assert late.empty
                assert list(late.columns) == list(early.columns)
        early = await exchange.fetch_candles("BTC/USDT", HOUR, 0, 5)
        assert early["ts_event_ns"].iloc[0] == CONFIG.start_ns
        assert (await exchange.fetch_candles("BTC/USDT", HOUR, CONFIG.end_ns, 5)).empty

    asyncio.run(ask())


def write_csv(folder: Path) -> Path:
    path = folder / "candles.csv"
    frame = MARKET.candles()
    frame.insert(0, "timestamp", frame.pop("ts_event_ns") // 1_000_000)
    frame.to_csv(path, index=False)
    return path


def test_files_give_the_same_candles_as_the_venue_they_came_from(tmp_path: Path) -> None:
    """A CSV of the venue's candles is collected as those candles, without books or trades."""
    collected = collect_from_files(write_csv(tmp_path), symbols=None, timeframe=HOUR)
    pd.testing.assert_frame_equal(collected.candles, MARKET.candles())
    assert collected.books is None
    assert collected.trades is None
    assert collected.source == f"files:{tmp_path / 'candles.csv'}"


def test_files_are_cut_to_closed_bars_and_to_the_latest(tmp_path: Path) -> None:
    """Only bars closed by end_ns count, and of those the last n_bars of every symbol."""
    path, end_ns = write_csv(tmp_path), CONFIG.start_ns + 50 * HOUR.ns + 1
    collected = collect_from_files(path, symbols=None, timeframe=HOUR, n_bars=20, end_ns=end_ns)
    expected = MARKET.candles().query(
        "@CONFIG.start_ns + 30 * @HOUR.ns <= ts_event_ns < @CONFIG.start_ns + 50 * @HOUR.ns"
    )
    pd.testing.assert_frame_equal(collected.candles, as_candle_frame(expected))
    with pytest.raises(
        InputError, match="has no 1h bar of BTC/USDT, ETH/USDT, SOL/USDT closed by 2024-01-01T00:59:59Z"
    ):
        collect_from_files(path, symbols=None, timeframe=HOUR, end_ns=CONFIG.start_ns + HOUR.ns - 1)
    with pytest.raises(InputError, match="n_bars=0"):
        collect_from_files(path, symbols=None, timeframe=HOUR, n_bars=0)
