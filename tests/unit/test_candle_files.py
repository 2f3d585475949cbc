"""The `files:` source: what other tools write is read as it is meant, and what cannot be is refused in one line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.data.filenames import read_name
from ratchet.data.files import read_candle_files
from ratchet.errors import InputError
from ratchet.market import Timeframe
from tests.candle_paths import HOUR, random_candles

CANDLES = random_candles(30, seed=3)
NUMBERS = ["open", "high", "low", "close", "volume"]


def _dated(candles: pd.DataFrame = CANDLES, name: str = "date") -> pd.DataFrame:
    """Return candles as other tools keep them: a UTC time first, no symbol."""
    dated = candles[NUMBERS].copy()
    dated.insert(0, name, pd.to_datetime(candles["ts_event_ns"], utc=True))
    return dated


def _read(path: Path, symbols: list[str] | None = None, timeframe: Timeframe = HOUR) -> pd.DataFrame:
    return read_candle_files(path, timeframe=timeframe, symbols=symbols)


def _refusal(path: Path, symbols: list[str] | None = None, timeframe: Timeframe = HOUR) -> str:
    """Return the one line with which reading is refused."""
    with pytest.raises(InputError) as caught:
        _read(path, symbols, timeframe)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("name", "symbol", "timeframe"),
    [
        ("BTC_USDT-1h.feather", "BTC/USDT", "1h"),
        ("XRP_USDT_USDT-8h-futures.feather", "XRP/USDT:USDT", "8h"),
        ("BTC_USD_BTC-1d-futures.feather", "BTC/USD:BTC", "1d"),
        ("BTCUSDT_1h.parquet", "BTC/USDT", "1h"),
        ("1000SHIBUSDT-15m.csv", "1000SHIB/USDT", "15m"),
        ("BTCUSDT-1h-2024-01.csv", "BTC/USDT", "1h"),
        ("Binance_ethbtc_5min.csv.gz", "ETH/BTC", "5m"),
        ("coinbase_usdtusd.parquet", "USDT/USD", None),
        ("btc-perp-20211231-20220201_1m.csv.gz", None, "1m"),
        ("SOL-EUR.json", "SOL/EUR", None),
        ("all_candles_4h.csv", None, "4h"),
        ("DATA_USDT-1h.feather", "DATA/USDT", "1h"),
        ("INDEX_USDT-1h.feather", "INDEX/USDT", "1h"),
        ("BTC_USDT-1h (copy).feather", "BTC/USDT", "1h"),
        ("1h_BTCUSDT_backup.csv", "BTC/USDT", "1h"),
        ("BTC_USDT-1M.feather", "BTC/USDT", "1M"),
    ],
)
def test_names_tell_symbol_and_timeframe(name: str, symbol: str | None, timeframe: str | None) -> None:
    """File names of freqtrade, exchanges' archives and other tools are understood."""
    file = read_name(Path(name))
    assert file.symbol == symbol
    assert (file.timeframe.text if file.timeframe else None) == timeframe


def test_a_requested_symbol_is_found_under_a_rare_quote() -> None:
    """A quote on no list is understood where that symbol was asked for; a perpetual never passes for a spot market."""
    assert read_name(Path("ABCXYZ_1h.csv")).symbol is None
    assert read_name(Path("ABCXYZ_1h.csv"), ["ABC/XYZ"]).symbol == "ABC/XYZ"
    assert read_name(Path("XRP_USDT_USDT-1h-futures.feather"), ["XRP/USDT"]).symbol == "XRP/USDT:USDT"


def _as_epoch(per_second: int) -> Callable[[pd.DataFrame, Path], None]:
    def write(candles: pd.DataFrame, path: Path) -> None:
        times = candles["ts_event_ns"] // (1_000_000_000 // per_second)
        _dated(candles).assign(date=times).to_csv(path, index=False)

    return write


