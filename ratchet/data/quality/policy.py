"""What the quality gate tolerates."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class QualityPolicy(BaseModel):
    """Thresholds of the gate; bars count in the timeframe that is judged.

    The defaults let pass, without a quarantined row, every recording of a liquid market that they were tried on, from
    1 minute to 1 day. Illiquid minute bars, in which a venue repeats the last price, need a longer `min_stale_bars`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_quarantined_share: float = Field(0.005, ge=0, le=1, description="Largest share of rows in quarantine.")
    min_coverage: float = Field(
        0.9, ge=0, le=1, description="Least share of bars between a symbol's first and last; fewer fail the gate."
    )
    min_stale_bars: int = Field(
        24, ge=2, description="So many bars of the same prices and no volume are quarantined as stale."
    )
    max_zero_volume_bars: int = Field(12, ge=1, description="Longest run of bars without volume before a warning.")
    spike_share: float = Field(0.05, gt=0, description="A smaller move of the close is never a spike; 0.05 is 5 %.")
    spike_deviations: float = Field(
        15.0, gt=0, description="Nor is one of fewer robust standard deviations of the symbol's moves."
    )
    reference_share: float = Field(0.01, gt=0, description="A close may always be this far from the second venue's.")
    reference_deviations: float = Field(
        8.0, gt=0, description="It may also be so many median absolute deviations of the two venues' log ratio away."
    )
    max_age_bars: int = Field(3, ge=0, description="Whole bars that may be missing between the last bar and now.")
