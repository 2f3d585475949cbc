"""Every market feature against its oracle, over streams with bursts, silences, losses and shallow books."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.features.kernel.market import Market, new_market
from ratchet.features.streaming.events import EventKind
from tests.oracles.market import Event, expected
from tests.oracles.market_player import MARKET_FEATURES, play

MS = 1_000_000
SECOND = 1_000 * MS
START_NS = 1_700_000_000 * SECOND
STEPS_NS = (0, 1, MS, 50 * MS, 99 * MS, 100 * MS, 300 * MS, SECOND, 2 * SECOND + 3)
SILENCES_NS = tuple(seconds * SECOND for seconds in (29, 30, 31, 70, 200, 3_000, 7_300, 40_000))
TOLERANCE = 1e-9


def _side(chance: random.Random, price: int, step: int, n_levels: int) -> list[float]:
    prices, sizes = [], []
    for level in range(10):
        is_shown = level < n_levels
        prices.append(price / 100 if is_shown else math.nan)
        sizes.append(chance.randint(1, 80) / 8 if is_shown else math.nan)
        price += step * chance.choice([1, 1, 2])
    return prices + sizes


def _values(chance: random.Random, kind: EventKind, tick: int) -> tuple[float, ...]:
    """Return values on a grid of eighths, so that sums of sizes are exact and no comparison hangs on rounding."""
    if kind is EventKind.BOOK:
        spread = chance.choice([0] + 20 * [1] + 10 * [2, 3])  # 0: a book that cannot be trusted
        depths = [10 if chance.random() < 0.97 else chance.randint(0, 9) for _ in range(2)]
        return (*_side(chance, tick, -1, depths[0]), *_side(chance, tick + spread, 1, depths[1]))
    if kind is EventKind.TRADE:
        largest = 24 if chance.random() < 0.95 else 400
        return ((tick + chance.choice([0, 1])) / 100, chance.randint(1, largest) / 8, chance.choice([1.0, -1.0]))
    if kind is EventKind.DERIVATIVE:
        values = [
            chance.randint(-30, 30) * 1e-5,
            float(chance.randint(1_000, 2_000)),
            100 + chance.random(),
            100 + chance.random(),
            chance.randint(0, 5) * 100.0,
            chance.randint(0, 5) * 100.0,
        ]
        return tuple(value if chance.random() < 0.6 else math.nan for value in values)
    return ()


KINDS = 45 * [EventKind.BOOK] + 45 * [EventKind.TRADE] + 5 * [EventKind.DERIVATIVE] + 3 * [EventKind.BOOK_ALIVE]
LOSSES = [EventKind.BOOK_LOST, EventKind.TRADES_LOST]


def make_stream(seed: int, n: int, *, loss_chance: float, silence_chance: float) -> tuple[list[Event], list[int]]:
    """Return events and, for each, a time at or after it and not after the next one."""
    chance = random.Random(seed)  # noqa: S311 -- a test's stream
    ts_ns, tick = START_NS + chance.randint(0, SECOND), 10_000
    events: list[Event] = []
    asked: list[int] = []
    for _ in range(n):
        ts_ns += chance.choice(STEPS_NS)
        if chance.random() < 0.02:
            ts_ns = (ts_ns // SECOND + 1) * SECOND
        if chance.random() < silence_chance:
            ts_ns += chance.choice(SILENCES_NS)
        if asked:
            asked[-1] = chance.randint(asked[-1], ts_ns)
        tick += chance.choice([-1, 0, 0, 0, 1])
        kind = chance.choice(LOSSES if chance.random() < loss_chance else KINDS)
        events.append(Event(kind, ts_ns, _values(chance, kind, tick)))
        asked.append(ts_ns)
    asked[-1] += chance.choice([0, 1, SECOND, 20 * SECOND, 40 * SECOND])
    return events, asked


def _check(events: list[Event], asked: list[int], places: list[int]) -> set[str]:
    """Compare the features at some events with the oracle; return the names of those that had a value."""
    found = play(new_market(), events, asked)
    seen = set()
    for place in places:
        for column, feature in enumerate(MARKET_FEATURES):
            wanted = expected(feature, events[: place + 1], asked[place])
            assert found[place, column] == pytest.approx(wanted, rel=TOLERANCE, abs=TOLERANCE, nan_ok=True), (
                feature.name,
                place,
            )
            if not math.isnan(wanted):
                seen.add(feature.name)
    return seen


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    n=st.integers(1, 400),
    loss_chance=st.sampled_from([0.0, 0.004, 0.05]),
    silence_chance=st.sampled_from([0.0, 0.004, 0.05]),
)
def test_every_window_equals_its_brute_force_oracle(
    seed: int, n: int, loss_chance: float, silence_chance: float
) -> None:
    """All 125 features, at times between events too, to 1e-9; missing exactly where the oracle says so."""
    events, asked = make_stream(seed, n, loss_chance=loss_chance, silence_chance=silence_chance)
    _check(events, asked, [n - 1, n // 2])


def test_the_oracle_sees_every_feature_of_book_and_trades() -> None:
    """One long stream without losses gives each of the 113 a value, so that the comparison is not of NaNs alone."""
    events, asked = make_stream(7, 900, loss_chance=0.0, silence_chance=0.0)
    seen = _check(events, asked, [450, 700, 899])
    assert {item.name for item in MARKET_FEATURES if item.family != "derivative"} <= seen


def test_the_oracle_sees_every_feature_of_derivatives() -> None:
    """Three days of messages, ten minutes apart, with one input or more left out of most."""
    chance = random.Random(3)  # noqa: S311 -- a test's stream
    times = [START_NS + (600 * n + chance.randint(0, 300)) * SECOND for n in range(432)]
    events = [Event(EventKind.DERIVATIVE, ts_ns, _values(chance, EventKind.DERIVATIVE, 0)) for ts_ns in times]
    asked = [chance.randint(a, b) for a, b in zip(times, [*times[1:], times[-1] + 600 * SECOND], strict=True)]
    seen = _check(events, asked, [*range(0, 432, 27), 431])
    assert {item.name for item in MARKET_FEATURES if item.family == "derivative"} <= seen


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.integers(1, 299))
def test_a_copied_state_goes_on_bit_for_bit(seed: int, cut: int) -> None:
    """The arrays are all there is: a copy taken anywhere gives the same bits from there on."""
    events, asked = make_stream(seed, 300, loss_chance=0.004, silence_chance=0.01)
    whole = play(new_market(), events, asked)
    market = new_market()
    play(market, events[:cut], asked[:cut])
    restored = Market._make(array.copy() for array in market)
    assert play(restored, events[cut:], asked[cut:]).tobytes() == whole[cut:].tobytes()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_formulas_only_read(seed: int) -> None:
    """A market that was asked for everything after each event is the same, bit for bit, as one that never was."""
    events, asked = make_stream(seed, 200, loss_chance=0.004, silence_chance=0.01)
    often, never = new_market(), new_market()
    play(often, events, asked)
    play(never, events, asked, features=())
    assert [array.tobytes() for array in often] == [array.tobytes() for array in never]


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_values_do_not_depend_on_where_the_history_starts(seed: int) -> None:
    """Windows of a stream begun later are the same bits once covered; toxicity, run and Roll's first pair are not."""
    events, asked = make_stream(seed, 800, loss_chance=0.0, silence_chance=0.0)
    late = 300
    whole, cut = play(new_market(), events, asked)[late:], play(new_market(), events[late:], asked[late:])
    for column, feature in enumerate(MARKET_FEATURES):
        known = ~np.isnan(cut[:, column])
        if feature.family != "derivative" and not feature.is_recursive and feature.formula != "roll_spread_bps":
            assert whole[known, column].tobytes() == cut[known, column].tobytes(), feature.name
    assert np.isnan(cut[0]).sum() > np.isnan(cut).sum(axis=1).min()