def _as_klines(candles: pd.DataFrame) -> list[list[object]]:
    times_ms = (candles["ts_event_ns"] // 1_000_000).tolist()
    return [[time, *row] for time, row in zip(times_ms, candles[NUMBERS].to_numpy().tolist(), strict=True)]


WRITERS: dict[str, tuple[str, Callable[[pd.DataFrame, Path], None]]] = {
    "feather": ("BTC_USDT-1h.feather", lambda c, p: _dated(c).to_feather(p)),
    "parquet, time as index": (
        "BTCUSDT_1h.parquet",
        lambda c, p: _dated(c, "timestamp").set_index("timestamp").to_parquet(p),
    ),
    "parquet, time without zone": (
        "BTCUSDT_1h.parquet",
        lambda c, p: _dated(c).assign(date=lambda d: d["date"].dt.tz_localize(None).dt.as_unit("us")).to_parquet(p),
    ),
    "parquet, decimals and text": (
        "BTCUSDT_1h.parquet",
        lambda c, p: _dated(c).assign(open=c["open"].map(repr).map(Decimal), close=c["close"].map(repr)).to_parquet(p),
    ),
    "csv, ISO": ("BTCUSDT_1h.csv", lambda c, p: _dated(c).to_csv(p, index=False)),
    "csv, s": ("BTCUSDT_1h.csv", _as_epoch(1)),
    "csv, ms": ("BTCUSDT_1h.csv", _as_epoch(1_000)),
    "csv, us": ("BTCUSDT_1h.csv", _as_epoch(1_000_000)),
    "csv, ns": ("BTCUSDT_1h.csv", _as_epoch(1_000_000_000)),
    "csv, gzip": ("BTCUSDT_1h.csv.gz", lambda c, p: _dated(c).to_csv(p, index=False)),
    "csv, semicolons and capitals": (
        "BTCUSDT_1h.csv",
        lambda c, p: _dated(c, "Open Time").rename(columns=str.title).to_csv(p, index=False, sep=";"),
    ),
    "csv, klines without header": (
        "BTCUSDT-1h-2024-01.csv",
        lambda c, p: pd.DataFrame(_as_klines(c)).assign(more=1, ignore=0).to_csv(p, index=False, header=False),
    ),
    "csv, unnamed column, times as text": (
        "BTCUSDT_1h.csv",
        lambda c, p: _dated(c).assign(date=lambda d: d["date"].dt.strftime("%Y-%m-%d %H:%M:%S UTC")).to_csv(p),
    ),
    "json, lists": ("BTC_USDT-1h.json", lambda c, p: _discard(p.write_text(json.dumps(_as_klines(c))))),
    "json, objects": (
        "BTC_USDT-1h.json",
        lambda c, p: _dated(c).to_json(p, orient="records", date_format="iso", double_precision=15),
    ),
    "json, gzip": (
        "BTC_USDT-1h.json.gz",
        lambda c, p: _discard(p.write_bytes(gzip.compress(json.dumps(_as_klines(c)).encode()))),
    ),
    "symbol column": ("part.csv", lambda c, p: _dated(c).assign(symbol="BTCUSDT").to_csv(p, index=False)),
    "extra columns": ("BTC-USDT_1h.csv", lambda c, p: _dated(c).assign(trades=5, note="x").to_csv(p, index=False)),
    "latest first": ("BTC-USDT_1h.csv", lambda c, p: _dated(c).iloc[::-1].to_csv(p, index=False)),
}


def _discard(_: int) -> None:
    """Turn the result of a write into nothing."""


@pytest.mark.parametrize("form", WRITERS)
def test_every_form_of_file_gives_the_same_candles(tmp_path: Path, form: str) -> None:
    """Format, order, time unit and spelling of a file do not matter: the candles are equal to the last bit."""
    name, write = WRITERS[form]
    write(CANDLES, tmp_path / name)
    pd.testing.assert_frame_equal(_read(tmp_path / name), CANDLES, check_exact=True)
    pd.testing.assert_frame_equal(_read(tmp_path, ["btc/usdt"]), CANDLES, check_exact=True)


def test_the_only_requested_symbol_names_an_unlabelled_file(tmp_path: Path) -> None:
    """A file that names no symbol is read as the one symbol asked for, and refused where none or two are."""
    path = tmp_path / "export.csv"
    _dated().to_csv(path, index=False)
    assert _read(path, ["BTC/USDT"])["symbol"].unique().tolist() == ["BTC/USDT"]
    for symbols in (None, ["BTC/USDT", "ETH/USDT"]):
        assert "ask for exactly one symbol" in _refusal(path, symbols)


def test_a_folder_gives_the_requested_timeframe_only(tmp_path: Path) -> None:
    """Files of other timeframes are passed over, by name or by the spacing of their bars, and so are other tables."""
    _dated().to_feather(tmp_path / "BTC_USDT-1h.feather")
    _dated(random_candles(30, seed=4)).to_csv(tmp_path / "ETHUSDT.csv", index=False)
    daily = CANDLES.assign(ts_event_ns=CANDLES["ts_event_ns"].iloc[0] + np.arange(30) * 24 * HOUR.ns)
    _dated(daily).to_feather(tmp_path / "BTC_USDT-1d.feather")
    _dated(daily).to_csv(tmp_path / "SOLUSDT.csv", index=False)
    _dated().to_feather(tmp_path / "BTC_USDT_USDT-1h-mark.feather")
    pd.DataFrame({"pair": ["BTC/USDT"], "weight": [1]}).to_csv(tmp_path / "weights.csv", index=False)
    (tmp_path / "config.json").write_text('{"exchange": "binance"}')
    (tmp_path / ".hidden.csv").write_text("broken")
    assert _read(tmp_path)["symbol"].unique().tolist() == ["BTC/USDT", "ETH/USDT"]
    assert _read(tmp_path, timeframe=Timeframe.parse("1d"))["symbol"].unique().tolist() == ["BTC/USDT", "SOL/USDT"]
    assert "1h, 1d bars" in _refusal_of_folder(tmp_path, Timeframe.parse("4h"), keep="BTC")


def _refusal_of_folder(folder: Path, timeframe: Timeframe, keep: str) -> str:
    for path in folder.glob("*"):
        if not path.name.startswith(keep):
            path.unlink()
    return _refusal(folder, timeframe=timeframe)


def test_consecutive_files_of_one_symbol_are_joined(tmp_path: Path) -> None:
    """Monthly files of an archive become one history, also where the archive changed its time unit."""
    _as_epoch(1_000)(CANDLES.iloc[:15], tmp_path / "BTCUSDT-1h-2024-01.csv")
    _as_epoch(1_000_000)(CANDLES.iloc[15:], tmp_path / "BTCUSDT-1h-2024-02.csv")
    pd.testing.assert_frame_equal(_read(tmp_path), CANDLES)


def test_most_minutes_may_be_silent(tmp_path: Path) -> None:
    """A market that trades in two of five hours still has hourly bars, although their median spacing is longer."""
    n_bars = 400
    traded = np.random.default_rng(5).random(n_bars) < 0.4
    candles = random_candles(n_bars, seed=5)[traded].reset_index(drop=True)
    assert candles["ts_event_ns"].diff().median() > HOUR.ns
    _dated(candles).to_csv(tmp_path / "BTCUSDT.csv", index=False)
    pd.testing.assert_frame_equal(_read(tmp_path), candles)


def test_missing_numbers_are_left_to_the_quality_gate(tmp_path: Path) -> None:
    """An empty field or an unfinished last line becomes NaN, a negative price stays what it is."""
    path = tmp_path / "BTCUSDT_1h.csv"
    _dated().assign(open=CANDLES["open"].mask(CANDLES.index == 2), low=-1.0).to_csv(path, index=False)
    path.write_text(path.read_text() + "2024-01-02 06:00:00+00:00,1.5,2")
    candles = _read(path)
    assert np.isnan(candles["open"][2])
    assert (candles["low"][:30] == -1.0).all()
    assert candles.iloc[30][["low", "close", "volume"]].isna().all()


def _cut(path: Path, write: Callable[[Path], object], n_bytes: int) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:n_bytes])


