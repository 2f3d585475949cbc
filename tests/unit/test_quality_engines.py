"""Both engines of the quality gate find the same defects, in candles, order books and trades, and say them alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ratchet.data.files import read_candle_files
from ratchet.data.quality import (
    GreatExpectationsGate,
    QualityGate,
    QualityPolicy,
    QualityReport,
    VectorizedGate,
    open_gate,
    validate_books,
    validate_data_quality,
    validate_trades,
)
from ratchet.errors import ConfigurationError, DataQualityError, InputError
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.microstructure import order_books, trades
from ratchet.market import Timeframe
from tests.candle_paths import HOUR, START_NS, random_candles

OpenGate = Callable[[QualityPolicy], QualityGate]

LENIENT = QualityPolicy(max_quarantined_share=0.2)
CANDLES = pd.concat(
    [random_candles(300, seed=seed, symbol=symbol) for seed, symbol in enumerate(["BTC/USDT", "ETH/USDT"])],
    ignore_index=True,
)
MARKET = SimulatedMarket(SimulatedMarketConfig(seed=3, n_bars=200, n_symbols=2))
SYMBOLS = MARKET.candles()["symbol"].unique().tolist()
BOOKS = pd.concat([order_books(MARKET, symbol, 0, 200) for symbol in SYMBOLS], ignore_index=True)
TRADES = pd.concat([trades(MARKET, symbol, 0, 40) for symbol in SYMBOLS], ignore_index=True)
BAR = Timeframe.parse(MARKET.config.timeframe)


@pytest.fixture(scope="module", params=["great_expectations", "vectorized"])
def gate_of(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> OpenGate:
    """Opens a gate of the engine under test."""
    root = tmp_path_factory.mktemp("quality")
    return lambda policy: open_gate(request.param, root, policy)


def _with(table: pd.DataFrame, rows: int | list[int], **values: Any) -> pd.DataFrame:
    changed = table.copy()
    for name, value in values.items():
        changed.loc[rows, name] = value
    return changed


def _found(report: QualityReport) -> dict[str, tuple[str, int]]:
    """Return the severity and the number of rows of each failure, by the check's name."""
    return {failure.check: (failure.severity, failure.n_rows) for failure in report.failures}


def _sample(report: QualityReport, check: str) -> tuple[str, ...]:
    return next(failure.sample for failure in report.failures if failure.check == check)


def test_good_tables_pass_without_a_word(gate_of: OpenGate) -> None:
    """What the simulated market gives passes as it is: candles, books and trades; nothing is changed."""
    gate, candles = gate_of(QualityPolicy()), MARKET.candles()
    verdicts = [
        (candles, gate.check(candles, timeframe=BAR, reference=candles, now_ns=int(candles["ts_event_ns"].max()))),
        (BOOKS, gate.check_books(BOOKS)),
        (TRADES, gate.check_trades(TRADES)),
    ]
    for (table, (report, good, quarantined)), name in zip(verdicts, ("candles", "books", "trades"), strict=True):
        assert (report.passed, report.failures, report.table, report.n_rows) == (True, (), name, len(table))
        pd.testing.assert_frame_equal(good, table)
        assert quarantined.empty
        assert report.docs_path is None if report.engine == "vectorized" else Path(report.docs_path or "").is_file()
        assert list(quarantined.columns) == [*table.columns, "reason"]


