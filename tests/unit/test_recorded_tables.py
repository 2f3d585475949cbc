"""Recorded books and trades as the tables of a dataset."""

from __future__ import annotations

from pathlib import Path

from ratchet.data.books import recorded_books, recorded_trades
from ratchet.market.venue import BOOK_COLUMNS, TRADE_COLUMNS
from tests.unit.test_recorder import MS, START_NS, SYMBOL, ScriptedStream, _bybit, _bybit_trade, _run


def test_tables_hold_what_had_arrived_and_nothing_of_what_was_not_recorded(tmp_path: Path) -> None:
    """Books stand at the ends of the intervals, trades in their columns; other symbols and venues are no error."""
    script = [(1, _bybit(1, kind="snapshot")), (1, _bybit(2, size="5")), (1, _bybit_trade(7)), (1, _bybit(3, size="6"))]
    _run(ScriptedStream("bybit", script), tmp_path)
    symbols, end_ns = ["ETH/USDT", SYMBOL], START_NS + 4 * MS
    books = recorded_books(tmp_path, "bybit", symbols, START_NS, end_ns, interval_ns=2 * MS)
    assert books is not None
    assert tuple(books.columns) == BOOK_COLUMNS
    assert ((books["ts_event_ns"] - START_NS) // MS).tolist() == [2, 4]
    assert books["bid_size_0"].tolist() == [5.0, 6.0]
    trades = recorded_trades(tmp_path, "bybit", symbols, START_NS, end_ns)
    assert trades is not None
    assert tuple(trades.columns) == TRADE_COLUMNS
    assert trades[["price", "size", "side", "trade_id"]].to_numpy().tolist() == [[100.0, 0.5, 1, "id-7"]]
    assert recorded_trades(tmp_path, "bybit", symbols, START_NS, START_NS + 3 * MS) is None
    assert recorded_books(tmp_path, "okx", symbols, START_NS, end_ns, interval_ns=MS) is None
