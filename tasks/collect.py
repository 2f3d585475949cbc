"""Collect candles, books and trades from the requested source into a raw dataset."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.data.collection import Collected, collect_from_exchange, collect_from_files
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_manifest, save_dataset
from ratchet.evaluation.turn import RetrainRequest
from ratchet.exchanges.simulated import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.market import Timeframe
from ratchet.registry import open_registry
from ratchet.settings import Settings, load_settings
from tasks.narration import narrate
from tasks.retrying import is_worth_retrying

BARS_PER_TURN = 168
"""How far the simulated exchange's time moves on with each finished run: a week of hourly bars."""


@task(
    name="collect",
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=is_worth_retrying,
    timeout_seconds=3_600,
    cache_policy=NO_CACHE,
)
def collect_market_data(request: RetrainRequest) -> DatasetRef:
    """Store what the source has as a raw dataset; only closed candles count."""
    settings = load_settings()
    timeframe = Timeframe.parse(request.timeframe)
    with narrate("collect") as narration:
        collected = _collect(settings, request, timeframe)
        ref = save_dataset(
            settings.root,
            collected.candles,
            source=collected.source,
            timeframe=timeframe,
            books=collected.books,
            trades=collected.trades,
        )
        manifest = load_manifest(ref)
        narration.conclude(f"{sum(manifest.n_rows.values()):,} candles of {', '.join(manifest.symbols)}")
    return ref


def _collect(settings: Settings, request: RetrainRequest, timeframe: Timeframe) -> Collected:
    if request.source_kind == "files":
        return collect_from_files(
            request.files_path, symbols=request.symbols, timeframe=timeframe, end_ns=SystemClock().now_ns()
        )
    return asyncio.run(_collect_simulated(settings, request, timeframe))


async def _collect_simulated(settings: Settings, request: RetrainRequest, timeframe: Timeframe) -> Collected:
    """Let the simulated market's time move on by a week per finished run, as a real retraining would find it."""
    with open_registry(settings, SystemClock(), read_only=True) as registry:
        finished = len(registry.list_models(request.model_name))
    config = SimulatedMarketConfig.from_url(request.source)
    config = replace(config, timeframe=timeframe.text, n_bars=config.n_bars + finished * BARS_PER_TURN)
    exchange = SimulatedExchange(SimulatedMarket(config))
    return await collect_from_exchange(exchange, request.symbols, timeframe, config.start_ns, config.end_ns)