BAD_FILES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "corrupt feather": (
        "BTC_USDT-1h.feather",
        lambda p: p.write_bytes(b"ARROW1" + b"\x01" * 50),
        "cannot be read as feather",
    ),
    "cut feather": (
        "BTC_USDT-1h.feather",
        lambda p: _cut(p, _dated().to_feather, 900),
        "cannot be read as feather",
    ),
    "empty feather": ("BTC_USDT-1h.feather", lambda p: p.write_bytes(b""), "cannot be read as feather"),
    "corrupt parquet": (
        "BTCUSDT_1h.parquet",
        lambda p: p.write_bytes(b"PAR1nonsensePAR1"),
        "cannot be read as parquet",
    ),
    "empty csv": ("BTCUSDT_1h.csv", lambda p: p.write_text(""), "holds no rows"),
    "binary csv": ("BTCUSDT_1h.csv", lambda p: p.write_bytes(b"\xff\xfe\x00\x81" * 9), "cannot be read as csv"),
    "cut gzip": (
        "BTCUSDT_1h.csv.gz",
        lambda p: _cut(p, _dated().to_csv, 90),
        "cannot be read as csv",
    ),
    "no gzip": ("BTCUSDT_1h.csv.gz", lambda p: p.write_text("date,open"), "cannot be read as csv"),
    "corrupt json": ("BTC_USDT-1h.json", lambda p: p.write_text("[[1, 2"), "cannot be read as json"),
    "json of something else": ("BTC_USDT-1h.json", lambda p: p.write_text('{"a": 1}'), "not a list of candles"),
    "header only": ("BTCUSDT_1h.csv", lambda p: p.write_text("date,open,high,low,close,volume\n"), "holds no rows"),
    "no time": (
        "BTCUSDT_1h.csv",
        lambda p: CANDLES[NUMBERS].to_csv(p, index=False),
        "no time column; it has open, high",
    ),
    "only a closing time": (
        "BTCUSDT_1h.csv",
        lambda p: _dated(name="close_time").to_csv(p, index=False),
        "no time column",
    ),
    "no OHLCV": (
        "BTCUSDT_1h.csv",
        lambda p: _dated()[["date"]].assign(x=1).to_csv(p, index=False),
        "no column open, high",
    ),
    "no volume": (
        "BTCUSDT_1h.csv",
        lambda p: _dated().drop(columns="volume").to_csv(p, index=False),
        "no column volume",
    ),
    "text for a number": (
        "BTCUSDT_1h.csv",
        lambda p: (
            _dated()
            .assign(close=CANDLES["close"].astype(object).where(CANDLES.index != 6, "n.a.?"))
            .to_csv(p, index=False)
        ),
        "column close, row 7: 'n.a.?' is not a number",
    ),
    "text for a time": (
        "BTCUSDT_1h.csv",
        lambda p: (
            _dated()
            .astype({"date": str})
            .assign(date=lambda d: d["date"].where(d.index != 4, "soon"))
            .to_csv(p, index=False)
        ),
        "column date, row 5: 'soon' is not a time",
    ),
    "no time in a row": (
        "BTCUSDT_1h.csv",
        lambda p: _dated().assign(date=lambda d: d["date"].mask(d.index == 8)).to_csv(p, index=False),
        "column date, row 9",
    ),
    "days as numbers": (
        "BTCUSDT_1h.csv",
        lambda p: _dated().assign(date=20240101).to_csv(p, index=False),
        "'20240101' is not a time",
    ),
    "more fields than names": (
        "BTCUSDT_1h.csv",
        lambda p: p.write_text("date,open,high,low,close,volume\n2024-01-01,1,1,1,1,1,9\n2024-01-02,1,1,1,1,1,9\n"),
        "more fields than the header",
    ),
    "too few fields without names": (
        "BTCUSDT_1h.csv",
        lambda p: p.write_text("1,2,3\n4,5,6\n"),
        "no header and 3 fields",
    ),
    "duplicates": (
        "BTCUSDT_1h.csv",
        lambda p: pd.concat([_dated(), _dated().iloc[5:7]]).to_csv(p, index=False),
        "2 duplicate bars with identical values, the first BTC/USDT at 2024-01-01T05:00:00Z; remove the repeated rows",
    ),
    "other spacing by name": (
        "BTCUSDT_1d.csv",
        lambda p: _dated().to_csv(p, index=False),
        "1d bars by its name, but 1h",
    ),
    "other spacing by rows": (
        "BTCUSDT.csv",
        lambda p: _dated(CANDLES.iloc[::2]).to_csv(p, index=False),
        "2h bars by the times of its rows, but 1h bars were asked for; ask for 2h",
    ),
    "a name that lies": (
        "BTCUSDT_1h.csv",
        lambda p: _dated(CANDLES.iloc[::4]).to_csv(p, index=False),
        "4h bars by the times",
    ),
    "mark prices": ("BTC_USDT_USDT-1h-mark.feather", lambda p: _dated().to_feather(p), "its name says mark"),
    "unknown ending": ("BTCUSDT_1h.xlsx", lambda p: p.write_text("x"), "the name must end in .feather"),
    "two names": (
        "BTCUSDT_1h.csv",
        lambda p: _dated().assign(symbol="ETHUSDT").to_csv(p, index=False),
        "its name says BTC/USDT, its symbol column ETH/USDT",
    ),
    "no symbol in the column": (
        "c.csv",
        lambda p: _dated().assign(symbol="??").to_csv(p, index=False),
        "'??' in the symbol column",
    ),
}


