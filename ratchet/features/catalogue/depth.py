"""The family `depth`: the ten levels of both sides themselves, free of price and volume."""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_feature = partial(define, warmup_bars=0, family="depth", source="book")
_PLACES = tuple((name, side, level) for name, side in (("bid", 0), ("ask", 1)) for level in range(10))

DEPTH_FEATURES: tuple[FeatureDefinition, ...] = (
    *(
        _feature(
            f"{name}_distance_{level}_bps",
            "bid_price ask_price",
            unit="bps of the mid price",
            description=f"Distance of {name} level {level} from the mid price.",
            formula="depth_distance_bps",
            side=side,
            level=level,
        )
        for name, side, level in _PLACES
    ),
    *(
        _feature(
            f"{name}_share_{level}",
            "bid_size ask_size",
            unit="0..1",
            description=f"Size of {name} level {level} over all visible sizes.",
            formula="depth_share",
            side=side,
            level=level,
        )
        for name, side, level in _PLACES
    ),
)
"""40: distance and size of ten levels of both sides, level 0 the best."""
