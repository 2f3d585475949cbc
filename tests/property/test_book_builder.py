"""Books that are cut, doubled and shuffled: what is trusted is always what the venue had."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.data.books.builder import BookBuilder, BookState
from ratchet.data.books.checksums import kraken_checksum
from ratchet.data.books.rules import book_rule
from ratchet.market.events import BookDelta, BookSnapshot, Level

SYMBOL = "BTC/USDT"
N_DELTAS = 40
Sides = tuple[dict[int, int], dict[int, int]]


def _levels(side: dict[int, int], *, is_bid: bool) -> tuple[Level, ...]:
    return tuple((f"{price}.00", str(side[price])) for price in sorted(side, reverse=is_bid))


def _market(venue: str, seed: int) -> tuple[BookSnapshot, list[BookDelta], dict[int, tuple[list[Level], list[Level]]]]:
    """A book that changes at random: its snapshot, its deltas, and its true sides after each last_id."""
    rng = np.random.default_rng(seed)
    bids = {price: int(rng.integers(1, 9)) for price in range(80, 100)}
    asks = {price: int(rng.integers(1, 9)) for price in range(101, 121)}
    depth = book_rule(venue).depth or 1_000
    snapshot = BookSnapshot(
        *(venue, SYMBOL, 0, 0),
        _levels(bids, is_bid=True)[:depth],
        _levels(asks, is_bid=False)[:depth],
        first_id=100,
        last_id=100,
    )
    deltas, truth, last = [], {100: _sides(bids, asks, depth)}, 100
    for n in range(N_DELTAS):
        step = 1 if venue == "bybit" else int(rng.integers(1, 5))
        shown_before = [dict(side) for side in _sides(bids, asks, depth)]
        for side, low, high in ((bids, 80, 100), (asks, 101, 121)):
            for price in rng.integers(low, high, 2).tolist():
                side[price] = int(rng.integers(0, 9))
                if side[price] == 0:
                    del side[price]
        shown = _sides(bids, asks, depth)
        changes = [_changes(before, dict(now)) for before, now in zip(shown_before, shown, strict=True)]
        checksum = kraken_checksum(shown[0], shown[1]) if venue == "kraken" else None
        deltas.append(BookDelta(venue, SYMBOL, n, n, changes[0], changes[1], last + 1, last + step, last, checksum))
        last += step
        truth[last] = shown
    return snapshot, deltas, truth


def _sides(bids: dict[int, int], asks: dict[int, int], depth: int) -> tuple[list[Level], list[Level]]:
    return list(_levels(bids, is_bid=True)[:depth]), list(_levels(asks, is_bid=False)[:depth])


def _changes(before: dict[str, str], now: dict[str, str]) -> tuple[Level, ...]:
    gone = [(price, "0") for price in before if price not in now]
    return (*gone, *((price, size) for price, size in now.items() if before.get(price) != size))


@settings(max_examples=150, deadline=None)
@given(
    venue=st.sampled_from(["binance", "binance-swap", "bybit", "okx", "kraken"]),
    seed=st.integers(0, 10_000),
    dropped=st.sets(st.integers(0, N_DELTAS - 1), max_size=3),
    doubled=st.sets(st.integers(0, N_DELTAS - 1), max_size=3),
    swapped=st.none() | st.integers(0, N_DELTAS - 2),
)
def test_a_trusted_book_is_the_venues_book(
    venue: str, seed: int, dropped: set[int], doubled: set[int], swapped: int | None
) -> None:
    """Whatever is lost, repeated or reordered: while the book says that it is synced, it equals the truth."""
    snapshot, deltas, truth = _market(venue, seed)
    order = list(range(N_DELTAS))
    if swapped is not None:
        order[swapped], order[swapped + 1] = order[swapped + 1], order[swapped]
    sent = [n for n in order if n not in dropped for _ in range(2 if n in doubled else 1)]
    builder = BookBuilder(SYMBOL, book_rule(venue))
    builder.apply(snapshot)
    for n in sent:
        builder.apply(deltas[n])
        if builder.state is BookState.SYNCED and venue != "kraken":
            assert builder.last_id is not None
            assert builder.top(1_000) == truth[builder.last_id]
        elif builder.state is BookState.SYNCED:
            assert kraken_checksum(*builder.top(10)) == deltas[n].checksum
    if not dropped and swapped is None and venue != "kraken":
        assert (builder.state, builder.last_id) == (BookState.SYNCED, deltas[-1].last_id)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    venue=st.sampled_from(["binance", "binance-swap"]),
    asked_at=st.integers(0, N_DELTAS),
    joined_at=st.integers(0, N_DELTAS - 1),
)
def test_a_snapshot_joins_the_deltas_or_is_refused(seed: int, venue: str, asked_at: int, joined_at: int) -> None:
    """A snapshot of any moment, with deltas from any moment on: the book is the venue's at the end, or not trusted."""
    first, deltas, truth = _market(venue, seed)
    ids = [100, *(delta.last_id or 0 for delta in deltas)]
    bids, asks = truth[ids[asked_at]]
    snapshot = replace(first, bids=tuple(bids), asks=tuple(asks), first_id=ids[asked_at], last_id=ids[asked_at])
    builder = BookBuilder(SYMBOL, book_rule(venue))
    for delta in deltas[joined_at:]:
        builder.apply(delta)
    builder.apply(snapshot)
    if asked_at >= joined_at:
        assert builder.state is BookState.SYNCED
        assert builder.top(1_000) == truth[ids[-1]]
    else:
        assert builder.state is BookState.WAITING
