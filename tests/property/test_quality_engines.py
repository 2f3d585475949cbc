"""Properties of the quality gate: two engines and a plain reading of the checks agree on any damage."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet.data.quality import GreatExpectationsGate, QualityGate, QualityPolicy, QualityReport, VectorizedGate
from ratchet.data.quality.candles import candle_suite
from ratchet.data.quality.checks import broken_checks
from ratchet.data.quality.rows import Rows
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.microstructure import order_books, trades
from ratchet.market import Timeframe
from tests.candle_paths import HOUR, START_NS, random_candles

POLICY = QualityPolicy(max_quarantined_share=0.1, min_stale_bars=3, max_zero_volume_bars=3)
CANDLES = pd.concat([random_candles(120, seed=seed, symbol=f"S{seed}/USDT") for seed in (0, 1)], ignore_index=True)
MARKET = SimulatedMarket(SimulatedMarketConfig(seed=5, n_bars=60, n_symbols=2))
SYMBOLS = MARKET.candles()["symbol"].unique().tolist()
TABLES = {
    "candles": CANDLES,
    "books": pd.concat([order_books(MARKET, symbol, 0, 60) for symbol in SYMBOLS], ignore_index=True),
    "trades": pd.concat([trades(MARKET, symbol, 0, 6) for symbol in SYMBOLS], ignore_index=True),
}
VALUES = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-9, 1e9)
Damage = tuple[str, int, int, int, int]
"""What happens to which row, how many rows, which column, which value."""
KINDS = ("set", "set", "scale", "repeat", "swap", "drop", "flat", "silent", "shift_time", "unname")
damages = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 240),
        st.integers(1, 6),
        st.integers(0, 40),
        st.integers(0, len(VALUES) - 1),
    ),
    max_size=6,
)


def _damaged(table: pd.DataFrame, steps: Sequence[Damage]) -> pd.DataFrame:
    for kind, row, n_rows, column, value in steps:
        table = _damage(table, kind, row, n_rows, column, VALUES[value])
    return table


def _damage(table: pd.DataFrame, kind: str, row: int, n_rows: int, column: int, value: float) -> pd.DataFrame:
    changed = table.reset_index(drop=True)
    row %= len(changed) - 8
    numbers = [name for name in changed.columns if changed[name].dtype == np.float64]
    name, span = numbers[column % len(numbers)], list(range(row, min(row + n_rows, len(changed))))
    if kind == "set":
        changed.loc[span[:1], name] = value
    elif kind == "scale":
        changed.loc[span[:1], name] *= 1.3
    elif kind == "repeat":
        changed = pd.concat([changed.iloc[: row + 1], changed.iloc[row:]], ignore_index=True)
    elif kind == "swap":
        order = np.arange(len(changed))
        order[[row, row + n_rows]] = order[[row + n_rows, row]]
        changed = changed.iloc[order]
    elif kind == "drop":
        changed = changed.drop(index=span)
    elif kind == "flat":
        changed.loc[span, numbers] = changed.loc[[row] * len(span), numbers].to_numpy()
        changed.loc[span, numbers[-1]] = 0.0
    elif kind == "silent":
        changed.loc[span, numbers[-1]] = 0.0
    elif kind == "shift_time":
        changed.loc[span[:1], "ts_event_ns"] += n_rows * 10**9
    else:
        changed.loc[span, [name for name in ("symbol", "trade_id") if name in changed]] = None
    return changed.reset_index(drop=True)


def _judge(gate: QualityGate, name: str, table: pd.DataFrame) -> tuple[QualityReport, pd.DataFrame, pd.DataFrame]:
    if name == "books":
        return gate.check_books(table)
    if name == "trades":
        return gate.check_trades(table)
    now_ns = START_NS + 122 * HOUR.ns
    return gate.check(table, timeframe=HOUR, reference=CANDLES.iloc[30:], now_ns=now_ns)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One context for all examples."""
    return tmp_path_factory.mktemp("quality")


