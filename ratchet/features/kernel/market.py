"""All that a symbol's market can do: the state, its updates and every formula over it.

Updates change the state in place and are given in the order of event time. Formulas only read it: `f(market, now_ns,
p)` may be called at any `now_ns` that is not before the last event, as often as wanted, and answers NaN where a feature
is missing.
"""

from __future__ import annotations

from typing import Final

from ratchet.features.kernel import book, derivatives, flow, trades
from ratchet.features.kernel.book import confirm_book, lose_book, take_book
from ratchet.features.kernel.derivatives import take_derivative
from ratchet.features.kernel.tiles import Market, new_market
from ratchet.features.kernel.trades import lose_trades, take_trade

__all__ = [
    "MARKET_FORMULAS",
    "Market",
    "confirm_book",
    "lose_book",
    "lose_trades",
    "new_market",
    "take_book",
    "take_derivative",
    "take_trade",
]

MARKET_FORMULAS: Final = (*book.FORMULAS, *flow.FORMULAS, *trades.FORMULAS, *derivatives.FORMULAS)
"""The formulas of all families over a market, for one dispatcher."""