def test_dead_and_odd_bars_are_told_apart(gate_of: OpenGate) -> None:
    """Stale bars and a spike go to quarantine; silent bars, a hole and a crash that is taken back are only told."""
    flat = dict.fromkeys(("open", "high", "low", "close"), CANDLES["close"][20])
    candles = _with(CANDLES, list(range(21, 45)), **flat, volume=0.0)
    candles = _with(candles, list(range(60, 72)), volume=0.0)
    candles = _with(candles, list(range(320, 333)), volume=0.0)
    candles = _with(candles, 400, close=CANDLES["close"][400] * 1.3, high=CANDLES["close"][400] * 1.4)
    candles.loc[420, ["open", "high", "low", "close"]] /= 10.0
    fallen = CANDLES["close"][450] * 0.7
    candles = _with(candles, 450, close=fallen, low=fallen * 0.99)
    candles = _with(candles, 451, open=fallen, low=fallen * 0.99)
    candles = candles.drop(index=[500, 501]).reset_index(drop=True)
    report, good, quarantined = gate_of(LENIENT).check(candles, timeframe=HOUR)
    assert report.passed
    assert _found(report) == {
        "stale": ("row", 24),
        "spike": ("row", 2),
        "missing_bars": ("warn", 1),
        "zero_volume_run": ("warn", 37),
        "reversal": ("warn", 3),
    }
    assert quarantined["ts_event_ns"].tolist() == candles["ts_event_ns"][[*range(21, 45), 400, 420]].tolist()
    assert quarantined["reason"][0] == "stale: one of 24 bars that repeat the same prices without volume"
    assert quarantined["reason"][24].startswith(f"spike: close {candles['close'][400]} is ")
    assert str(candles["open"][401]) in quarantined["reason"][24]
    assert _sample(report, "missing_bars") == (
        "ETH/USDT 2024-01-09T10:00:00Z after 2 missing bars, 2024-01-09T08:00:00Z to 2024-01-09T09:00:00Z",
    )
    assert len(good) + len(quarantined) == len(candles) == report.n_rows


def test_thin_and_old_candles_fail_by_symbol(gate_of: OpenGate, tmp_path: Path) -> None:
    """Too many missing bars and a feed that stopped fail the gate; a symbol that ended early is only told."""
    rng = np.random.default_rng(1)
    holes = rng.choice(np.arange(301, 599), 60, replace=False)
    candles = CANDLES.drop(index=[*holes, *range(290, 300)]).reset_index(drop=True)
    now_ns = START_NS + 305 * HOUR.ns
    report, good, quarantined = gate_of(QualityPolicy()).check(candles, timeframe=HOUR, now_ns=now_ns)
    assert not report.passed
    assert quarantined.empty
    assert len(good) == len(candles)
    found = _found(report)
    assert found["coverage"] == ("critical", 1)
    assert _sample(report, "coverage") == ("ETH/USDT 2024-01-13T11:00:00Z (last bar) has 240 of 300 bars (80.0%)",)
    assert found["fresh"] == ("critical", 1)
    assert found["fresh_symbol"] == ("warn", 2)
    assert _sample(report, "fresh_symbol")[0].startswith("BTC/USDT 2024-01-13T01:00:00Z (last bar) closed 15.0 bars")
    with pytest.raises(DataQualityError, match=r"the candles failed .*coverage in 1 symbol \(ETH/USDT .*fewer than"):
        validate_data_quality(
            candles, gate_of(QualityPolicy()), timeframe=HOUR, quarantine_folder=tmp_path, now_ns=now_ns
        )


def test_closes_are_held_against_a_second_venue(gate_of: OpenGate) -> None:
    """A close beyond the tolerance is quarantined with both values; a symbol without common bars is told."""
    rng = np.random.default_rng(2)
    noise = np.exp(0.001 * rng.standard_normal(300))
    reference = CANDLES.iloc[:300].assign(close=lambda table: table["close"] * noise)
    # A distance of 1.4 % is beyond 1 % and beyond 8 deviations, one of 0.7 % beyond the latter only.
    candles = _with(CANDLES, 30, close=reference["close"][30] * 1.014, high=1e4)
    candles = _with(candles, 31, close=reference["close"][31] * 1.007, high=1e4)
    candles = _with(candles, 32, close=reference["close"][32] / 1.014, low=1.0)
    shuffled = reference.sample(frac=1, random_state=1).drop(index=50)
    report, _, quarantined = gate_of(LENIENT).check(candles, timeframe=HOUR, reference=shuffled)
    assert _found(report) == {"reference_price": ("row", 2), "reference_overlap": ("warn", 1)}
    reason = quarantined["reason"][0]
    assert f"close {candles['close'][30]} is 1.39% away from {reference['close'][30]} of the second venue" in reason
    with pytest.raises(InputError, match="no column close"):
        gate_of(LENIENT).check(candles, timeframe=HOUR, reference=reference.drop(columns="close"))


