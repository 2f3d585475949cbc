"""Real recordings: read, judged and stored as their providers describe them (skipped where they are absent)."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from ratchet.data.files import read_candle_files
from ratchet.data.quality import GreatExpectationsGate, validate_data_quality
from ratchet.data.snapshots import load_candles, save_dataset
from ratchet.errors import InputError
from ratchet.market import Timeframe

ROOT = Path(__file__).resolve().parents[2]
SPOT_2024 = "candles/binance_spot_2024_freqtrade"
PERPETUALS = "candles/binance_1h_2023_2025"
OUTAGES = "candles/spot_1h_with_outages"
MINUTES = "candles/btc-perp-20211231-20220201_1m.csv.gz"
VENUES = "arbitrage/multi_venue_1m_20230301_0309"


@pytest.fixture
def recordings() -> Path:
    """The folder of real recordings."""
    folder = Path(os.environ.get("RATCHET_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "candles").is_dir():
        pytest.skip(f"no recordings in {folder}; set RATCHET_REAL_DATA to their folder")
    return folder


def _read(path: Path, timeframe: str, symbols: list[str] | None = None) -> pd.DataFrame:
    return read_candle_files(path, timeframe=Timeframe.parse(timeframe), symbols=symbols)


@pytest.mark.parametrize(
    ("path", "timeframe", "symbols", "n_symbols", "n_rows"),
    [
        (SPOT_2024, "1h", None, 24, 143_982),
        (SPOT_2024, "15m", None, 2, 47_846),
        (SPOT_2024, "5m", None, 1, 71_769),
        (PERPETUALS, "1h", ["BTC/USDT", "ETH/USDT"], 2, 43_776),
        (OUTAGES, "1h", None, 2, 47_976),
        (MINUTES, "1m", ["BTC/USDT"], 1, 45_031),
        ("candles", "1m", ["BTC/USDT"], 1, 45_031),
        ("freqtrade", "1h", None, 1, 100),
        ("freqtrade", "5m", None, 3, 12_226),
        (f"{VENUES}/kraken_btcusdc.parquet", "1m", None, 1, 4_930),
    ],
)
def test_recordings_are_read_whole(
    recordings: Path, path: str, timeframe: str, symbols: list[str] | None, n_symbols: int, n_rows: int
) -> None:
    """Each source gives the symbols and rows that it is described with, each bar once and on its grid."""
    candles = _read(recordings / path, timeframe, symbols)
    assert (candles["symbol"].nunique(), len(candles)) == (n_symbols, n_rows)
    assert not candles.duplicated(["symbol", "ts_event_ns"]).any()
    assert (candles["ts_event_ns"] % Timeframe.parse(timeframe).ns == 0).all()
    assert candles.notna().all(axis=None)


def test_values_and_times_are_those_of_the_file(recordings: Path) -> None:
    """A feather file's rows arrive unchanged: 1 January 2024 00:00 UTC opens at 42,283.58."""
    candles = _read(recordings / SPOT_2024, "1h", ["BTC/USDT"])
    recorded = pd.read_feather(recordings / SPOT_2024 / "BTC_USDT-1h.feather")
    assert candles.iloc[0][["ts_event_ns", "open"]].tolist() == [1_704_067_200_000_000_000, 42_283.58]
    numbers = ["open", "high", "low", "close", "volume"]
    pd.testing.assert_frame_equal(candles[numbers], recorded[numbers], check_exact=True)
    assert (pd.DatetimeIndex(recorded["date"]).as_unit("ns").asi8 == candles["ts_event_ns"]).all()


def test_a_perpetual_is_not_taken_for_spot(recordings: Path) -> None:
    """Freqtrade's futures file is XRP/USDT:USDT; the spot symbol is answered with that."""
    assert _read(recordings / "freqtrade", "1h")["symbol"].unique().tolist() == ["XRP/USDT:USDT"]
    with pytest.raises(InputError, match="no 1h bars of XRP/USDT; it has XRP/USDT:USDT"):
        _read(recordings / "freqtrade", "1h", ["XRP/USDT"])


@pytest.mark.parametrize(
    ("path", "timeframe", "expected"),
    [
        (SPOT_2024, "4h", "5m, 15m, 1h, 1d bars by their names, but 4h bars were asked for"),
        (MINUTES, "1h", "1m bars by its name, but 1h bars were asked for"),
        (MINUTES, "1m", "ask for exactly one symbol"),
        (
            VENUES,
            "1m",
            "coinbase_btcusd.parquet and kraken_btcusd.parquet: 41329 duplicate bars with conflicting values",
        ),
        ("freqtrade/XRP_USDT_USDT-1h-mark.feather", "1h", "its name says mark"),
        ("lob/nautilus/binance/btcusdt-depth-snap.csv", "1m", "no column open, high, low, close, volume"),
        ("sentiment", "1h", "no column open, high, low, close, volume"),
        (".", "1h", "MANIFEST.json"),
        ("SOURCES.md", "1h", "the name must end in"),
    ],
)
def test_recordings_that_do_not_fit_are_refused_in_one_line(
    recordings: Path, path: str, timeframe: str, expected: str
) -> None:
    """What is no candle file, has another timeframe or overlaps is refused by name."""
    with pytest.raises(InputError) as caught:
        _read(recordings / path, timeframe)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


def test_real_candles_pass_the_gate_and_survive_storage(recordings: Path, tmp_path: Path) -> None:
    """Six perpetuals and two markets with outages pass the quality gate as a whole and load as they were saved."""
    timeframe = Timeframe.parse("1h")
    names = ["ADA", "BTC", "DOGE", "ETH", "SHIB", "XRP"]
    parts = [
        _read(recordings / PERPETUALS, "1h", [f"{name}/USDT" for name in names]),
        _read(recordings / OUTAGES, "1h"),
    ]
    candles = pd.concat(parts, ignore_index=True).sort_values(["symbol", "ts_event_ns"], ignore_index=True)
    report, good = validate_data_quality(
        candles, GreatExpectationsGate(tmp_path / "quality"), timeframe=timeframe, quarantine_folder=tmp_path
    )
    assert report.passed
    assert report.n_quarantined == 0
    ref = save_dataset(tmp_path, good, source="recordings", timeframe=timeframe)
    pd.testing.assert_frame_equal(load_candles(ref), candles, check_exact=True)
