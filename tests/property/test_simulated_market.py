"""Properties of the simulated market that hold for any configuration."""

from __future__ import annotations

import math

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.draws import Stream, uniforms

HOUR_NS = 3_600 * 10**9

configs = st.builds(
    SimulatedMarketConfig,
    seed=st.integers(0, 2**32 - 1),
    has_signal=st.booleans(),
    n_bars=st.integers(1, 80),
    n_symbols=st.integers(1, 14),
    timeframe=st.sampled_from(["1s", "1m", "15m", "1h", "4h", "1d"]),
    start_ns=st.integers(0, 20_000).map(lambda day: day * 24 * HOUR_NS),
    shift_at_bar=st.none() | st.integers(0, 100),
    signal_strength=st.floats(0, 5),
    correlation=st.floats(0, 1),
    sigma_bps=st.floats(1, 1_000),
)


@given(config=configs)
@settings(max_examples=100, deadline=None)
def test_the_url_gives_the_configuration_back(config: SimulatedMarketConfig) -> None:
    """from_url(to_url(c)) equals c for every configuration."""
    assert SimulatedMarketConfig.from_url(config.to_url()) == config


@given(config=configs, share=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_every_prefix_is_the_shorter_market(config: SimulatedMarketConfig, share: float) -> None:
    """Cutting the number of bars cuts the candles and changes none."""
    n_bars = math.ceil(share * (config.n_bars - 1)) + 1 if config.n_bars > 1 else 1
    short = SimulatedMarket(
        SimulatedMarketConfig(**{**config.__dict__, "n_bars": n_bars}),
    ).candles()
    prefix = SimulatedMarket(config).candles().groupby("symbol").head(n_bars).reset_index(drop=True)
    pd.testing.assert_frame_equal(short, prefix, check_exact=True)
    assert (short[["open", "high", "low", "close", "volume"]].to_numpy() > 0).all()
    assert (short["high"] >= short[["open", "close"]].max(axis=1)).all()
    assert (short["low"] <= short[["open", "close"]].min(axis=1)).all()


@given(
    seed=st.integers(0, 2**32 - 1),
    lane=st.integers(0, 500),
    first=st.integers(0, 10**9),
    n_bars=st.integers(1, 30),
    width=st.integers(1, 41),
)
@settings(max_examples=60, deadline=None)
def test_a_draw_depends_on_its_bar_only(seed: int, lane: int, first: int, n_bars: int, width: int) -> None:
    """The last bar of a range gets the numbers that it gets alone, all strictly between 0 and 1."""
    rows = uniforms(seed, Stream.BOOK, lane, first_bar=first, n_bars=n_bars, width=width)
    alone = uniforms(seed, Stream.BOOK, lane, first_bar=first + n_bars - 1, n_bars=1, width=width)
    assert (rows[-1] == alone[0]).all()
    assert rows.shape == (n_bars, width)
    assert ((rows > 0) & (rows < 1)).all()
