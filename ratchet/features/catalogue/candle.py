"""The family `candle`: features of the bars themselves."""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_candle = partial(define, family="candle", source="bars")

_OHLC = "open high low close"
_HLC = "high low close"
_LOG = "log ratio"
_SHARE = "fraction of price"

CANDLE_FEATURES: tuple[FeatureDefinition, ...] = (
    *(
        _candle(f"log_return_{n}", "close", n, _LOG, f"Log return over {n} bars.", formula="log_return", period=n)
        for n in (1, 3, 5, 15, 60)
    ),
    _candle("range_ratio", _HLC, 0, _SHARE, "High minus low, over the close."),
    _candle("body_ratio", _OHLC, 0, "-1..1", "Close minus open, over the range."),
    _candle("upper_wick", _OHLC, 0, "0..1", "Upper wick over the range."),
    _candle("lower_wick", _OHLC, 0, "0..1", "Lower wick over the range."),
    _candle("close_location", _HLC, 0, "-1..1", "Place of the close in the range: -1 at the low, +1 at the high."),
    _candle("open_gap", "open close", 1, _LOG, "Log of the open over the previous close."),
    *(
        _candle(
            f"volume_z_{n}",
            "volume",
            n - 1,
            "z-score",
            f"Volume against its last {n} bars.",
            formula="volume_z",
            period=n,
        )
        for n in (20, 60)
    ),
    _candle(
        "log_dollar_volume",
        "close volume",
        199,
        _LOG,
        "Log of close times volume over its 200-bar mean, not below log(floor).",
        period=200,
        floor=1e-3,
    ),
    _candle("skewness_60", "close", 60, "moment", "Skewness of 60 log returns.", formula="skewness", period=60),
    _candle(
        "kurtosis_60",
        "close",
        60,
        "moment",
        "Kurtosis of 60 log returns, minus 3.",
        formula="excess_kurtosis",
        period=60,
    ),
    _candle("drawdown_60", "close", 59, _SHARE, "Close below its 60-bar maximum.", formula="drawdown", period=60),
    _candle("time_of_day_sin", "ts_event_ns", 0, "-1..1", "Sine of the UTC time of day of the bar's close."),
    _candle("time_of_day_cos", "ts_event_ns", 0, "-1..1", "Cosine of the UTC time of day of the bar's close."),
)
"""19 features of the bars themselves."""
