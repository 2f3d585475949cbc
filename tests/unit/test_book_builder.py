"""The local order book: each venue's rule, and every way of losing it."""

from __future__ import annotations

import pytest

from ratchet.data.books.agreement import QuoteAgreement
from ratchet.data.books.builder import BookBuilder, BookState, Fault
from ratchet.data.books.checksums import kraken_checksum, okx_checksum
from ratchet.data.books.connections import ConnectionSequence
from ratchet.data.books.rules import book_rule
from ratchet.errors import InputError
from ratchet.market.events import BestQuote, BookDelta, BookSnapshot, Level

SYMBOL = "BTC/USDT"
BIDS: tuple[Level, ...] = (("99", "1"), ("98", "2"))
ASKS: tuple[Level, ...] = (("101", "1"), ("102", "2"))


def _book(venue: str, last: int | None, **changes: object) -> BookSnapshot:
    values = {"bids": BIDS, "asks": ASKS, "first_id": last, "last_id": last, **changes}
    return BookSnapshot(venue, SYMBOL, 1, 2, **values)  # type: ignore[arg-type]


def _delta(
    venue: str,
    first: int | None,
    last: int | None,
    previous: int | None = None,
    *,
    bids: tuple[Level, ...] = (),
    asks: tuple[Level, ...] = (),
    checksum: int | None = None,
) -> BookDelta:
    return BookDelta(venue, SYMBOL, 3, 4, bids, asks, first, last, previous, checksum)


def _builder(venue: str) -> BookBuilder:
    return BookBuilder(SYMBOL, book_rule(venue))


def test_a_delta_sets_and_removes_levels() -> None:
    """Size 0 removes, a known price is replaced, a new one takes its place; digits stay as they came."""
    builder = _builder("bybit")
    builder.apply(_book("bybit", 1))
    builder.apply(_delta("bybit", 2, 2, bids=(("99", "0"), ("98", "2.50"), ("97.5", "4")), asks=(("100.5", "1"),)))
    assert builder.top(5) == ([("98", "2.50"), ("97.5", "4")], [("100.5", "1"), ("101", "1"), ("102", "2")])
    assert builder.best() == (("98", "2.50"), ("100.5", "1"))


def test_binance_spot_replays_what_waited() -> None:
    """Deltas before the snapshot are dropped, the one that covers it and all after it are applied, in order."""
    builder = _builder("binance")
    waiting = [_delta("binance", first, first + 4, bids=((str(first), "1"),)) for first in (1, 6, 11, 16)]
    assert [builder.apply(delta) for delta in waiting] == [[]] * 4
    assert (builder.state, builder.n_buffered, builder.best()) == (BookState.WAITING, 4, None)
    snapshot = _book("binance", 12)
    assert builder.apply(snapshot) == [snapshot, *waiting[2:]]
    assert (builder.state, builder.last_id, builder.n_buffered) == (BookState.SYNCED, 20, 0)


def test_binance_snapshot_older_than_the_stream_is_refused() -> None:
    """With the snapshot before the first delta that waits, something is missing in between: ask again."""
    builder = _builder("binance")
    builder.apply(_delta("binance", 20, 24))
    assert builder.apply(_book("binance", 12)) == []
    assert (builder.state, builder.n_buffered) == (BookState.WAITING, 1)
    assert "does not fit" in builder.reason
    assert len(builder.apply(_book("binance", 22))) == 2
    assert builder.last_id == 24


def test_binance_futures_follow_the_previous_id() -> None:
    """The first delta covers the snapshot (U <= id <= u), later ones name the one before; a repeated one is dropped."""
    builder = _builder("binance-swap")
    builder.apply(_delta("binance-swap", 90, 95, 89))
    builder.apply(_delta("binance-swap", 97, 105, 95))
    assert len(builder.apply(_book("binance-swap", 100))) == 2
    follower = _delta("binance-swap", 110, 115, 105)
    assert builder.apply(follower) == [follower]
    assert builder.apply(follower) == []
    assert builder.state is BookState.SYNCED
    builder.apply(_delta("binance-swap", 130, 140, 120))
    assert (builder.state, builder.fault) == (BookState.DESYNCED, Fault.GAP)


