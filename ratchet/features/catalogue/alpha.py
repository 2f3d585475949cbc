"""The family `alpha`: qlib's Alpha158 and Alpha360 on candles.

Names follow qlib (qlib/contrib/data/loader.py). Candles have no VWAP; the typical price (high + low + close) / 3
stands for it. What is done where qlib adds small constants is said in `ratchet.features.kernel.alpha_price` and
`alpha_volume`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from ratchet.features.definitions import FeatureDefinition, define

WINDOWS = (5, 10, 20, 30, 60)
_N_LAGS = 60
_VOLUME_FLOOR = 1e-3  # ratios of volumes are at most its inverse
_FIELDS = {"close": 3, "open": 0, "high": 1, "low": 2, "vwap": -1, "volume": 4}
"""In Alpha360's order; the numbers are those of `ratchet.features.kernel.bars` and, for vwap, `TYPICAL_PRICE`."""
_INPUTS = {"vwap": "high low close", "volume": "volume"}

_OHLC = "open high low close"
_SHARE = "fraction of price"

_alpha = partial(define, family="alpha", source="bars")


def _lagged(name: str, field: str, lag: int) -> FeatureDefinition:
    base = "volume" if field == "volume" else "close"
    inputs = _INPUTS.get(field, field)
    return _alpha(
        name,
        inputs if base in inputs else f"{inputs} {base}",
        lag,
        f"of the {base}",
        f"The {field} of {lag} bars ago over the last {base}." if lag else f"The bar's {field} over its {base}.",
        formula="lag_ratio",
        field=_FIELDS[field],
        lag=lag,
        floor=_VOLUME_FLOOR,
    )


_BAR_FEATURES = (
    _alpha("alpha_kmid", "open close", 0, _SHARE, "Close minus open, over the open.", formula="alpha_body"),
    _alpha("alpha_klen", "open high low", 0, _SHARE, "High minus low, over the open.", formula="alpha_length"),
    _alpha("alpha_kmid2", _OHLC, 0, "-1..1", "Close minus open, over the range.", formula="body_ratio"),
    _alpha("alpha_kup", "open high close", 0, _SHARE, "Upper wick over the open.", formula="alpha_upper"),
    _alpha("alpha_kup2", _OHLC, 0, "0..1", "Upper wick over the range.", formula="upper_wick"),
    _alpha("alpha_klow", "open low close", 0, _SHARE, "Lower wick over the open.", formula="alpha_lower"),
    _alpha("alpha_klow2", _OHLC, 0, "0..1", "Lower wick over the range.", formula="lower_wick"),
    _alpha("alpha_ksft", _OHLC, 0, _SHARE, "Twice the close minus high and low, over the open.", formula="alpha_shift"),
    _alpha(
        "alpha_ksft2",
        "high low close",
        0,
        "-1..1",
        "Twice the close minus high and low, over the range.",
        formula="close_location",
    ),
    *(_lagged(f"alpha_{field}_0", field, 0) for field in ("open", "high", "low", "vwap")),
)


def _rolling(
    operator: str, formula: str, inputs: str, unit: str, description: str, *, changes: bool = False, **params: Any
) -> tuple[FeatureDefinition, ...]:
    """Define an operator at all windows; `changes` need one bar more than the window has."""
    return tuple(
        _alpha(
            f"alpha_{operator}_{n}",
            inputs,
            n if changes else n - 1,
            unit,
            description.format(n=n),
            formula=formula,
            period=n,
            **params,
        )
        for n in WINDOWS
    )


_change = partial(_rolling, changes=True)
_CLOSE_FIELD = _FIELDS["close"]
_VOLUME_FIELD = _FIELDS["volume"]

