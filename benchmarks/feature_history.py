"""Features over a million one-minute bars: ratchet beside plain numpy, pandas and TA-Lib over whole columns.

    python -m benchmarks.feature_history --bars 1000000 --out FILE.json

One made-up symbol: a bar a minute, and in each minute one order book of ten levels and one trade, at random times. Each
side runs in a process of its own and reports seconds, rows per second and the largest resident memory.

- `ratchet 67` and `columns 67`: the features that need bars only. The columns are those that the tests trust
  (`tests/oracles/bars`): TA-Lib where it has the function, and windows as numpy views where the result shall not depend
  on where the history starts. They are written to be right; running sums would be faster and lose digits.
- `ratchet 110`: these and those of book and trades, from the arrays of bars and of market events on; what putting both
  in order takes is told apart. With a book each minute, windows over a book's last minute have no value.
- `columns of book and trades`: the 22 of these 43 that a few lines can say: 17 of the last book, by `merge_asof`, and 5
  of trades. The rest (windows cut into seconds, regressions, volume buckets) would be programs of their own.

How many values of each feature differ from ratchet's by more than a ten-thousandth is counted, beside how many have a
value at all.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.features.bars import Bars
from ratchet.features.history import EventTable, bar_features, bar_table, merged, replay
from ratchet.features.kernel.compiling import SOURCE_DIGEST
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import EventKind
from ratchet.market import Timeframe
from ratchet.market.venue import BOOK_LEVELS
from tests.oracles.bars import FORMULAS
from tests.oracles.bars.scaling import unit_scaled

MINUTE = Timeframe.parse("1m")
START_NS = 1_577_836_800_000_000_000
S_NS = 1_000_000_000
BOOK_WITHIN_S, TRADE_WITHIN_S = 4.0, 59.0
N_WARM = 2_000
PACKAGES = ("numpy", "pandas", "numba", "TA-Lib")

FloatArray = NDArray[np.float64]


def made_up_bars(n_bars: int) -> Bars:
    """Return bars of a random walk; each opens where the last one closed."""
    rng = np.random.default_rng(1)
    close = 100.0 * np.exp(np.cumsum(rng.normal(0.0, 5e-4, n_bars)))
    open_ = np.concatenate(([100.0], close[:-1]))
    high = np.maximum(open_, close) * (1 + rng.exponential(3e-4, n_bars))
    low = np.minimum(open_, close) / (1 + rng.exponential(3e-4, n_bars))
    ts_ns = START_NS + np.arange(n_bars) * MINUTE.ns
    return Bars("BTC/USDT", MINUTE.ns, ts_ns, open_, high, low, close, rng.gamma(2.0, 5.0, n_bars))


def made_up_market(bars: Bars) -> tuple[NDArray[np.int64], FloatArray, NDArray[np.int64], FloatArray]:
    """Return times and values of a book (bar, 40) and of a trade (bar, 3) within each bar."""
    rng, n_bars = np.random.default_rng(2), len(bars)
    close_ns = bars.ts_ns + MINUTE.ns
    book_ns = close_ns - (rng.uniform(0.05, BOOK_WITHIN_S, n_bars) * S_NS).astype(np.int64)
    trade_ns = close_ns - (rng.uniform(0.05, TRADE_WITHIN_S, n_bars) * S_NS).astype(np.int64)
    steps = np.cumsum(rng.exponential(1e-4, (n_bars, 2, BOOK_LEVELS)), axis=2) + 5e-5
    sizes = rng.gamma(2.0, 100.0, (n_bars, 2, BOOK_LEVELS))
    prices = bars.close[:, None, None] * (1 + steps * np.array([-1.0, 1.0])[:, None])
    books = np.stack((prices[:, 0], sizes[:, 0], prices[:, 1], sizes[:, 1]), axis=1).reshape(n_bars, -1)
    sides = rng.choice([-1.0, 1.0], n_bars)
    trades = np.column_stack((bars.close * (1 + 5e-5 * sides), rng.gamma(1.0, 0.5, n_bars) + 1e-6, sides))
    return book_ns, books, trade_ns, trades


def market_table(bars: Bars) -> EventTable:
    """Return books and trades as one table in order of time."""
    book_ns, books, trade_ns, trades = made_up_market(bars)
    order = np.argsort(np.concatenate((book_ns, trade_ns)), kind="stable")
    sizes = np.repeat([books.shape[1], trades.shape[1]], len(bars))[order]
    ends = np.cumsum(sizes)
    values = np.empty(ends[-1])
    starts = np.empty(len(order), dtype=np.int64)
    starts[order] = ends - sizes
    for part, rows in ((starts[: len(bars)], books), (starts[len(bars) :], trades)):
        values[part[:, None] + np.arange(rows.shape[1])] = rows
    times = np.concatenate((book_ns, trade_ns))[order]
    return EventTable(
        symbol=bars.symbol,
        kinds=np.repeat(np.array([EventKind.BOOK, EventKind.TRADE], dtype=np.int64), len(bars))[order],
        times=np.column_stack((times, times)),
        sequences=np.tile(np.arange(1, len(bars) + 1), 2)[order],
        offsets=np.concatenate(([0], ends)).astype(np.int64),
        values=values,
    )


def ratchet_67(n_bars: int, folder: Path) -> dict[str, Any]:
    """Compute the features of bars with `bar_features`."""
    features = FeatureSet.base()
    bar_features(features, made_up_bars(N_WARM))
    bars, before_mib = made_up_bars(n_bars), _peak_mib()
    values, seconds = _timed(lambda: bar_features(features, bars))
    return _told(n_bars, values.shape[1], seconds, before_mib)


def ratchet_110(n_bars: int, folder: Path) -> dict[str, Any]:
    """Compute all with `merged` and `replay`, and leave them in a file."""
    features, warm = FeatureSet.named("core"), made_up_bars(N_WARM)
    replay(features, MINUTE, [merged(bar_table(warm), market_table(warm))])
    bars = made_up_bars(n_bars)
    market, before_mib = market_table(bars), _peak_mib()
    table, ordering_s = _timed(lambda: merged(bar_table(bars), market))
    ordered_mib = _peak_mib()
    (rows,), seconds = _timed(lambda: replay(features, MINUTE, [table]))
    result = _told(n_bars, rows.values.shape[1], seconds, before_mib) | {"events": len(table)}
    np.save(folder / "ratchet.npy", rows.values)
    with_value = dict(zip(features.names, np.isfinite(rows.values).mean(axis=0).round(4).tolist(), strict=True))
    result["ordering"] = {"seconds": round(ordering_s, 2), "peak_rss_mib": round(ordered_mib)}
    result["rows_per_s_with_ordering"] = round(n_bars / (seconds + ordering_s))
    result["share_with_value_below_half"] = {name: share for name, share in with_value.items() if share < 0.5}
    return result


def columns_67(n_bars: int, folder: Path) -> dict[str, Any]:
    """Compute the features of bars over whole columns, one after the other."""
    bars = unit_scaled(made_up_bars(n_bars))
    before_mib = _peak_mib()
    spent, differ = {}, {}
    expected = np.load(folder / "ratchet.npy", mmap_mode="r")
    for place, item in enumerate(FeatureSet.base().definitions):
        values, spent[item.name] = _timed(partial(FORMULAS[item.formula], bars, **dict(item.params)))
        values[: item.warmup_bars] = np.nan
        differ[item.name] = _n_differ(values, expected[:, place])
    slowest = sorted(spent, key=lambda name: -spent[name])[:8]
    return _told(n_bars, len(spent), sum(spent.values()), before_mib) | {
        "slowest_s": {name: round(spent[name], 2) for name in slowest},
        "differ": {name: number for name, number in differ.items() if number},
    }


def columns_of_market(n_bars: int, folder: Path) -> dict[str, Any]:
    """Compute what pandas can say of book and trades in a few lines."""
    bars = made_up_bars(n_bars)
    market, before_mib = made_up_market(bars), _peak_mib()
    values, seconds = _timed(lambda: market_columns(bars, *market))
    names, expected = FeatureSet.named("core").names, np.load(folder / "ratchet.npy", mmap_mode="r")
    differ = {name: _n_differ(column, expected[:, names.index(name)]) for name, column in values.items()}
    return _told(n_bars, len(values), seconds, before_mib) | {
        "differ": {name: number for name, number in differ.items() if number}
    }


def market_columns(
    bars: Bars, book_ns: NDArray[np.int64], books: FloatArray, trade_ns: NDArray[np.int64], trades: FloatArray
) -> Mapping[str, FloatArray]:
    """Return features by name, each (bar,)."""
    close_ns = bars.ts_ns + bars.timeframe_ns
    closes, updates = pd.DataFrame({"ns": close_ns}), pd.DataFrame({"ns": book_ns, "row": np.arange(len(books))})
    last = books[pd.merge_asof(closes, updates, on="ns")["row"].to_numpy()]
    bid, bid_size, ask, ask_size = (last[:, n * BOOK_LEVELS : (n + 1) * BOOK_LEVELS] for n in range(4))
    mid = (bid[:, 0] + ask[:, 0]) / 2

    def bps(price: FloatArray) -> FloatArray:
        distance: FloatArray = (price / mid - 1) * 1e4
        return distance

    def between(levels: int) -> FloatArray:
        n_bid, n_ask = bid_size[:, :levels].sum(axis=1), ask_size[:, :levels].sum(axis=1)
        prices = ((p[:, :levels] * q[:, :levels]).sum(axis=1) for p, q in ((bid, bid_size), (ask, ask_size)))
        bid_mean, ask_mean = (value / size for value, size in zip(prices, (n_bid, n_ask), strict=True))
        return bps((ask_mean * n_bid + bid_mean * n_ask) / (n_bid + n_ask))

    found = {
        "spread_bps": (ask[:, 0] - bid[:, 0]) / mid * 1e4,
        "microprice_bps": between(1),
        "weighted_mid_5_bps": between(5),
    }
    for n in (1, 3, 5, 10):
        n_bid, n_ask = bid_size[:, :n].sum(axis=1), ask_size[:, :n].sum(axis=1)
        found[f"imbalance_{n}"] = (n_bid - n_ask) / (n_bid + n_ask)
    weights = []
    for name, price, size in (("bid", bid, bid_size), ("ask", ask, ask_size)):
        distance, shares = np.abs(price / mid[:, None] - 1) * 1e4, np.cumsum(size, axis=1)
        shares /= shares[:, -1:]
        found[f"book_slope_{name}"] = (distance * shares).sum(axis=1) / (distance**2).sum(axis=1)
        found[f"level_gap_{name}_bps"] = np.abs(price[:, 0] - price[:, 1]) / mid * 1e4
        weights.append((size / np.abs(price - mid[:, None])).sum(axis=1))
        held = np.cumsum(price * size, axis=1)
        for value in (10_000, 100_000):
            taken = np.diff(np.minimum(held, value), axis=1, prepend=0.0)
            rest = np.maximum(value - held[:, -1], 0.0)
            quantity = (taken / price).sum(axis=1) + rest / price[:, -1]
            found[f"fill_cost_{name}_{value // 1_000}k_bps"] = np.abs(bps(value / quantity))
    found["book_pressure"] = (weights[0] - weights[1]) / (weights[0] + weights[1])
    sizes = np.concatenate((bid_size, ask_size), axis=1)
    shares = sizes / sizes.sum(axis=1, keepdims=True)
    found["depth_entropy"] = -(shares * np.log(shares)).sum(axis=1) / np.log(2 * BOOK_LEVELS)
    return found | _trade_columns(close_ns, trade_ns, trades)


def _trade_columns(
    close_ns: NDArray[np.int64], trade_ns: NDArray[np.int64], trades: FloatArray
) -> dict[str, FloatArray]:
    size, side = pd.Series(trades[:, 1]), pd.Series(trades[:, 2])
    sums = [np.concatenate(([0.0], part.cumsum())) for part in (size, size * side)]
    found, end = {}, np.searchsorted(trade_ns, close_ns, side="right")
    for seconds in (1, 10, 60):
        start = np.searchsorted(trade_ns, close_ns - seconds * S_NS, side="right")
        volume, net = (part[end] - part[start] for part in sums)
        found[f"signed_volume_ratio_{seconds}s"] = np.where(end > start, net / np.where(end > start, volume, 1), 0.0)
        if seconds == 10:
            found["trade_rate_10s"] = (end - start) / 10.0
    run = side.groupby((side != side.shift()).cumsum()).cumcount() + 1
    found["signed_run"] = (run * side).to_numpy()[end - 1]
    return found


SIDES: dict[str, Callable[[int, Path], dict[str, Any]]] = {
    "ratchet 110": ratchet_110,
    "ratchet 67": ratchet_67,
    "columns 67": columns_67,
    "columns of book and trades": columns_of_market,
}


def _n_differ(values: FloatArray, expected: NDArray[np.float32]) -> int:
    """Count the rows that differ, of those where both have a value."""
    is_known = np.isfinite(expected) & np.isfinite(values)
    if not is_known.any():
        return len(values)
    return int(np.count_nonzero(~np.isclose(values[is_known], expected[is_known], rtol=1e-4, atol=1e-6)))


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begun_s = time.perf_counter()
    result = work()
    return result, time.perf_counter() - begun_s


def _told(n_bars: int, n_features: int, seconds: float, before_mib: float) -> dict[str, Any]:
    return {
        "rows": n_bars,
        "features": n_features,
        "seconds": round(seconds, 3),
        "rows_per_s": round(n_bars / seconds),
        "us_per_row": round(seconds / n_bars * 1e6, 2),
        "peak_rss_mib": round(_peak_mib()),
        "rss_before_mib": round(before_mib),
    }


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bars", type=int, default=1_000_000)
    parser.add_argument("--out", type=Path, help="file for the raw results, as JSON")
    parser.add_argument("--side", choices=SIDES, help="run one side in this process")
    parser.add_argument("--folder", type=Path, help="where that side leaves and finds values")
    options = parser.parse_args()
    if options.side:
        print(json.dumps(SIDES[options.side](options.bars, options.folder)))
        return
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for side in SIDES:
            command = [sys.executable, "-m", "benchmarks.feature_history", "--side", side, "--bars", str(options.bars)]
            load = round(os.getloadavg()[0], 2)
            done = subprocess.run([*command, "--folder", folder], capture_output=True, text=True, check=True)
            results[side] = {"load_average": load} | json.loads(done.stdout.splitlines()[-1])
            print(f"{side:26} {json.dumps(results[side])}", flush=True)
    told = {
        "machine": {"python": platform.python_version(), "cpus": os.cpu_count(), "processor": platform.machine()},
        "packages": {name: version(name) for name in PACKAGES},
        "kernel": SOURCE_DIGEST,
        "results": results,
    }
    if options.out:
        options.out.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
