"""Messages of five venues: every recorded one is read, digits survive, and what is no message is refused."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ratchet.data.books.builder import BookBuilder, BookState, Fault
from ratchet.data.books.checksums import kraken_checksum, okx_checksum
from ratchet.data.books.rules import book_rule
from ratchet.errors import InputError
from ratchet.exchanges.feeds import feed_parser
from ratchet.exchanges.feeds.parsers import is_market_data
from ratchet.exchanges.source import parse_venue_source
from ratchet.market.events import (
    BestQuote,
    BookDelta,
    BookSnapshot,
    MarketEvent,
    RawMessage,
    SequenceMark,
    TradeEvent,
)

ROOT = Path(__file__).resolve().parents[2]
RECV_NS = 1_700_000_000_000_000_000
MS = 1_000_000
FUTURES = "binance/futures/market_data_json"
IDS = {
    "binance": {"BTCUSDT": "BTC/USDT", "BNBUSDT": "BNB/USDT", "ETHUSDT": "ETH/USDT"},
    "bybit": {"BTCUSDT": "BTC/USDT:USDT"},
    "coinbase": {"BTC-USD": "BTC/USD"},
    "kraken": {"BTC/USD": "BTC/USD"},
    "okx": {"BTC-USDT": "BTC/USDT", "BTC-USD": "BTC/USD"},
}
CONTROL = [
    ("binance", '{"result":null,"id":1}'),
    ("bybit", '{"success":true,"ret_msg":"","op":"subscribe"}'),
    ("okx", "pong"),
    ("okx", '{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a"}'),
    ("kraken", '{"channel":"heartbeat"}'),
    ("kraken", '{"method":"subscribe","result":{"channel":"book","depth":10},"success":true}'),
    ("coinbase", '{"type":"error","message":"no"}'),
]


@pytest.fixture
def responses() -> Path:
    """The folder of recorded replies."""
    folder = Path(os.environ.get("RATCHET_REAL_DATA", ROOT.parent / "shared" / "data")) / "responses"
    if not (folder / "nautilus").is_dir():
        pytest.skip(f"no recordings in {folder}; set RATCHET_REAL_DATA to the folder above it")
    return folder


def _parse(venue: str, message: Any) -> list[MarketEvent]:
    text = message if isinstance(message, str) else json.dumps(message)
    return feed_parser(venue, IDS[venue.partition("-")[0]])(RawMessage(RECV_NS, text))


@pytest.mark.parametrize(
    ("venue", "name", "kinds"),
    [
        ("binance", "binance_py/ws_spot_trade.json", [TradeEvent]),
        ("binance", "binance_py/ws_spot_ticker_book.json", [BestQuote]),
        ("binance", "binance_py/ws_spot_agg_trade.json", []),
        ("binance", "binance_py/ws_spot_ticker_24hr.json", []),
        ("binance-swap", "binance_py/ws_futures_depth_update.json", [BookDelta]),
        ("binance-swap", "binance_py/ws_futures_depth_diff_update.json", [BookDelta]),
        ("binance-swap", "binance_py/ws_futures_book_ticker.json", [BestQuote]),
        ("binance-swap", "binance_py/ws_futures_trade_lite.json", []),
        ("binance-swap", "binance_py/ws_futures_ticker_24hr.json", []),
        ("binance-swap", f"{FUTURES}/depth_update_stream.json", [BookDelta]),
        ("binance-swap", f"{FUTURES}/trade_stream.json", [TradeEvent]),
        ("binance-swap", f"{FUTURES}/book_ticker_stream.json", [BestQuote]),
        ("binance-swap", f"{FUTURES}/agg_trade_stream.json", []),
        ("binance-swap", f"{FUTURES}/kline_stream_open.json", []),
        ("binance-swap", f"{FUTURES}/mark_price_stream.json", []),
        ("bybit", "bybit/ws_orderbook_snapshot.json", [BookSnapshot]),
        ("bybit", "bybit/ws_orderbook_delta.json", [BookDelta]),
        ("bybit", "bybit/ws_public_trade.json", [TradeEvent]),
        ("bybit", "bybit/ws_ticker_linear.json", []),
        ("coinbase", "coinbase/ws_l2_data_snapshot.json", [BookSnapshot]),
        ("coinbase", "coinbase/ws_l2_data_update.json", [BookDelta]),
        ("coinbase", "coinbase/ws_market_trades.json", [TradeEvent, TradeEvent]),
        ("coinbase", "coinbase/ws_ticker.json", [SequenceMark]),
        ("coinbase", "coinbase/ws_candles.json", [SequenceMark]),
        ("kraken", "kraken/ws_book_snapshot.json", [BookSnapshot]),
        ("kraken", "kraken/ws_book_update.json", [BookDelta]),
        ("kraken", "kraken/ws_trade_update.json", [TradeEvent, TradeEvent]),
        ("kraken", "kraken/ws_ticker_snapshot.json", []),
        ("kraken", "kraken/ws_futures_book_snapshot.json", []),
        ("kraken", "kraken/ws_futures_trade.json", []),
        ("okx", "okx/ws_books_snapshot.json", [BookSnapshot]),
        ("okx", "okx/ws_books_update.json", [BookDelta]),
        ("okx", "okx/ws_trades.json", [TradeEvent]),
        ("okx", "okx/ws_tickers.json", []),
        ("okx", "okx/ws_candle.json", []),
    ],
)
def test_recorded_messages_are_read(responses: Path, venue: str, name: str, kinds: list[type]) -> None:
    """Books, trades and quotes give their events; other channels give none, or the mark of their number."""
    events = _parse(venue, (responses / "nautilus" / name).read_text())
    assert [type(event) for event in events] == kinds
    assert all(event.venue == venue and event.ts_recv_ns == RECV_NS for event in events)


def test_values_of_recorded_messages_are_those_of_the_file(responses: Path) -> None:
    """Digits, numbers, times and sides, venue by venue, against values read off the files."""
    folder = responses / "nautilus"
    delta = _parse("binance-swap", (folder / "binance_py/ws_futures_depth_update.json").read_text())[0]
    assert isinstance(delta, BookDelta)
    assert (delta.first_id, delta.last_id, delta.previous_id) == (390497796, 390497878, 390497794)
    assert (delta.bids[1], delta.ts_event_ns) == (("7403.90", "3.906"), 1571889248276 * MS)

    trade = _parse("bybit", (folder / "bybit/ws_public_trade.json").read_text())[0]
    assert trade == TradeEvent(
        *("bybit", "BTC/USDT:USDT", 1709891679000 * MS, RECV_NS, "27451.00", "0.010", 1),
        "9dc75fca-4bdd-4773-9f78-6f5d7ab2a110",
    )
    book = _parse("okx", (folder / "okx/ws_books_snapshot.json").read_text())[0]
    assert isinstance(book, BookSnapshot)
    assert (book.last_id, book.previous_id, book.checksum) == (123456, None, -855196043)
    assert (book.asks[1], len(book.bids)) == (("8477", "7"), 8)

    book = _parse("kraken", (folder / "kraken/ws_book_snapshot.json").read_text())[0]
    assert isinstance(book, BookSnapshot)
    assert (book.bids[0], book.ts_event_ns) == (("105944.20", "0.136"), 1_696_613_755_440_295_000)

    first, second = _parse("coinbase", (folder / "coinbase/ws_market_trades.json").read_text())
    assert isinstance(first, TradeEvent)
    assert isinstance(second, TradeEvent)
    assert (first.side, first.last_id, second.side, second.trade_id) == (-1, 5, 1, "995098701")


def test_published_examples_of_checksums_hold() -> None:
    """Kraken's guide for ten levels; OKX's two examples, of equal and of unequal sides."""
    asks = [(f"0.{5005 + 5 * n:05d}", "0.00000500") for n in range(10)]
    prices = "0.05000 0.04995 0.04990 0.04980 0.04975 0.04970 0.04965 0.04960 0.04955 0.04950"
    bids = [(price, "0.00000500") for price in prices.split()]
    assert kraken_checksum(bids, asks) == 974_947_235
    even = okx_checksum([("3366.1", "7"), ("3366", "6")], [("3366.8", "9"), ("3368", "8")])
    odd = okx_checksum([("3366.1", "7")], [("3366.8", "9"), ("3368", "8"), ("3372", "8")])
    assert (even, odd) == (-1_881_014_294, 831_078_360)


@pytest.mark.parametrize(("venue", "name"), [("kraken", "ws_book_snapshot"), ("okx", "ws_books_snapshot")])
def test_shortened_recordings_fail_their_checksum(responses: Path, venue: str, name: str) -> None:
    """The files keep 3 and 8 levels of books whose checksum covers 10 and 25, so the book must not be trusted."""
    snapshot = _parse(venue, (responses / "nautilus" / venue / f"{name}.json").read_text())[0]
    assert isinstance(snapshot, BookSnapshot)
    builder = BookBuilder(snapshot.symbol, book_rule(venue))
    assert builder.apply(snapshot) == []
    assert (builder.state, builder.n_faults[Fault.CHECKSUM]) == (BookState.DESYNCED, 1)


def test_binance_us_of_2021_still_fits_and_syncs(responses: Path) -> None:
    """REST snapshots and deltas of four markets, recorded by another program, make four books without a gap."""
    ids = {"CRVUSDT": "CRV/USDT", "COMPUSDT": "COMP/USDT", "OMGBUSD": "OMG/BUSD", "ZRXUSDT": "ZRX/USDT"}
    parse = feed_parser("binance", ids)
    builders = {symbol: BookBuilder(symbol, book_rule("binance")) for symbol in ids.values()}
    deltas: list[BookDelta] = []
    kinds: Counter[str] = Counter()
    with gzip.open(responses / "cryptofeed/BINANCE_US.ws.1.0.gz", "rt") as file:
        for line in file:
            stamp, separator, text = line.partition(": ")
            if not separator or not stamp.replace(".", "").isdecimal():
                continue
            for event in parse(RawMessage(int(float(stamp) * 1e9), text)):
                kinds[type(event).__name__] += 1
                if isinstance(event, BookDelta):
                    deltas.append(event)
    for delta in deltas[:40]:  # deltas wait for the snapshot, as they did live
        builders[delta.symbol].apply(delta)
    for symbol, snapshot in _snapshots(responses / "cryptofeed/BINANCE_US.http.0.0.gz", ids).items():
        builders[symbol].apply(snapshot)
    for delta in deltas[40:]:
        builders[delta.symbol].apply(delta)
    assert all(builder.state is BookState.SYNCED for builder in builders.values())
    assert all(not builder.n_faults for builder in builders.values())
    assert kinds["BookDelta"] == len(deltas) > 200


def _snapshots(path: Path, ids: dict[str, str]) -> dict[str, BookSnapshot]:
    found = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            url, _, answer = line.partition(" -> ")
            if "/depth?symbol=" not in url:
                continue
            name = url.partition("symbol=")[2].partition("&")[0]
            event = feed_parser("binance", {name: ids[name]})(RawMessage(RECV_NS, answer.partition(": ")[2]))[0]
            assert isinstance(event, BookSnapshot)
            found[ids[name]] = event
    return found


def test_json_numbers_keep_their_digits() -> None:
    """Kraken sends numbers; a trailing zero or a long decimal is part of the checksum."""
    text = (
        '{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":50000.10,"qty":0.00000001}],'
        '"asks":[{"price":50001,"qty":1.50}],"checksum":1,"timestamp":"2024-01-01T00:00:00.5Z"}]}'
    )
    delta = _parse("kraken", text)[0]
    assert isinstance(delta, BookDelta)
    assert (delta.bids, delta.asks) == ((("50000.10", "0.00000001"),), (("50001", "1.50"),))
    assert delta.ts_event_ns == 1_704_067_200_500_000_000


@pytest.mark.parametrize(
    ("venue", "text"),
    [
        *CONTROL,
        ("okx", '{"arg":{"channel":"books","instId":"DOGE-USDT"},"action":"update","data":[{}]}'),
        ("binance", "[1,2]"),
    ],
)
def test_control_messages_and_other_instruments_give_nothing(venue: str, text: str) -> None:
    """Acknowledgements, heartbeats, errors and instruments that nobody asked for are no events."""
    assert _parse(venue, text) == []


def test_market_data_are_told_from_control_messages(responses: Path) -> None:
    """By their beginning, however the JSON is spaced: ccxt gets acknowledgements and heartbeats, never the data."""
    data = {
        "binance": ["binance_py/ws_futures_depth_update.json", "binance_py/ws_spot_trade.json"],
        "bybit": ["bybit/ws_orderbook_delta.json"],
        "coinbase": ["coinbase/ws_l2_data_update.json", "coinbase/ws_market_trades.json"],
        "kraken": ["kraken/ws_book_snapshot.json", "kraken/ws_book_update.json", "kraken/ws_trade_update.json"],
        "okx": ["okx/ws_trades.json"],
    }
    for venue, names in data.items():
        for name in names:
            text = (responses / "nautilus" / name).read_text()
            assert is_market_data(venue, text)
            assert is_market_data(venue, json.dumps(json.loads(text), separators=(",", ":")))
    for venue, text in CONTROL:
        assert not is_market_data(venue, text)


@pytest.mark.parametrize("venue", IDS)
@pytest.mark.parametrize("text", ["", "{", "<html>502 Bad Gateway</html>", '{"a":NaN}', "[" * 100_000])
def test_what_is_no_message_is_refused(venue: str, text: str) -> None:
    """The error names the venue, shows a cut of the text, and fits on a line."""
    with pytest.raises(InputError, match=f"^{venue}: a message cannot be read") as caught:
        _parse(venue, text)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("level", [["x", "1"], ["1", "nan"], ["-1", "1"], ["1", "-1"], ["inf", "1"], ["1"], "1", None])
def test_impossible_levels_are_refused(level: Any) -> None:
    """A price or size that is none never reaches a book."""
    message = {"e": "depthUpdate", "E": 1, "s": "BTCUSDT", "U": 1, "u": 2, "b": [level], "a": []}
    with pytest.raises(InputError):
        _parse("binance", message)


def test_futures_trades_outside_the_book_are_left_out() -> None:
    """Insurance fund and ADL fills come as `X: NA` with price 0: they are no trades."""
    message = {"e": "trade", "E": 1, "T": 1, "s": "BTCUSDT", "t": 1, "p": "0", "q": "0", "X": "NA", "m": False}
    assert _parse("binance-swap", message) == []


def test_sources_are_read_and_mistakes_named() -> None:
    """Venue, market and address; anything else says what is known."""
    source = parse_venue_source("binance://?market=swap&url=http://127.0.0.1:9/binance&timeout_s=2")
    assert (source.name, source.url, source.timeout_s) == (
        "binance-swap-at-127-0-0-1",
        "http://127.0.0.1:9/binance",
        2.0,
    )
    assert parse_venue_source("kraken://").name == "kraken"
    for text, expected in {
        "mtgox://": "the exchanges are binance://",
        "okx://?depth=5": "unknown key 'depth'; the keys are market, timeout_s, url",
        "okx://?market=moon": "market='moon' is not known; write spot or swap",
        "okx://?timeout_s=soon": "no number of seconds",
    }.items():
        with pytest.raises(InputError, match=expected):
            parse_venue_source(text)
    with pytest.raises(InputError, match="no such venue"):
        feed_parser("mtgox", {})
