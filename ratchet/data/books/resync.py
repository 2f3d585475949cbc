"""Asking for books that are not known."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from ratchet.clock import NS_PER_S
from ratchet.data.books.builder import BookState, Fault
from ratchet.data.books.limits import RecordingLimits
from ratchet.data.books.rules import BookRule
from ratchet.data.books.tally import Tally
from ratchet.data.books.tape import Tape
from ratchet.errors import InputError, UnavailableError
from ratchet.market.events import BookSnapshot, MarketStream

_UNNOTICED_BY_THE_VENUE = {Fault.GAP, Fault.CHECKSUM, Fault.CROSSED}


class Resync:
    """Asks a stream for the books that wait or were lost, and not too often.

    Where snapshots are asked for, that happens once deltas wait for one. Elsewhere the subscription is renewed: at once
    after a fault, which the venue knows nothing of, and after `resync_every_s` where a snapshot should come by itself
    (at the start, after a reconnection). Renewing may break the connection for other symbols too, so it has one pace
    for all of them.
    """

    def __init__(
        self,
        stream: MarketStream,
        rule: BookRule,
        tapes: Mapping[str, Tape],
        limits: RecordingLimits,
        tally: Tally,
        now_ns: int,
        take: Callable[[BookSnapshot], None],
    ) -> None:
        self._stream, self._tapes, self._tally, self._take = stream, tapes, tally, take
        self._by_request = rule.by_request
        self._pause_ns = int(limits.resync_every_s * NS_PER_S)
        self._builds_alone = limits.trust_after is not None
        self._asked_ns = dict.fromkeys(tapes, now_ns - self._pause_ns)
        self._synced_ns: dict[str, int] = {}
        self._renewed_ns = now_ns - self._pause_ns
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def ask_for_lost(self, now_ns: int) -> None:
        """Start the requests that are due; first called when the stream has begun to talk.

        Raises:
            OSError: an answer could not be written.
        """
        for task in self._tasks.values():
            if task.done():
                task.result()
        for symbol, tape in self._tapes.items():
            known_ns = self._synced_ns.setdefault(symbol, now_ns)
            if tape.builder.state is BookState.SYNCED:
                self._synced_ns[symbol] = now_ns
            elif self._builds_alone:
                continue
            elif self._by_request:
                if tape.builder.n_buffered and now_ns - self._asked_ns[symbol] >= self._pause_ns:
                    self._start(symbol, now_ns, renew=False)
            elif now_ns - self._renewed_ns >= self._pause_ns and (
                tape.builder.fault in _UNNOTICED_BY_THE_VENUE or now_ns - known_ns >= self._pause_ns
            ):
                self._start(symbol, now_ns, renew=True)

    def renew_all(self, now_ns: int) -> None:
        """Subscribe to everything again, because the connection looks dead."""
        for symbol in self._tapes:
            self._start(symbol, now_ns, renew=True)

    async def close(self) -> None:
        """Cancel what is on its way."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _start(self, symbol: str, now_ns: int, *, renew: bool) -> None:
        running = self._tasks.get(symbol)
        if running is None or running.done():
            self._asked_ns[symbol] = now_ns
            if renew:
                self._renewed_ns = now_ns
            self._tasks[symbol] = asyncio.create_task(self._ask(symbol, renew=renew))

    async def _ask(self, symbol: str, *, renew: bool) -> None:
        try:
            snapshot = None if renew else await self._stream.snapshot(symbol)
            if snapshot is None:
                await self._stream.resync(symbol)
        except (UnavailableError, InputError, OSError):
            self._tally.counts["refused_requests"] += 1
        else:
            if snapshot is not None:
                self._take(snapshot)
