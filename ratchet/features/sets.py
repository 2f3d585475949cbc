"""Feature sets: ordered selections of features, which models are trained on and name by hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from ratchet.errors import ConfigurationError
from ratchet.features.catalogue.alpha import ALPHA158_FEATURES, ALPHA360_FEATURES, ALPHA_ROLLING_FEATURES
from ratchet.features.catalogue.book import BOOK_FEATURES
from ratchet.features.catalogue.candle import CANDLE_FEATURES
from ratchet.features.catalogue.depth import DEPTH_FEATURES
from ratchet.features.catalogue.derivative import DERIVATIVE_FEATURES
from ratchet.features.catalogue.flow import FLOW_FEATURES
from ratchet.features.catalogue.graph import GRAPH_FEATURES
from ratchet.features.catalogue.indicator import INDICATOR_FEATURES
from ratchet.features.catalogue.trade import TRADE_FEATURES
from ratchet.features.catalogue.volatility import VOLATILITY_FEATURES
from ratchet.features.definitions import FeatureDefinition, Source

_BASE = (*CANDLE_FEATURES, *VOLATILITY_FEATURES, *INDICATOR_FEATURES)
_CORE = (*_BASE, *BOOK_FEATURES, *TRADE_FEATURES)
_FULL = (
    *_CORE,
    *ALPHA_ROLLING_FEATURES,
    *DEPTH_FEATURES,
    *FLOW_FEATURES,
    *GRAPH_FEATURES,
    *DERIVATIVE_FEATURES,
)

DEFINITIONS: Mapping[str, tuple[FeatureDefinition, ...]] = MappingProxyType(
    {
        "base": _BASE,
        "graph": (*_BASE, *(item for item in GRAPH_FEATURES if "bid_price" not in item.inputs)),
        "core": _CORE,
        "full": _FULL,
        "alpha158": ALPHA158_FEATURES,
        "alpha360": ALPHA360_FEATURES,
    }
)
"""The sets that have a name.

`base`: 67 that need candles only. `graph`: those and 23 that relate a symbol to the others by candles. `core`: 110,
with order book and trades. `full`: 361, the core with qlib's rolling operators, raw levels, order flow by level,
graph and derivatives. `alpha158`, `alpha360`: qlib's sets of these names.
"""

CATALOGUE: Mapping[str, FeatureDefinition] = MappingProxyType(
    {item.name: item for features in DEFINITIONS.values() for item in features}
)
"""Every feature there is, by name."""


@dataclass(frozen=True)
class FeatureSet:
    """An ordered selection of features; its schema hash identifies what a model was trained on.

    >>> features = FeatureSet.named("base")
    >>> len(features.names), features.warmup_bars
    (67, 500)
    """

    name: str
    definitions: tuple[FeatureDefinition, ...]

    @classmethod
    def named(cls, name: str) -> FeatureSet:
        """Return one of the sets that have a name.

        Raises:
            ConfigurationError: there is no such set.
        """
        if name not in DEFINITIONS:
            raise ConfigurationError(f"no feature set is called {name!r}; there are {', '.join(DEFINITIONS)}")
        return cls(name, DEFINITIONS[name])

    @classmethod
    def base(cls) -> FeatureSet:
        """Return the 67 features that need candles only."""
        return cls.named("base")

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ConfigurationError(f"feature set {self.name!r} names a feature twice")

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return tuple(item.name for item in self.definitions)

    @property
    def warmup_bars(self) -> int:
        """How many leading rows have at least one NaN; from this row on every feature with a source is finite."""
        return max((item.warmup_bars for item in self.definitions), default=0)

    @property
    def sources(self) -> frozenset[Source]:
        """What the set needs."""
        return frozenset(item.source for item in self.definitions)

    @cached_property
    def schema_hash(self) -> str:
        """SHA-256, lower-case hex, over what decides the values: order, names, formulas, params, warm-up, revisions."""
        parts = [item.content() for item in self.definitions]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
