"""The family `flow`: order-flow imbalance of each of ten levels."""

from __future__ import annotations

from ratchet.features.definitions import FeatureDefinition, define

FLOW_FEATURES: tuple[FeatureDefinition, ...] = tuple(
    define(
        f"ofi_level_{level}_{n}s",
        "bid_price bid_size ask_price ask_size",
        0,
        "mean level sizes",
        f"Order-flow imbalance of level {level} over {n} s, over the mean size of a level.",
        family="flow",
        source="book",
        formula="level_ofi",
        level=level,
        seconds=n,
    )
    for n in (1, 10, 60)
    for level in range(10)
)
"""30: ten levels over 1, 10 and 60 s, level 0 the best."""
