"""Candles of a venue into the history: the engines that the settings name, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ratchet.clock import Clock
from ratchet.data.history import CandleHistory, CollectionReport, CollectionRequest, collect_new_data
from ratchet.exchanges.factory import open_exchange
from ratchet.settings import Settings

PATIENCE_S = 600.0
"""How long an unattended run waits for another collection into the same history."""


def collect_history(
    settings: Settings,
    request: CollectionRequest,
    clock: Clock,
    on_page: Callable[[str, int], None] = lambda _symbol, _n_bars: None,
    *,
    patience_s: float = 0.0,
) -> CollectionReport:
    """Run one collection into the history below the home folder; see `collect_new_data`.

    Args:
        settings: where things are kept.
        request: what to collect.
        clock: says when bars are stored.
        on_page: is told the symbol and the number of bars of each page.
        patience_s: how long to wait for another collection into the same history.

    Raises:
        InputError: the source, a symbol or the period cannot be used.
        BusyError: another process collects into the same history.
        UnavailableError: the venue does not answer at all.
    """
    return asyncio.run(_collect(settings, request, clock, on_page, patience_s))


async def _collect(
    settings: Settings,
    request: CollectionRequest,
    clock: Clock,
    on_page: Callable[[str, int], None],
    patience_s: float,
) -> CollectionReport:
    exchange = open_exchange(request.source, clock=clock)
    history = CandleHistory(settings.history_root, clock)
    try:
        return await collect_new_data(
            exchange,
            history,
            request.symbols,
            request.bar,
            request.start_ns,
            request.end_ns,
            clock=clock,
            quarantine_folder=settings.root / "quarantine" / "candles",
            ask_again=request.ask_again,
            patience_s=patience_s,
            on_page=on_page,
        )
    finally:
        history.close()
        await exchange.close()
