"""Order books and trades of a venue, or of a raw recording, into the store."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path

from ratchet.clock import NS_PER_S, Clock
from ratchet.data.books import RecordingLimits, RecordingReport, record, replay
from ratchet.errors import InputError
from ratchet.exchanges.feeds import feed_parser, open_stream
from ratchet.market.symbols import parse_symbol
from ratchet.settings import Settings

_TRUSTED_AFTER = 300
"""Deltas after which a book without a snapshot is taken as whole; its best prices are right by then."""


def record_books(
    settings: Settings,
    source: str,
    symbols: list[str],
    *,
    clock: Clock,
    monotonic_ns: Callable[[], int],
    seconds: float | None = None,
) -> RecordingReport:
    """Record books and trades below the home folder until the time is up, or SIGINT or SIGTERM comes.

    Args:
        settings: where things are kept.
        source: a venue, for example `binance://?market=swap`.
        symbols: what to record.
        clock: stamps and dates everything.
        monotonic_ns: measures what passes, `time.monotonic_ns`; the clock may be set while this runs.
        seconds: how long; None to go on.

    Raises:
        InputError: the source or a symbol cannot be used, or the folder holds something that is later than now.
        BusyError: another process records the same venue.
        UnavailableError: the folder cannot be written.
    """
    return asyncio.run(_record(settings, source, symbols, clock, monotonic_ns, seconds))


def replay_recording(
    settings: Settings, path: Path, *, venue: str, symbol: str, venue_id: str | None = None
) -> RecordingReport:
    """Record a raw file (receive time in ns, a space, the message; gzip or plain) as if it came in live.

    The book is built from the deltas alone where the file has no snapshot.

    Args:
        settings: where things are kept.
        path: the file.
        venue: whose messages they are, for example `binance-swap`.
        symbol: what they are of.
        venue_id: what the venue calls the symbol, where that is not its two currencies.

    Raises:
        InputError: the file, the venue or the symbol cannot be used, or the file's time is recorded there already.
        BusyError: another process records the same venue.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; name a raw recording")
    name = parse_symbol(symbol)
    parse = feed_parser(venue, dict.fromkeys([venue_id] if venue_id else _usual_ids(name), name))
    limits = RecordingLimits(trust_after=_TRUSTED_AFTER)
    return asyncio.run(replay(path, settings.recordings_root, venue=venue, symbol=name, parse=parse, limits=limits))


def _usual_ids(symbol: str) -> list[str]:
    """Return what venues call a symbol: its currencies with a mark between them, or none."""
    pair = symbol.partition(":")[0]
    return [pair, pair.replace("/", ""), pair.replace("/", "-"), f"{pair.replace('/', '-')}-SWAP"]


async def _record(
    settings: Settings,
    source: str,
    symbols: list[str],
    clock: Clock,
    monotonic_ns: Callable[[], int],
    seconds: float | None,
) -> RecordingReport:
    stream = open_stream(source, symbols, clock=clock)
    closing: list[asyncio.Task[None]] = []
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        # The end of the stream ends the recording in good order, with its report.
        loop.add_signal_handler(number, lambda: closing.append(loop.create_task(stream.close())))
    try:
        until_ns = None if seconds is None else clock.now_ns() + round(seconds * NS_PER_S)
        return await record(
            stream, settings.recordings_root, symbols, clock=clock, until_ns=until_ns, monotonic_ns=monotonic_ns
        )
    finally:
        await stream.close()
