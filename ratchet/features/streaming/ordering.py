"""The events of one symbol in order: late ones, repeated ones, and those that overtook each other."""

from __future__ import annotations

import heapq
import struct
from collections import Counter
from collections.abc import Iterator

from ratchet.errors import ArtifactError
from ratchet.features.streaming.events import EventKind, FeatureEvent, decode_event, encode_event

_LOST = {EventKind.BOOK_LOST: EventKind.BOOK, EventKind.TRADES_LOST: EventKind.TRADE}
_COUNT = struct.Struct("<I")
_SEEN = struct.Struct("<BBqq")


class EventOrder:
    """Puts the events of one symbol into the order of (event time, kind, sequence).

    An event is held back until one `lateness_ns` younger has come (the watermark), so that events which overtook each
    other by less come out in order. With 0 nothing is held back, and events of different kinds may pass in the order of
    arrival; the kernel allows that.

    What is not above the last event of its venue and kind by number counts as `duplicates`, what is older than it by
    time counts as `late`; both are left out. Bars wait for the watermark too, but come late only after a later bar: the
    kernel keeps the market of the last closes for them. After a loss, numbers may begin anew.

    Memory is bounded: beyond `max_held` events the oldest goes on early.
    """

    def __init__(self, lateness_ns: int, *, max_held: int = 10_000) -> None:
        self.counts: Counter[str] = Counter()
        self._lateness_ns = lateness_ns
        self._max_held = max_held
        self._held: list[tuple[int, int, int, int, FeatureEvent]] = []
        self._n_taken = 0
        self._latest_ns = 0
        self._last: dict[tuple[str, EventKind], tuple[int, int]] = {}

    def take(self, event: FeatureEvent) -> Iterator[FeatureEvent]:
        """Take an event and yield those whose turn has come."""
        if self._lateness_ns == 0:
            if self._is_next(event):
                yield event
            return
        self._n_taken += 1
        entry = (event.ts_event_ns, int(event.kind), event.sequence, self._n_taken, event)
        heapq.heappush(self._held, entry)
        self._latest_ns = max(self._latest_ns, event.ts_event_ns)
        yield from self._release(self._latest_ns - self._lateness_ns)
        if len(self._held) > self._max_held:
            yield from self._release(self._held[0][0])

    def flush(self) -> Iterator[FeatureEvent]:
        """Yield everything that is held back, in order."""
        yield from self._release(self._latest_ns)

    def pack(self) -> bytes:
        """Return what is remembered, as bytes."""
        parts = [struct.pack("<qq", self._latest_ns, self._n_taken), _COUNT.pack(len(self._last))]
        for (venue, kind), (ts_ns, sequence) in sorted(self._last.items()):
            parts += [_SEEN.pack(kind, len(venue.encode()), ts_ns, sequence), venue.encode()]
        parts.append(_COUNT.pack(len(self._held)))
        for entry in sorted(self._held, key=lambda held: held[:4]):
            packed = encode_event(entry[4])
            parts += [struct.pack("<qI", entry[3], len(packed)), packed]
        parts.append(struct.pack("<qq", self.counts["duplicates"], self.counts["late"]))
        return b"".join(parts)

    def unpack(self, packed: bytes) -> None:
        """Continue from what `pack` returned.

        Raises:
            ArtifactError: the bytes are damaged.
        """
        try:
            self._unpack(packed)
        except struct.error as error:
            raise ArtifactError(f"{len(packed)} bytes are no event order: {error}") from error

    def _release(self, watermark_ns: int) -> Iterator[FeatureEvent]:
        while self._held and self._held[0][0] <= watermark_ns:
            event = heapq.heappop(self._held)[4]
            if self._is_next(event):
                yield event

    def _is_next(self, event: FeatureEvent) -> bool:
        """Tell whether the event follows the last one of its venue and kind, and remember it."""
        key = (event.venue, event.kind)
        last_ns, last_sequence = self._last.get(key, (-1, 0))
        if 0 < event.sequence <= last_sequence or (event.kind is EventKind.BAR and event.ts_event_ns == last_ns):
            self.counts["duplicates"] += 1
            return False
        if event.ts_event_ns < last_ns:
            self.counts["late"] += 1
            return False
        self._last[key] = (event.ts_event_ns, max(event.sequence, last_sequence))
        lost = _LOST.get(event.kind)
        if lost is not None and (event.venue, lost) in self._last:
            self._last[event.venue, lost] = (self._last[event.venue, lost][0], 0)
        return True

    def _unpack(self, packed: bytes) -> None:
        self._latest_ns, self._n_taken = struct.unpack_from("<qq", packed)
        offset = 16
        (n_last,) = _COUNT.unpack_from(packed, offset)
        offset += _COUNT.size
        self._last = {}
        for _ in range(n_last):
            kind, n_venue, ts_ns, sequence = _SEEN.unpack_from(packed, offset)
            offset += _SEEN.size
            venue = packed[offset : offset + n_venue].decode()
            self._last[venue, EventKind(kind)] = (ts_ns, sequence)
            offset += n_venue
        (n_held,) = _COUNT.unpack_from(packed, offset)
        offset += _COUNT.size
        self._held = []
        for _ in range(n_held):
            place, size = struct.unpack_from("<qI", packed, offset)
            offset += 12
            event = decode_event(packed[offset : offset + size])
            self._held.append((event.ts_event_ns, int(event.kind), event.sequence, place, event))
            offset += size
        duplicates, late = struct.unpack_from("<qq", packed, offset)
        self.counts = Counter(duplicates=duplicates, late=late)
