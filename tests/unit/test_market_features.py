"""Features of book, trades and contracts on books and tapes small enough to reckon by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from ratchet.features.kernel.market import MARKET_FORMULAS, new_market
from ratchet.features.streaming.events import EventKind
from tests.oracles.market import Event
from tests.oracles.market_player import MARKET_FEATURES, play

SECOND = 1_000_000_000
START_NS = 1_699_999_200 * SECOND  # a full quarter of an hour
BOOK_NAMES = {item.name for item in MARKET_FEATURES if item.source == "book"}
TRADE_NAMES = {item.name for item in MARKET_FEATURES if item.source == "trades"}
WINDOWS = ("_1s", "_10s", "_60s", "log_depth", "mean_size_z", "toxicity")


def _book(
    seconds: float,
    *,
    bid: float = 100.0,
    ask: float = 101.0,
    bid_size: float = 1.0,
    ask_size: float = 1.0,
    n_levels: float = 10,
) -> Event:
    """Return a book with one price unit between levels and size 1 behind the best."""
    places = range(10)
    values = (
        *(bid - n if n < n_levels else math.nan for n in places),
        *((bid_size if n == 0 else 1.0) if n < n_levels else math.nan for n in places),
        *(ask + n if n < n_levels else math.nan for n in places),
        *((ask_size if n == 0 else 1.0) if n < n_levels else math.nan for n in places),
    )
    return Event(EventKind.BOOK, START_NS + round(seconds * SECOND), values)


def _trade(seconds: float, price: float = 100.0, size: float = 1.0, side: float = 1.0) -> Event:
    return Event(EventKind.TRADE, START_NS + round(seconds * SECOND), (price, size, side))


def _contract(hours: float, **fields: float) -> Event:
    names = ("funding", "interest", "mark", "index", "longs", "shorts")
    values = tuple(fields.get(name, math.nan) for name in names)
    return Event(EventKind.DERIVATIVE, START_NS + round(hours * 3_600 * SECOND), values)


def _mark(kind: EventKind, seconds: float) -> Event:
    return Event(kind, START_NS + round(seconds * SECOND))


def _values(events: Sequence[Event], seconds: float) -> dict[str, float]:
    """Return all features at a time after the events."""
    asked = [event.ts_ns for event in events[:-1]] + [START_NS + round(seconds * SECOND)]
    row = play(new_market(), events, asked)[-1]
    return dict(zip((item.name for item in MARKET_FEATURES), row.tolist(), strict=True))


def _known(values: dict[str, float]) -> set[str]:
    return {name for name, value in values.items() if not math.isnan(value)}


def test_counts_are_those_of_the_sets() -> None:
    """28 + 15 + 40 + 30 + 12, each name once, each formula known to the kernel and each of the kernel's used."""
    counts = Counter(item.family for item in MARKET_FEATURES)
    assert counts == {"book": 28, "trade": 15, "depth": 40, "flow": 30, "derivative": 12}
    assert len({item.name for item in MARKET_FEATURES}) == 125
    names = [function.__name__ for function in MARKET_FORMULAS]
    assert len(names) == len(set(names))
    assert {item.formula for item in MARKET_FEATURES} == set(names)


def test_the_state_is_small() -> None:
    """About 20 KB per symbol."""
    assert sum(array.nbytes for array in new_market()) < 21_000


@pytest.mark.parametrize(
    ("change", "flow"),
    [
        ({"bid": 100.5, "bid_size": 4.0}, 4.0),  # a better bid adds all of its size
        ({"bid": 100.0, "bid_size": 4.0}, 4.0 - 2.0),  # the same bid, the difference
        ({"bid": 99.5, "bid_size": 4.0}, -2.0),  # a lower bid takes away all that was there
        ({"ask": 100.5, "ask_size": 4.0}, -4.0),  # a better ask adds all of its size to the sellers
        ({"ask": 101.0, "ask_size": 4.0}, -(4.0 - 3.0)),
        ({"ask": 101.5, "ask_size": 4.0}, 3.0),
    ],
)
def test_order_flow_follows_the_six_cases(change: dict[str, float], flow: float) -> None:
    """Cont, Kukanov and Stoikov's e_n, over the mean best size of the one book in the window."""
    before = {"bid": 100.0, "bid_size": 2.0, "ask": 101.0, "ask_size": 3.0}
    after = {**before, **change}
    alive = [_mark(EventKind.BOOK_ALIVE, seconds) for seconds in range(20, 121, 20)]
    values = _values([_book(0, **before), *alive, _book(130.5, **after)], 130.5)
    assert values["ofi_1s"] == pytest.approx(flow / ((after["bid_size"] + after["ask_size"]) / 2))
    assert values["ofi_10s"] == values["ofi_60s"] == values["ofi_1s"]


