"""Collect candles, books and trades from the requested source into a raw dataset."""

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import replace

from prefect import task
from prefect.cache_policies import NO_CACHE

from ratchet.clock import SystemClock
from ratchet.data.collection import Collected, collect_from_exchange, collect_from_files
from ratchet.data.history import CandleHistory, CollectionRequest, SeriesKey
from ratchet.data.history.cutting import cut_dataset
from ratchet.data.manifest import DatasetRef
from ratchet.data.snapshots import load_manifest, save_dataset
from ratchet.evaluation.turn import RetrainRequest
from ratchet.exchanges.simulated import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.ingestion import PATIENCE_S, collect_history
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
    with narrate("collect") as narration:
        ref = _from_venue(settings, request) if request.is_live else _from_recording(settings, request)
        manifest = load_manifest(ref)
        narration.conclude(f"{sum(manifest.n_rows.values()):,} candles of {', '.join(manifest.symbols)}")
    return ref


def _from_venue(settings: Settings, request: RetrainRequest) -> DatasetRef:
    """Bring the history of a real venue up to date, and cut the dataset from everything that is known now."""
    clock = SystemClock()
    wanted = CollectionRequest(source=request.source, symbols=request.symbols, timeframe=request.timeframe)
    report = collect_history(settings, wanted, clock, patience_s=PATIENCE_S)
    keys = [SeriesKey(report.venue, item.symbol, report.timeframe) for item in report.series]
    with closing(CandleHistory(settings.history_root, clock, read_only=True)) as history:
        return cut_dataset(settings.root, history, keys, as_of_ns=report.known_at_ns)


def _from_recording(settings: Settings, request: RetrainRequest) -> DatasetRef:
    timeframe = Timeframe.parse(request.timeframe)
    collected = _collect(settings, request, timeframe)
    return save_dataset(
        settings.root,
        collected.candles,
        source=collected.source,
        timeframe=timeframe,
        books=collected.books,
        trades=collected.trades,
        made_by=f"collect {collected.source} {timeframe.text}",
        made_at_ns=SystemClock().now_ns(),
    )


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
