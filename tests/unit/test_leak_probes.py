"""The leak probes pass an honest pipeline and find every leak that is planted."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import typer
from numpy.typing import NDArray
from typer.testing import CliRunner

from ratchet.cli import check_commands
from ratchet.errors import InputError, LeakageError
from ratchet.evaluation.probes import random_walk
from ratchet.evaluation.probes.leaks import find_leaks
from ratchet.evaluation.probes.learners import baseline_fit
from ratchet.evaluation.probes.random_walk import random_walk_candles, random_walk_panel
from ratchet.evaluation.probes.shuffled_labels import rotate_labels, shuffled_labels
from ratchet.evaluation.probes.truncation import truncation
from ratchet.evaluation.probes.warm_up import warm_up
from ratchet.evaluation.records import LeakReport
from ratchet.evaluation.validation import Predictor
from ratchet.evaluation.walk_forward import Fold, PurgedWalkForward
from ratchet.features.panel import Panel, build_panel
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import EventKind
from ratchet.market.symbols import Timeframe
from tests.candle_paths import without_rows
from tests.leaky_folds import ShuffledFolds
from tests.market_events import MINUTE_NS, random_events

HOUR = Timeframe.parse("1h")
BASE = FeatureSet.base()
HORIZON = 24
SHORT = FeatureSet(
    "short", tuple(item for item in BASE.definitions if item.warmup_bars <= 60 and not item.is_recursive)
)
PURGED = PurgedWalkForward(n_splits=5, embargo_ns=HORIZON * HOUR.ns)

Series = NDArray[np.float64]


def panel_of(candles: pd.DataFrame, features: FeatureSet = BASE, *, horizon: int = HORIZON, window: int = 4) -> Panel:
    return build_panel(candles, features, timeframe=HOUR, horizon=horizon, window=window, round_trip_bps=0.0)


@pytest.fixture(scope="module")
def candles() -> pd.DataFrame:
    return without_rows(random_walk_candles(HOUR, n_symbols=3, n_bars=1_200, seed=5), [700, 701])


@pytest.fixture(scope="module")
def panel(candles: pd.DataFrame) -> Panel:
    return panel_of(candles)


@pytest.fixture(scope="module")
def walks() -> Panel:
    """8,000 samples of random walks with labels of 24 bars."""
    return random_walk_panel(SHORT, timeframe=HOUR, horizon=HORIZON, n_symbols=8, n_bars=1_100, seed=1)


def day_mean(values: Series, ts_ns: NDArray[np.int64]) -> Series:
    day = ts_ns // (24 * HOUR.ns)
    return pd.Series(values).groupby(day).transform("mean").to_numpy(dtype=np.float64)


def whole_z_score(values: Series, ts_ns: NDArray[np.int64]) -> Series:
    scored: Series = (values - np.nanmean(values)) / np.nanstd(values)
    return scored


def centred_mean(values: Series, ts_ns: NDArray[np.int64]) -> Series:
    return pd.Series(values).rolling(3, center=True, min_periods=1).mean().to_numpy(dtype=np.float64)


def with_leak(panel: Panel, name: str, leak: object) -> Panel:
    """Put a feature through a function that sees the future of its own symbol."""
    column = panel.feature_names.index(name)
    features = panel.features.copy()
    starts = np.append(0, np.flatnonzero(np.diff(panel.row_ts_ns) < 0) + 1)
    for rows in np.split(np.arange(len(features)), starts[1:]):
        assert callable(leak)
        features[rows, column] = leak(features[rows, column].astype(np.float64), panel.row_ts_ns[rows])
    return replace(panel, features=features)


def test_honest_features_are_the_same_without_later_bars(candles: pd.DataFrame, panel: Panel) -> None:
    """Every value of every window drawn is equal to the bit, also around a gap."""
    probe = truncation(candles, BASE, panel, timeframe=HOUR, n_points=20, seed=0)

    assert (probe.status, probe.value) == ("passed", 0.0)
    assert probe.n >= 20 * panel.window


@pytest.mark.parametrize("leak", [day_mean, whole_z_score, centred_mean])
def test_a_planted_look_ahead_is_found_and_named(candles: pd.DataFrame, panel: Panel, leak: object) -> None:
    probe = truncation(candles, BASE, with_leak(panel, "rsi_14", leak), timeframe=HOUR, seed=0)

    assert (probe.status, probe.value) == ("failed", 1.0)
    assert "rsi_14" in probe.reason
    assert "/USDT 2024-" in probe.reason


def test_one_altered_value_in_a_window_is_found(candles: pd.DataFrame, panel: Panel) -> None:
    """The last bit counts."""
    column = panel.feature_names.index("log_return_1")
    features = panel.features.copy()
    features[:, column] = np.nextafter(features[:, column], np.float32(np.inf))
    probe = truncation(candles, BASE, replace(panel, features=features), timeframe=HOUR, n_points=1, seed=0)

    assert probe.status == "failed"
    assert "log_return_1" in probe.reason


def test_features_that_relate_symbols_are_cut_with_all_of_them() -> None:
    """Graph features pass, and one that is made of the next bar's does not."""
    graph = FeatureSet(
        "related", tuple(item for item in FeatureSet.named("graph").definitions if item.source == "universe")
    )
    bars = random_walk_candles(HOUR, n_symbols=4, n_bars=330, seed=2)
    panel = panel_of(bars, graph, horizon=1, window=2)
    leaky = with_leak(panel, graph.names[0], lambda values, _: np.append(values[1:], values[-1]))

    assert truncation(bars, graph, panel, timeframe=HOUR, n_points=4, seed=0).status == "passed"
    assert graph.names[0] in truncation(bars, graph, leaky, timeframe=HOUR, n_points=4, seed=0).reason


