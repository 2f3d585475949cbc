"""A local order book that knows whether it can be trusted."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from ratchet.data.books.checksums import KRAKEN_LEVELS, OKX_LEVELS, kraken_checksum, okx_checksum
from ratchet.data.books.ladder import Ladder
from ratchet.data.books.rules import BookRule, ChecksumKind, Sequencing
from ratchet.errors import InputError
from ratchet.market.events import BookDelta, BookEvent, BookSnapshot, Level

_CHECKSUMS: dict[ChecksumKind, tuple[int, Callable[[Sequence[Level], Sequence[Level]], int]]] = {
    ChecksumKind.KRAKEN: (KRAKEN_LEVELS, kraken_checksum),
    ChecksumKind.OKX: (OKX_LEVELS, okx_checksum),
}


class BookState(StrEnum):
    """Whether a book can be trusted."""

    WAITING = "waiting"
    """No snapshot that fits has come yet."""
    SYNCED = "synced"
    DESYNCED = "desynced"
    """It was synced and something was lost; `reason` says what."""


class Fault(StrEnum):
    """Why a book cannot be trusted, in one word; `BookBuilder.reason` has the details."""

    GAP = "gap"
    CHECKSUM = "checksum"
    CROSSED = "crossed"
    LOST = "lost"
    """Reported from outside: a reconnection, a silence."""


class BookBuilder:
    """The book of one symbol, built from snapshots and deltas by the rule of its venue.

    Deltas that come before a snapshot which has to be asked for are kept and replayed as the venue prescribes. Memory
    is bounded: `max_levels` on each side (the farthest are forgotten) and `max_buffered` waiting deltas (the oldest
    are forgotten, which the numbering then shows).

    Args:
        symbol: whose events are accepted; others raise `InputError`.
        rule: of the venue.
        trust_after: for recordings without snapshots: start from an empty book and trust it from this delta on;
            snapshots that have to be asked for are then not used.
        floor_id: a snapshot older than this is refused, so that a restarted recorder repeats nothing. Only for venues
            whose snapshots are asked for.
    """

    def __init__(
        self,
        symbol: str,
        rule: BookRule,
        *,
        max_levels: int = 5_000,
        max_buffered: int = 20_000,
        trust_after: int | None = None,
        floor_id: int | None = None,
    ) -> None:
        self.symbol = symbol
        self.state = BookState.WAITING
        self.fault: Fault | None = None
        self.reason = "no snapshot yet"
        self.last_id: int | None = None
        self.last_event_ns = 0
        self.n_faults: Counter[Fault] = Counter()
        self._rule = rule
        self._depth = min(max_levels, rule.depth or max_levels)
        self._bids: Ladder[Level] = Ladder(is_bid=True)
        self._asks: Ladder[Level] = Ladder(is_bid=False)
        self._is_fresh = False
        self._buffer: deque[BookDelta] = deque(maxlen=max_buffered)
        self._trust_after = trust_after
        self._n_collected = 0
        self._floor_id = floor_id

    @property
    def n_buffered(self) -> int:
        """Deltas that wait for a snapshot."""
        return len(self._buffer)

    def apply(self, event: BookEvent) -> list[BookEvent]:
        """Take an event; return the events that the book has now accepted, in order.

        The list is empty while the book waits, for what it had already, and for what broke it (see `state`). After a
        snapshot it holds the snapshot and the deltas that had waited for it; at the moment a book without snapshots
        becomes trusted, it holds a snapshot of it.
        """
        if event.symbol != self.symbol:
            raise InputError(f"an event of {event.symbol} was given to the book of {self.symbol}")
        if isinstance(event, BookSnapshot):
            return self._restart(event)
        if self.state is BookState.SYNCED:
            return self._advance(event)
        if self._trust_after is not None:
            return self._collect(event)
        if self._rule.by_request:
            self._buffer.append(event)
        return []

    def lose(self, fault: Fault, reason: str) -> None:
        """Stop trusting the book, for a reason from inside or outside; it waits for the next snapshot."""
        if self.state is BookState.SYNCED:
            self.state = BookState.DESYNCED
        if self._rule.by_request and self.last_id is not None:
            self._floor_id = max(self.last_id, self._floor_id or 0)
        self.fault, self.reason = fault, reason
        self.n_faults[fault] += 1
        self._clear()
        self._buffer.clear()

    def best(self) -> tuple[Level, Level] | None:
        """Return best bid and best ask; None where the book is not trusted or a side is empty."""
        bids, asks = self.top(1)
        return (bids[0], asks[0]) if bids and asks else None

    def top(self, n: int) -> tuple[list[Level], list[Level]]:
        """Return the best `n` bids and asks; both are empty while the book is not trusted."""
        if self.state is not BookState.SYNCED:
            return [], []
        return self._bids.top(n), self._asks.top(n)

    def snapshot(self, venue: str, ts_recv_ns: int) -> BookSnapshot:
        """Return the whole book as it is now, as of its last event."""
        return BookSnapshot(
            venue,
            self.symbol,
            self.last_event_ns,
            ts_recv_ns,
            tuple(self._bids.top(len(self._bids))),
            tuple(self._asks.top(len(self._asks))),
            first_id=self.last_id,
            last_id=self.last_id,
        )

    def _restart(self, snapshot: BookSnapshot) -> list[BookEvent]:
        by_request = self._rule.by_request and snapshot.last_id is not None
        if by_request and (self.state is BookState.SYNCED or self._trust_after is not None):
            return []  # an answer that came late, or one that is not wanted
        if by_request and self._floor_id is not None and (snapshot.last_id or 0) < self._floor_id:
            self.reason = f"the snapshot ({snapshot.last_id}) is older than what was seen ({self._floor_id})"
            return []
        waiting = list(self._buffer)
        self._clear()
        self._load(snapshot)
        self._is_fresh = True
        before = self.state
        self.state, self.fault, self.reason = BookState.SYNCED, None, ""
        if not self._is_sound(snapshot):
            return []
        accepted: list[BookEvent] = [snapshot]
        for n, delta in enumerate(waiting):
            accepted += self._advance(delta)
            if self.state is not BookState.SYNCED:
                detail = f"the snapshot ({snapshot.last_id}) does not fit the deltas that waited: {self.reason}"
                self.state, self.reason = before, detail
                self._buffer.clear()
                self._buffer.extend(waiting[n:])
                return []
        self._buffer.clear()
        return accepted

    def _advance(self, delta: BookDelta) -> list[BookEvent]:
        verdict = self._place(delta)
        if verdict < 0:
            return []
        if verdict > 0:
            expected = f"{delta.first_id}..{delta.last_id} (after {delta.previous_id}) does not follow {self.last_id}"
            self.lose(Fault.GAP, expected)
            if self._rule.by_request:
                self._buffer.append(delta)
            return []
        self._load(delta)
        self._is_fresh = False
        return [delta] if self._is_sound(delta) else []

    def _place(self, delta: BookDelta) -> int:
        """Return -1 for a delta that the book has already, 0 for the next one, +1 where something is missing."""
        kind, last = self._rule.sequencing, self.last_id
        if kind is Sequencing.UNNUMBERED or last is None or delta.last_id is None:
            return 0
        if kind is Sequencing.RANGE:
            first = delta.last_id if delta.first_id is None else delta.first_id
            return -1 if delta.last_id <= last else int(first > last + 1)
        if kind is Sequencing.CONNECTION:
            return 0 if delta.last_id > last else -1
        if kind is Sequencing.INCREMENT:
            return -1 if delta.last_id == last else int(delta.last_id != last + 1)
        return self._place_by_previous(delta, last, delta.last_id)

    def _place_by_previous(self, delta: BookDelta, last: int, last_id: int) -> int:
        if delta.previous_id == last:
            return 0
        if last_id == last or (self._rule.by_request and last_id < last):
            return -1
        covers = self._is_fresh and delta.first_id is not None and delta.first_id <= last <= last_id
        return 0 if self._rule.by_request and covers else 1

    def _collect(self, delta: BookDelta) -> list[BookEvent]:
        """Build from deltas alone; the book is trusted once enough of them have followed each other."""
        if self._n_collected and self._place(delta) > 0:
            self._clear()
        self._load(delta)
        self._n_collected += 1
        if self._n_collected < (self._trust_after or 0):
            return []
        self.state, self.fault, self.reason = BookState.SYNCED, None, ""
        if not self._is_sound(delta):
            return []
        return [self.snapshot(delta.venue, delta.ts_recv_ns)]

    def _load(self, event: BookEvent) -> None:
        _set_levels(self._bids, event.bids)
        _set_levels(self._asks, event.asks)
        self._bids.truncate(self._depth)
        self._asks.truncate(self._depth)
        self.last_event_ns = event.ts_event_ns
        if event.last_id is not None:
            self.last_id = event.last_id

    def _is_sound(self, event: BookEvent) -> bool:
        """Check what must hold after each event; a book that fails is lost."""
        bid, ask = self._bids.best_price(), self._asks.best_price()
        if bid is not None and ask is not None and bid >= ask:
            self.lose(Fault.CROSSED, f"best bid {bid} is not below best ask {ask}")
            return False
        kind = self._rule.checksum
        if kind is None or not event.checksum:  # OKX sends 0 where it computes none
            return True
        n_levels, compute = _CHECKSUMS[kind]
        found = compute(self._bids.top(n_levels), self._asks.top(n_levels))
        if found == event.checksum:
            return True
        self.lose(Fault.CHECKSUM, f"checksum {found}, the venue has {event.checksum}")
        return False

    def _clear(self) -> None:
        self._bids.truncate(0)
        self._asks.truncate(0)
        self.last_id = None
        self._n_collected = 0


def _set_levels(ladder: Ladder[Level], levels: Iterable[Level]) -> None:
    for level in levels:
        if float(level[1]) == 0.0:
            ladder.remove(float(level[0]))
        else:
            ladder.put(float(level[0]), level)