def test_impossible_books_are_quarantined(gate_of: OpenGate, tmp_path: Path) -> None:
    """Each kind of bad book goes to quarantine with its reason, and the message names the table."""
    books = _with(BOOKS, 1, bid_price_0=BOOKS["ask_price_0"][1])
    books = _with(books, 2, bid_price_8=-1.0, bid_price_9=-2.0)
    books = _with(books, 3, ask_size_9=-0.5)
    books = _with(books, 4, ask_price_4=BOOKS["ask_price_3"][4])
    books = _with(books, 5, bid_price_5=BOOKS["bid_price_4"][5])
    books = _with(books, 6, ask_price_0=np.nan)
    books = _with(books, 7, bid_size_2=np.inf)
    books = _with(books, 9, ask_price_1=BOOKS["ask_price_0"][9])
    books = _with(books, 8, bid_price_9=np.nan, bid_size_9=np.nan)  # a short side is no defect
    report, good, quarantined = gate_of(LENIENT).check_books(books)
    assert report.passed
    assert quarantined["reason"].tolist() == [
        f"not_crossed: the best bid {books['bid_price_0'][1]} is not below the best ask {books['ask_price_0'][1]}",
        "positive_price: bid_price_8=-1.0 is not above 0",
        "size_not_negative: ask_size_9=-0.5 is negative",
        f"asks_rise: ask_price_4={books['ask_price_4'][4]} is not above the level before",
        f"bids_fall: bid_price_5={books['bid_price_5'][5]} is not below the level before",
        "not_missing: ask_price_0 is missing",
        "finite: bid_size_2=inf is not finite",
        f"asks_rise: ask_price_1={books['ask_price_1'][9]} is not above the level before",
    ]
    assert len(good) == len(books) - 8
    worse = pd.concat([books.iloc[[1, 0]], books.iloc[:1]], ignore_index=True)
    with pytest.raises(DataQualityError, match=r"the books failed the quality gate: unique_book in 2 rows .*ascending"):
        validate_books(worse, gate_of(LENIENT), quarantine_folder=tmp_path)
    (file,) = tmp_path.iterdir()
    assert file.name.startswith("quarantine-books-")
    assert len(pd.read_parquet(file)) == 3