ALPHA_ROLLING_FEATURES: tuple[FeatureDefinition, ...] = (
    *(_lagged(f"alpha_roc_{n}", "close", n) for n in WINDOWS),
    *_rolling("ma", "alpha_mean", "close", "of the close", "Mean of {n} closes over the last."),
    *_rolling("std", "alpha_deviation", "close", _SHARE, "Sample deviation of {n} closes over the last."),
    *_rolling("beta", "alpha_slope", "close", "per bar", "Regression slope of {n} closes over the last."),
    *_rolling("rsqr", "alpha_fit", "close", "0..1", "Share of {n} closes' variance that a line explains."),
    *_rolling("resi", "alpha_residual", "close", _SHARE, "Last close minus the line through {n} closes, over it."),
    *_rolling("max", "alpha_highest", "high close", "of the close", "Highest high of {n} bars over the close."),
    *_rolling("min", "alpha_lowest", "low close", "of the close", "Lowest low of {n} bars over the close."),
    *_rolling(
        "qtlu", "alpha_quantile", "close", "of the close", "80 % quantile of {n} closes over the last.", share=0.8
    ),
    *_rolling(
        "qtld", "alpha_quantile", "close", "of the close", "20 % quantile of {n} closes over the last.", share=0.2
    ),
    *_rolling("rank", "alpha_rank", "close", "0..1", "Rank of the close among {n}, over {n}."),
    *_rolling("rsv", "alpha_range_place", "high low close", "0..1", "Place of the close in the range of {n} bars."),
    *_rolling("imax", "alpha_highest_place", "high", "0..1", "Place in time of the highest of {n} highs: 1 is now."),
    *_rolling("imin", "alpha_lowest_place", "low", "0..1", "Place in time of the lowest of {n} lows: 1 is now."),
    *_rolling("imxd", "alpha_extremes_distance", "high low", "-1..1", "alpha_imax_{n} minus alpha_imin_{n}."),
    *_rolling(
        "corr",
        "alpha_correlation",
        "close volume",
        "-1..1",
        "Correlation of close and log volume over {n} bars.",
        floor=_VOLUME_FLOOR,
    ),
    *_change(
        "cord",
        "alpha_change_correlation",
        "close volume",
        "-1..1",
        "Correlation of the changes of close and of volume over {n} bars.",
        floor=_VOLUME_FLOOR,
    ),
    *_change("cntp", "alpha_rise_share", "close", "0..1", "Share of {n} bars that closed higher."),
    *_change("cntn", "alpha_fall_share", "close", "0..1", "Share of {n} bars that closed lower."),
    *_change("cntd", "alpha_rise_balance", "close", "-1..1", "Share of {n} bars that closed higher less that lower."),
    *_change(
        "sump",
        "alpha_gain_share",
        "close",
        "0..1",
        "Rises of the close over its path, {n} bars.",
        field=_CLOSE_FIELD,
    ),
    *_change(
        "sumn",
        "alpha_loss_share",
        "close",
        "0..1",
        "Falls of the close over its path, {n} bars.",
        field=_CLOSE_FIELD,
    ),
    *_change(
        "sumd",
        "alpha_gain_balance",
        "close",
        "-1..1",
        "Rises less falls of the close over its path, {n} bars.",
        field=_CLOSE_FIELD,
    ),
    *_rolling(
        "vma",
        "alpha_volume_mean",
        "volume",
        "of the volume",
        "Mean of {n} volumes over the last.",
        floor=_VOLUME_FLOOR,
    ),
    *_rolling(
        "vstd",
        "alpha_volume_deviation",
        "volume",
        "of the volume",
        "Sample deviation of {n} volumes over the last.",
        floor=_VOLUME_FLOOR,
    ),
    *_change(
        "wvma",
        "alpha_turbulence",
        "close volume",
        "of the mean",
        "Sample deviation of |return| x volume over its mean, {n} bars.",
    ),
    *_change(
        "vsump",
        "alpha_gain_share",
        "volume",
        "0..1",
        "Rises of the volume over its path, {n} bars.",
        field=_VOLUME_FIELD,
    ),
    *_change(
        "vsumn",
        "alpha_loss_share",
        "volume",
        "0..1",
        "Falls of the volume over its path, {n} bars.",
        field=_VOLUME_FIELD,
    ),
    *_change(
        "vsumd",
        "alpha_gain_balance",
        "volume",
        "-1..1",
        "Rises less falls of the volume over its path, {n} bars.",
        field=_VOLUME_FIELD,
    ),
)
"""Qlib's 29 rolling operators at 5 windows: 145."""

ALPHA158_FEATURES: tuple[FeatureDefinition, ...] = (*_BAR_FEATURES, *ALPHA_ROLLING_FEATURES)
"""Alpha158: 9 of the bar's shape, 4 prices over the close, 145 rolling."""

ALPHA360_FEATURES: tuple[FeatureDefinition, ...] = tuple(
    _lagged(f"lag_{field}_{lag}", field, lag) for field in _FIELDS for lag in reversed(range(_N_LAGS))
)
"""Alpha360: six fields of the last 60 bars over the last close or volume."""