@pytest.mark.parametrize("defect", BAD_FILES)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, defect: str) -> None:
    """Each defect ends in one line that says which file, what is wrong and what to do."""
    name, write, expected = BAD_FILES[defect]
    write(tmp_path / name)
    assert expected in _refusal(tmp_path / name)


@pytest.mark.parametrize("defect", sorted(set(BAD_FILES) - {"mark prices", "unknown ending", "other spacing by name"}))
def test_a_folder_of_one_bad_file_is_refused_too(tmp_path: Path, defect: str) -> None:
    """The same defect is named where the file is found in a folder."""
    name, write, expected = BAD_FILES[defect]
    write(tmp_path / name)
    message = _refusal(tmp_path)
    assert expected in message
    assert name in message


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    """Nothing there is said plainly, with the subfolder that may have been meant."""
    assert "no such file or folder" in _refusal(tmp_path / "absent")
    assert "has no candle file" in _refusal(tmp_path)
    (tmp_path / "futures").mkdir()
    assert "name one of its subfolders: futures" in _refusal(tmp_path)


def test_overlapping_files_are_refused(tmp_path: Path) -> None:
    """Bars that two files repeat are named with both files, the first time, and whether the values agree."""
    _dated(CANDLES.iloc[:20]).to_csv(tmp_path / "BTCUSDT-1h-a.csv", index=False)
    _dated(CANDLES.iloc[15:]).to_csv(tmp_path / "BTCUSDT-1h-b.csv", index=False)
    same = _refusal(tmp_path)
    assert "BTCUSDT-1h-a.csv and BTCUSDT-1h-b.csv: 5 duplicate bars with identical values" in same
    assert "BTC/USDT at 2024-01-01T15:00:00Z; keep one of the files" in same
    _dated(CANDLES.iloc[15:].assign(close=1.0)).to_csv(tmp_path / "BTCUSDT-1h-b.csv", index=False)
    assert "with conflicting values" in _refusal(tmp_path)


def test_an_unknown_symbol_is_answered_with_what_is_there(tmp_path: Path) -> None:
    """The refusal lists the symbols of the folder; an empty request is refused as well."""
    _dated().to_csv(tmp_path / "BTCUSDT_1h.csv", index=False)
    _dated().to_csv(tmp_path / "ETHUSDT_1h.csv", index=False)
    assert "no 1h bars of FOO/USDT; it has BTC/USDT, ETH/USDT" in _refusal(tmp_path, ["FOO/USDT", "BTC/USDT"])
    assert "no 1h bars of ETH/USDT; it has BTC/USDT" in _refusal(tmp_path / "BTCUSDT_1h.csv", ["ETH/USDT"])
    with pytest.raises(InputError, match="list of symbols is empty"):
        _read(tmp_path, [])
    with pytest.raises(InputError, match="is not a symbol"):
        _read(tmp_path, ["BTC"])
