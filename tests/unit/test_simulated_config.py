"""The configuration of the simulated market and its URL form."""

from __future__ import annotations

import pytest

from ratchet.errors import InputError
from ratchet.exchanges import SimulatedMarketConfig


def test_a_full_url_is_read() -> None:
    """Every key of the URL reaches its field."""
    config = SimulatedMarketConfig.from_url(
        "simulated://?seed=3&signal=0&bars=500&symbols=2&timeframe=15m&start=2024-02-01T00:15&shift=400"
        "&strength=0.5&correlation=0.25&sigma_bps=80"
    )
    assert config == SimulatedMarketConfig(
        seed=3,
        has_signal=False,
        n_bars=500,
        n_symbols=2,
        timeframe="15m",
        start_ns=1_706_746_500_000_000_000,
        shift_at_bar=400,
        signal_strength=0.5,
        correlation=0.25,
        sigma_bps=80.0,
    )


def test_keys_left_out_keep_their_defaults() -> None:
    """The bare scheme is the default market."""
    assert SimulatedMarketConfig.from_url("simulated://") == SimulatedMarketConfig()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("simulated:/x", "is not a simulated market; write for example simulated://"),
        ("simulated://host?seed=1", "is not a simulated market"),
        ("files:data", "is not a simulated market"),
        ("simulated://?sed=1", "unknown key 'sed'; the keys are bars, correlation"),
        ("simulated://?seed=1&seed=2", "'seed' is given twice"),
        ("simulated://?seed=one", "seed=one cannot be read; write a whole number"),
        ("simulated://?seed=", "seed= cannot be read"),
        ("simulated://?signal=yes", "signal=yes cannot be read; write 0 or 1"),
        ("simulated://?start=soon", "start=soon cannot be read; write an ISO date"),
        ("simulated://?strength=nan", "strength=nan cannot be read"),
        ("simulated://?seed=-1", "seed=-1 must be"),
        ("simulated://?bars=0", "bars=0 must be at least 1"),
        ("simulated://?symbols=0", "symbols=0 must be from 1"),
        ("simulated://?shift=-3", "shift=-3 must not be negative"),
        ("simulated://?correlation=1.5", "correlation=1.5 must be from 0 to 1"),
        ("simulated://?start=3000-01-01", "must close before the year 2262"),
        ("simulated://?timeframe=hour", "is not a timeframe"),
        ("simulated://?start=2024-01-01T00:30", "no 1h bar opens at start; use 2024-01-01T00:00:00Z"),
    ],
)
def test_wrong_urls_are_refused_in_one_line(url: str, message: str) -> None:
    """Each mistake is answered by one line that names the key and what to write."""
    with pytest.raises(InputError) as caught:
        SimulatedMarketConfig.from_url(url)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_symbols_beyond_the_listed_ones_are_numbered() -> None:
    """Any number of distinct symbols can be had; the first six are the well-known ones."""
    symbols = SimulatedMarketConfig(n_symbols=40).symbols
    assert symbols[:6] == ("BTC/USDT", "ETH/USDT", "SOL/USDT", "XRP/USDT", "BNB/USDT", "DOGE/USDT")
    assert len(set(symbols)) == 40
    assert symbols[39] == "SIM39/USDT"
