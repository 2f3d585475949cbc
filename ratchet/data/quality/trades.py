"""What trades must satisfy."""

from __future__ import annotations

from ratchet.data.quality.bars import STEP_COLUMN, steps
from ratchet.data.quality.candles import LARGEST
from ratchet.data.quality.checks import NUMBER_TYPES, TIME_TYPES, Check, Suite
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.rules import Between, OneOf, Present, Unique
from ratchet.market.venue import TRADE_COLUMNS

_NUMBERS = ("price", "size")


def trade_suite(policy: QualityPolicy) -> Suite:
    """Return the checks of trades, the critical ones first."""
    types = dict.fromkeys(TRADE_COLUMNS, NUMBER_TYPES) | {"symbol": None, "ts_event_ns": TIME_TYPES, "trade_id": None}
    return Suite(
        table="trades",
        types=types,
        checks=tuple(_checks()),
        derived=(steps(),),
        max_quarantined_share=policy.max_quarantined_share,
    )


def _checks() -> list[Check]:
    return [
        Check("symbol_named", ("symbol",), Present("symbol"), "critical", "the row has no symbol"),
        Check(
            "unique_trade", ("trade_id",), Unique("trade_id"), "critical", "another trade of the symbol has the same id"
        ),
        Check(
            "ascending",
            ("ts_event_ns",),
            Between(STEP_COLUMN, 0),
            "critical",
            "the time is before that of the row above",
        ),
        Check("not_missing", ("trade_id",), Present("trade_id"), "row", "trade_id is missing"),
        *(Check("not_missing", (name,), Present(name), "row", f"{name} is missing") for name in (*_NUMBERS, "side")),
        *(
            Check("finite", (name,), Between(name, -LARGEST, LARGEST), "row", f"{name} is not finite")
            for name in _NUMBERS
        ),
        Check(
            "positive_price",
            ("price",),
            Between("price", 0, is_strict=True),
            "row",
            "price is not above 0",
            "price {price} is not above 0",
        ),
        Check(
            "positive_size",
            ("size",),
            Between("size", 0, is_strict=True),
            "row",
            "size is not above 0",
            "size {size} is not above 0",
        ),
        Check(
            "known_side",
            ("side",),
            OneOf("side", (-1, 1)),
            "row",
            "side is neither +1 nor -1",
            "side {side} is neither +1 nor -1",
        ),
    ]