def test_order_flow_of_levels_is_shared_by_their_mean_size() -> None:
    """Level 3 grows by 5 on the bid: its flow is 5 over the mean of 20 sizes; the integrated flow is a tenth of it."""
    first = _book(0)
    values = list(first.values)
    values[13] = 6.0
    second = Event(EventKind.BOOK, START_NS + 11 * SECOND + 1, tuple(values))
    found = _values([first, second], 11.01)
    assert found["ofi_level_3_1s"] == found["ofi_level_3_10s"] == pytest.approx(5.0 / (25.0 / 20))
    assert found["ofi_level_2_10s"] == found["ofi_10s"] == 0.0
    assert found["integrated_ofi_10s"] == pytest.approx(found["ofi_level_3_10s"] / 10)
    assert math.isnan(found["ofi_level_3_60s"])


def test_a_book_by_hand() -> None:
    """Bid 100 x 3, ask 101 x 1, then one unit of price per level and size 1."""
    values = _values([_book(0, bid_size=3.0, ask_size=1.0)], 0)
    mid = 100.5
    assert values["spread_bps"] == pytest.approx(1 / mid * 1e4)
    assert values["microprice_bps"] == pytest.approx(((101 * 3 + 100 * 1) / 4 - mid) / mid * 1e4)
    bid_price, ask_price = (100 * 3 + 99 + 98 + 97 + 96) / 7, (101 + 102 + 103 + 104 + 105) / 5
    weighted = (ask_price * 7 + bid_price * 5) / 12
    assert values["weighted_mid_5_bps"] == pytest.approx((weighted / mid - 1) * 1e4)
    assert [values[f"imbalance_{n}"] for n in (1, 3, 5, 10)] == pytest.approx([2 / 4, 2 / 8, 2 / 12, 2 / 22])
    assert values["level_gap_bid_bps"] == values["level_gap_ask_bps"] == pytest.approx(1 / mid * 1e4)
    assert values["ask_distance_9_bps"] == pytest.approx(9.5 / mid * 1e4)
    assert values["bid_share_0"] == pytest.approx(3 / 22)
    pressures = [3 / 0.5 + sum(1 / (n + 0.5) for n in range(1, 10)), sum(1 / (n + 0.5) for n in range(10))]
    assert values["book_pressure"] == pytest.approx((pressures[0] - pressures[1]) / sum(pressures))
    flat = _values([_book(0)], 0)
    assert flat["depth_entropy"] == pytest.approx(1.0)
    distances = [(n + 0.5) / mid * 1e4 for n in range(10)]
    shares = [(n + 1) / 10 for n in range(10)]
    slope = sum(x * y for x, y in zip(distances, shares, strict=True)) / sum(x * x for x in distances)
    assert flat["book_slope_ask"] == flat["book_slope_bid"] == pytest.approx(slope)


def test_an_order_fills_level_by_level() -> None:
    """10,000 take 50 units at 101 (5,050) and the rest of 4,950 at 102; 100,000 fill at the worst of ten levels."""
    values = list(_book(0).values)
    values[30:40] = [50.0] * 10
    found = _values([Event(EventKind.BOOK, START_NS, tuple(values))], 0)
    assert found["fill_cost_ask_10k_bps"] == pytest.approx((10_000 / (50 + 4_950 / 102) / 100.5 - 1) * 1e4)
    visible = sum(50 * price for price in range(101, 111))
    quantity = 500 + (100_000 - visible) / 110
    assert found["fill_cost_ask_100k_bps"] == pytest.approx((100_000 / quantity / 100.5 - 1) * 1e4)
    shallow = sum(range(91, 101))  # one unit at each bid, the rest at the worst
    quantity = 10 + (10_000 - shallow) / 91
    assert found["fill_cost_bid_10k_bps"] == pytest.approx((1 - 10_000 / quantity / 100.5) * 1e4)