def test_impossible_trades_are_quarantined(gate_of: OpenGate, tmp_path: Path) -> None:
    """Each kind of bad trade goes to quarantine with its reason, and the message names the table."""
    trade_rows = _with(TRADES.astype({"side": "int64"}), 1, price=0.0)
    trade_rows = _with(_with(trade_rows, 2, size=-1.0), 3, side=0)
    trade_rows = _with(_with(trade_rows, 4, price=np.nan), 5, size=np.inf)
    trade_rows = _with(trade_rows, 6, trade_id=None)
    report, good, quarantined = gate_of(LENIENT).check_trades(trade_rows)
    assert report.passed
    assert quarantined["reason"].tolist() == [
        "positive_price: price 0.0 is not above 0",
        "positive_size: size -1.0 is not above 0",
        "known_side: side 0 is neither +1 nor -1",
        "not_missing: price is missing",
        "finite: size is not finite",
        "not_missing: trade_id is missing",
    ]
    assert len(good) == len(trade_rows) - 6
    again = pd.concat([TRADES.iloc[:5], TRADES.iloc[:2]], ignore_index=True)
    with pytest.raises(DataQualityError, match=r"the trades failed .*: unique_trade in 4 rows .*ascending"):
        validate_trades(again, gate_of(LENIENT), quarantine_folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 1


def test_same_trade_ids_of_two_symbols_are_two_trades() -> None:
    """Ids are unique per symbol only, as venues count them."""
    assert TRADES["trade_id"].duplicated().any()
    assert VectorizedGate().check_trades(TRADES)[0].failures == ()
    twice = _with(TRADES, 7, trade_id=TRADES["trade_id"][8])
    assert _found(VectorizedGate().check_trades(twice)[0]) == {"unique_trade": ("critical", 2)}


def test_a_bar_counts_once_and_a_jump_beside_a_hole_is_no_spike() -> None:
    """Doubles do not fill holes, small jumps of a calm market and jumps without both neighbours are not judged."""
    candles = CANDLES.iloc[:300]
    thin = pd.concat([candles.drop(index=range(100, 140)), candles.iloc[50:90]], ignore_index=True)
    assert _found(VectorizedGate(LENIENT).check(thin, timeframe=HOUR)[0])["coverage"] == ("critical", 1)
    calm = candles.assign(**{name: candles[name] ** 0.1 for name in ("open", "high", "low", "close")})
    for factor, expected in ((1.04, None), (1.06, ("row", 1))):
        close = float(calm["close"][200]) * factor
        spiked = _with(calm, 200, close=close, high=close)
        assert _found(VectorizedGate(LENIENT).check(spiked, timeframe=HOUR)[0]).get("spike") == expected
    beside = VectorizedGate(LENIENT).check(spiked.drop(index=201), timeframe=HOUR)[0]
    assert _found(beside) == {"missing_bars": ("warn", 1)}


@pytest.mark.parametrize("table", ["books", "trades"])
def test_a_table_with_wrong_columns_is_named(gate_of: OpenGate, table: str) -> None:
    """A missing column and text for numbers fail with the column's name, and all rows are kept apart."""
    gate = gate_of(QualityPolicy())
    if table == "books":
        report, good, quarantined = gate.check_books(BOOKS.drop(columns="ask_size_9").assign(bid_price_0="a"))
        expected = [("column_type", "bid_price_0"), ("column_present", "ask_size_9")]
    else:
        report, good, quarantined = gate.check_trades(TRADES.drop(columns="side").assign(price="a"))
        expected = [("column_type", "price"), ("column_present", "side")]
    assert not report.passed
    assert [(failure.check, failure.column) for failure in report.failures] == expected
    assert good.empty
    assert len(quarantined) == report.n_quarantined == report.n_rows


def test_auto_takes_the_fast_engine_for_large_tables_only(tmp_path: Path) -> None:
    """Up to a million rows there are pages for people; the report says which engine it was."""
    assert isinstance(open_gate("auto", tmp_path, n_rows=1_000_000), GreatExpectationsGate)
    gate = open_gate("auto", tmp_path, QualityPolicy(max_quarantined_share=0.0), n_rows=1_000_001)
    assert isinstance(gate, VectorizedGate)
    report, _, _ = gate.check(_with(CANDLES, 7, volume=-1.0), timeframe=HOUR)
    assert (report.engine, report.docs_path, report.passed) == ("vectorized", None, False)
    with pytest.raises(ConfigurationError, match="no quality engine 'pandera'"):
        open_gate("pandera", tmp_path)  # type: ignore[arg-type]


def test_order_and_number_types_do_not_matter() -> None:
    """Rows of symbols in turns, and float32 numbers, are judged as the others are."""
    candles = _with(CANDLES, list(range(100, 130)), open=5.0, high=5.0, low=5.0, close=5.0, volume=0.0).drop(
        index=[40, 350]
    )
    report, good, quarantined = VectorizedGate(LENIENT).check(candles, timeframe=HOUR)
    mixed = candles.sort_values("ts_event_ns", kind="stable")
    mixed_report, mixed_good, mixed_quarantined = VectorizedGate(LENIENT).check(mixed, timeframe=HOUR)
    assert mixed_report == report
    by = ["symbol", "ts_event_ns"]
    pd.testing.assert_frame_equal(mixed_good.sort_values(by, ignore_index=True), good)
    pd.testing.assert_frame_equal(mixed_quarantined.sort_values(by, ignore_index=True), quarantined)
    small = candles.astype(dict.fromkeys(("open", "high", "low", "close", "volume"), "float32"))
    assert _found(VectorizedGate(LENIENT).check(small, timeframe=HOUR)[0]) == _found(report)


def test_real_crashes_are_told_and_kept() -> None:
    """Recorded candles pass with no row in quarantine; two outage symbols tell their holes and the crash of 2022."""
    folder = Path(os.environ.get("RATCHET_REAL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
    path = folder / "candles" / "spot_1h_with_outages"
    if not path.is_dir():
        pytest.skip(f"no recorded candles: {path} is absent, set RATCHET_REAL_DATA")
    candles = read_candle_files(path, timeframe=HOUR, symbols=None)
    report, good, _ = VectorizedGate().check(candles, timeframe=HOUR)
    assert (report.passed, report.n_quarantined, len(good)) == (True, 0, len(candles))
    assert _found(report) == {"missing_bars": ("warn", 10), "reversal": ("warn", 2)}
    assert [text[:29] for text in _sample(report, "reversal")] == [
        "AXS/USDT 2022-05-11T12:00:00Z",
        "SAND/USDT 2022-05-11T12:00:00",
    ]
