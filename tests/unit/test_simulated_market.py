"""The simulated market: it repeats exactly, and it hides precisely the signal that it says it hides."""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated import planted_drift
from ratchet.exchanges.simulated.microstructure import TRADES_PER_BAR, order_books, trades
from ratchet.market.candles import CANDLE_COLUMNS
from ratchet.market.venue import BOOK_COLUMNS, BOOK_LEVELS, TRADE_COLUMNS

BAND = 10e-4
ONE_SIDE_COST = 5e-4
Floats = NDArray[np.float64]


@cache
def market_of(seed: int = 7, n_bars: int = 4_000, has_signal: bool = True, shift: int | None = None) -> SimulatedMarket:
    config = SimulatedMarketConfig(seed=seed, n_bars=n_bars, has_signal=has_signal, shift_at_bar=shift)
    return SimulatedMarket(config)


def table(candles: pd.DataFrame, column: str) -> Floats:
    """One candle column as (bar, symbol), symbols in alphabetical order."""
    return candles.pivot_table(index="ts_event_ns", columns="symbol", values=column).to_numpy()


def up_table(market: SimulatedMarket) -> Floats:
    times = market.open_ns(np.arange(market.config.n_bars))
    return np.column_stack([market.up_probability(symbol, times) for symbol in sorted(market.symbols)])


def next_returns(market: SimulatedMarket) -> Floats:
    """Simple open-to-close return of the bar after each bar (bar - 1, symbol)."""
    candles = market.candles()
    return (table(candles, "close") / table(candles, "open") - 1)[1:]


def accuracy_and_error(hits: NDArray[np.bool_], counts: NDArray[np.bool_]) -> tuple[float, float]:
    """Accuracy over the rows that count, and its standard error with each bar's symbols taken as one cluster."""
    accuracy = hits[counts].mean()
    per_bar = np.where(counts, hits - accuracy, 0.0).sum(axis=1)
    return float(accuracy), float(np.sqrt((per_bar**2).sum()) / counts.sum())


def correlation(one: Floats, other: Floats) -> float:
    return float(np.mean((one - one.mean()) * (other - other.mean())) / (one.std() * other.std()))


def bayes_of(market: SimulatedMarket, first: int, last: int, band: float) -> float:
    times = market.open_ns(np.arange(first, last))
    return market.bayes_accuracy(np.repeat(market.symbols, len(times)), np.tile(times, len(market.symbols)), band)


def test_equal_configurations_give_equal_candles() -> None:
    """The seed determines every number, and another seed gives other numbers."""
    candles = market_of(n_bars=300).candles()
    pd.testing.assert_frame_equal(
        candles, SimulatedMarket(SimulatedMarketConfig(n_bars=300)).candles(), check_exact=True
    )
    assert not candles["close"].equals(market_of(seed=8, n_bars=300).candles()["close"])


def test_the_first_bars_do_not_depend_on_how_many_follow() -> None:
    """A longer market starts with the shorter one, bit by bit; so does a market that shifts later."""
    short = market_of(n_bars=517).candles()
    for longer in (market_of(), market_of(shift=517)):
        prefix = longer.candles().groupby("symbol").head(517).reset_index(drop=True)
        pd.testing.assert_frame_equal(short, prefix, check_exact=True)


def test_further_symbols_leave_the_first_ones_alone() -> None:
    """Adding symbols changes no candle of those that were there."""
    many = SimulatedMarket(SimulatedMarketConfig(n_bars=200, n_symbols=15)).candles()
    for n_symbols in (1, 2, 7):
        few = SimulatedMarket(SimulatedMarketConfig(n_bars=200, n_symbols=n_symbols)).candles()
        kept = many[many["symbol"].isin(few["symbol"].unique())].reset_index(drop=True)
        pd.testing.assert_frame_equal(few, kept, check_exact=True)


def test_candles_are_well_formed() -> None:
    """Prices and volumes are positive, high and low enclose open and close, bars join, and the grid has no hole."""
    market = market_of(shift=2_000)
    candles = market.candles()
    assert list(candles.columns) == list(CANDLE_COLUMNS)
    assert (candles["low"] > 0).all()
    assert (candles["volume"] > 0).all()
    assert (candles["low"] <= candles[["open", "close"]].min(axis=1)).all()
    assert (candles["high"] >= candles[["open", "close"]].max(axis=1)).all()
    assert (candles["high"] > candles["low"]).all()
    for _, bars in candles.groupby("symbol"):
        assert (bars["open"].to_numpy()[1:] == bars["close"].to_numpy()[:-1]).all()
        expected = market.config.start_ns + np.arange(4_000) * market.config.bar.ns
        assert (bars["ts_event_ns"].to_numpy() == expected).all()


