"""`ratchet data exchange`: the simulated market on a port, trading now."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import replace

from ratchet.clock import Clock
from ratchet.exchanges import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.server import ExchangeServer


def serve_market(url: str, *, venue: str, port: int, clock: Clock, announce: Callable[[str], None]) -> None:
    """Serve a simulated market in a venue's dialect until SIGINT or SIGTERM.

    The market's bars end now, and as many follow as time goes on; a URL with `start` is served as it is.

    Raises:
        InputError: the URL or the venue cannot be used.
        UnavailableError: the port is taken.
    """
    config = SimulatedMarketConfig.from_url(url)
    if "start=" not in url:
        now_ns = clock.now_ns() // config.bar.ns * config.bar.ns
        config = replace(config, start_ns=now_ns - config.n_bars * config.bar.ns, n_bars=2 * config.n_bars)
    asyncio.run(_serve(config, venue, port, clock, announce))


async def _serve(
    config: SimulatedMarketConfig, venue: str, port: int, clock: Clock, announce: Callable[[str], None]
) -> None:
    upstream = SimulatedExchange(SimulatedMarket(config))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with ExchangeServer(upstream, venue=venue, timeframe=config.bar, clock=clock, port=port) as server:
        announce(f"{', '.join(config.symbols)} as {venue} on {server.url}; stop with Ctrl-C")
        announce(f"collect from it: ratchet data collect --source '{venue}://?url={server.url}'")
        await stop.wait()