def test_a_bounce_between_two_prices_is_roll_s_spread() -> None:
    """Strictly alternating trades have a serial covariance of minus the squared step, which implies twice the step."""
    tape = [_trade(0.5 * n, price=100.0 + n % 2) for n in range(200)]
    values = _values(tape, 99.6)
    assert values["roll_spread_60s_bps"] == pytest.approx(2 * math.log(1.01) * 1e4)
    rising = [_trade(0.5 * n, price=100.0 + n) for n in range(200)]
    assert _values(rising, 99.6)["roll_spread_60s_bps"] == 0.0


def test_a_price_that_moves_with_net_volume_has_that_impact() -> None:
    """Each second nets q and moves the price by 2 bps times q: lambda is 2 bps times the mean volume of a second."""
    chance = np.random.default_rng(1)
    tape, price, volumes = [], 100.0, []
    for second in range(200):
        size, side = float(chance.integers(1, 9)), float(chance.choice([-1.0, 1.0]))
        price *= math.exp(2e-4 * size * side)
        volumes.append(size)
        tape.append(_trade(second + 0.5, price, size, side))
    values = _values(tape, 200)
    assert values["kyle_lambda_60s"] == pytest.approx(2.0 * np.mean(volumes[-60:]))


def test_one_trade_a_second_by_hand() -> None:
    """Regular equal buys at one price: no variation, everything bought, one trade a second."""
    values = _values([_trade(second, size=2.0) for second in range(1, 131)], 130)
    assert [values[f"signed_volume_ratio_{n}s"] for n in (1, 10, 60)] == [1.0, 1.0, 1.0]
    assert values["trade_rate_10s"] == 1.0
    assert (values["mean_size_z"], values["interarrival_cv_60s"], values["tick_volatility_10s_bps"]) == (0.0, 0.0, 0.0)
    assert values["interarrival_mean_60s"] == 1.0
    assert (values["signed_run"], values["toxicity"]) == (130.0, 1.0)
    assert (values["amihud_60s"], values["large_trade_share_60s"]) == (0.0, 0.0)
    assert math.isnan(values["vwap_mid_60s_bps"])  # trades without a book


def test_a_large_trade_is_large_against_the_minute_before_it() -> None:
    """Ten units after a minute of ones are large; their share of the minute's 69 is what the feature says."""
    tape = [_trade(second, size=10.0 if second == 129 else 1.0) for second in range(1, 131)]
    assert _values(tape, 130)["large_trade_share_60s"] == pytest.approx(10 / 69)


def test_without_a_source_nothing_is_known() -> None:
    """A book alone gives no trade feature, trades alone no book feature, neither any of contracts."""
    books = [_book(second) for second in range(0, 200, 10)]
    trades = [_trade(second) for second in range(200)]
    assert _known(_values(books, 195)) == BOOK_NAMES
    assert _known(_values(trades, 199)) == TRADE_NAMES - {"vwap_mid_60s_bps"}
    assert _known(_values([_mark(EventKind.BOOK_ALIVE, 0), _mark(EventKind.TRADES_LOST, 1)], 1)) == set()


def test_a_lost_book_is_missing_until_its_windows_are_whole_again() -> None:
    """Lost: nothing. Back: what needs no window at once, 1 s, 10 s and 60 s as soon as they lie behind it."""
    before = [_book(second) for second in range(0, 120, 10)]
    lost = [*before, _mark(EventKind.BOOK_LOST, 119)]
    assert _known(_values(lost, 119)) == set()
    assert _known(_values([*lost, _mark(EventKind.BOOK_ALIVE, 120)], 120)) == set()
    back = [*lost, _book(130.05)]
    instant = {name for name in BOOK_NAMES if not any(mark in name for mark in WINDOWS)}
    assert _known(_values(back, 130.05)) == instant
    assert "ofi_1s" not in _known(_values(back, 131.0))
    assert {"ofi_1s", *(f"ofi_level_{n}_1s" for n in range(10))} == _known(_values(back, 131.01)) - instant
    assert "ofi_10s" not in _known(_values(back, 140.0))
    assert {"ofi_10s", "imbalance_change_10s", "book_rate_10s"} <= _known(_values(back, 140.01))
    alive = [*back, *(_mark(EventKind.BOOK_ALIVE, second) for second in (150, 170, 190))]
    assert "spread_z_60s" not in _known(_values(alive, 190.0))
    assert _known(_values(alive, 190.01)) == BOOK_NAMES


