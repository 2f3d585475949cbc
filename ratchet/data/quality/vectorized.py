"""The quality gate for large tables: the same checks on plain arrays, without pages for people."""

from __future__ import annotations

import pandas as pd

from ratchet.data.quality.books import book_suite
from ratchet.data.quality.candles import candle_suite
from ratchet.data.quality.checks import Result, judge
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.trades import trade_suite
from ratchet.market.symbols import Timeframe


class VectorizedGate:
    """A `QualityGate` that judges ten million candles in seconds.

    Its verdicts are those of `GreatExpectationsGate`, but nobody checks them a second time and no page is written.

    Args:
        policy: the thresholds.
    """

    def __init__(self, policy: QualityPolicy = QualityPolicy()) -> None:  # noqa: B008 - it is frozen
        self._policy = policy

    def check(
        self,
        candles: pd.DataFrame,
        *,
        timeframe: Timeframe,
        reference: pd.DataFrame | None = None,
        now_ns: int | None = None,
    ) -> Result:
        """Judge candles; see `QualityGate.check`.

        Raises:
            InputError: the reference is no candle frame.
        """
        suite = candle_suite(timeframe, self._policy, reference=reference, now_ns=now_ns)
        return judge(candles, suite, engine="vectorized")

    def check_books(self, books: pd.DataFrame) -> Result:
        """Judge order books; see `QualityGate.check_books`."""
        return judge(books, book_suite(self._policy), engine="vectorized")

    def check_trades(self, trades: pd.DataFrame) -> Result:
        """Judge trades; see `QualityGate.check_trades`."""
        return judge(trades, trade_suite(self._policy), engine="vectorized")
