"""The family `derivative`: funding, open interest, basis and liquidations of perpetual contracts.

Windows are made of tiles of 15 minutes, `tiles` of them, the current one included. Funding counts for 9 h, all other
inputs for 2 h after they were last given.
"""

from __future__ import annotations

from functools import partial

from ratchet.features.definitions import FeatureDefinition, define

_feature = partial(define, warmup_bars=0, family="derivative", source="derivatives")

_LIQUIDATIONS = "long_liquidations short_liquidations"

DERIVATIVE_FEATURES: tuple[FeatureDefinition, ...] = (
    _feature("funding_rate_bps", "funding_rate", unit="bps per interval", description="Last funding rate."),
    _feature(
        "funding_change_8h_bps",
        "funding_rate",
        unit="bps per interval",
        description="Change of the funding rate over 8 h.",
        formula="funding_change_bps",
        tiles=32,
    ),
    _feature(
        "interest_step",
        "open_interest",
        unit="log ratio",
        description="Log change of open interest from the message before to the last one.",
    ),
    *(
        _feature(
            f"interest_change_{hours}h",
            "open_interest",
            unit="log ratio",
            description=f"Log change of open interest over {hours} h.",
            formula="interest_change",
            tiles=4 * hours,
        )
        for hours in (1, 24)
    ),
    _feature("basis_bps", "mark_price index_price", unit="bps", description="Mark price over index price, minus 1."),
    _feature(
        "basis_change_1h_bps",
        "mark_price index_price",
        unit="bps",
        description="Change of the basis over 1 h.",
        formula="basis_change_bps",
        tiles=4,
    ),
    _feature(
        "basis_deviation_24h_bps",
        "mark_price index_price",
        unit="bps",
        description="Basis minus its mean at the quarters of an hour of a day.",
        formula="basis_deviation_bps",
    ),
    *(
        _feature(
            f"liquidation_imbalance_{hours}h",
            _LIQUIDATIONS,
            unit="-1..1",
            description=f"Long minus short liquidations of {hours} h over their sum; 0 without any.",
            formula="liquidation_imbalance",
            tiles=4 * hours,
        )
        for hours in (1, 24)
    ),
    _feature(
        "liquidation_intensity_1h",
        f"{_LIQUIDATIONS} open_interest mark_price",
        unit="log of bps",
        description="log(1 + x) of the liquidations of 1 h in basis points of the value of open interest.",
        formula="liquidation_intensity",
    ),
    _feature(
        "liquidation_surge_24h",
        _LIQUIDATIONS,
        unit="0..1",
        description="Share of a day's liquidations that fell into its last hour.",
        formula="liquidation_surge",
    ),
)
"""12 features of perpetual contracts."""
