"""From history to dataset: as it was known, equal content equal dataset, and only quiet bars ever filled."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import FixedClock
from ratchet.data.history import CandleHistory, SeriesKey, Span, collect_new_data
from ratchet.data.history.coverage import coverage_over_time, coverage_table
from ratchet.data.history.cutting import cut_dataset
from ratchet.data.history.second_venue import cut_second_venue
from ratchet.data.quality import QualityPolicy, VectorizedGate, validate_data_quality
from ratchet.data.snapshots import load_candle_records, load_candles, load_manifest
from ratchet.errors import InputError
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.server import FrameExchange
from ratchet.market import Timeframe
from ratchet.market.venue import VenueTraits

CONFIG = SimulatedMarketConfig(n_bars=100, n_symbols=2)
TRUTH = SimulatedMarket(CONFIG).candles()
HOUR = Timeframe.parse("1h")
KEYS = [SeriesKey("venue", symbol, "1h") for symbol in CONFIG.symbols]
QUIET = VenueTraits(emits_empty_bars=False, has_trade_history=False)


def bar(index: int) -> int:
    return CONFIG.start_ns + index * HOUR.ns


def collected(folder: Path, frame: pd.DataFrame, now_ns: int = CONFIG.end_ns, name: str = "venue") -> CandleHistory:
    clock = FixedClock(now_ns)
    history = CandleHistory(folder / "history", clock)
    exchange = FrameExchange(frame, HOUR, name=name, now_ns=CONFIG.end_ns, traits=QUIET)
    asyncio.run(
        collect_new_data(
            exchange,
            history,
            sorted(frame["symbol"].unique()),
            HOUR,
            CONFIG.start_ns,
            None,
            clock=clock,
            quarantine_folder=folder / "quarantine",
        )
    )
    return history


def without(bars: list[int], symbols: tuple[str, ...] = CONFIG.symbols) -> pd.DataFrame:
    return TRUTH[~(TRUTH["symbol"].isin(symbols) & TRUTH["ts_event_ns"].isin([bar(index) for index in bars]))]


def test_equal_bars_make_an_equal_dataset(tmp_path: Path) -> None:
    """Two histories that hold the same lead to one dataset, whose bars are the market's."""
    first = cut_dataset(tmp_path, collected(tmp_path / "a", TRUTH), KEYS, as_of_ns=CONFIG.end_ns)
    second = cut_dataset(tmp_path, collected(tmp_path / "b", TRUTH), KEYS, as_of_ns=CONFIG.end_ns + 1)
    assert first == second
    expected = TRUTH.sort_values(["symbol", "ts_event_ns"], ignore_index=True)
    pd.testing.assert_frame_equal(load_candles(first), expected, check_exact=True)
    assert load_manifest(first).source == "venue"


def test_a_dataset_holds_what_was_known_then(tmp_path: Path) -> None:
    """A repaired hole is in the dataset of today and not in that of yesterday; the future is in none."""
    history = collected(tmp_path, without([90]))
    history.close()
    later_ns = CONFIG.end_ns + 24 * HOUR.ns
    history = collected(tmp_path, TRUTH, now_ns=later_ns)
    then = cut_dataset(tmp_path, history, KEYS, as_of_ns=later_ns - 1)
    now = cut_dataset(tmp_path, history, KEYS, as_of_ns=later_ns)
    assert len(load_candles(then)) == 198
    assert len(load_candles(now)) == 200
    assert len(load_candles(now, known_at_ns=later_ns - 1)) == 198
    early = cut_dataset(tmp_path, history, KEYS, as_of_ns=bar(10))
    assert load_candles(early)["ts_event_ns"].max() == bar(9)
    part = cut_dataset(tmp_path, history, KEYS, as_of_ns=later_ns, span=Span(bar(10), bar(20)))
    assert len(load_candles(part)) == 20


def test_only_bars_without_trades_are_filled_and_flagged(tmp_path: Path) -> None:
    """A quiet bar is made up of the close before it; an outage of the whole venue stays open."""
    quiet, dark = without([30, 31], CONFIG.symbols[:1]), [60, 61, 62]
    history = collected(tmp_path, quiet[~quiet["ts_event_ns"].isin([bar(index) for index in dark])])
    filled = load_candle_records(
        cut_dataset(tmp_path, history, KEYS, as_of_ns=CONFIG.end_ns, fill_no_trades=True)
    ).set_index(["symbol", "ts_event_ns"])
    made = filled[filled["is_filled"]]
    assert made.index.tolist() == [(CONFIG.symbols[0], bar(30)), (CONFIG.symbols[0], bar(31))]
    before = TRUTH.set_index(["symbol", "ts_event_ns"]).loc[(CONFIG.symbols[0], bar(29)), "close"]
    assert (made[["open", "high", "low", "close"]].to_numpy() == before).all()
    assert (made["volume"] == 0).all()
    assert len(filled) == 200 - 2 * 3
    plain = cut_dataset(tmp_path, history, KEYS, as_of_ns=CONFIG.end_ns)
    assert len(load_candles(plain)) == 200 - 2 * 3 - 2


