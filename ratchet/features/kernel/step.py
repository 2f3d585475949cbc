"""The kernel's one entry point: events of a symbol in, rows out.

Events of one symbol and kind come in the order of time; one that is older than another kind's counts as of that one's
time. A bar's row holds the market as of the bar's close even where the bar itself arrives later: as an event passes a
close, the market's features are set aside for that bar.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ratchet.features.kernel.bars import push_bar
from ratchet.features.kernel.compiling import SOURCE_DIGEST, dispatcher, entry_point, formula, section
from ratchet.features.kernel.formulas import ALPHA_FORMULAS, BAR_FORMULAS
from ratchet.features.kernel.market import (
    MARKET_FORMULAS,
    Market,
    confirm_book,
    lose_book,
    lose_trades,
    take_book,
    take_derivative,
    take_trade,
)
from ratchet.features.kernel.program import BY_ALPHA, BY_BAR, BY_MARKET, EVERY_EVENT, TIMEFRAME_NS, Program
from ratchet.features.kernel.state import (
    BAR_NS,
    BARS_KNOWN_NS,
    BOUNDARY_NS,
    KNOWN_NS,
    N_BARS,
    N_PENDING,
    NOW_NS,
    ROW_KNOWN_NS,
    ROW_NS,
    State,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_LARGEST: Final = 3.0e38
"""About the largest float32; what is larger in size is missing."""

# The kinds of ratchet.features.streaming.events.EventKind, as constants for the compiler.
_BAR: Final = 0
_BOOK: Final = 1
_TRADE: Final = 2
_DERIVATIVE: Final = 3
_BOOK_LOST: Final = 4
_TRADES_LOST: Final = 5

_bar_value = dispatcher(BAR_FORMULAS, "bars, end, n, p, s")
_alpha_value = dispatcher(ALPHA_FORMULAS, "bars, end, n, p, s")
_market_value = dispatcher(MARKET_FORMULAS, "market, now_ns, p")


@section
def _evaluate_alpha(program: Program, alpha: IntArray | None, state: State, end: int) -> None:
    if alpha is not None:  # decided by the compiler, here and below
        n = state.clock[N_BARS]
        for i in range(program.operation.shape[0]):
            if program.clock[i] == BY_ALPHA:
                slots = state.slots[program.slot[i] : program.slot[i + 1]]
                value = _alpha_value(program.operation[i], state.bars, end, n, program.params[i], slots)
                state.values[i] = value if n > program.warmup[i] else math.nan


@section
def _take_bar(program: Program, state: State, close_ns: int, values: FloatArray) -> None:
    """Push a bar and compute every feature of bars."""
    end = push_bar(state.bars, state.clock[N_BARS], close_ns, values)
    state.clock[N_BARS] += 1
    state.clock[BAR_NS] = close_ns
    n = state.clock[N_BARS]
    for i in range(program.operation.shape[0]):
        if program.clock[i] == BY_BAR:
            slots = state.slots[program.slot[i] : program.slot[i + 1]]
            value = _bar_value(program.operation[i], state.bars, end, n, program.params[i], slots)
            state.values[i] = value if n > program.warmup[i] else math.nan
    _evaluate_alpha(program, program.alpha, state, end)


@section
def _evaluate_market(program: Program, market: Market | None, now_ns: int, row: FloatArray) -> None:
    if market is not None:
        for i in range(program.operation.shape[0]):
            if program.clock[i] == BY_MARKET:
                row[i] = _market_value(program.operation[i], market, now_ns, program.params[i])


@section
def _set_aside(program: Program, state: State, ts_ns: int) -> None:
    """Keep the market as of each bar close up to `ts_ns`, which it is about to pass."""
    timeframe_ns = program.settings[TIMEFRAME_NS]
    boundary_ns = state.clock[BOUNDARY_NS]
    if boundary_ns == 0:
        boundary_ns = (ts_ns // timeframe_ns + 1) * timeframe_ns
    passed = (ts_ns - boundary_ns) // timeframe_ns + 1 if ts_ns >= boundary_ns else 0
    if passed > N_PENDING:
        boundary_ns += (passed - N_PENDING) * timeframe_ns
    while boundary_ns <= ts_ns:
        place = (boundary_ns // timeframe_ns) % N_PENDING
        _evaluate_market(program, state.market, boundary_ns, state.pending[place])
        state.pending_ns[place, 0] = boundary_ns
        state.pending_ns[place, 1] = state.clock[KNOWN_NS]
        boundary_ns += timeframe_ns
    state.clock[BOUNDARY_NS] = boundary_ns


@formula
def _copy(source: FloatArray, target: FloatArray) -> None:
    for i in range(target.shape[0]):
        target[i] = source[i]


@section
def _emit_bar(program: Program, state: State, close_ns: int, known_ns: int) -> None:
    """Write the row of a bar: the bar's features, and the market's as of its close."""
    state.clock[ROW_NS] = close_ns
    state.clock[BARS_KNOWN_NS] = max(state.clock[BARS_KNOWN_NS], known_ns)
    known_ns = state.clock[BARS_KNOWN_NS]
    place = (close_ns // program.settings[TIMEFRAME_NS]) % N_PENDING
    is_passed = state.clock[NOW_NS] >= close_ns
    if is_passed and state.pending_ns[place, 0] == close_ns:
        _copy(state.pending[place], state.row)
        known_ns = max(known_ns, state.pending_ns[place, 1])
    elif is_passed:
        for i in range(state.row.shape[0]):
            state.row[i] = math.nan
    else:
        _evaluate_market(program, state.market, close_ns, state.row)
        known_ns = max(known_ns, state.clock[KNOWN_NS])
    for i in range(program.operation.shape[0]):
        if program.clock[i] != BY_MARKET:
            state.row[i] = state.values[i]
    state.clock[ROW_KNOWN_NS] = known_ns


@section
def _emit_event(program: Program, state: State, ts_ns: int) -> None:
    state.clock[ROW_NS] = ts_ns
    _copy(state.values, state.row)
    _evaluate_market(program, state.market, ts_ns, state.row)
    state.clock[ROW_KNOWN_NS] = max(state.clock[KNOWN_NS], state.clock[BARS_KNOWN_NS])


@section
def _take_market(market: Market | None, kind: int, ts_ns: int, values: FloatArray) -> None:
    if market is None:
        pass
    elif kind == _BOOK:
        take_book(market, ts_ns, values)
    elif kind == _TRADE:
        take_trade(market, ts_ns, values)
    elif kind == _DERIVATIVE:
        take_derivative(market, ts_ns, values)
    elif kind == _BOOK_LOST:
        lose_book(market, ts_ns)
    elif kind == _TRADES_LOST:
        lose_trades(market, ts_ns)
    else:
        confirm_book(market, ts_ns)


@section
def _apply(program: Program, state: State, kind: int, ts_ns: int, known_ns: int, values: FloatArray) -> bool:
    """Take an event; tell whether `state.row` is a new row."""
    if kind == _BAR:
        _take_bar(program, state, ts_ns, values)
        _emit_bar(program, state, ts_ns, known_ns)
        return True
    ts_ns = max(ts_ns, state.clock[NOW_NS])
    _set_aside(program, state, ts_ns)
    _take_market(state.market, kind, ts_ns, values)
    state.clock[NOW_NS] = ts_ns
    state.clock[KNOWN_NS] = max(state.clock[KNOWN_NS], known_ns)
    if program.settings[EVERY_EVENT] and kind <= _DERIVATIVE:
        _emit_event(program, state, ts_ns)
        return True
    return False


def _entry_point(digest: int) -> Callable[..., int]:
    @entry_point
    def step(
        program: Program,
        state: State,
        kinds: IntArray,
        times: IntArray,
        offsets: IntArray,
        values: FloatArray,
        rows: NDArray[np.float32],
        row_times: IntArray,
    ) -> int:
        n_rows = 0
        for k in range(kinds.shape[0] if digest != 0 else 0):
            if _apply(program, state, kinds[k], times[k, 0], times[k, 1], values[offsets[k] : offsets[k + 1]]):
                for i in range(state.row.shape[0]):
                    value = state.row[i]
                    rows[n_rows, i] = value if abs(value) <= _LARGEST else math.nan
                row_times[n_rows, 0] = k
                row_times[n_rows, 1] = state.clock[ROW_NS]
                row_times[n_rows, 2] = state.clock[ROW_KNOWN_NS]
                n_rows += 1
        return n_rows

    return step


step = _entry_point(SOURCE_DIGEST)
"""`step(program, state, kinds, times, offsets, values, rows, row_times) -> n_rows`: take events of a symbol, in order.

`kinds` int64 (event,); `times` int64 (event, 2), event time and arrival in ns; event k's values are
`values[offsets[k]:offsets[k + 1]]`, float64. Written are float32 `rows` (row, feature) and int64 `row_times` (row, 3):
which event caused the row, as of when it holds, when all of it had arrived. One event at a time or a whole history: the
same machine code, so the same bits.
"""