def test_default_volatility_is_that_of_hourly_crypto() -> None:
    """Bars of the default market move by about 60 to 95 bps, and by a quarter of that on a sixteenth of an hour."""
    deviation_bps = np.std(next_returns(market_of()), axis=0) * 1e4
    assert ((deviation_bps > 60) & (deviation_bps < 95)).all()
    short_bars = SimulatedMarket(SimulatedMarketConfig(timeframe="225s"))
    np.testing.assert_allclose(short_bars.path.sigma, market_of().path.sigma / 4, rtol=1e-12)


def test_the_planted_probability_follows_from_past_candles_alone() -> None:
    """The drift recomputed from the published candles gives the probability, and garbling the future leaves it."""
    market = market_of(n_bars=400)
    candles, known = market.candles(), 250
    columns = {name: table(candles, name) for name in ("open", "close", "volume")}
    strength = market.config.signal_strength

    def drift_of(values: dict[str, Floats]) -> Floats:
        return planted_drift(values["open"], values["close"], values["volume"], strength=strength)

    garbled = {name: values.copy() for name, values in columns.items()}
    rng = np.random.default_rng(1)
    for values in garbled.values():
        values[known:] *= rng.uniform(0.5, 2.0, values[known:].shape)
    np.testing.assert_array_equal(drift_of(columns)[:known], drift_of(garbled)[:known])
    assert not np.allclose(drift_of(columns)[known:], drift_of(garbled)[known:])
    probability = np.vectorize(NormalDist().cdf)(drift_of(columns))
    np.testing.assert_allclose(up_table(market), probability, rtol=0, atol=1e-12)


def test_the_probability_is_the_documented_formula() -> None:
    """Written out for single bars, from nothing but the 24 candles up to each, the formula gives up_probability."""
    market = market_of(n_bars=400)
    for bar in (23, 24, 130, 399):
        known = market.candle_range("SOL/USDT", bar - 23, 24)
        returns, logs = (known["close"] / known["open"]).map(math.log), known["volume"].map(math.log)
        score = returns.tail(5).sum() / (np.sqrt(5) * np.sqrt((returns**2).mean()))
        weight = 1 + 0.5 * np.tanh((logs.iloc[-1] - logs.mean()) / logs.std(ddof=0))
        expected = NormalDist().cdf(-market.config.signal_strength * np.tanh(score) * weight)
        now = known["ts_event_ns"].to_numpy()[-1:]
        assert market.up_probability("SOL/USDT", now)[0] == pytest.approx(expected, abs=1e-9)
    assert (market.up_probability("SOL/USDT", market.open_ns(np.arange(23))) == 0.5).all()


def test_the_drift_that_moved_prices_is_the_published_one() -> None:
    """What is left of the returns after the published drift is standard normal noise with the agreed correlation."""
    market = market_of()
    path = market.path
    noise = np.log(path.closes / path.opens)[1:] / path.sigma[1:] - market.drift[:-1]
    assert np.abs(noise.mean(axis=0)).max() < 4 / np.sqrt(len(noise))
    np.testing.assert_allclose(noise.std(axis=0), 1, atol=0.05)
    off_diagonal = np.asarray(np.corrcoef(noise, rowvar=False))[~np.eye(6, dtype=bool)]
    np.testing.assert_allclose(off_diagonal, market.config.correlation, atol=0.05)
    assert abs(correlation(noise[1:, 0], noise[:-1, 0])) < 4 / np.sqrt(len(noise))


@pytest.mark.parametrize("seed", [7, 11])
@pytest.mark.parametrize("band", [0.0, BAND, 30e-4])
def test_the_oracle_reaches_the_bayes_accuracy(seed: int, band: float) -> None:
    """Betting on up_probability is right exactly as often as bayes_accuracy says, within Monte-Carlo error."""
    market = market_of(seed)
    moves, said_up = next_returns(market), up_table(market)[:-1] > 0.5
    counts = np.abs(moves) > band
    counts[:100] = False
    accuracy, error = accuracy_and_error((moves > 0) == said_up, counts)
    assert error < 0.006
    assert abs(accuracy - bayes_of(market, 100, 3_999, band)) < 4 * error


def test_probabilities_are_calibrated() -> None:
    """Among bars given about the same P(up), that share rises."""
    market = market_of()
    up, rose = up_table(market)[100:-1].ravel(), (next_returns(market)[100:] > 0).ravel()
    edges = np.quantile(up, np.linspace(0, 1, 9))
    for low, high in pairwise(edges):
        chosen = (up >= low) & (up <= high)
        assert abs(rose[chosen].mean() - up[chosen].mean()) < 4 * 0.5 / np.sqrt(chosen.sum() / 3)  # symbols correlate