def test_market_features_are_computed_from_what_had_arrived() -> None:
    """Books and trades are cut with the candles."""
    minute = Timeframe.parse("1m")
    features = FeatureSet("few", tuple(item for item in FeatureSet.named("core").definitions if item.warmup_bars <= 5))
    events = random_events(seed=4, n_minutes=40)
    bars = pd.DataFrame(
        [
            (event.symbol, event.ts_event_ns - MINUTE_NS, *event.values.tolist())
            for event in events
            if event.kind == EventKind.BAR
        ],
        columns=["symbol", "ts_event_ns", "open", "high", "low", "close", "volume"],
    )
    market = [event for event in events if event.kind != EventKind.BAR]
    panel = build_panel(bars, features, timeframe=minute, horizon=1, window=1, round_trip_bps=0.0, market=market)
    leaky = with_leak(panel, "spread_bps", lambda values, _: np.append(values[1:], values[-1]))

    probe = truncation(bars, features, panel, timeframe=minute, market=market, n_points=4, seed=1)
    found = truncation(bars, features, leaky, timeframe=minute, market=market, n_points=4, seed=1)

    assert probe.status == "passed", probe.reason
    assert (found.status, "spread_bps" in found.reason) == ("failed", True)


def test_candles_of_another_panel_are_refused(candles: pd.DataFrame, panel: Panel) -> None:
    with pytest.raises(InputError, match="not those of the panel"):
        truncation(candles.iloc[:-600], BASE, panel, timeframe=HOUR, seed=0)
    with pytest.raises(InputError, match="not those of the set 'short'"):
        warm_up(candles, SHORT, panel, timeframe=HOUR, seed=0)


def test_declared_warm_ups_suffice(candles: pd.DataFrame, panel: Panel) -> None:
    """Finite windows agree to a millionth; what remembers its start most is the mean of 200 bars, and it is named."""
    probe = warm_up(candles, BASE, panel, timeframe=HOUR, seed=0)

    assert (probe.status, probe.value) == ("passed", 0.0)
    assert "ema_ratio_200 remembers its start most" in probe.reason


