"""Slices: which row belongs where, what was known at its decision, and whether the intervals hold."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.metrics import accuracy, accuracy_gain, hit_interval, to_metric
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import Slice
from ratchet.evaluation.slices import slice_accuracy, trend_regime, volatility_regime
from tests.panels import NAMES, rival_predictions

FloatArray = NDArray[np.float64]


def rows_with(bar_return: FloatArray) -> Predictions:
    """One symbol with the given returns of consecutive hours."""
    rows, _ = rival_predictions((0.2, 0.0), n_times=len(bar_return), horizon=1, seed=0)
    return replace(rows, bar_return=bar_return)


def of_kind(slices: tuple[Slice, ...], kind: str) -> dict[str, Slice]:
    """The slices of one kind by name."""
    return {one.name: one for one in slices if one.kind == kind}


def test_a_symbols_slice_is_the_accuracy_of_its_own_rows() -> None:
    """Value and interval are those of `hit_interval` on the symbol's rows, the gain those of `accuracy_gain`."""
    rows, champion = rival_predictions((0.3, 0.1), n_times=200, horizon=3, seed=1, n_symbols=3)
    label = np.where(np.abs(rows.ret) < 0.001, 0, rows.label).astype(np.int8)  # some are flat, no stretch is all flat
    rows, champion = replace(rows, label=label), replace(champion, label=label)
    found = of_kind(slice_accuracy(rows, champion=champion, seed=4), "symbol")

    assert list(found) == sorted(NAMES[:3])
    for name, one in found.items():
        own = np.flatnonzero(rows.symbol == name)
        mine, other = rows.take(own), champion.take(own)
        drawn = {"horizon": 3, "seed": 4}
        assert one.n_moves == np.count_nonzero(mine.label) < 200
        assert one.accuracy == hit_interval(mine.ts_ns, mine.label, mine.p_up, **drawn)
        gain = to_metric(accuracy_gain(mine.ts_ns, mine.label, mine.p_up, other.p_up, **drawn))
        assert one.gain_over_champion == gain


def test_without_a_champion_there_is_no_gain_and_against_itself_it_is_zero() -> None:
    """A paired gain over the same answers has no error at all."""
    rows, _ = rival_predictions((0.3, 0.1), n_times=300, horizon=1, seed=1)
    alone, same = slice_accuracy(rows, seed=0), slice_accuracy(rows, champion=rows, seed=0)

    assert [one.gain_over_champion for one in alone] == [None] * len(alone)
    for one in same:
        assert one.gain_over_champion is not None
        assert one.gain_over_champion.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert [one.model_copy(update={"gain_over_champion": None}) for one in same] == list(alone)


def test_a_champion_of_other_rows_is_refused() -> None:
    """Pairs need the same rows."""
    rows, champion = rival_predictions((0.3, 0.1), n_times=100, horizon=1, seed=1)
    with pytest.raises(InputError, match="different rows"):
        slice_accuracy(rows, champion=champion.take(np.arange(50)), seed=0)


def test_slices_of_fewer_than_30_moves_are_left_out() -> None:
    """29 moves of a symbol are no slice, 30 are; flat rows are no moves; nothing at all gives no slices."""
    rows, _ = rival_predictions((0.3, 0.1), n_times=40, horizon=1, seed=1, n_symbols=2)
    count = np.cumsum(rows.symbol == NAMES[0])
    for n_moves, names in ((29, {NAMES[1]}), (30, set(NAMES[:2]))):
        label = np.where((rows.symbol == NAMES[0]) & (count > n_moves), 0, rows.label).astype(np.int8)
        assert set(of_kind(slice_accuracy(replace(rows, label=label), seed=0), "symbol")) == names
    assert slice_accuracy(rows.take(np.arange(10)), seed=0) == ()