def test_nothing_is_made_up_that_was_not_known_then(tmp_path: Path) -> None:
    """As of a time before a gap was found nothing is filled, and never a bar that had not closed."""
    history = collected(tmp_path, without([30, 31, 90, 91], CONFIG.symbols[:1]))
    found_ns = CONFIG.end_ns
    early = cut_dataset(tmp_path, history, KEYS, as_of_ns=bar(60), fill_no_trades=True)
    assert not load_candle_records(early)["is_filled"].any()
    now = load_candle_records(
        cut_dataset(tmp_path, history, KEYS, as_of_ns=found_ns, span=Span(bar(80), bar(91)), fill_no_trades=True)
    )
    assert now.loc[now["is_filled"], "ts_event_ns"].tolist() == [bar(90)]


def test_the_gate_keeps_what_is_known_when(tmp_path: Path) -> None:
    """Judging a dataset does not reset the time of its knowledge, nor make a made-up bar look traded."""
    known_ns = TRUTH["ts_event_ns"].to_numpy() + 2 * HOUR.ns
    rows = TRUTH.assign(known_ns=known_ns, is_filled=np.arange(len(TRUTH)) == 7)
    _, good = validate_data_quality(rows, VectorizedGate(), timeframe=HOUR, quarantine_folder=tmp_path)
    pd.testing.assert_frame_equal(good, rows)


def test_bars_that_are_flagged_as_made_up_are_not_stale(tmp_path: Path) -> None:
    """A long gap without trades that was filled on purpose does not end in quarantine; the same bars unflagged do."""
    rows = TRUTH[TRUTH["symbol"] == CONFIG.symbols[0]].reset_index(drop=True)
    quiet = rows.index.isin(range(40, 70))
    for name in ("open", "high", "low", "close"):
        rows[name] = np.where(quiet, rows["close"].iloc[39], rows[name])
    rows["volume"] = np.where(quiet, 0.0, rows["volume"])
    policy = QualityPolicy(max_quarantined_share=1.0)
    for is_filled, n_bad in ((quiet, 0), (np.zeros(len(rows), dtype=bool), 30)):
        report, _, bad = VectorizedGate(policy).check(rows.assign(is_filled=is_filled), timeframe=HOUR)
        assert (report.passed, len(bad)) == (True, n_bad)


def test_coverage_in_numbers_and_over_time(tmp_path: Path) -> None:
    """Shares and kinds of what is missing add up to what was wanted."""
    history = collected(tmp_path, without([30, 31], CONFIG.symbols[:1]))
    holed, whole = coverage_table(history, KEYS).to_dict(orient="records")
    assert (holed["n_bars"], holed["n_wanted"], holed["no_trades"]) == (98, 100, 2)
    assert whole["share"] == 1.0
    over_time = coverage_over_time(history, KEYS, n_buckets=10)
    thin = over_time[(over_time["symbol"] == CONFIG.symbols[0]) & (over_time["share"] < 1)]
    assert thin[["start_ns", "share", "kind"]].to_numpy().tolist() == [[bar(30), 0.8, "no_trades"]]


def test_another_venue_of_the_history_is_the_second_opinion(tmp_path: Path) -> None:
    """The venue that shares most symbols is taken; none where the history has the symbols from one venue only."""
    history = collected(tmp_path, TRUTH)
    ref = cut_dataset(tmp_path, history, KEYS, as_of_ns=CONFIG.end_ns)
    manifest = load_manifest(ref)
    assert cut_second_venue(tmp_path, history, manifest, as_of_ns=CONFIG.end_ns) is None
    collected(tmp_path, TRUTH[TRUTH["symbol"] == CONFIG.symbols[0]], name="first-by-name")
    collected(tmp_path, TRUTH, name="more-symbols")
    other = cut_second_venue(tmp_path, history, manifest, as_of_ns=CONFIG.end_ns)
    assert other is not None
    assert load_manifest(other).source == "more-symbols"
    assert cut_second_venue(tmp_path, history, manifest, as_of_ns=CONFIG.start_ns) is None


def test_what_cannot_be_one_dataset_is_refused(tmp_path: Path) -> None:
    """Series of two venues or timeframes, or nothing known yet, are one clear error."""
    history = collected(tmp_path, TRUTH)
    with pytest.raises(InputError, match="one venue"):
        cut_dataset(tmp_path, history, [*KEYS, SeriesKey("other", "BTC/USDT", "1h")], as_of_ns=CONFIG.end_ns)
    with pytest.raises(InputError, match="collect first"):
        cut_dataset(tmp_path, history, KEYS, as_of_ns=CONFIG.start_ns)