def test_a_warm_up_that_is_too_short_is_found(candles: pd.DataFrame) -> None:
    """The mean of 200 bars after a warm-up of 210: its seed still weighs most."""
    slow = next(item for item in BASE.definitions if item.name == "ema_ratio_200")
    hasty = FeatureSet("hasty", (BASE.definitions[0], replace(slow, warmup_bars=210)))
    probe = warm_up(candles, hasty, panel_of(candles, hasty), timeframe=HOUR, seed=0)

    assert (probe.status, probe.value) == ("failed", 1.0)
    assert "ema_ratio_200" in probe.reason


def test_memory_in_what_is_declared_finite_is_found(candles: pd.DataFrame) -> None:
    """A feature that passes for one with a finite window has to agree to a millionth."""
    slow = next(item for item in BASE.definitions if item.name == "ema_ratio_200")
    pretender = FeatureSet("pretender", (replace(slow, is_recursive=False),))

    assert warm_up(candles, pretender, panel_of(candles, pretender), timeframe=HOUR, seed=0).status == "failed"


def test_a_history_no_longer_than_its_warm_up_is_skipped() -> None:
    bars = random_walk_candles(HOUR, n_symbols=2, n_bars=502, seed=0)
    panel = panel_of(bars, horizon=1, window=1)

    assert warm_up(bars, BASE, panel, timeframe=HOUR, seed=0).status == "skipped"


def test_rotated_labels_keep_their_order_and_their_cross_section(walks: Panel) -> None:
    """Each symbol has its own labels at other times, all symbols moved by the same number of bars."""
    rotated = rotate_labels(walks, seed=3)
    n_symbols = len(walks.symbols)
    before, after = walks.ret.reshape(-1, n_symbols), rotated.ret.reshape(-1, n_symbols)
    shift = int(np.flatnonzero((after[0] == before).all(axis=1))[0])

    np.testing.assert_array_equal(after, np.roll(before, -shift, axis=0))
    np.testing.assert_array_equal(np.sign(rotated.ret), rotated.label)
    assert len(before) / 4 <= shift <= len(before) * 3 / 4
    assert rotated.features is walks.features
    assert rotated.t1_ns is walks.t1_ns


def test_a_symbol_without_a_sample_there_gets_no_label(panel: Panel) -> None:
    """A gap takes samples away from one symbol: what would come from there is flat, the rest is that symbol's own."""
    rotated = rotate_labels(panel, seed=0)
    known = {(s, r) for s, r in zip(panel.symbol_id.tolist(), panel.ret.tolist(), strict=True)}
    flat = rotated.label == 0

    assert 0 < flat.sum() < 0.2 * len(panel)
    moved = zip(rotated.symbol_id[~flat].tolist(), rotated.ret[~flat].tolist(), strict=True)
    assert all(pair in known for pair in moved)


def test_shuffled_labels_cannot_be_predicted_through_purged_folds(walks: Panel) -> None:
    probe = shuffled_labels(walks, baseline_fit(seed=0), PURGED, seed=0)

    assert probe.status == "passed"
    assert probe.low is not None
    assert probe.high is not None
    assert probe.low < 0.5 < probe.high < 0.6


def test_shuffled_labels_are_predicted_where_training_labels_overlap_the_test(walks: Panel) -> None:
    """The mutant: without purging, gradient boosting knows the rotated labels by their neighbours."""
    probe = shuffled_labels(walks, baseline_fit(seed=0), ShuffledFolds(), seed=0)

    assert probe.status == "failed"
    assert probe.value is not None
    assert probe.value > 0.65
    assert "purge by label end" in probe.reason


