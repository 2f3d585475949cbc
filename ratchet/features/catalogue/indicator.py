"""The family `indicator`: technical indicators, free of the price and volume level."""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_window = partial(define, family="indicator", source="bars")
_smooth = partial(define, family="indicator", source="bars", is_recursive=True)

_HLC = "high low close"
_HLCV = "high low close volume"
_SHARE = "fraction of price"

INDICATOR_FEATURES: tuple[FeatureDefinition, ...] = (
    *(
        _smooth(f"rsi_{n}", "close", 4 * n, "-1..1", f"(RSI - 50) / 50, {n} bars.", formula="rsi", period=n)
        for n in (7, 14, 28)
    ),
    _smooth("macd_line", "close", 90, _SHARE, "MACD 12/26 over the close.", fast=12, slow=26, signal=9),
    _smooth(
        "macd_signal", "close", 90, _SHARE, "Signal line of MACD 12/26/9 over the close.", fast=12, slow=26, signal=9
    ),
    _smooth(
        "macd_histogram", "close", 90, _SHARE, "MACD minus its signal line, over the close.", fast=12, slow=26, signal=9
    ),
    _window(
        "percent_b_20",
        "close",
        19,
        "band",
        "Place in the 2-sigma Bollinger bands: 0 lower, 1 upper.",
        formula="percent_b",
        period=20,
        width=2.0,
    ),
    _window(
        "bandwidth_20",
        "close",
        19,
        _SHARE,
        "Width of the 2-sigma Bollinger bands over their middle.",
        formula="bandwidth",
        period=20,
        width=2.0,
    ),
    _smooth("adx_14", _HLC, 98, "0..1", "Average directional index / 100.", formula="adx", period=14),
    _smooth("plus_di_14", _HLC, 68, "0..1", "Positive directional indicator / 100.", formula="plus_di", period=14),
    _smooth("minus_di_14", _HLC, 68, "0..1", "Negative directional indicator / 100.", formula="minus_di", period=14),
    _window("cci_20", _HLC, 19, "CCI / 100", "Commodity channel index.", formula="cci", period=20),
    _window("stochastic_k", _HLC, 15, "0..1", "Slow stochastic %K 14/3.", period=14, smooth=3),
    _window("stochastic_d", _HLC, 17, "0..1", "Slow stochastic %D 14/3/3.", period=14, smooth=3),
    _smooth("stochastic_rsi_k", "close", 70, "0..1", "Place of RSI 14 in its 14-bar range.", period=14),
    _smooth("stochastic_rsi_d", "close", 72, "0..1", "3-bar mean of stochastic_rsi_k.", period=14, smooth=3),
    _window("williams_r_14", _HLC, 13, "-1..0", "Williams %R / 100.", formula="williams_r", period=14),
    _window("mfi_14", _HLCV, 14, "-1..1", "(Money flow index - 50) / 50.", formula="mfi", period=14),
    *(
        _window(f"roc_{n}", "close", n, _SHARE, f"Change over {n} bars, over the old close.", formula="roc", period=n)
        for n in (10, 30)
    ),
    _window("momentum_20", "close", 20, _SHARE, "20-bar change over the close.", formula="momentum", period=20),
    _smooth(
        "trix_15",
        "close",
        112,
        "percent per bar",
        "One-bar change of a triple exponential mean of 15 bars.",
        formula="trix",
        period=15,
    ),
    _window(
        "ultimate_oscillator", _HLC, 28, "0..1", "Buying pressure over 7, 14 and 28 bars.", short=7, medium=14, long=28
    ),
    _window(
        "aroon_oscillator_25",
        "high low",
        25,
        "-1..1",
        "Aroon up minus Aroon down, / 100.",
        formula="aroon_oscillator",
        period=25,
    ),
    *(
        _smooth(
            f"ema_ratio_{n}",
            "close",
            5 * n // 2,
            _SHARE,
            f"Close over EMA {n}, minus 1.",
            formula="ema_ratio",
            period=n,
        )
        for n in (9, 21, 50, 200)
    ),
    *(
        _window(
            f"sma_ratio_{n}", "close", n - 1, _SHARE, f"Close over SMA {n}, minus 1.", formula="sma_ratio", period=n
        )
        for n in (20, 50)
    ),
    _smooth("kama_ratio_10", "close", 150, _SHARE, "Close over KAMA 10, minus 1.", formula="kama_ratio", period=10),
    _smooth(
        "sar_distance",
        _HLC,
        100,
        _SHARE,
        "Close minus the parabolic stop (SAR), over the close.",
        acceleration=0.02,
        maximum=0.2,
    ),
    _window(
        "obv_slope_20",
        "close volume",
        19,
        "mean volumes per bar",
        "Slope of on-balance volume over 20 bars, over the mean volume.",
        formula="obv_slope",
        period=20,
    ),
    _smooth(
        "chaikin_oscillator",
        _HLCV,
        50,
        "mean volumes",
        "Chaikin oscillator (ADOSC 3/10) over EMA 20 of volume.",
        fast=3,
        slow=10,
        volume_period=20,
    ),
    _window(
        "chaikin_money_flow_20",
        _HLCV,
        19,
        "-1..1",
        "Volume-weighted place of the close in its range, 20 bars.",
        formula="chaikin_money_flow",
        period=20,
    ),
    _window(
        "vwap_distance_60",
        _HLCV,
        59,
        _SHARE,
        "Close over the 60-bar VWAP, minus 1.",
        formula="vwap_distance",
        period=60,
    ),
    _window(
        "donchian_position_20",
        _HLC,
        19,
        "0..1",
        "Place between lowest low and highest high of 20 bars.",
        formula="donchian_position",
        period=20,
    ),
    _window(
        "linreg_slope_20",
        "close",
        19,
        "per bar",
        "Regression slope of 20 closes, over the close.",
        formula="linreg_slope",
        period=20,
    ),
    _window(
        "forecast_distance_14",
        "close",
        13,
        _SHARE,
        "Close minus the 14-bar regression's forecast (TSF), over the close.",
        formula="forecast_distance",
        period=14,
    ),
)
"""39 technical indicators."""