def test_default_bayes_accuracy_is_about_seventy_percent() -> None:
    """With the default strength, 66 to 71 % is the best that anyone can do, the more in larger moves."""
    market = market_of()
    every, beyond_costs = bayes_of(market, 100, 3_999, 0.0), bayes_of(market, 100, 3_999, BAND)
    assert 0.66 < every < beyond_costs < 0.71
    assert beyond_costs > 0.68


def test_without_signal_nothing_beats_a_coin() -> None:
    """With the signal off the true accuracy is 50 %, and the rule that works with the signal on is at 50 % too."""
    market = market_of(has_signal=False)
    assert (up_table(market) == 0.5).all()
    assert bayes_of(market, 100, 3_999, BAND) == pytest.approx(0.5, abs=1e-3)
    candles = market.candles()
    drift = planted_drift(*(table(candles, name) for name in ("open", "close", "volume")), strength=1.0)
    moves = next_returns(market)
    counts = np.abs(moves) > BAND
    counts[:100] = False
    accuracy, error = accuracy_and_error((moves > 0) == (drift[:-1] > 0), counts)
    assert abs(accuracy - 0.5) < 4 * error


def test_the_signal_earns_money_after_costs() -> None:
    """Following the signal bar by bar earns after 10 bps a round trip; without a signal the same trading loses."""
    t_value = {}
    for has_signal in (True, False):
        market = market_of(has_signal=has_signal)
        candles = market.candles()
        drift = planted_drift(*(table(candles, name) for name in ("open", "close", "volume")), strength=1.0)
        position = np.sign(drift[100:-1])
        turnover = np.abs(np.diff(position, axis=0, prepend=0.0))
        net = (position * next_returns(market)[100:] - ONE_SIDE_COST * turnover).mean(axis=1)
        t_value[has_signal] = net.mean() / (net.std() / np.sqrt(len(net)))
    assert t_value[True] > 10
    assert t_value[False] < 0


def test_a_shift_reverses_the_signal_and_doubles_volatility() -> None:
    """From the shift on, the old rule is wrong as often as the new oracle is right; before it, nothing changed."""
    shift = 2_000
    market, steady = market_of(shift=shift), market_of()
    np.testing.assert_allclose(market.path.sigma[shift:], 2 * steady.path.sigma[shift:], rtol=1e-12)
    np.testing.assert_array_equal(up_table(market)[: shift - 1], up_table(steady)[: shift - 1])
    candles = market.candles()
    old_rule = planted_drift(*(table(candles, name) for name in ("open", "close", "volume")), strength=1.0)[:-1] > 0
    moves, oracle = next_returns(market), up_table(market)[:-1] > 0.5
    np.testing.assert_array_equal(old_rule[100 : shift - 1], oracle[100 : shift - 1])
    np.testing.assert_array_equal(old_rule[shift - 1 :], ~oracle[shift - 1 :])
    counts = np.abs(moves) > BAND
    counts[: shift - 1] = False
    accuracy, error = accuracy_and_error((moves > 0) == oracle, counts)
    assert abs(accuracy - bayes_of(market, shift - 1, 3_999, BAND)) < 4 * error
    assert accuracy_and_error((moves > 0) == old_rule, counts)[0] == pytest.approx(1 - accuracy)


def test_symbols_move_together() -> None:
    """Returns of any two symbols are clearly correlated, and not identical."""
    moves = next_returns(market_of())
    off_diagonal = np.asarray(np.corrcoef(moves, rowvar=False))[~np.eye(6, dtype=bool)]
    assert off_diagonal.min() > 0.3
    assert off_diagonal.max() < 0.8


def test_order_books_are_sound() -> None:
    """Books never cross, spreads are 1 to 3 bps around the close, prices are monotone and sizes positive."""
    market = market_of()
    books = order_books(market, "ETH/USDT", 3_500, 500)
    assert list(books.columns) == list(BOOK_COLUMNS)
    assert len(books) == 500

    def side(name: str) -> Floats:
        return books[[f"{name}_{level}" for level in range(BOOK_LEVELS)]].to_numpy()

    bids, asks = side("bid_price"), side("ask_price")
    mid = (bids[:, 0] + asks[:, 0]) / 2
    spread_bps = (asks[:, 0] - bids[:, 0]) / mid * 1e4
    assert (spread_bps > 0.999).all()
    assert (spread_bps < 3.001).all()
    assert (np.diff(bids, axis=1) < 0).all()
    assert (np.diff(asks, axis=1) > 0).all()
    assert (side("bid_size") > 0).all()
    assert (side("ask_size") > 0).all()
    bars = market.candle_range("ETH/USDT", 3_500, 500)
    np.testing.assert_allclose(mid, bars["close"], rtol=1e-12)
    inside = books["ts_event_ns"] - bars["ts_event_ns"]
    assert ((inside > 0) & (inside < market.config.bar.ns)).all()


