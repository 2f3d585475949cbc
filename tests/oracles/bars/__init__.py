"""The candle-based features once more, over whole arrays with numpy and TA-Lib: what the compiled ones must equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ratchet.features.bars import Bars, FloatArray
from ratchet.features.definitions import FeatureDefinition
from tests.oracles.bars import candle, indicators, volatility
from tests.oracles.bars.scaling import unit_scaled

FORMULAS: Mapping[str, Callable[..., FloatArray]] = {
    **candle.FORMULAS,
    **volatility.FORMULAS,
    **indicators.FORMULAS,
}


def expected(item: FeatureDefinition, bars: Bars) -> FloatArray:
    """Compute a feature: float64 (time,), NaN in its warm-up."""
    if len(bars) <= item.warmup_bars:
        return np.full(len(bars), np.nan)
    values = FORMULAS[item.formula](unit_scaled(bars), **dict(item.params))
    values[: item.warmup_bars] = np.nan
    return values