@given(name=st.sampled_from(list(TABLES)), steps=damages.filter(bool))
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_both_engines_say_the_same_of_any_damage(root: Path, name: str, steps: list[Damage]) -> None:
    """Reports, good rows and quarantined rows of the two engines are equal, whatever was done to the table."""
    table = _damaged(TABLES[name], steps)
    before = table.copy()
    report, good, bad = _judge(VectorizedGate(POLICY), name, table)
    other_report, other_good, other_bad = _judge(GreatExpectationsGate(root, POLICY, n_kept_runs=1), name, table)
    same = {"engine": "vectorized", "docs_path": None}
    assert other_report.model_copy(update=same) == report
    pd.testing.assert_frame_equal(other_good, good, check_exact=True)
    pd.testing.assert_frame_equal(other_bad, bad, check_exact=True)
    pd.testing.assert_frame_equal(table, before, check_exact=True)


@given(name=st.sampled_from(list(TABLES)), steps=damages)
@settings(max_examples=150, deadline=None)
def test_no_row_is_lost(name: str, steps: list[Damage]) -> None:
    """Good and quarantined rows together are all rows, in their order, and each of the latter has a reason."""
    table = _damaged(TABLES[name], steps)
    report, _, bad = _judge(VectorizedGate(POLICY), name, table)
    assert report.n_quarantined == len(bad)
    numbered = table.assign(row=np.arange(len(table)))
    _, good_rows, bad_rows = _judge(VectorizedGate(POLICY), name, numbered)
    assert sorted([*good_rows["row"], *bad_rows["row"]]) == list(range(len(table)))
    assert good_rows["row"].is_monotonic_increasing
    assert bad_rows["row"].is_monotonic_increasing
    assert (bad["reason"] != "").all()


@given(steps=damages)
@settings(max_examples=150, deadline=None)
def test_runs_holes_and_doubles_are_those_of_a_plain_reading(steps: list[Damage]) -> None:
    """Checks over several bars find the rows that a loop over each symbol's bars finds."""
    candles = _damaged(CANDLES, [step for step in steps if step[0] != "unname"])
    suite = candle_suite(HOUR, POLICY)
    found: dict[str, set[int]] = {}
    for check, positions in broken_checks(Rows(candles, suite.derived), suite.checks):
        found[check.name] = found.get(check.name, set()) | set(positions.tolist())
    expected = _plain_reading(candles, HOUR)
    assert {name: found.get(name, set()) for name in expected} == expected


def _plain_reading(candles: pd.DataFrame, timeframe: Timeframe) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {
        name: set() for name in ("unique_bar", "ascending", "missing_bars", "zero_volume_run", "stale", "coverage")
    }
    for _, part in candles.groupby("symbol"):
        times = part["ts_event_ns"]
        found["ascending"] |= {int(row) for row in times.index[1:][np.diff(times) < 0]}
        found["unique_bar"] |= {int(row) for row in times.index if (times == times[row]).sum() > 1}
        ordered = part.sort_values("ts_event_ns", kind="stable")
        prices = list(map(tuple, ordered[["open", "high", "low", "close"]].to_numpy().tolist()))
        times_ns: list[int] = ordered["ts_event_ns"].tolist()
        volumes: list[float] = ordered["volume"].tolist()
        bars = list(zip(map(int, ordered.index), times_ns, prices, volumes, strict=True))
        found["missing_bars"] |= {
            after[0] for before, after in itertools.pairwise(bars) if after[1] - before[1] >= 2 * timeframe.ns
        }
        n_expected = (bars[-1][1] - bars[0][1]) // timeframe.ns + 1
        if times.nunique() / n_expected < POLICY.min_coverage:
            found["coverage"].add(bars[-1][0])
        silent: list[int] = []
        stale: list[int] = []
        latest: tuple[float, ...] = ()
        for row, _, own, volume in [*bars, (-1, 0, (), 1.0)]:
            stale = [*stale, row] if volume == 0 and stale and own == latest else _close(found["stale"], stale, 3)
            stale = [row] if volume == 0 and not stale else stale
            silent = [*silent, row] if volume == 0 else _close(found["zero_volume_run"], silent, 4)
            latest = own
    return found


def _close(found: set[int], run: list[int], shortest: int) -> list[int]:
    """Keep a run that has ended, where it is long enough, and begin anew."""
    if len(run) >= shortest:
        found |= set(run)
    return []
