"""What a feature is: its name, what it is computed from and by, and since when its values are what they are.

Pure data, importable without pandas and numba. The features themselves are in `ratchet.features.catalogue`, the sets
that models are trained on in `ratchet.features.sets`.

Warm-up: rows before `warmup_bars` are NaN. A finite-window feature is NaN exactly until its window is full. A recursive
one (exponential smoothing) waits longer, until what it was seeded with weighs about 5 % or less: 2.5 periods of an
exponential mean (Wilder's mean of n bars is one of 2n - 1), or 4 of Wilder's where it is seeded with n bars.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Literal

Family = Literal["candle", "volatility", "indicator", "alpha", "book", "depth", "flow", "trade", "graph", "derivative"]
Source = Literal["bars", "book", "trades", "derivatives", "universe"]
"""What a feature needs. Without its source a feature is missing (NaN), never zero. `universe`: the bars of all symbols
at the same time."""


@dataclass(frozen=True, slots=True)
class FeatureDefinition:
    """One feature.

    `formula` names the function that computes it and `params` are what it is called with, in order. Every feature is
    free of the price and volume level and rests on nothing that came after the time of its row. `revision` is raised
    whenever its values change for another reason than its parameters. `deprecated` says what to use instead; empty
    while the feature is current.
    """

    name: str
    family: Family
    source: Source
    formula: str
    inputs: tuple[str, ...]
    params: tuple[tuple[str, float], ...]
    warmup_bars: int
    unit: str
    description: str
    is_recursive: bool
    revision: int
    owner: str
    deprecated: str

    @property
    def version(self) -> str:
        """Content hash, 12 hex digits, of everything that decides the values."""
        return hashlib.sha256(json.dumps(self.content(), sort_keys=True).encode()).hexdigest()[:12]

    def content(self) -> list[object]:
        """Return what decides the values, as plain data."""
        return [self.name, self.formula, dict(self.params), self.warmup_bars, self.revision]


def define(
    name: str,
    inputs: str,
    warmup_bars: int,
    unit: str,
    description: str,
    *,
    family: Family,
    source: Source,
    formula: str = "",
    is_recursive: bool = False,
    revision: int = 1,
    owner: str = "ratchet",
    deprecated: str = "",
    **params: float,
) -> FeatureDefinition:
    """Write a definition down; `inputs` are separated by spaces, `formula` is the name where it is not given."""
    return FeatureDefinition(
        name=name,
        family=family,
        source=source,
        formula=formula or name,
        inputs=tuple(inputs.split()),
        params=tuple(params.items()),
        warmup_bars=warmup_bars,
        unit=unit,
        description=description,
        is_recursive=is_recursive,
        revision=revision,
        owner=owner,
        deprecated=deprecated,
    )