def test_a_silent_book_is_unknown_after_thirty_seconds() -> None:
    """Signs of life keep it known; a lapse counts as a loss."""
    books = [_book(second) for second in range(0, 120, 10)]
    assert _known(_values(books, 140.0)) == BOOK_NAMES
    assert _known(_values(books, 140.1)) == set()
    assert _known(_values([*books, _mark(EventKind.BOOK_ALIVE, 140.0)], 170.0)) == BOOK_NAMES
    revived = _known(_values([*books, _mark(EventKind.BOOK_ALIVE, 140.1)], 140.2))
    assert "spread_bps" in revived
    assert "ofi_1s" not in revived


def test_a_book_that_cannot_be_is_a_lost_one() -> None:
    """Crossed, one-sided and empty books."""
    books = [_book(second) for second in range(0, 120, 10)]
    one_sided = Event(EventKind.BOOK, START_NS + 121 * SECOND, (*_book(0).values[:20], *20 * (math.nan,)))
    for bad in (_book(121, bid=101.0), _book(121, n_levels=0), one_sided, _book(121, bid_size=0.0)):
        assert _known(_values([*books, bad], 121)) == set()


def test_a_shallow_book_lacks_what_needs_more_levels() -> None:
    """With four levels on each side, features over five and ten are missing and those over three are there."""
    values = _values([_book(second, n_levels=4) for second in range(0, 120, 10)], 119)
    known = _known(values)
    assert {"imbalance_1", "imbalance_3", "ofi_60s", "ofi_level_3_60s", "ask_share_3", "fill_cost_bid_10k_bps"} <= known
    missing = {"imbalance_5", "imbalance_10", "book_slope_bid", "ofi_level_4_1s", "ask_share_4", "log_depth_bid_5"}
    assert not missing & known


def test_seen_trades_without_one_in_the_window_are_neutral_or_missing() -> None:
    """After a silence, flows, rates and variation are 0; ratios of nothing are missing."""
    values = _values([_trade(second) for second in range(130)], 400)
    neutral = {name for name in TRADE_NAMES if "volume_ratio" in name or "rate" in name or "volatility" in name}
    assert {values[name] for name in neutral} == {0.0}
    assert _known(values) == neutral | {"signed_run", "toxicity"}


def test_lost_trades_are_missing_until_their_windows_are_whole_again() -> None:
    """A loss forgets the run and the buckets; a window counts once it lies behind the first trade after the loss."""
    tape = [_trade(0.5 * n) for n in range(300)]
    assert _known(_values([*tape, _mark(EventKind.TRADES_LOST, 150)], 150)) == set()
    back = [*tape, _mark(EventKind.TRADES_LOST, 150), _trade(150.25, side=-1.0)]
    values = _values(back, 150.3)
    assert _known(values) == {"signed_run"}
    assert values["signed_run"] == -1.0
    assert _known(_values(back, 151.3)) == {"signed_run", "signed_volume_ratio_1s"}
    assert "trade_rate_10s" in _known(_values(back, 161.0))


def test_what_is_no_trade_changes_nothing() -> None:
    """A price or size that is not positive and finite is left out."""
    tape = [_trade(second) for second in range(100)]
    bad = [_trade(99.5, price, size) for price, size in ((0.0, 1.0), (math.nan, 1.0), (100.0, 0.0), (100.0, math.inf))]
    assert _values([*tape, *bad], 100) == pytest.approx(_values(tape, 100), nan_ok=True, abs=0.0, rel=0.0)