def test_the_hour_is_that_of_the_decision_in_blocks_of_four() -> None:
    """A bar that opens at 03:00 is decided at 04:00; each block counts its own hits, and needs 100 moves."""
    rows, _ = rival_predictions((0.3, 0.1), n_times=24 * 30, horizon=1, seed=1)
    hour = np.arange(1, len(rows) + 1) % 24  # the first bar opens at midnight
    found = of_kind(slice_accuracy(rows, seed=0), "hour")

    assert list(found) == ["00-04", "04-08", "08-12", "12-16", "16-20", "20-24"]
    for start, one in zip(range(0, 24, 4), found.values(), strict=True):
        inside = (hour >= start) & (hour < start + 4)
        assert one.n_moves == inside.sum() == 120
        assert one.accuracy.value == accuracy(rows.label[inside], rows.p_up[inside])
    assert not of_kind(slice_accuracy(rows.take(np.arange(24 * 20)), seed=0), "hour")
    assert not of_kind(slice_accuracy(replace(rows, timeframe="1d"), seed=0), "hour")


def test_volatility_is_low_or_high_against_the_symbols_own_past() -> None:
    """Calm, wild, calm: unknown for 47 + 48 rows, high soon after it turns wild, low soon after it calms."""
    rng = np.random.default_rng(0)
    sigma = np.repeat([0.002, 0.02, 0.002], 300)
    regime = volatility_regime(rows_with(sigma * rng.normal(size=900)))

    assert set(regime[:95]) == {""}
    assert "" not in regime[95:]
    assert set(regime[310:340]) == {"high"}
    assert set(regime[660:700]) == {"low"}


def test_volatility_that_never_changes_is_in_the_middle() -> None:
    """Ties rank in the middle, so equal moves up and down are neither calm nor wild."""
    regime = volatility_regime(rows_with(np.tile([0.01, 1 / 1.01 - 1], 200)))

    assert set(regime[95:]) == {"middle"}


def test_trend_is_up_down_or_flat() -> None:
    """A steady climb is up, a steady fall down, to and fro flat, and so is no move at all."""
    climb, fro = np.full(100, 0.001), np.tile([0.01, 1 / 1.01 - 1], 50)
    regime = trend_regime(rows_with(np.concatenate([climb, -climb, fro, np.zeros(100)])))

    assert set(regime[:47]) == {""}
    assert set(regime[47:100]) == {"up"}
    assert set(regime[150:200]) == {"down"}
    assert set(regime[250:300]) == {"flat"}
    assert set(regime[350:]) == {"flat"}


def test_regimes_split_a_random_walk_about_evenly() -> None:
    """Each third has a share between a quarter and four tenths."""
    rows = rows_with(np.random.default_rng(3).normal(0, 0.01, 20_000))
    for regime, names in (
        (volatility_regime(rows), ("low", "middle", "high")),
        (trend_regime(rows), ("down", "flat", "up")),
    ):
        shares = [float(np.mean(regime[95:] == name)) for name in names]
        assert sum(shares) == pytest.approx(1.0)
        assert all(0.25 < share < 0.42 for share in shares), shares


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(150, 700), st.floats(0.0, 0.5))
@example(1, 3000, 0.0)
def test_regimes_are_those_of_a_plain_loop(seed: int, n: int, share_flat: float) -> None:
    """Row by row from the definition, on returns of which some are exactly 0."""
    rng = np.random.default_rng(seed)
    bar_return = np.where(rng.random(n) < share_flat, 0.0, 0.01 * rng.standard_t(4, size=n))
    rows = rows_with(bar_return)
    logs = np.log1p(bar_return)
    windows = [logs[end - 48 : end] for end in range(48, n + 1)]
    volatility = np.array([math.sqrt(np.mean(window**2)) for window in windows])
    regimes, trends = volatility_regime(rows)[47:], trend_regime(rows)[47:]
    for index, window in enumerate(windows):
        before = volatility[max(index - 480, 0) : index]
        thirds = 3 * np.sum(1.0 + np.sign(volatility[index] - before)) / 2  # exact, unlike a share
        named = "low" if thirds < len(before) else "high" if thirds > 2 * len(before) else "middle"
        assert regimes[index] == (named if len(before) >= 48 else "")
        steps = window.sum() / (volatility[index] * math.sqrt(48)) if volatility[index] else 0.0
        assert trends[index] == ("down" if steps < -0.43 else "up" if steps > 0.43 else "flat")


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 599), st.sampled_from([0.0, 0.3, -0.3, 5.0]))
def test_what_happens_later_never_changes_a_regime(seed: int, bar: int, later: float) -> None:
    """Returns after a bar may be anything: up to and including that bar every row keeps its regimes."""
    rng = np.random.default_rng(seed)
    rows, _ = rival_predictions((0.2, 0.0), n_times=600, horizon=1, seed=0, n_symbols=2)
    rows = replace(rows, bar_return=0.01 * rng.standard_t(4, size=len(rows)).clip(-20, 20))
    after = rows.ts_ns > rows.ts_ns[2 * bar]
    changed = replace(rows, bar_return=np.where(after, later * rng.random(len(rows)), rows.bar_return))
    cut = rows.take(np.flatnonzero(~after))
    for regime in (volatility_regime, trend_regime):
        assert np.array_equal(regime(rows)[~after], regime(changed)[~after])
        assert np.array_equal(regime(rows)[~after], regime(cut))


