"""Collecting a year of one-minute candles of many symbols over loopback, beside what the venue's rate limit allows.

The simulated market answers in Binance's dialect from a process of its own and enforces Binance's limit (6,000 weight a
minute; a page of 1,000 candles weighs 2). No client can be faster than that; the ratio says how much the collector
adds. Run from the root of the checkout:

    python -m benchmarks.collection --symbols 50 --days 365 --out FILE.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import resource
import shutil
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

from ratchet.clock import SystemClock
from ratchet.data.history import CandleHistory, collect_new_data
from ratchet.exchanges import SimulatedExchange, SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.factory import open_exchange
from ratchet.exchanges.simulated.server import ExchangeServer, RateLimit
from ratchet.market import Timeframe

PAGE_ROWS, PAGE_WEIGHT = 1_000, 2
LIMIT = RateLimit(weight=6_000, window_s=60.0)
MINUTE = Timeframe.parse("1m")


def serve(config: SimulatedMarketConfig, pipe: Connection) -> None:
    async def run() -> None:
        upstream = SimulatedExchange(SimulatedMarket(config))
        async with ExchangeServer(
            upstream, venue="binance", timeframe=MINUTE, clock=SystemClock(), rate_limit=LIMIT
        ) as server:
            pipe.send(server.url)
            while not pipe.poll():
                await asyncio.sleep(0.2)
            pipe.send((server.n_requests, cpu_s()))

    asyncio.run(run())


def cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


async def collect(url: str, config: SimulatedMarketConfig, root: Path) -> tuple[int, str, int]:
    clock = SystemClock()
    exchange = open_exchange(f"binance://?url={url}", clock=clock)
    history = CandleHistory(root / "history", clock)
    n_done, began = 0, time.perf_counter()

    def show(_symbol: str, n_bars: int) -> None:
        nonlocal n_done
        n_done += n_bars
        if n_done // 200_000 != (n_done - n_bars) // 200_000:
            print(f"{n_done:,} bars in {time.perf_counter() - began:.0f} s", flush=True)

    try:
        report = await collect_new_data(
            exchange,
            history,
            list(config.symbols),
            MINUTE,
            config.start_ns,
            config.end_ns,
            clock=clock,
            quarantine_folder=root / "quarantine",
            on_page=show,
        )
    finally:
        history.close()
        await exchange.close()
    return report.n_new, report.digest, sum(len(item.gaps) for item in report.series)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--symbols", type=int, default=50)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    config = SimulatedMarketConfig(
        n_bars=arguments.days * 1_440, n_symbols=arguments.symbols, timeframe="1m", has_signal=False
    )
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(config, theirs), daemon=True)
    server.start()
    url = ours.recv()
    root = Path(tempfile.mkdtemp(prefix="ratchet-collection-"))
    try:
        began = time.perf_counter()
        n_new, digest, n_gaps = asyncio.run(collect(url, config, root))
        wall_s = time.perf_counter() - began
        first_cpu_s = cpu_s()
        began = time.perf_counter()
        again, same, _ = asyncio.run(collect(url, config, root))
        again_s = time.perf_counter() - began
        size_bytes = sum(path.stat().st_size for path in root.rglob("*.parquet"))
    finally:
        shutil.rmtree(root)
    ours.send("stop")
    n_requests, server_cpu_s = ours.recv()
    n_pages = arguments.symbols * -(-config.n_bars // PAGE_ROWS)
    floor_s = max(0.0, (n_pages * PAGE_WEIGHT - LIMIT.weight) / LIMIT.weight * LIMIT.window_s)
    result = {
        "symbols": arguments.symbols,
        "bars": n_new,
        "expected_bars": arguments.symbols * config.n_bars,
        "gaps": n_gaps,
        "wall_s": wall_s,
        "floor_s": floor_s,
        "ratio_to_floor": wall_s / floor_s if floor_s else None,
        "bars_per_s": n_new / wall_s,
        "client_cpu_s": first_cpu_s,
        "server_cpu_s": server_cpu_s,
        "requests": n_requests,
        "pages_needed": n_pages,
        "second_run_s": again_s,
        "second_run_new_bars": again,
        "second_run_same_digest": same == digest,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "stored_mib": size_bytes / 2**20,
    }
    arguments.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
