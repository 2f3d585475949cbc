"""The one computation of features: batch, serving and tests call `FeatureSet.compute`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError
from ratchet.features import candle, indicators, volatility
from ratchet.features.bars import Bars, FloatArray
from ratchet.features.definitions import BASE_SET, FeatureDefinition
from ratchet.market.symbols import Timeframe

FORMULAS: Mapping[str, Callable[..., FloatArray]] = {
    **candle.FORMULAS,
    **volatility.FORMULAS,
    **indicators.FORMULAS,
}


@dataclass(frozen=True)
class FeatureSet:
    """An ordered selection of features; its schema hash identifies what a model was trained on.

    >>> features = FeatureSet.base()
    >>> len(features.names), features.warmup_bars
    (67, 500)
    """

    name: str
    definitions: tuple[FeatureDefinition, ...]

    @classmethod
    def base(cls) -> FeatureSet:
        """Return the 67 features that need candles only."""
        return cls(name="base", definitions=BASE_SET)

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ConfigurationError(f"feature set {self.name!r} names a feature twice")
        unknown = sorted({item.formula for item in self.definitions} - set(FORMULAS))
        if unknown:
            raise ConfigurationError(f"feature set {self.name!r} uses unknown formulas: {', '.join(unknown)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(item.name for item in self.definitions)

    @property
    def warmup_bars(self) -> int:
        """How many leading rows have at least one NaN; from this row on every feature is finite."""
        return max((item.warmup_bars for item in self.definitions), default=0)

    @cached_property
    def schema_hash(self) -> str:
        """SHA-256, lower-case hex, over what decides the values: order, names, formulas, params, warm-up, versions."""
        parts = [
            [item.name, item.formula, dict(item.params), item.warmup_bars, item.version] for item in self.definitions
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def compute(self, candles: pd.DataFrame, timeframe: Timeframe) -> NDArray[np.float32]:
        """Compute the features of one symbol's candles, sorted by time.

        Row i uses rows <= i only; it is known at the bar's close. Returns float32 (time, feature); a feature's first
        `warmup_bars` rows are NaN, all later values are finite.

        Raises:
            InputError: several symbols, times that do not increase, or prices and volumes that validation rejects.
        """
        return self.compute_bars(Bars.from_frame(candles, timeframe))

    def compute_bars(self, bars: Bars) -> NDArray[np.float32]:
        """Compute as `compute`, from bars that were read already."""
        values = np.empty((len(bars), len(self.definitions)), dtype=np.float32)
        for column, series in enumerate(self.columns(bars).values()):
            values[:, column] = series
        return values

    def columns(self, bars: Bars) -> dict[str, FloatArray]:
        """Compute every feature in double precision: name -> float64 (time,), NaN in the feature's warm-up."""
        scaled = bars.unit_scaled()
        return {item.name: _evaluate(item, scaled) for item in self.definitions}


def _evaluate(definition: FeatureDefinition, bars: Bars) -> FloatArray:
    if len(bars) <= definition.warmup_bars:
        return np.full(len(bars), np.nan)
    values = FORMULAS[definition.formula](bars, **dict(definition.params))
    values[: definition.warmup_bars] = np.nan
    return values