def test_a_symbols_regime_does_not_depend_on_other_symbols() -> None:
    """Alone or among others, a symbol's rows have the same regimes."""
    rows, _ = rival_predictions((0.2, 0.0), n_times=400, horizon=1, seed=0, n_symbols=3)
    own = np.flatnonzero(rows.symbol == NAMES[1])
    for regime in (volatility_regime, trend_regime):
        assert np.array_equal(regime(rows)[own], regime(rows.take(own)))


def test_the_order_of_rows_does_not_matter() -> None:
    """Shuffled rows have the same regimes and give the same slices."""
    rows, _ = rival_predictions((0.2, 0.0), n_times=400, horizon=2, seed=0, n_symbols=2)
    order = np.random.default_rng(0).permutation(len(rows))
    for regime in (volatility_regime, trend_regime):
        assert np.array_equal(regime(rows)[order], regime(rows.take(order)))
    assert slice_accuracy(rows, seed=0) == slice_accuracy(rows.take(order), seed=0)


def test_a_slice_of_a_short_stretch_is_less_certain_than_its_rows_spread_out() -> None:
    """As many rows of a symbol say less where they fill one week than where they are spread over twenty."""
    rows, _ = rival_predictions((0.2, 0.0), n_times=2000, horizon=1, seed=0, n_symbols=2)
    own = rows.symbol == NAMES[0]
    width = []
    for kept in (np.arange(2000) < 100, np.arange(2000) % 20 == 0):
        inside = np.flatnonzero(~own | np.repeat(kept, 2))
        one = of_kind(slice_accuracy(rows.take(inside), seed=0), "symbol")[NAMES[0]]
        assert one.n_moves == 100
        width.append(one.accuracy.high - one.accuracy.low)

    assert width[0] > 1.1 * width[1]


@pytest.mark.parametrize("horizon", [1, 8])
def test_intervals_cover_the_truth_about_95_percent_of_the_time(horizon: int) -> None:
    """On models that are right equally often everywhere, 95 % intervals of every kind of slice mean 95 % or more."""
    skill, n_worlds = 0.2, 60
    truth = 0.5 + math.atan(skill) / math.pi
    covered: dict[str, list[bool]] = {"symbol": [], "volatility": [], "trend": [], "hour": []}
    for seed in range(n_worlds):
        rows, _ = rival_predictions((skill, 0.0), n_times=720, horizon=horizon, seed=seed, n_symbols=2)
        for one in slice_accuracy(rows, seed=seed, n_resamples=150):
            covered[one.kind].append(one.accuracy.low <= truth <= one.accuracy.high)

    for kind, found in covered.items():
        assert len(found) > n_worlds
        assert 0.92 <= np.mean(found) <= 0.995, (kind, np.mean(found))
