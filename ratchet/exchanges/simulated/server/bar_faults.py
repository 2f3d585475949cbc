"""Faults that befall the rows of a candle page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ratchet.exchanges.simulated.server.candle_page import VALUE_COLUMNS, CandlePage
from ratchet.exchanges.simulated.server.faults import FaultKind
from ratchet.exchanges.simulated.server.plan import Fault

_OPEN, _HIGH, _LOW, _CLOSE, _VOLUME = range(len(VALUE_COLUMNS))
_ERROR = 1.001  # a wrong close is a tenth of a percent off
_LEAST_ROWS = {FaultKind.EMPTY_PAGE: 1, FaultKind.WRONG_TIME_UNIT: 1, FaultKind.MISSING_ONCE: 3}


def spoiled(page: CandlePage, fault: Fault, bar_ns: int) -> CandlePage | None:
    """Return the page with a fault of scope `PAGE`, rows the oldest first; None where the page gives it no hold.

    `SHORT_PAGE`, `BEFORE_SINCE` and `UNCLOSED_AS_CLOSED` depend on what was asked and are not made here.
    """
    spoil = _SPOILERS.get(fault.kind)
    if spoil is None or len(page) < _LEAST_ROWS.get(fault.kind, 2):
        return None
    inner = 1 + int(fault.where * max(1, len(page) - 2))  # neither the first row nor, where there are three, the last
    return spoil(page, min(inner, len(page) - 1), bar_ns)


def partial(values: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    """Return a bar's values when `share` of it had passed: a valid bar that is not the final one."""
    part = values.copy()
    for index in (_HIGH, _LOW, _CLOSE):
        part[index] = values[_OPEN] + share * (values[index] - values[_OPEN])
    part[_VOLUME] = share * values[_VOLUME]
    return part


def with_wrong_close(page: CandlePage, rows: NDArray[np.bool_]) -> CandlePage:
    """Return the page with another close in `rows`, still within valid bars."""
    values = page.values.copy()
    values[rows, _CLOSE] *= _ERROR
    values[rows, _HIGH] = np.maximum(values[rows, _HIGH], values[rows, _CLOSE])
    return replace(page, values=values)


def _empty(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    return page.take(slice(0, 0))


def _duplicated(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    return page.take(np.insert(np.arange(len(page)), row, row))


def _conflicting(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    twice = _duplicated(page, row, bar_ns)
    return with_wrong_close(twice, np.arange(len(twice)) == row)


def _out_of_order(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    order = np.arange(len(page))
    order[[row - 1, row]] = order[[row, row - 1]]
    return page.take(order)


def _missing(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    return page.take(np.arange(len(page)) != row)


def _off_grid(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    times = page.ts_ns.copy()
    times[row] += bar_ns // 3
    return replace(page, ts_ns=times)


def _high_below_low(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    values = page.values.copy()
    values[row, _HIGH] = page.values[row, _LOW] * (2 - _ERROR)  # below it even where the two were equal
    values[row, _LOW] = page.values[row, _HIGH]
    return replace(page, values=values)


def _negative(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    values = page.values.copy()
    values[row, _LOW] = -values[row, _LOW]
    return replace(page, values=values)


def _null(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    values = page.values.copy()
    values[row, _CLOSE] = np.nan
    return replace(page, values=values)


def _wrong_unit(page: CandlePage, row: int, bar_ns: int) -> CandlePage:
    return replace(page, has_wrong_unit=True)


_SPOILERS: dict[FaultKind, Callable[[CandlePage, int, int], CandlePage]] = {
    FaultKind.EMPTY_PAGE: _empty,
    FaultKind.DUPLICATED_ROW: _duplicated,
    FaultKind.CONFLICTING_ROW: _conflicting,
    FaultKind.OUT_OF_ORDER: _out_of_order,
    FaultKind.MISSING_ONCE: _missing,
    FaultKind.OFF_GRID: _off_grid,
    FaultKind.HIGH_BELOW_LOW: _high_below_low,
    FaultKind.NEGATIVE_PRICE: _negative,
    FaultKind.NULL_PRICE: _null,
    FaultKind.WRONG_TIME_UNIT: _wrong_unit,
}
