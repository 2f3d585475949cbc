"""The bitemporal history: what was known when, nothing lost, nothing overwritten, nothing torn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ratchet.clock import FixedClock
from ratchet.data.history import CandleHistory, SeriesKey, Span
from ratchet.data.history.admission import admit
from ratchet.data.history.gaps import GapKind
from ratchet.data.history.series import joined, without
from ratchet.errors import ArtifactError, BusyError, InputError

HOUR = 3_600 * 10**9
KEY = SeriesKey("binance", "BTC/USDT", "1h")


def rows(first: int, n: int, *, price: float = 100.0, known_ns: int | None = None) -> pd.DataFrame:
    times = (np.arange(n, dtype=np.int64) + first) * HOUR
    known = times + HOUR if known_ns is None else np.full(n, known_ns)
    value = np.full(n, price)
    return pd.DataFrame(
        {
            "ts_event_ns": times,
            "open": value,
            "high": value + 1,
            "low": value - 1,
            "close": value,
            "volume": 1.0,
            "known_ns": known,
        }
    )


def opened(folder: Path, now_ns: int = 1_000 * HOUR) -> CandleHistory:
    return CandleHistory(folder, FixedClock(now_ns))


def test_a_read_shows_what_was_known_then(tmp_path: Path) -> None:
    """A correction replaces the value from the time it was known, and a bar is not there before its close."""
    history = opened(tmp_path)
    with history.writing():
        history.add(KEY, rows(0, 10))
        history.add(KEY, rows(4, 1, price=50.0, known_ns=20 * HOUR))
    before = history.candles([KEY], as_of_ns=20 * HOUR - 1)
    after = history.candles([KEY], as_of_ns=20 * HOUR)
    assert before["close"].tolist() == [100.0] * 10
    assert after["close"].tolist() == [*[100.0] * 4, 50.0, *[100.0] * 5]
    assert len(history.candles([KEY], as_of_ns=7 * HOUR)) == 7
    assert len(history.candles([KEY], as_of_ns=7 * HOUR - 1)) == 6
    assert len(history.versions(KEY)) == 11


def test_the_store_knows_a_bar_only_once_it_is_stored(tmp_path: Path) -> None:
    """With the store's own knowledge as the basis, a later download cannot have informed an earlier decision."""
    history = opened(tmp_path, now_ns=500 * HOUR)
    with history.writing():
        history.add(KEY, rows(0, 10))
    assert len(history.candles([KEY], as_of_ns=499 * HOUR)) == 10
    assert history.candles([KEY], as_of_ns=499 * HOUR, basis="store").empty
    assert len(history.candles([KEY], as_of_ns=500 * HOUR, basis="store")) == 10


def test_compaction_keeps_every_version(tmp_path: Path) -> None:
    """Many files become one, the rows stay, corrections included."""
    history = opened(tmp_path)
    with history.writing():
        for first in range(30):
            history.add(KEY, rows(first, 1))
        history.add(KEY, rows(3, 1, price=7.0, known_ns=90 * HOUR))
        before = history.versions(KEY)
        assert history.compact(KEY)
    assert len(history.catalog.list_segments(KEY)) == 1
    assert len(list(tmp_path.glob("*/*/*/*.parquet"))) == 1
    pd.testing.assert_frame_equal(history.versions(KEY), before)


