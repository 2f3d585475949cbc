"""Pictures of candles, gaps and coverage, judged by their pixels and letters."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ratchet.data.coverage import COVERAGE_COLUMNS, cover
from ratchet.data.pictures import candle_picture, candle_text, coverage_picture
from ratchet.errors import ConfigurationError, InputError
from tests.candle_paths import HOUR, START_NS, random_candles, recorded_candles, without_rows

VERMILLION, PINK, GREY, BLACK = (213, 94, 0), (204, 121, 167), (153, 153, 153), (0, 0, 0)
_ESCAPE = re.compile(r"\x1b\[")


def _gaps(*rows: tuple[str, int, int, str]) -> pd.DataFrame:
    """Return gaps of whole hours: symbol, first bar, bar after the last, kind."""
    table = [(symbol, START_NS + first * HOUR.ns, START_NS + end * HOUR.ns, kind) for symbol, first, end, kind in rows]
    return pd.DataFrame(table, columns=["symbol", "start_ns", "end_ns", "kind"])


def _pixels(png: bytes) -> NDArray[np.int64]:
    image = pytest.importorskip("matplotlib.image")
    pixels: Any = image.imread(io.BytesIO(png), format="png")
    return np.asarray(np.rint(pixels[:, :, :3] * 255), dtype=np.int64)


def _columns_with(png: bytes, colour: tuple[int, int, int], rows: slice) -> NDArray[np.int64]:
    """Return the pixel columns, right of the labels, in which some rows of the picture have exactly this colour."""
    return 120 + np.flatnonzero((_pixels(png)[rows, 120:1_190] == colour).all(axis=2).any(axis=0))


@pytest.mark.parametrize(("n_bars", "first"), [(100, 40), (1_500, 600), (5_000, 2_000)])
def test_a_gap_is_shaded_where_it_lies(n_bars: int, first: int) -> None:
    """In candles, in a line and in joined bars, the shade covers the tenth of the axis that it should, and no more."""
    end = first + n_bars // 10
    candles = without_rows(random_candles(n_bars, seed=1), slice(first, end))
    plain = candle_picture(candles, _gaps(), title="t")
    shaded = candle_picture(candles, _gaps(("BTC/USDT", first, end, "fetch_failure")), title="t")
    body = slice(60, 500)
    assert len(_columns_with(plain, VERMILLION, body)) == 0
    columns = _columns_with(shaded, VERMILLION, body)
    axis = (columns.min() - 90) / 1_220, (columns.max() - 90) / 1_220
    assert 0.36 < axis[0] < 0.43
    assert 0.46 < axis[1] < 0.53


def test_the_shortest_gap_can_be_seen() -> None:
    """One missing hour in two years still has a line of its colour; other symbols' gaps have none."""
    candles = without_rows(random_candles(17_520, seed=1), [9_000])
    gaps = _gaps(("BTC/USDT", 9_000, 9_001, "exchange_outage"), ("ETH/USDT", 100, 8_000, "fetch_failure"))
    png = candle_picture(candles, gaps, title="t")
    assert _pixels(png).shape == (744, 1_320, 3)
    pink = (np.abs(_pixels(png)[60:500, 120:] - np.array(PINK)).sum(axis=2) < 90).any(axis=0)
    assert 1 <= np.count_nonzero(pink) <= 6
    assert len(_columns_with(png, VERMILLION, slice(0, 744))) == 0


def test_the_same_candles_give_the_same_picture() -> None:
    """A picture depends on its arguments alone, whatever was drawn before."""
    candles = random_candles(50, seed=1)
    first = candle_picture(candles, _gaps(), title="t")
    candle_picture(random_candles(300, seed=2), _gaps(), title="other")
    assert candle_picture(candles, _gaps(), title="t") == first


def test_real_candles_can_be_drawn(tmp_path: Path) -> None:
    """Recorded candles with a hole make a picture and a text."""
    candles = without_rows(recorded_candles("BTC/USDT", n_bars=3_000), slice(700, 900))
    hole = int(candles["ts_event_ns"][699]) + HOUR.ns, int(candles["ts_event_ns"][700])
    gaps = pd.DataFrame([("BTC/USDT", *hole, "exchange_outage")], columns=["symbol", "start_ns", "end_ns", "kind"])
    assert len(_columns_with(candle_picture(candles, gaps, title="BTC"), PINK, slice(60, 500))) > 10
    assert "X exchange outage" in candle_text(candles, gaps, width=80, height=20)