@pytest.mark.parametrize(
    ("venue", "next_delta", "late_delta"),
    [
        ("binance", _delta("binance", 101, 103), _delta("binance", 105, 106)),
        ("binance-swap", _delta("binance-swap", 150, 160, 100), _delta("binance-swap", 175, 180, 170)),
        ("bybit", _delta("bybit", 101, 101), _delta("bybit", 103, 103)),
        ("okx", _delta("okx", 130, 130, 100), _delta("okx", 150, 150, 140)),
    ],
)
def test_a_missing_delta_is_a_gap(venue: str, next_delta: BookDelta, late_delta: BookDelta) -> None:
    """The next delta is taken; one that does not follow it desynchronises the book, which then shows nothing."""
    builder = _builder(venue)
    builder.apply(_book(venue, 100))
    assert builder.apply(next_delta) == [next_delta]
    assert builder.apply(late_delta) == []
    assert (builder.state, builder.fault, builder.best()) == (BookState.DESYNCED, Fault.GAP, None)
    assert str(late_delta.last_id) in builder.reason
    assert builder.top(3) == ([], [])


def test_okx_numbers_may_fall_and_heartbeats_change_nothing() -> None:
    """A reset sequence still names its predecessor; an update that names itself only says that nothing happened."""
    builder = _builder("okx")
    builder.apply(_book("okx", 100))
    for last, previous in [(100, 100), (3, 100), (7, 3)]:
        assert len(builder.apply(_delta("okx", last, last, previous))) == 1
    assert (builder.state, builder.last_id) == (BookState.SYNCED, 7)


def test_okx_zero_is_no_checksum() -> None:
    """OKX sends 0 on every frame since it gave checksums up; a real one is still compared."""
    builder = _builder("okx")
    assert builder.apply(_book("okx", 1, checksum=0))
    right = okx_checksum(BIDS, ASKS)
    assert builder.apply(_delta("okx", 2, 2, 1, checksum=right))
    assert builder.apply(_delta("okx", 3, 3, 2, checksum=right + 1)) == []
    assert (builder.state, builder.fault) == (BookState.DESYNCED, Fault.CHECKSUM)


def test_kraken_forgets_what_falls_out_of_its_depth() -> None:
    """With ten levels kept, the eleventh is forgotten: the venue will not say when it goes."""
    bids = tuple((str(90 - n), "1") for n in range(10))
    builder = _builder("kraken")
    builder.apply(_book("kraken", None, bids=bids, checksum=kraken_checksum(bids, ASKS)))
    better = (("90.5", "2"), *bids[:9])
    taken = builder.apply(_delta("kraken", None, None, bids=better[:1], checksum=kraken_checksum(better, ASKS)))
    assert len(taken) == 1
    assert builder.top(20)[0] == list(better)


def test_kraken_notices_a_lost_update_by_its_checksum() -> None:
    """Without numbers only the checksum shows it."""
    builder = _builder("kraken")
    builder.apply(_book("kraken", None, checksum=kraken_checksum(BIDS, ASKS)))
    missing = (("100", "5"), *BIDS)
    builder.apply(_delta("kraken", None, None, asks=(("103", "1"),), checksum=kraken_checksum(missing, ASKS)))
    assert builder.fault is Fault.CHECKSUM


def test_a_crossed_book_is_not_trusted() -> None:
    """Best bid at or above best ask, from a delta or in a snapshot."""
    builder = _builder("coinbase")
    builder.apply(_book("coinbase", 0))
    assert builder.apply(_delta("coinbase", 5, 5, bids=(("101", "1"),))) == []
    assert (builder.state, builder.fault) == (BookState.DESYNCED, Fault.CROSSED)
    assert builder.apply(_book("coinbase", 6, bids=(("105", "1"),))) == []
    assert (builder.state, builder.n_faults[Fault.CROSSED]) == (BookState.DESYNCED, 2)
    assert builder.apply(_book("coinbase", 7))
    assert builder.state is BookState.SYNCED


