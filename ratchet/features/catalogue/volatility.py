"""The family `volatility`: standard deviation per bar, never annualised."""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_volatility = partial(define, family="volatility", source="bars")

_OHLC = "open high low close"
_HLC = "high low close"
_SHARE = "fraction of price"
_DEVIATION = "standard deviation per bar"

VOLATILITY_FEATURES: tuple[FeatureDefinition, ...] = (
    *(
        _volatility(
            f"close_to_close_{n}",
            "close",
            n,
            _DEVIATION,
            f"Sample deviation of {n} log returns.",
            formula="close_to_close",
            period=n,
        )
        for n in (20, 60)
    ),
    _volatility(
        "parkinson_20",
        "high low",
        19,
        _DEVIATION,
        "Parkinson's estimate from the ranges of 20 bars.",
        formula="parkinson",
        period=20,
    ),
    _volatility(
        "garman_klass_20",
        _OHLC,
        19,
        _DEVIATION,
        "Garman and Klass's estimate over 20 bars.",
        formula="garman_klass",
        period=20,
    ),
    _volatility(
        "rogers_satchell_20",
        _OHLC,
        19,
        _DEVIATION,
        "Rogers and Satchell's estimate over 20 bars.",
        formula="rogers_satchell",
        period=20,
    ),
    *(
        _volatility(
            f"yang_zhang_{n}",
            _OHLC,
            n,
            _DEVIATION,
            f"Yang and Zhang's estimate over {n} bars.",
            formula="yang_zhang",
            period=n,
        )
        for n in (20, 60)
    ),
    _volatility(
        "atr_ratio_14",
        _HLC,
        56,
        _SHARE,
        "Wilder's ATR over the close.",
        formula="atr_ratio",
        is_recursive=True,
        period=14,
    ),
    _volatility(
        "ewma_94",
        "close",
        50,
        _DEVIATION,
        "Exponentially weighted, decay 0.94.",
        formula="ewma",
        is_recursive=True,
        decay=0.94,
    ),
)
"""9 volatility estimators."""
