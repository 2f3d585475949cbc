"""Definitions as the numbers that compiled code reads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError
from ratchet.features.definitions import FeatureDefinition
from ratchet.features.kernel.formulas import ALPHA_FORMULAS, BAR_FORMULAS, SLOTS
from ratchet.features.kernel.market import MARKET_FORMULAS

BY_BAR: Final = 0
"""Computed once per bar, from bars and the feature's own memory."""
BY_MARKET: Final = 1
"""Computed from the state of book, trades and derivatives at any time."""
BY_UNIVERSE: Final = 2
"""Computed outside of a symbol's kernel, from all symbols."""
BY_ALPHA: Final = 3
"""As `BY_BAR`, of qlib's formulas."""

_MAX_PARAMS = 6
_MIN_CAPACITY = 64
_OPERATIONS = {
    function.__name__: (clock, place)
    for clock, formulas in ((BY_BAR, BAR_FORMULAS), (BY_ALPHA, ALPHA_FORMULAS), (BY_MARKET, MARKET_FORMULAS))
    for place, function in enumerate(formulas)
}

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


class Program(NamedTuple):
    """A feature set for the kernel; arrays by feature.

    `clock` says when it is computed (`BY_...`), `operation` by which formula, `params` float64 (feature, 6) with what,
    `warmup` is in bars, and feature i's memory is `slots[slot[i]:slot[i + 1]]`. `settings` int64: timeframe in ns,
    whether every event gives a row. `alpha` is None where no formula of qlib's is used, and nothing otherwise: the
    compiler sees the difference and leaves them out.
    """

    clock: IntArray
    operation: IntArray
    params: FloatArray
    slot: IntArray
    warmup: IntArray
    settings: IntArray
    alpha: IntArray | None


TIMEFRAME_NS: Final = 0
EVERY_EVENT: Final = 1


@lru_cache(maxsize=32)
def compile_program(definitions: tuple[FeatureDefinition, ...], timeframe_ns: int, *, every_event: bool) -> Program:
    """Translate definitions.

    Raises:
        ConfigurationError: a definition names a formula that does not exist.
    """
    places = [_place(item) for item in definitions]
    params = np.zeros((len(definitions), _MAX_PARAMS))
    for row, item in enumerate(definitions):
        params[row, : len(item.params)] = [value for _, value in item.params]
    sizes = [_n_slots(item) for item in definitions]
    return Program(
        clock=np.array([clock for clock, _ in places], dtype=np.int64),
        operation=np.array([operation for _, operation in places], dtype=np.int64),
        params=params,
        slot=np.concatenate(([0], np.cumsum(sizes))).astype(np.int64),
        warmup=np.array([item.warmup_bars for item in definitions], dtype=np.int64),
        settings=np.array([timeframe_ns, every_event], dtype=np.int64),
        alpha=np.empty(0, dtype=np.int64) if any(clock == BY_ALPHA for clock, _ in places) else None,
    )


def bar_capacity(definitions: Sequence[FeatureDefinition]) -> int:
    """Return how many bars the longest window of the features needs, and one before it."""
    longest = [item.warmup_bars for item in definitions if item.source == "bars" and not item.is_recursive]
    longest += [int(value) for item in definitions for _, value in item.params if item.source == "bars"]
    return max([_MIN_CAPACITY, *longest]) + 2


def _place(item: FeatureDefinition) -> tuple[int, int]:
    if item.source == "universe":
        return BY_UNIVERSE, 0
    if item.formula not in _OPERATIONS:
        raise ConfigurationError(f"feature {item.name!r} uses an unknown formula: {item.formula}")
    return _OPERATIONS[item.formula]


def _n_slots(item: FeatureDefinition) -> int:
    size = SLOTS.get(item.formula)
    return 0 if size is None else size([value for _, value in item.params])
