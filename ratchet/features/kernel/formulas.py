"""All bar formulas in two numberings: qlib's are apart, because most sets do without and need not compile them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from ratchet.features.kernel import alpha, candle, indicators, volatility

BAR_FORMULAS: Final = (*candle.FORMULAS, *volatility.FORMULAS, *indicators.FORMULAS)
ALPHA_FORMULAS: Final = alpha.FORMULAS
"""A formula's place is its number in a `Program`."""

SLOTS: Final[Mapping[str, Callable[[Sequence[float]], int]]] = {
    **candle.SLOTS,
    **volatility.SLOTS,
    **indicators.SLOTS,
    **alpha.SLOTS,
}
"""How much memory a formula has, from its parameters."""
