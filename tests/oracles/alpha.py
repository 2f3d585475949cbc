"""Qlib's Alpha158 and Alpha360 on whole histories with pandas, written from qlib's formulas and apart from the kernel.

Where qlib adds small constants, these follow `ratchet.features.kernel.alpha_price` and `alpha_volume`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_FLOOR = 1e-3

Window = NDArray[np.float64]


def alpha158(candles: pd.DataFrame) -> pd.DataFrame:
    """Return the 158 features, one column each; rows without a full window are NaN."""
    columns = _of_the_bar(candles)
    for n in (5, 10, 20, 30, 60):
        columns |= {f"alpha_{name}_{n}": values for name, values in _rolling(candles, n).items()}
    return pd.DataFrame(columns)


def alpha360(candles: pd.DataFrame) -> pd.DataFrame:
    """Return the 360 features, one column each; rows without a full window are NaN."""
    close, volume = candles["close"], candles["volume"]
    columns = {}
    for lag in range(60):
        for field in ("close", "open", "high", "low"):
            columns[f"lag_{field}_{lag}"] = candles[field].shift(lag) / close
        columns[f"lag_vwap_{lag}"] = _typical(candles).shift(lag) / close
        columns[f"lag_volume_{lag}"] = _over_volume(volume.shift(lag), volume)
    return pd.DataFrame(columns)


def _typical(candles: pd.DataFrame) -> pd.Series[float]:
    return candles[["high", "low", "close"]].mean(axis=1)


def _over(numerator: pd.Series[float], denominator: pd.Series[float], otherwise: float = 0.0) -> pd.Series[float]:
    return (numerator / denominator.where(denominator != 0)).where(denominator != 0, otherwise)


def _over_volume(values: pd.Series[float], volume: pd.Series[float], both_zero: float = 0.0) -> pd.Series[float]:
    quotient = (values / volume).clip(upper=1 / _FLOOR)
    return quotient.mask((values == 0) & (volume == 0), both_zero)


def _of_the_bar(candles: pd.DataFrame) -> dict[str, pd.Series[float]]:
    opening, high, low, close = (candles[name] for name in ("open", "high", "low", "close"))
    top, bottom = candles[["open", "close"]].max(axis=1), candles[["open", "close"]].min(axis=1)
    parts = {"kmid": close - opening, "kup": high - top, "klow": bottom - low, "ksft": 2 * close - high - low}
    columns = {f"alpha_{name}": part / opening for name, part in parts.items()}
    columns |= {f"alpha_{name}2": _over(part, high - low) for name, part in parts.items()}
    columns["alpha_klen"] = (high - low) / opening
    for name, price in {"open": opening, "high": high, "low": low, "vwap": _typical(candles)}.items():
        columns[f"alpha_{name}_0"] = price / close
    return columns


def _by_window(
    n: int, function: Callable[..., float], *inputs: pd.Series[float], first: int | None = None
) -> pd.Series[float]:
    """Apply a function to the last n values of each input, from row `first` on, where the first window is full."""
    arrays = [np.asarray(series, dtype=np.float64) for series in inputs]
    out = np.full(len(arrays[0]), np.nan)
    for row in range(n - 1 if first is None else first, len(out)):
        out[row] = function(*(values[row - n + 1 : row + 1] for values in arrays))
    return pd.Series(out, index=inputs[0].index)


def _deviation(values: Window) -> float:
    return 0.0 if np.ptp(values) == 0 else float(np.std(values, ddof=1))


def _correlation(x: Window, y: Window) -> float:
    if np.std(x) <= 1e-12 * abs(x[-1]) or np.std(y) <= 1e-12:
        return 0.0
    return float(np.corrcoef(x, y)[0, 1])


def _close_and_log_volume(close: Window, volume: Window) -> float:
    if not volume.any():
        return 0.0
    return _correlation(close, np.log(np.maximum(volume, _FLOOR * volume.mean())))


def _slope(values: Window) -> float:
    return float(np.polyfit(np.arange(len(values)), values - values[0], 1)[0])


def _residual(values: Window) -> float:
    slope, level = np.polyfit(np.arange(len(values)), values - values[0], 1)
    return float(values[-1] - values[0] - level - slope * (len(values) - 1))


def _fit(values: Window) -> float:
    if np.ptp(values) == 0:
        return 0.0
    return float(np.corrcoef(np.arange(len(values)), values)[0, 1] ** 2)


def _rolling(candles: pd.DataFrame, n: int) -> dict[str, pd.Series[float]]:
    return {**_prices(candles, n), **_changes(candles, n), **_volumes(candles, n)}


def _prices(candles: pd.DataFrame, n: int) -> Mapping[str, pd.Series[float]]:
    high, low, close = candles["high"], candles["low"], candles["close"]
    highest, lowest = high.rolling(n).max(), low.rolling(n).min()
    place_high = high.rolling(n).apply(lambda values: values.argmax() + 1, raw=True)
    place_low = low.rolling(n).apply(lambda values: values.argmin() + 1, raw=True)
    return {
        "roc": close.shift(n) / close,
        "ma": _by_window(n, np.mean, close) / close,
        "std": _by_window(n, _deviation, close) / close,
        "beta": _by_window(n, _slope, close) / close,
        "rsqr": _by_window(n, _fit, close),
        "resi": _by_window(n, _residual, close) / close,
        "max": highest / close,
        "min": lowest / close,
        "qtlu": close.rolling(n).quantile(0.8) / close,
        "qtld": close.rolling(n).quantile(0.2) / close,
        "rank": close.rolling(n).rank(pct=True),
        "rsv": _over(close - lowest, highest - lowest, 0.5),
        "imax": place_high / n,
        "imin": place_low / n,
        "imxd": (place_high - place_low) / n,
    }


def _changes(candles: pd.DataFrame, n: int) -> Mapping[str, pd.Series[float]]:
    columns = {}
    for prefix, values in {"": candles["close"], "v": candles["volume"]}.items():
        change = values.diff()
        gain = _by_window(n, np.sum, change.clip(lower=0), first=n)
        loss = _by_window(n, np.sum, -change.clip(upper=0), first=n)
        columns[f"{prefix}sump"] = _over(gain, gain + loss)
        columns[f"{prefix}sumn"] = _over(loss, gain + loss)
        columns[f"{prefix}sumd"] = _over(gain - loss, gain + loss)
    move = candles["close"].diff()
    columns["cntp"] = _by_window(n, np.mean, (move > 0).astype(float), first=n)
    columns["cntn"] = _by_window(n, np.mean, (move < 0).astype(float), first=n)
    columns["cntd"] = columns["cntp"] - columns["cntn"]
    return columns


def _volumes(candles: pd.DataFrame, n: int) -> Mapping[str, pd.Series[float]]:
    close, volume = candles["close"], candles["volume"]
    growth = (1 + _over_volume(volume, volume.shift(1), both_zero=1.0)).apply(np.log)
    turbulence = (close / close.shift(1) - 1).abs() * volume
    return {
        "corr": _by_window(n, _close_and_log_volume, close, volume),
        "cord": _by_window(n, _correlation, close / close.shift(1), growth, first=n),
        "vma": _over_volume(_by_window(n, np.mean, volume), volume),
        "vstd": _over_volume(_by_window(n, _deviation, volume), volume),
        "wvma": _over(_by_window(n, _deviation, turbulence, first=n), _by_window(n, np.mean, turbulence, first=n)),
    }
