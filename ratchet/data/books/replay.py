"""Raw recordings through the same code as a live stream."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from ratchet.clock import FixedClock
from ratchet.data.books.limits import RecordingLimits
from ratchet.data.books.recorder import OnDurable, record
from ratchet.data.books.tally import RecordingReport
from ratchet.errors import InputError
from ratchet.market.events import BookSnapshot, MarketEvent, RawMessage

_PAUSE_EVERY = 500

Parse = Callable[[RawMessage], list[MarketEvent]]


class FileStream:
    """A `MarketStream` over a file of raw messages: each line is the receive time in ns, a space and the text.

    Args:
        path: plain text or gzip (`.gz`).
        venue: what the venue is called.
        parse: the venue's parser, for example `ratchet.exchanges.feeds.feed_parser(...)`.
        clock: set to the receive time of each message as it is yielded; None for a clock that goes by itself.
        pace_s: pause after each message, for replays that shall last.
    """

    def __init__(
        self, path: Path, venue: str, parse: Parse, *, clock: FixedClock | None = None, pace_s: float = 0.0
    ) -> None:
        self.venue = venue
        self.path, self._parse, self._clock, self._pace_s = path, parse, clock, pace_s
        self._is_closed = False

    async def messages(self) -> AsyncIterator[RawMessage]:
        """Yield the file's messages.

        Raises:
            InputError: the file cannot be read, or a line has no receive time.
        """
        try:
            with gzip.open(self.path, "rt") if self.path.suffix == ".gz" else self.path.open() as file:
                for number, line in enumerate(file, start=1):
                    if self._is_closed:
                        return
                    message = self._read(line, number)
                    if self._clock is not None:
                        self._clock.advance(message.ts_recv_ns - self._clock.now_ns())
                    yield message
                    if self._pace_s or number % _PAUSE_EVERY == 0:
                        await asyncio.sleep(self._pace_s)
        except (OSError, EOFError, UnicodeDecodeError) as error:
            raise InputError(f"{self.path}: the recording cannot be read ({error})") from error

    def parse(self, message: RawMessage) -> list[MarketEvent]:
        """Read a message."""
        return self._parse(message)

    async def snapshot(self, symbol: str) -> BookSnapshot | None:
        """Return None: what the file has comes in its order."""
        return None

    async def resync(self, symbol: str) -> None:
        """Do nothing; the file goes on as it is."""

    async def close(self) -> None:
        """End `messages`."""
        self._is_closed = True

    def _read(self, line: str, number: int) -> RawMessage:
        ts_recv, _, text = line.partition(" ")
        if not ts_recv.isdecimal():
            raise InputError(f"{self.path}: line {number} does not begin with a receive time: {line[:80]!r}")
        return RawMessage(int(ts_recv), text.rstrip("\n"))


async def replay(
    path: Path,
    root: Path,
    *,
    venue: str,
    symbol: str,
    parse: Parse,
    limits: RecordingLimits | None = None,
    on_durable: OnDurable | None = None,
) -> RecordingReport:
    """Record a raw file as if it came in live, as fast as it can be read; time is that of the messages.

    The file is read through once before, for its time: what is recorded there already is not recorded again.
    With `limits.trust_after` the book is built from deltas alone, for recordings that have no snapshot.

    Raises:
        InputError: the file cannot be read, or its time is recorded there already; nothing is written.
        BusyError, ArtifactError, UnavailableError: as `record`.
    """
    first_ns, last_ns = await _span(FileStream(path, venue, parse))
    clock = FixedClock(first_ns)
    stream = FileStream(path, venue, parse, clock=clock)
    return await record(stream, root, [symbol], clock=clock, until_ns=last_ns + 1, limits=limits, on_durable=on_durable)


async def _span(stream: FileStream) -> tuple[int, int]:
    first_ns, last_ns = -1, -1
    async for message in stream.messages():
        first_ns = message.ts_recv_ns if first_ns < 0 else min(first_ns, message.ts_recv_ns)
        last_ns = max(last_ns, message.ts_recv_ns)
    if first_ns < 0:
        raise InputError(f"{stream.path}: the recording is empty")
    return first_ns, last_ns
