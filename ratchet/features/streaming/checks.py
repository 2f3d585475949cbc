"""What an event must be before the kernel sees it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from ratchet.clock import NS_PER_S, iso_utc
from ratchet.errors import InputError
from ratchet.features.streaming.events import N_VALUES, EventKind, FeatureEvent
from ratchet.market.venue import BOOK_LEVELS

MAX_AHEAD_NS = 86_400 * NS_PER_S
"""A venue's clock is never so far ahead of ours; one such event would make all true ones late."""


def refuse_unusable(event: FeatureEvent) -> None:
    """Do nothing with an event that can be used.

    Raises:
        InputError: it has the wrong number of values, a price that is not positive, a size that is negative, a bar
            whose high or low does not hold its open and close, or a crossed book.
    """
    problem = problem_of(event)
    if problem:
        when = iso_utc(event.ts_event_ns)
        raise InputError(f"{event.symbol} {event.kind.name} of {event.venue} at {when}: {problem}")


def problem_of(event: FeatureEvent) -> str:
    """Return why an event can never be used; empty where it can."""
    values = event.values
    if len(values) != N_VALUES[event.kind]:
        return f"{len(values)} values instead of {N_VALUES[event.kind]}"
    if event.ts_event_ns <= 0:
        return "its time is not positive"
    if event.ts_event_ns > event.known_ns + MAX_AHEAD_NS:
        return "its time is more than a day ahead of its arrival"
    check = _CHECKS.get(event.kind)
    return "" if check is None else check(values.tolist())


def _bar_problem(values: list[float]) -> str:
    open_, high, low, close, volume = values
    if not all(0 < price < math.inf for price in values[:4]):
        return "a price that is not positive and finite"
    if not (low <= min(open_, close) and high >= max(open_, close)):
        return "its range does not hold its open and close"
    return "" if 0 <= volume < math.inf else "a volume that is negative or not finite"


def _book_problem(values: list[float]) -> str:
    bids, bid_sizes = values[:BOOK_LEVELS], values[BOOK_LEVELS : 2 * BOOK_LEVELS]
    asks, ask_sizes = values[2 * BOOK_LEVELS : 3 * BOOK_LEVELS], values[3 * BOOK_LEVELS :]
    if not (0 < bids[0] < asks[0] < math.inf):
        return f"best bid {bids[0]} and best ask {asks[0]} are no book"
    if any(price <= 0 or price == math.inf for price in (*bids, *asks)):
        return "a price that is not positive and finite"
    if any(size < 0 or size == math.inf for size in (*bid_sizes, *ask_sizes)):
        return "a size that is negative or not finite"
    return ""


def _trade_problem(values: list[float]) -> str:
    price, size, side = values
    if not (0 < price < math.inf and 0 < size < math.inf):
        return f"price {price} and size {size} are no trade"
    return "" if side in {-1.0, 1.0} else f"its side is {side}, not +1 or -1"


def _derivative_problem(values: list[float]) -> str:
    return "an infinite value" if any(math.isinf(value) for value in values) else ""


_CHECKS: Mapping[EventKind, Callable[[list[float]], str]] = {
    EventKind.BAR: _bar_problem,
    EventKind.BOOK: _book_problem,
    EventKind.TRADE: _trade_problem,
    EventKind.DERIVATIVE: _derivative_problem,
}