def test_an_altered_file_is_refused(tmp_path: Path) -> None:
    """A flipped byte is an error that names the file, never a number."""
    history = opened(tmp_path)
    with history.writing():
        history.add(KEY, rows(0, 10))
    (file,) = tmp_path.glob("*/*/*/*.parquet")
    payload = bytearray(file.read_bytes())
    payload[len(payload) // 2] ^= 1
    file.write_bytes(payload)
    with pytest.raises(ArtifactError, match=file.name):
        history.candles([KEY], as_of_ns=100 * HOUR)


def test_a_damaged_series_can_be_struck_out_and_begun_anew(tmp_path: Path) -> None:
    """What the message advises works: the series is gone, its files are aside, and new bars can be stored."""
    history = opened(tmp_path)
    with history.writing():
        history.catalog.want(KEY, Span(0, 10 * HOUR))
        history.add(KEY, rows(0, 10))
    (file,) = tmp_path.glob("*/*/*/*.parquet")
    file.unlink()
    with pytest.raises(ArtifactError, match="data forget"):
        history.times(KEY)
    history.forget(KEY)
    assert history.catalog.list_series() == []
    with history.writing():
        history.catalog.want(KEY, Span(0, 10 * HOUR))
        history.add(KEY, rows(0, 3))
    history.forget(KEY)
    assert [path.parts[-5] for path in tmp_path.rglob("*.parquet")] == ["unlisted"]
    with history.writing():
        history.add(KEY, rows(0, 3))
    assert len(history.times(KEY)) == 3


def test_two_writers_exclude_each_other(tmp_path: Path) -> None:
    """The second one is told, and the first one's work is untouched."""
    first, second = opened(tmp_path), opened(tmp_path)
    with first.writing(), pytest.raises(BusyError), second.writing():
        pass


def test_read_only_creates_nothing(tmp_path: Path) -> None:
    """Looking at a history that is not there yet leaves no trace."""
    history = CandleHistory(tmp_path / "none", FixedClock(0), read_only=True)
    assert history.catalog.list_series() == []
    assert history.candles([KEY], as_of_ns=0).empty
    assert not (tmp_path / "none").exists()


def test_a_correction_counts_although_clocks_jump(tmp_path: Path) -> None:
    """What was stored last is the value, and it is never known before the value that it corrects."""
    history = opened(tmp_path)
    with history.writing():
        history.add(KEY, rows(0, 3))
        history.add(KEY, rows(1, 1, price=50.0, known_ns=90 * HOUR))
        history.add(KEY, rows(1, 1, price=60.0, known_ns=90 * HOUR + 1))
    assert history.candles([KEY], as_of_ns=90 * HOUR)["close"].tolist() == [100.0, 50.0, 100.0]
    assert history.candles([KEY], as_of_ns=91 * HOUR)["close"].tolist() == [100.0, 60.0, 100.0]


def test_what_no_collection_got_to_is_missing(tmp_path: Path) -> None:
    """Bars that were wanted when a collection was killed are missing, although no ledger line says so yet."""
    history = opened(tmp_path)
    with history.writing():
        history.catalog.want(KEY, Span(0, 10 * HOUR))
        history.add(KEY, rows(0, 4))
    (gap,) = history.missing(KEY)
    assert (gap.span, gap.kind, gap.attempts) == (Span(4 * HOUR, 10 * HOUR), GapKind.FETCH_FAILURE, 0)


def test_a_lost_catalog_deletes_nothing(tmp_path: Path) -> None:
    """Without its catalog the history refuses to be written; what an older catalog does not list is set aside."""
    history = opened(tmp_path)
    with history.writing():
        history.catalog.want(KEY, Span(0, 10 * HOUR))
        history.add(KEY, rows(0, 4))
    history.close()
    (tmp_path / "catalog.sqlite").rename(tmp_path / "old.sqlite")
    for left in tmp_path.glob("catalog.sqlite-*"):
        left.unlink()
    with pytest.raises(ArtifactError, match="backup"), opened(tmp_path).writing():
        pass
    other = SeriesKey("binance", "ETH/USDT", "1h")
    fresh = opened(tmp_path)
    fresh.catalog.want(other, Span(0, HOUR))
    with fresh.writing():
        pass
    assert len(list(tmp_path.rglob("*.parquet"))) == 1
    assert fresh.times(KEY).tolist() == []


@pytest.mark.parametrize("name", ["", "Binance", "../x", "a/b", "-a", "a" * 41])
def test_a_venue_name_is_a_folder_name(name: str) -> None:
    """What could leave the folder, or be two folders on some disks, is refused."""
    with pytest.raises(InputError):
        SeriesKey(name, "BTC/USDT", "1h")


def test_weeks_open_on_mondays() -> None:
    """2024-01-01 was a Monday; the week that contains 2024-01-03 opened then."""
    key = SeriesKey("binance", "BTC/USDT", "1w")
    monday_ns = 1_704_067_200 * 10**9
    assert key.first_open_ns(monday_ns) == monday_ns
    assert key.first_open_ns(monday_ns + 1) == monday_ns + key.bar.ns


def test_holes_and_spans() -> None:
    """Holes are the missing bars between two bounds; cutting and joining spans is exact."""
    times = np.array([2, 3, 6, 9], dtype=np.int64) * HOUR
    assert KEY.holes(times, Span(0, 12 * HOUR)) == [
        Span(0, 2 * HOUR),
        Span(4 * HOUR, 6 * HOUR),
        Span(7 * HOUR, 9 * HOUR),
        Span(10 * HOUR, 12 * HOUR),
    ]
    assert KEY.holes(times, Span(2 * HOUR, 4 * HOUR)) == []
    assert KEY.whole_bars(HOUR + 1, 4 * HOUR - 1) == Span(2 * HOUR, 3 * HOUR)
    assert joined([Span(5, 6), Span(0, 2), Span(3, 4)], reach_ns=1) == [Span(0, 6)]
    assert without(Span(0, 10), [Span(0, 3), Span(2, 5), Span(9, 12)]) == [Span(5, 9)]


def test_what_cannot_be_true_is_not_admitted() -> None:
    """Each kind of impossible row is refused with its reason; an exact repetition is one row."""
    good = rows(0, 12)
    bad = good.copy()
    bad.loc[1, "high"] = 1.0
    bad.loc[2, "low"] = 500.0
    bad.loc[3, "open"] = -1.0
    bad.loc[4, "close"] = np.nan
    bad.loc[5, "volume"] = np.inf
    bad.loc[6, "volume"] = -1.0
    bad["ts_event_ns"] += np.where(np.arange(12) == 7, 60, 0)
    twice = pd.concat([bad, bad.iloc[[0]], bad.iloc[[8]].assign(close=99.5)], ignore_index=True)
    admitted, refused = admit(twice, KEY)
    assert (admitted["ts_event_ns"] // HOUR).tolist() == [0, 9, 10, 11]
    assert len(refused) == 9
    reasons = dict(zip(refused["ts_event_ns"] // HOUR, refused["reason"], strict=True))
    assert "disagree" in reasons[8]
    assert "off" not in reasons[7]
    assert "not the open" in reasons[7]
    assert all(word in reasons[i] for i, word in [(1, "high"), (2, "low"), (3, "above 0"), (4, "missing"), (6, "neg")])


_CHILD = """
import sys
from pathlib import Path
from tests.unit.test_candle_history import KEY, opened, rows
history = opened(Path(sys.argv[1]))
with history.writing(patience_s=5):
    for first in range(len(history.times(KEY)) // 5, 10_000):
        history.add(KEY, rows(first * 5, 5))
        print(first * 5 + 5, flush=True)
        history.compact(KEY, max_segments=6)
"""


def test_a_killed_writer_loses_nothing_that_it_said(tmp_path: Path) -> None:
    """Killed again and again at any moment: every bar that was acknowledged is there, once, and files are whole."""
    seed = 11
    rng = np.random.default_rng(seed)
    for _ in range(6):
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        acknowledged = int(child.stdout.readline())
        time.sleep(float(rng.uniform(0.0, 0.25)))
        os.kill(child.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, child.stdout.read().split())])
        child.wait()
        history = opened(tmp_path)
        times = history.times(KEY)
        assert len(times) >= acknowledged, f"seed {seed}"
        assert (np.diff(times) == HOUR).all()
        assert len(history.versions(KEY)) == len(times)
        with history.writing():
            on_disk = {path.relative_to(tmp_path).as_posix() for path in tmp_path.glob("binance/*/*/*")}
        assert on_disk == history.catalog.segment_paths()