@pytest.mark.parametrize(("width", "height"), [(40, 10), (100, 24), (160, 50)])
def test_text_fits_the_terminal(width: int, height: int) -> None:
    """The text has the size asked for, no escape codes without colour, and letters in the columns of a gap."""
    candles = without_rows(random_candles(30, seed=1), slice(10, 20))
    gaps = _gaps(("BTC/USDT", 10, 20, "no_trades"))
    lines = candle_text(candles, gaps, width=width, height=height, colour=False).splitlines()
    assert len(lines) == height
    assert max(map(len, lines)) <= width
    assert not _ESCAPE.search("".join(lines))
    assert lines[-1].startswith("BTC/USDT UTC")
    middle = lines[height // 2]
    assert middle.count("o") == 10 // -(-30 // (width - 14))
    assert "o no trades"[: width - 33] in lines[-1]
    assert "01-01 00:00" in lines[-2]


def test_colour_is_an_addition() -> None:
    """With colour, the text is the same but for escape codes."""
    candles = random_candles(30, seed=1)
    coloured = candle_text(candles, _gaps(), width=80, height=20)
    assert _ESCAPE.search(coloured)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == candle_text(candles, _gaps(), width=80, height=20, colour=False)


def test_a_partly_missing_bar_is_marked_at_its_foot() -> None:
    """Where many bars share a column, one lost hour does not hide the column's candle."""
    candles = without_rows(random_candles(3_000, seed=1), [1_500])
    lines = candle_text(
        candles, _gaps(("BTC/USDT", 1_500, 1_501, "fetch_failure")), width=80, height=20, colour=False
    ).splitlines()
    assert [number for number, line in enumerate(lines[:-1]) if "F" in line] == [16]


def test_what_cannot_be_drawn_is_refused() -> None:
    """Several symbols, none, an unknown class, no room, and an empty coverage are an InputError."""
    candles = random_candles(30, seed=1)
    both = pd.concat([candles, random_candles(30, seed=2, symbol="ETH/USDT")])
    for draw in (lambda rows, gaps: candle_picture(rows, gaps, title="t"), candle_text):
        with pytest.raises(InputError, match="one symbol, not 2"):
            draw(both, _gaps())
        with pytest.raises(InputError, match="one symbol, not 0"):
            draw(candles.iloc[:0], _gaps())
        with pytest.raises(InputError, match="weather is no kind of gap"):
            draw(candles, _gaps(("BTC/USDT", 1, 2, "weather")))
    with pytest.raises(InputError, match="too small"):
        candle_text(candles, _gaps(), width=30)
    with pytest.raises(InputError, match="no coverage"):
        coverage_picture(pd.DataFrame(columns=list(COVERAGE_COLUMNS)), title="t")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Matplotlib or plotext, the message says what to install."""
    candles = random_candles(30, seed=1)
    for package in ("matplotlib", "plotext"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=r"Matplotlib is missing; .*ratchet\[collect\]"):
        candle_picture(candles, _gaps(), title="t")
    with pytest.raises(ConfigurationError, match="plotext is missing"):
        candle_text(candles, _gaps())


def _coverage(candles: pd.DataFrame, gaps: pd.DataFrame, n_bars: int, n_buckets: int) -> pd.DataFrame:
    end_ns = START_NS + n_bars * HOUR.ns
    return cover(candles, gaps, timeframe=HOUR, start_ns=START_NS, end_ns=end_ns, n_buckets=n_buckets)


def test_coverage_counts_bars_per_bucket() -> None:
    """Shares are of the bars that fit each bucket, also in a shorter last one; twice there counts once."""
    candles = random_candles(95, seed=1)
    candles = pd.concat([without_rows(candles, [*range(20, 40), 50, 51]), candles.iloc[[0]]])
    gaps = _gaps(
        ("BTC/USDT", 20, 40, "exchange_outage"), ("BTC/USDT", 50, 51, "no_trades"), ("X/Y", 0, 95, "not_listed")
    )
    found = _coverage(candles, gaps, 95, 10)
    assert list(found.columns) == list(COVERAGE_COLUMNS)
    btc = found[found["symbol"] == "BTC/USDT"]
    assert btc["share"].tolist() == [1, 1, 0, 0, 1, 0.8, 1, 1, 1, 1]
    assert btc["kind"].tolist() == ["", "", "exchange_outage", "exchange_outage", "", "no_trades", "", "", "", ""]
    assert btc["end_ns"].iloc[-1] - btc["start_ns"].iloc[-1] == 5 * HOUR.ns
    assert found.loc[found["symbol"] == "X/Y", "share"].eq(0).all()
    with pytest.raises(InputError, match="cannot be drawn"):
        _coverage(candles, gaps, 0, 10)


@pytest.mark.parametrize("n_symbols", [1, 7, 60])
def test_coverage_has_a_row_per_symbol(n_symbols: int) -> None:
    """The picture grows with the symbols; classes, and what nobody classified, have their colours."""
    names = [f"COIN{number:02d}/USDT" for number in range(n_symbols)]
    frames = [random_candles(480, seed=number, symbol=name) for number, name in enumerate(names)]
    frames[0] = without_rows(frames[0], [*range(100, 200), *range(300, 310)])
    gaps = _gaps((names[0], 100, 200, "not_listed"))
    png = coverage_picture(_coverage(pd.concat(frames), gaps, 480, 120), title="Coverage")
    height = _pixels(png).shape[0]
    assert height >= 60 + 18 * n_symbols
    grey, black = (_columns_with(png, colour, slice(30, height - 60)) for colour in (GREY, BLACK))
    assert len(grey) > 150
    assert len(black) > 10


def test_a_coverage_without_gaps_has_no_marks() -> None:
    """Where every bar is there, no colour of a gap appears."""
    png = coverage_picture(_coverage(random_candles(480, seed=1), _gaps(), 480, 120), title="Coverage")
    assert all(len(_columns_with(png, colour, slice(50, 200))) == 0 for colour in (VERMILLION, PINK, GREY))
