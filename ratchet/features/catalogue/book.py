"""The family `book`: the state of the order book now, and against its last minute.

Windows are made of tiles, see `ratchet.features.kernel.tiles`: "10 s" is the current second and the nine before it.
"""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_feature = partial(define, warmup_bars=0, family="book", source="book")
_prices = partial(_feature, inputs="bid_price ask_price")
_sizes = partial(_feature, inputs="bid_size ask_size")
_book = partial(_feature, inputs="bid_price bid_size ask_price ask_size")

_BPS = "bps of the mid price"
_SIDES = (("bid", 0), ("ask", 1))

BOOK_FEATURES: tuple[FeatureDefinition, ...] = (
    _prices("spread_bps", unit=_BPS, description="Best ask minus best bid."),
    _prices(
        "spread_z_60s",
        unit="z-score",
        description="Spread in prices against the ends of the last 60 seconds; 0 where it did not change.",
        formula="spread_z",
    ),
    _book(
        "microprice_bps",
        unit=_BPS,
        description="Best prices weighted by the opposite sizes, minus the mid price.",
    ),
    _book(
        "weighted_mid_5_bps",
        unit=_BPS,
        description="Mean prices of 5 levels weighted by the opposite sizes, minus the mid price.",
        formula="weighted_mid_bps",
        levels=5,
    ),
    *(
        _sizes(
            f"imbalance_{n}",
            unit="-1..1",
            description=f"Bid minus ask size of the best {n} levels, over their sum.",
            formula="imbalance",
            levels=n,
        )
        for n in (1, 3, 5, 10)
    ),
    *(
        _sizes(
            f"log_depth_{name}_{n}",
            unit="log ratio",
            description=f"Log of the {name} size of {n} levels over its mean at the ends of the last 60 seconds.",
            formula="log_depth",
            side=side,
            levels=n,
        )
        for n in (5, 10)
        for name, side in _SIDES
    ),
    *(
        _book(
            f"book_slope_{name}",
            unit="share per bp",
            description=f"Slope of the cumulated {name} size, as a share of ten levels, over distance from the mid.",
            formula="book_slope",
            side=side,
        )
        for name, side in _SIDES
    ),
    *(
        _prices(
            f"level_gap_{name}_bps",
            unit=_BPS,
            description=f"Distance between the best two {name} prices.",
            formula="level_gap_bps",
            side=side,
        )
        for name, side in _SIDES
    ),
    *(
        _book(
            f"fill_cost_{name}_{value // 1_000}k_bps",
            unit=_BPS,
            description=(
                f"Mean distance from the mid at which {value:,} of quote currency fill on the {name} side; a lower "
                "bound where the visible levels hold less."
            ),
            formula="fill_cost_bps",
            side=side,
            value=value,
        )
        for value in (10_000, 100_000)
        for name, side in _SIDES
    ),
    *(
        _book(
            f"ofi_{n}s",
            unit="mean best sizes",
            description=f"Order-flow imbalance of the best prices over {n} s, over their mean size.",
            formula="ofi",
            seconds=n,
        )
        for n in (1, 10, 60)
    ),
    _book(
        "integrated_ofi_10s",
        unit="mean level sizes",
        description="Mean order-flow imbalance of ten levels over 10 s, over the mean size of a level.",
        formula="integrated_ofi",
        seconds=10,
    ),
    _sizes(
        "imbalance_change_10s",
        unit="-2..2",
        description="Imbalance of 5 levels minus that at the end of the tenth second before the current one.",
        formula="imbalance_change",
        seconds=10,
    ),
    _feature(
        "book_rate_10s",
        "ts_event_ns",
        unit="updates per second",
        description="Book updates per second over 10 s.",
        formula="book_rate",
        seconds=10,
    ),
    _book("book_pressure", unit="-1..1", description="Imbalance of ten levels, each over its distance from the mid."),
    _sizes("depth_entropy", unit="0..1", description="Entropy of the twenty sizes' shares, over its maximum."),
)
"""28 features of the order book."""