def test_book_imbalance_leans_towards_the_coming_drift() -> None:
    """Imbalance is informative but noisy: clearly correlated with the drift of the next bar, far from a copy of it."""
    market = market_of()
    books = order_books(market, "BTC/USDT", 100, 3_800)
    bid, ask = (books[[f"{side}_size_{level}" for level in range(BOOK_LEVELS)]].sum(axis=1) for side in ("bid", "ask"))
    drift = market.drift[100:3_900, market.lane("BTC/USDT")]
    assert 0.4 < correlation(((bid - ask) / (bid + ask)).to_numpy(), drift) < 0.95


def test_trades_add_up_to_their_candles() -> None:
    """Trades aggregated by bar give back open, high, low, close and volume; all lie in the bar, in order."""
    market = market_of()
    tape = trades(market, "SOL/USDT", 3_500, 500)
    bars = market.candle_range("SOL/USDT", 3_500, 500)
    assert list(tape.columns) == list(TRADE_COLUMNS)
    assert len(tape) == 500 * TRADES_PER_BAR
    bar_open = (tape["ts_event_ns"] // market.config.bar.ns) * market.config.bar.ns
    made = tape.groupby(bar_open).agg(
        open=("price", "first"),
        high=("price", "max"),
        low=("price", "min"),
        close=("price", "last"),
        volume=("size", "sum"),
    )
    assert (made.index.to_numpy() == bars["ts_event_ns"].to_numpy()).all()
    np.testing.assert_allclose(made.to_numpy(), bars[list(made.columns)].to_numpy(), rtol=1e-12)
    assert (tape["price"].to_numpy() <= np.repeat(bars["high"].to_numpy(), TRADES_PER_BAR)).all()
    assert (tape["price"].to_numpy() >= np.repeat(bars["low"].to_numpy(), TRADES_PER_BAR)).all()
    assert tape["ts_event_ns"].is_monotonic_increasing
    assert tape["ts_event_ns"].is_unique
    assert tape["trade_id"].is_unique
    assert (tape["size"] > 0).all()
    assert set(tape["side"]) == {-1, 1}


def test_books_and_trades_of_a_bar_do_not_depend_on_the_range() -> None:
    """A bar's snapshot and trades are the same whether it is asked for alone, in a range, or of a longer market."""
    market, longer = market_of(n_bars=300), market_of()
    for make in (order_books, trades):
        whole = make(market, "XRP/USDT", 0, 300)
        rows = len(whole) // 300
        alone = make(longer, "XRP/USDT", 123, 1)
        expected = whole.iloc[123 * rows : 124 * rows].reset_index(drop=True)
        pd.testing.assert_frame_equal(alone, expected, check_exact=True)


def test_questions_about_other_bars_or_symbols_are_refused() -> None:
    """A time off the grid, a symbol that is not traded, and a decision that nothing follows are named in the error."""
    market = market_of(n_bars=300)
    start, last = market.config.start_ns, market.config.end_ns - market.config.bar.ns
    with pytest.raises(InputError, match="opens at some of the given times"):
        market.up_probability("BTC/USDT", [start + 1])
    with pytest.raises(InputError, match="PEPE/USDT is not traded here; there are BTC/USDT"):
        market.up_probability("PEPE/USDT", [start])
    with pytest.raises(InputError, match="a bar after each"):
        market.bayes_accuracy(["BTC/USDT"], [last], 0.0)
    with pytest.raises(InputError, match="needs rows"):
        market.bayes_accuracy([], [], 0.0)


def test_bayes_accuracy_weighs_rows_by_their_own_band() -> None:
    """A band per row is used row by row: one row counts alone when the other's band is out of reach."""
    market = market_of(n_bars=300)
    times = market.open_ns(np.array([100, 101]))
    alone = market.bayes_accuracy(["BTC/USDT"], times[:1], BAND)
    both = market.bayes_accuracy(["BTC/USDT", "BTC/USDT"], times, [BAND, 0.9])
    assert both == pytest.approx(alone, abs=1e-12)