def test_a_fit_that_looks_its_answers_up_is_found(walks: Panel) -> None:
    """A fit that breaks its promise to use training samples only fails through honest folds too."""

    def cheat(_panel: Panel, _fold: Fold) -> Predictor:
        def predict(asked: Panel, index: NDArray[np.int64]) -> Series:
            answer: Series = np.where(np.arange(len(index)) % 3 > 0, 0.5 + 0.4 * asked.label[index], 0.5)
            return answer

        return predict

    assert shuffled_labels(walks, cheat, PURGED, seed=0).status == "failed"


def test_training_is_capped_to_the_latest_stretch_of_time(walks: Panel) -> None:
    """So many samples of all symbols right before the test window, none left out in between."""
    seen: list[Fold] = []

    def watch(panel: Panel, fold: Fold) -> Predictor:
        seen.append(fold)
        return lambda asked, index: np.full(len(index), 0.5)

    shuffled_labels(walks, watch, PURGED, seed=0, max_train=2_000)
    whole = {fold.index: fold for fold in PURGED.split(walks.decision_ns, walks.t1_ns)}

    assert seen
    for fold in seen:
        np.testing.assert_array_equal(fold.train, whole[fold.index].train[-2_000:])
        np.testing.assert_array_equal(fold.test, whole[fold.index].test)


def test_a_test_window_that_is_too_short_is_skipped() -> None:
    short = random_walk_panel(SHORT, timeframe=HOUR, horizon=HORIZON, n_symbols=2, n_bars=300, seed=0)

    assert shuffled_labels(short, baseline_fit(), PURGED, seed=0).status == "skipped"


def guess_by_rsi(panel: Panel, _fold: Fold) -> Predictor:
    column = panel.feature_names.index("rsi_14")

    def predict(asked: Panel, index: NDArray[np.int64]) -> Series:
        answer: Series = (asked.features[asked.end_row[index], column] > 0).astype(np.float64)
        return answer

    return predict


def test_the_report_is_the_same_for_the_same_seed(candles: pd.DataFrame, panel: Panel) -> None:
    def probes_of(searched: Panel) -> LeakReport:
        return find_leaks(candles, BASE, searched, PURGED, timeframe=HOUR, fit=guess_by_rsi, n_points=3, seed=4)

    first, second = probes_of(panel), probes_of(panel)
    leaky = with_leak(panel, "rsi_14", day_mean)

    assert first == second
    assert [probe.name for probe in first.probes] == ["truncation", "warm_up", "shuffled_labels"]
    assert not first.has_leak
    assert probes_of(leaky).has_leak


def command() -> typer.Typer:
    root = typer.Typer()
    root.add_typer(check_commands.app, name="check")
    return root


def test_the_command_says_what_it_found_in_a_source() -> None:
    source = ["--source", "simulated://?seed=3&symbols=3", "--bars", "900"]
    result = CliRunner().invoke(command(), ["check", "leaks", *source, "--horizon", "1", "--json"])
    statuses = {probe["name"]: probe["status"] for probe in json.loads(result.stdout)["probes"]}

    assert result.exit_code == 0
    assert statuses == {"truncation": "passed", "warm_up": "passed", "shuffled_labels": "passed"}


def test_the_command_fails_where_a_random_walk_is_predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With shuffled folds in place of purged ones the command ends with the code of a leak, after the report."""
    monkeypatch.setattr(random_walk, "PurgedWalkForward", lambda **_: ShuffledFolds(2))
    result = CliRunner().invoke(command(), ["check", "leaks", "--features", "base", "--bars", "1000"])

    assert isinstance(result.exception, LeakageError)
    assert result.exception.exit_code == 4
    assert "which nobody can" in " ".join(result.stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--features", "core"], "more than candles"),
        (["--source", "binance://"], "neither files:PATH nor simulated://"),
    ],
)
def test_what_cannot_be_checked_is_refused(options: list[str], expected: str) -> None:
    result = CliRunner().invoke(command(), ["check", "leaks", *options])

    assert isinstance(result.exception, InputError)
    assert expected in str(result.exception)
