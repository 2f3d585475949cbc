"""What order books must satisfy. A side may have fewer levels than there are columns, but not none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.data.quality.bars import STEP_COLUMN, steps
from ratchet.data.quality.candles import LARGEST
from ratchet.data.quality.checks import NUMBER_TYPES, TIME_TYPES, Check, Suite
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.rows import Derived, Marks, Rows
from ratchet.data.quality.rules import AtLeast, Between, Present, Unique
from ratchet.market.venue import BOOK_COLUMNS, BOOK_LEVELS

_TIME = ("ts_event_ns",)
_PRICES = tuple(f"{side}_price_{level}" for side in ("bid", "ask") for level in range(BOOK_LEVELS))
_SIZES = tuple(f"{side}_size_{level}" for side in ("bid", "ask") for level in range(BOOK_LEVELS))
_BEST = ("bid_price_0", "bid_size_0", "ask_price_0", "ask_size_0")

Finder = Callable[[Rows, str], NDArray[np.bool_]]
"""Tells of each row whether its value in the named column is bad."""


def book_suite(policy: QualityPolicy) -> Suite:
    """Return the checks of order books, the critical ones first."""
    types = dict.fromkeys(BOOK_COLUMNS, NUMBER_TYPES) | {"symbol": None, "ts_event_ns": TIME_TYPES}
    levels = (
        *_levels("positive_price", "prices", "is not above 0", _PRICES, lambda rows, name: rows.column(name) <= 0),
        *_levels("size_not_negative", "sizes", "is negative", _SIZES, lambda rows, name: rows.column(name) < 0),
        *_levels(
            "finite",
            "prices, sizes",
            "is not finite",
            (*_PRICES, *_SIZES),
            lambda rows, name: np.abs(rows.column(name)) > LARGEST,
        ),
        *_levels(
            "bids_fall",
            "bid prices",
            "is not below the level before",
            _PRICES[1:BOOK_LEVELS],
            lambda rows, name: rows.column(name) >= rows.column(_level_before(name)),
        ),
        *_levels(
            "asks_rise",
            "ask prices",
            "is not above the level before",
            _PRICES[BOOK_LEVELS + 1 :],
            lambda rows, name: rows.column(name) <= rows.column(_level_before(name)),
        ),
    )
    return Suite(
        table="books",
        types=types,
        checks=(*_structure(), *_best(), *(check for check, _ in levels)),
        derived=(steps(), *(derived for _, derived in levels)),
        max_quarantined_share=policy.max_quarantined_share,
    )


def _structure() -> list[Check]:
    return [
        Check("symbol_named", ("symbol",), Present("symbol"), "critical", "the row has no symbol"),
        Check("unique_book", _TIME, Unique("ts_event_ns"), "critical", "another row has the same symbol and time"),
        Check("ascending", _TIME, Between(STEP_COLUMN, 0), "critical", "the time is before that of the row above"),
    ]


def _best() -> list[Check]:
    best = ("bid_price_0", "ask_price_0")
    crossed = AtLeast("ask_price_0", "bid_price_0", is_strict=True)
    return [
        *(Check("not_missing", (name,), Present(name), "row", f"{name} is missing") for name in _BEST),
        Check(
            "not_crossed",
            best,
            crossed,
            "row",
            "the best bid is not below the best ask",
            "the best bid {bid_price_0} is not below the best ask {ask_price_0}",
        ),
    ]


def _level_before(name: str) -> str:
    stem, level = name.rsplit("_", 1)
    return f"{stem}_{int(level) - 1}"


def _levels(name: str, label: str, problem: str, columns: tuple[str, ...], find: Finder) -> list[tuple[Check, Derived]]:
    """Return one check over all levels: it counts the bad ones of a row and names the first."""
    count, first, value = f"{name}_count", f"{name}_first", f"{name}_value"

    def compute(rows: Rows) -> Mapping[str, Marks]:
        bad = [np.flatnonzero(find(rows, column)) for column in columns]
        which = np.repeat(np.arange(len(columns)), [len(positions) for positions in bad])
        positions, first_index, counts = np.unique(np.concatenate(bad), return_index=True, return_counts=True)
        names = np.array(columns, dtype=object)[which[first_index]]
        values: list[Any] = [rows.column(column)[at] for column, at in zip(names, positions, strict=True)]
        return {
            count: Marks(positions, counts),
            first: Marks(positions, names),
            value: Marks(positions, np.array(values, dtype=float)),
        }

    check = Check(
        name, (label,), Between(count, 0, 0), "row", f"a level {problem}", f"{{{first}}}={{{value}}} {problem}"
    )
    return [(check, Derived((count, first, value), compute))]
