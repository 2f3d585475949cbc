"""The family `trade`: who trades, how fast, how large, and what it does to the price.

Windows are made of tiles, see `ratchet.features.kernel.tiles`: "10 s" is the current second and the nine before it.
"""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_feature = partial(define, warmup_bars=0, family="trade", source="trades")

TRADE_FEATURES: tuple[FeatureDefinition, ...] = (
    *(
        _feature(
            f"signed_volume_ratio_{n}s",
            "size side",
            unit="-1..1",
            description=f"Bought minus sold volume over their sum in {n} s; 0 without trades.",
            formula="signed_volume_ratio",
            seconds=n,
        )
        for n in (1, 10, 60)
    ),
    _feature(
        "trade_rate_10s",
        "ts_event_ns",
        unit="trades per second",
        description="Trades per second over 10 s.",
        formula="trade_rate",
        seconds=10,
    ),
    _feature(
        "mean_size_z",
        "size",
        unit="z-score",
        description="Mean trade size of 10 s against that of 60 s, in deviations of a trade's size.",
    ),
    _feature(
        "vwap_mid_60s_bps",
        "price size bid_price ask_price",
        unit="bps of the mid price",
        description="Volume-weighted mean trade price of 60 s, minus the mid price.",
        formula="vwap_mid_bps",
        seconds=60,
    ),
    _feature(
        "large_trade_share_60s",
        "size",
        unit="0..1",
        description="Share of 60 s of volume in trades of 5 times the mean size of the minute before them, or more.",
        formula="large_trade_share",
    ),
    _feature(
        "kyle_lambda_60s",
        "price size side",
        unit="bps per mean second's volume",
        description="Regression of the returns of 60 seconds on their net volumes.",
        formula="kyle_lambda",
    ),
    _feature(
        "amihud_60s",
        "price size",
        unit="bps per mean second's value",
        description="Mean absolute return over traded value of the seconds in 60 s, times their mean value.",
        formula="amihud_illiquidity",
    ),
    _feature(
        "roll_spread_60s_bps",
        "price",
        unit="bps",
        description="Spread that the bounce of trade prices implies over 60 s; 0 where returns do not alternate.",
        formula="roll_spread_bps",
    ),
    _feature(
        "toxicity",
        "size side",
        unit="0..1",
        description="Net share of the volume in the last 20 buckets, each a twentieth of the minute's before it.",
        is_recursive=True,
    ),
    _feature(
        "signed_run",
        "side",
        unit="trades",
        description="How many trades in a row were of the last one's side, negative where takers sold.",
        is_recursive=True,
    ),
    _feature(
        "interarrival_mean_60s",
        "ts_event_ns",
        unit="seconds",
        description="Mean time between trades over 60 s.",
        formula="interarrival_mean",
    ),
    _feature(
        "interarrival_cv_60s",
        "ts_event_ns",
        unit="ratio",
        description="Deviation of the times between trades over their mean, 60 s.",
        formula="interarrival_cv",
    ),
    _feature(
        "tick_volatility_10s_bps",
        "price",
        unit="bps",
        description="Root of the summed squared returns from trade to trade over 10 s.",
        formula="tick_volatility_bps",
        seconds=10,
    ),
)
"""15 features of the trades."""