def test_features_are_free_of_the_units_of_price_and_volume() -> None:
    """Other powers of two of price and size change no feature but the cost of a fixed sum of money."""
    rows = []
    for price, size in ((1.0, 1.0), (1_024.0, 1 / 128)):
        chance = np.random.default_rng(2)
        events = []
        for n in range(600):
            bid, sizes = 100.0 + chance.integers(-2, 3), chance.integers(1, 9, 20)
            values = np.concatenate([bid - np.arange(10.0), sizes[:10], bid + 1 + np.arange(10.0), sizes[10:]])
            values[:10] *= price
            values[20:30] *= price
            values[10:20] *= size
            values[30:] *= size
            events.append(Event(EventKind.BOOK, START_NS + n * SECOND // 4, tuple(values.tolist())))
            traded = (bid * price, float(chance.integers(1, 9)) * size, float(chance.choice([-1.0, 1.0])))
            events.append(Event(EventKind.TRADE, START_NS + n * SECOND // 4 + 7, traded))
        rows.append(_values(events, 150))
    free = [name for name in BOOK_NAMES | TRADE_NAMES if not name.startswith("fill_cost")]
    assert not any(math.isnan(rows[0][name]) for name in free)
    assert [rows[1][name] for name in free] == pytest.approx([rows[0][name] for name in free], rel=1e-12, abs=1e-12)


def test_a_contract_by_hand() -> None:
    """A day of messages every quarter of an hour: rising open interest, a widening basis, liquidations of longs."""
    events = [
        _contract(
            n / 4 + 1 / 3_600,
            funding=1e-4 + n * 1e-6,
            interest=1_000.0 * 1.01**n,
            mark=100.0,
            index=100.0 / (1 + n * 1e-4),
        )
        for n in range(130)
    ]
    events.append(_contract(32.26, longs=3_000.0, shorts=1_000.0))
    values = _values(events, 32.3 * 3_600)
    assert values["funding_rate_bps"] == pytest.approx((1e-4 + 129e-6) * 1e4)
    assert values["funding_change_8h_bps"] == pytest.approx(32e-6 * 1e4)
    assert values["interest_step"] == pytest.approx(math.log(1.01))
    assert values["interest_change_1h"] == pytest.approx(4 * math.log(1.01))
    assert values["interest_change_24h"] == pytest.approx(96 * math.log(1.01))
    assert values["basis_bps"] == pytest.approx(129.0)
    assert values["basis_change_1h_bps"] == pytest.approx(4.0)
    assert values["basis_deviation_24h_bps"] == pytest.approx(47.5)
    assert math.isnan(values["liquidation_imbalance_1h"])  # they are known for minutes only


def test_liquidations_by_hand() -> None:
    """Zeros every hour keep the feed known; 3,000 of longs and 1,000 of shorts come in the last hour of a day."""
    events = [_contract(hour, longs=0.0, interest=1_000.0, mark=100.0) for hour in range(26)]
    events[3] = _contract(3, shorts=4_000.0, interest=1_000.0, mark=100.0)
    events.append(_contract(25.1, longs=3_000.0, shorts=1_000.0))
    values = _values(events, 25.2 * 3_600)
    assert values["liquidation_imbalance_1h"] == 0.5
    assert values["liquidation_imbalance_24h"] == pytest.approx((3_000 - 5_000) / 8_000)
    assert values["liquidation_surge_24h"] == 0.5
    assert values["liquidation_intensity_1h"] == pytest.approx(math.log1p(4_000 / 100_000 * 1e4))
    quiet = _values([*events[4:-1], _contract(26, longs=0.0)], 26 * 3_600)
    assert quiet["liquidation_imbalance_1h"] == 0.0


def test_contract_inputs_have_their_ages() -> None:
    """Funding counts for nine hours, the others for two; each is missing on its own."""
    events = [_contract(0, funding=1e-4, interest=5.0, mark=100.0, index=100.0), _contract(1, interest=6.0)]
    assert _known(_values(events, 2 * 3_600)) >= {"funding_rate_bps", "interest_step", "basis_bps"}
    assert _known(_values(events, 2 * 3_600 + 1)) == {"funding_rate_bps", "interest_step", "interest_change_1h"}
    assert _known(_values(events, 3 * 3_600 + 1)) == {"funding_rate_bps"}
    assert _known(_values(events, 9 * 3_600 + 1)) == set()
