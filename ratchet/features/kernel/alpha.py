"""The formulas of qlib's Alpha158 and Alpha360 in one numbering.

Four of Alpha158's nine features of a bar's shape are the family `candle`'s own: `body_ratio`, `upper_wick`,
`lower_wick` and `close_location`. Prices some bars ago, among them qlib's ROC, are all `lag_ratio`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratchet.features.kernel.alpha_change import (
    alpha_fall_share,
    alpha_gain_balance,
    alpha_gain_share,
    alpha_loss_share,
    alpha_rise_balance,
    alpha_rise_share,
)
from ratchet.features.kernel.alpha_price import (
    alpha_body,
    alpha_deviation,
    alpha_extremes_distance,
    alpha_fit,
    alpha_highest,
    alpha_highest_place,
    alpha_length,
    alpha_lower,
    alpha_lowest,
    alpha_lowest_place,
    alpha_mean,
    alpha_quantile,
    alpha_range_place,
    alpha_rank,
    alpha_residual,
    alpha_shift,
    alpha_slope,
    alpha_upper,
    lag_ratio,
)
from ratchet.features.kernel.alpha_volume import (
    alpha_change_correlation,
    alpha_correlation,
    alpha_turbulence,
    alpha_volume_deviation,
    alpha_volume_mean,
)

FORMULAS: Final = (
    alpha_body,
    alpha_length,
    alpha_upper,
    alpha_lower,
    alpha_shift,
    lag_ratio,
    alpha_mean,
    alpha_deviation,
    alpha_slope,
    alpha_fit,
    alpha_residual,
    alpha_highest,
    alpha_lowest,
    alpha_quantile,
    alpha_rank,
    alpha_range_place,
    alpha_highest_place,
    alpha_lowest_place,
    alpha_extremes_distance,
    alpha_correlation,
    alpha_change_correlation,
    alpha_rise_share,
    alpha_fall_share,
    alpha_rise_balance,
    alpha_gain_share,
    alpha_loss_share,
    alpha_gain_balance,
    alpha_volume_mean,
    alpha_volume_deviation,
    alpha_turbulence,
)
"""The formulas of the family; their names are those of the definitions."""


def _quantile_slots(params: Sequence[float]) -> int:
    period, share = params
    return int(min(share, 1.0 - share) * (period - 1)) + 2


SLOTS: Final[Mapping[str, Callable[[Sequence[float]], int]]] = {
    "alpha_quantile": _quantile_slots,
    "alpha_correlation": lambda params: 2 * int(params[0]),
    "alpha_change_correlation": lambda params: 4 * int(params[0]),
}
"""How much memory a formula has, from its parameters; none where it is absent."""