def test_bybit_starts_again_with_a_snapshot_numbered_one() -> None:
    """After a restart of the service the numbers begin anew, and the snapshot replaces everything."""
    builder = _builder("bybit")
    builder.apply(_book("bybit", 500))
    builder.apply(_book("bybit", 1, bids=(("50", "1"),)))
    assert builder.best() == (("50", "1"), ("101", "1"))
    assert len(builder.apply(_delta("bybit", 2, 2))) == 1


def test_without_snapshots_the_book_is_trusted_from_the_nth_delta_on() -> None:
    """Then it is handed out as a snapshot; a gap starts the count anew."""
    builder = BookBuilder(SYMBOL, book_rule("binance"), trust_after=3)
    levels = (("99", "1"),), (("101", "1"),)
    deltas = [_delta("binance", n, n, bids=levels[0], asks=levels[1]) for n in (1, 2, 4, 5, 6, 7)]
    taken = [builder.apply(delta) for delta in deltas]
    assert taken[:4] == [[], [], [], []]
    assert [type(event) for event in taken[4]] == [BookSnapshot]
    assert (taken[4][0].last_id, taken[4][0].bids) == (6, (("99", "1"),))
    assert taken[5] == [deltas[5]]


def test_memory_is_bounded() -> None:
    """Far levels and old waiting deltas are forgotten."""
    builder = BookBuilder(SYMBOL, book_rule("bybit"), max_levels=3)
    builder.apply(_book("bybit", 1, bids=tuple((str(90 - n), "1") for n in range(50))))
    assert [price for price, _ in builder.top(10)[0]] == ["90", "89", "88"]
    waiting = BookBuilder(SYMBOL, book_rule("binance"), max_buffered=5)
    for n in range(100):
        waiting.apply(_delta("binance", n, n))
    assert waiting.n_buffered == 5


def test_a_restarted_recorder_refuses_a_book_from_before_its_end() -> None:
    """Else deltas that were recorded already would be recorded twice."""
    builder = BookBuilder(SYMBOL, book_rule("binance"), floor_id=100)
    builder.apply(_delta("binance", 96, 99))
    assert builder.apply(_book("binance", 98)) == []
    builder.apply(_delta("binance", 100, 104))
    assert [event.last_id for event in builder.apply(_book("binance", 101))] == [101, 104]


def test_an_event_of_another_symbol_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(InputError, match="was given to the book of ETH/USDT"):
        BookBuilder("ETH/USDT", book_rule("okx")).apply(_book("okx", 1))
    with pytest.raises(InputError, match="no rule for its order books"):
        book_rule("mtgox")


def test_connection_numbers_are_counted_per_connection() -> None:
    """Two connections have two sequences; what came again is not missing."""
    sequence = ConnectionSequence()
    seen = [(1, 7), (2, 100), (1, 8), (2, 101), (1, 8), (1, 11), (2, 102)]
    assert [sequence.n_missing(connection, number) for connection, number in seen] == [0, 0, 0, 0, 0, 2, 0]


def test_quotes_are_compared_with_the_book_of_their_time() -> None:
    """A quote holds until the next one; the first book inside that time is compared, prices and sizes."""
    agreement = QuoteAgreement()
    good, bad = (("99", "1.0"), ("101", "1")), (("99", "2"), ("101", "1"))

    def quote(last_id: int) -> None:
        agreement.see_quote(BestQuote("binance", SYMBOL, 0, 0, ("99.0", "1"), ("101", "1"), last_id))

    quote(10)
    agreement.see_book(9, bad)  # before the quote: not its time
    agreement.see_book(15, good)
    agreement.see_book(17, bad)  # only the first one counts
    quote(20)
    quote(21)  # nothing between 20 and 21
    agreement.see_book(21, bad)
    quote(30)
    assert (agreement.n_quotes, agreement.n_matched, agreement.n_agreed) == (4, 2, 1)
    assert agreement.disagreements[0][1] == 21
