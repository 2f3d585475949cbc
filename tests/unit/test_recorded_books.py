"""Real books of three Binance markets, rebuilt and compared with the venue's own best quotes (skipped where absent)."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from ratchet.data.books.agreement import QuoteAgreement
from ratchet.data.books.builder import BookBuilder, BookState
from ratchet.data.books.history import read_events, sample_books
from ratchet.data.books.replay import replay
from ratchet.data.books.rules import book_rule
from ratchet.data.books.tally import RecordingReport
from ratchet.exchanges.feeds import feed_parser
from ratchet.market.events import BestQuote, BookDelta, MarketEvent, RawMessage

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 300
FOREVER_NS = 2**62


@dataclass(frozen=True)
class Recording:
    """One of the raw files: five minutes and 45 seconds of BTC on 2024-08-08."""

    file: str
    venue: str
    symbol: str
    id: str
    n_lines: int
    n_quotes: int


SPOT = Recording("spot/btcusdt_20240808.gz", "binance", "BTC/USDT", "BTCUSDT", 41_249, 28_040)
LINEAR = Recording("usdm/btcusdt_20240808.gz", "binance-swap", "BTC/USDT:USDT", "BTCUSDT", 93_954, 66_089)
INVERSE = Recording("cm/btcusd_perp_20240808.gz", "binance-swap", "BTC/USD:BTC", "BTCUSD_PERP", 48_270, 19_136)
ALL = pytest.mark.parametrize("recording", [SPOT, LINEAR, INVERSE], ids=["spot", "usdm", "coinm"])


@pytest.fixture
def recordings() -> Path:
    """The folder of raw recordings."""
    folder = Path(os.environ.get("RATCHET_REAL_DATA", ROOT.parent / "shared" / "data")) / "lob" / "hftbacktest"
    if not folder.is_dir():
        pytest.skip(f"no recordings in {folder}; set RATCHET_REAL_DATA to the folder two above it")
    return folder


def _lines(path: Path, n: int | None = None) -> Iterator[str]:
    with gzip.open(path, "rt") as file:
        for number, line in enumerate(file):
            if n is not None and number >= n:
                return
            yield line


def _events(recordings: Path, recording: Recording) -> Iterator[MarketEvent]:
    parse = feed_parser(recording.venue, {recording.id: recording.symbol})
    for line in _lines(recordings / recording.file):
        ts_recv, _, text = line.partition(" ")
        yield from parse(RawMessage(int(ts_recv), text))


def _replay(path: Path, root: Path, recording: Recording) -> RecordingReport:
    parse = feed_parser(recording.venue, {recording.id: recording.symbol})
    return asyncio.run(replay(path, root, venue=recording.venue, symbol=recording.symbol, parse=parse))


@ALL
def test_books_from_the_recorded_snapshot_equal_every_quote(
    recordings: Path, tmp_path: Path, recording: Recording
) -> None:
    """Through the recorder, the first 12,000 messages: no gap, no crossing, each matched quote equal in full."""
    head = tmp_path / "head.txt"
    head.write_text("".join(_lines(recordings / recording.file, 12_000)))
    report = _replay(head, tmp_path, recording)
    assert (report.n_messages, report.n_poison, report.n_gaps, report.n_crossed) == (12_000, 0, 0, 0)
    assert report.n_quotes_agreed == report.n_quotes_matched > 500
    assert report.skew is not None
    assert -1_280_000_000 < report.skew.median_ns < -1_250_000_000  # the recorder's clock was behind
    rows = read_events(tmp_path, recording.venue, recording.symbol, 0, FOREVER_NS)
    assert rows["ts_recv_ns"].min() >= int(head.read_text().split(" ", 1)[0])
    start_ns, end_ns = int(rows["ts_recv_ns"].iloc[-1]) - 10_000_000_000, int(rows["ts_recv_ns"].iloc[-1])
    books = sample_books(tmp_path, recording.venue, recording.symbol, start_ns, end_ns, interval_ns=1_000_000_000)
    assert len(books) == 10
    assert books.notna().all(axis=None)
    assert (books["bid_price_0"] < books["ask_price_0"]).all()


@pytest.mark.slow
@ALL
def test_whole_recordings_go_through_the_recorder(recordings: Path, tmp_path: Path, recording: Recording) -> None:
    """All messages of each file, from its snapshot on."""
    report = _replay(recordings / recording.file, tmp_path, recording)
    assert (report.n_messages, report.n_quotes) == (recording.n_lines, recording.n_quotes)
    assert (report.n_poison, report.n_gaps, report.n_crossed) == (0, 0, 0)
    assert report.n_quotes_agreed == report.n_quotes_matched > 2_500


@pytest.mark.slow
@ALL
def test_books_from_deltas_alone_never_cross_after_the_warm_up(recordings: Path, recording: Recording) -> None:
    """Trusted from the 300th depth event on: never lost, and at least 99.9 % of the matched quotes equal it."""
    builder = BookBuilder(recording.symbol, book_rule(recording.venue), trust_after=WARM_UP)
    agreement = QuoteAgreement()
    n_deltas = 0
    for event in _events(recordings, recording):
        if isinstance(event, BestQuote):
            agreement.see_quote(event)
        elif isinstance(event, BookDelta):
            n_deltas += 1
            builder.apply(event)
            best = builder.best()
            if best is not None and builder.last_id is not None:
                assert float(best[0][0]) < float(best[1][0])
                agreement.see_book(builder.last_id, best)
        assert (builder.state is BookState.SYNCED) == (n_deltas >= WARM_UP)
    assert not builder.n_faults
    assert agreement.n_matched > 2_500
    assert agreement.n_agreed >= 0.999 * agreement.n_matched


@ALL
@pytest.mark.parametrize("nth", [20, 63, 117])
def test_one_dropped_message_is_noticed_at_its_place(
    recordings: Path, tmp_path: Path, recording: Recording, nth: int
) -> None:
    """Without the nth depth event after the snapshot: one gap, between the two around it, when the next one comes."""
    lines = list(_lines(recordings / recording.file, 4_000))
    after_snapshot = next(n for n, line in enumerate(lines) if '"lastUpdateId"' in line) + 1
    depth = [n for n in range(after_snapshot, len(lines)) if '"depthUpdate"' in lines[n]]
    before, dropped, following = depth[nth - 1], depth[nth], depth[nth + 1]
    path = tmp_path / "cut.txt"
    path.write_text("".join(line for n, line in enumerate(lines) if n != dropped))
    report = _replay(path, tmp_path, recording)
    assert report.n_gaps == 1
    last, late = (json.loads(lines[n].partition(" ")[2])["data"]["u"] for n in (before, following))
    noticed_ns = int(lines[following].partition(" ")[0])
    assert [(gap.after_id, gap.before_id, gap.noticed_ns) for gap in report.gaps] == [(last, late, noticed_ns)]


def test_a_replay_repeats_itself(recordings: Path, tmp_path: Path) -> None:
    """The same file twice gives the same segments, byte for byte."""
    head = tmp_path / "head.txt"
    head.write_text("".join(_lines(recordings / SPOT.file, 3_000)))
    contents = []
    for name in ("one", "two"):
        _replay(head, tmp_path / name, SPOT)
        contents.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).rglob("*.parquet"))})
    assert contents[0] == contents[1]
    assert contents[0]
