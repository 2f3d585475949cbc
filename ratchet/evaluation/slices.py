"""Where a model is right: by symbol, by volatility and trend at the time of the decision, by hour of the day."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ratchet.evaluation.bootstrap import FloatArray, block_length, correct, resample_sums
from ratchet.evaluation.metrics import N_RESAMPLES, LabelArray, Metric, hits, to_metric
from ratchet.evaluation.predictions import IntArray, Predictions, require_same_rows
from ratchet.evaluation.records import Slice
from ratchet.market.symbols import Timeframe

Kind = Literal["symbol", "volatility", "trend", "hour"]
Names = NDArray[np.str_]

KINDS: tuple[Kind, ...] = ("symbol", "volatility", "trend", "hour")

_MIN_MOVES = 30
_MIN_HOUR_MOVES = 100
_BLOCK_HOURS = 4
_TRAILING_BARS = 48
_REFERENCE_BARS = 10 * _TRAILING_BARS
_FLAT_BELOW = 0.43  # a random walk is flat a third of the time: P(|normal| < 0.43) = 1/3
_HOUR_NS = 3_600_000_000_000
_DAY_NS = 24 * _HOUR_NS


def slice_accuracy(
    rows: Predictions,
    *,
    champion: Predictions | None = None,
    kinds: Collection[Kind] = KINDS,
    seed: int,
    n_resamples: int = N_RESAMPLES,
) -> tuple[Slice, ...]:
    """Return the accuracy of every slice that holds at least 30 moves, with 95 % intervals.

    Hours are blocks of four hours (UTC) by the time of the decision, for bars shorter than a day, and need 100 moves.
    All moments are resampled once, in blocks, for all slices together; a slice that fills only some stretches of time
    is judged by the number of those. Slices are looked at one by one: of twenty that are no worse, one will seem so.

    Args:
        rows: out-of-sample predictions.
        champion: its predictions of the same rows, for the paired gain.
        kinds: of slices.
        seed: of the resampling.
        n_resamples: bootstrap resamples.

    Raises:
        InputError: the champion was asked about other rows.
    """
    if champion is not None:
        require_same_rows(rows, champion)
    parts = [part for part in _parts(rows) if part[0] in kinds]
    if not parts:
        return ()
    hit = hits(rows.label, rows.p_up)
    scored = [np.ones(len(rows)), hit] + ([] if champion is None else [hit - hits(rows.label, champion.p_up)])
    times, moment = np.unique(rows.ts_ns, return_inverse=True)
    block = block_length(len(times), rows.horizon)
    tables = [_sums_per_moment(scored, rows.label, moment, len(times), inside) for _, _, inside in parts]
    drawn = np.split(
        resample_sums(np.hstack(tables), block=block, n_resamples=n_resamples, seed=seed), len(parts), axis=1
    )
    return tuple(
        _slice(kind, name, table, draws, block=block, overlap=rows.horizon)
        for (kind, name, _), table, draws in zip(parts, tables, drawn, strict=True)
    )


def volatility_regime(rows: Predictions) -> Names:
    """Return `low`, `middle` or `high` per row, and "" where too little is known, shape (row,).

    The volatility of the symbol's last 48 rows, the decision bar included, is ranked among those of its 480 rows
    before, of which 48 must be there: low in the lowest third. Look-ahead safe: a row's regime needs nothing after the
    close of its own bar. Gaps are skipped, not filled.
    """
    return _by_symbol(rows, _volatility_regime)


def trend_regime(rows: Predictions) -> Names:
    """Return `down`, `flat` or `up` per row, and "" where too little is known, shape (row,).

    The return over the symbol's last 48 rows, the decision bar included, over what their volatility lets expect of a
    random walk; below 0.43 it is flat, so that a random walk is flat a third of the time. Look-ahead safe as
    `volatility_regime`.
    """
    return _by_symbol(rows, _trend_regime)


def _parts(rows: Predictions) -> Iterator[tuple[Kind, str, IntArray]]:
    """Yield kind, name and row positions of every slice that has moves enough."""
    kinds: dict[Kind, tuple[Names, tuple[str, ...], int]] = {
        "symbol": (rows.symbol, tuple(np.unique(rows.symbol).tolist()), _MIN_MOVES),
        "volatility": (volatility_regime(rows), ("low", "middle", "high"), _MIN_MOVES),
        "trend": (trend_regime(rows), ("down", "flat", "up"), _MIN_MOVES),
    }
    if Timeframe.parse(rows.timeframe).ns < _DAY_NS:
        hours = _hour_block(rows.decision_ns)
        kinds["hour"] = (hours, tuple(np.unique(hours).tolist()), _MIN_HOUR_MOVES)
    for kind, (member, names, min_moves) in kinds.items():
        for name in names:
            inside = np.flatnonzero(member == name)
            if np.count_nonzero(rows.label[inside]) >= min_moves:
                yield kind, name, inside


def _sums_per_moment(
    scored: list[FloatArray], label: LabelArray, moment: NDArray[np.intp], n_times: int, inside: IntArray
) -> FloatArray:
    """Return the sums over a slice's moves at every moment, float64 (time, score)."""
    moves = inside[label[inside] != 0]
    return np.column_stack([np.bincount(moment[moves], weights=one[moves], minlength=n_times) for one in scored])


def _slice(kind: Kind, name: str, table: FloatArray, draws: FloatArray, *, block: int, overlap: int) -> Slice:
    """Return one slice's figures; the columns are moves, hits and, where there is a champion, the gain in hits."""
    total, draws = table.sum(axis=0), draws[draws[:, 0] > 0]  # a resample without a move of the slice says nothing
    n_stretches = len(np.unique(np.flatnonzero(table[:, 0]) // block))
    n_times = min(n_stretches * block, len(table))
    shares = [
        to_metric(
            correct(
                float(total[column] / total[0]),
                draws[:, column] / draws[:, 0],
                n_times=n_times,
                block=block,
                overlap=overlap,
            )
        )
        for column in range(1, len(total))
    ]
    right = shares[0]
    return Slice(
        kind=kind,
        name=name,
        n_moves=int(total[0]),
        accuracy=Metric(value=right.value, low=max(right.low, 0.0), high=min(right.high, 1.0)),
        gain_over_champion=shares[1] if len(shares) > 1 else None,
    )


def _hour_block(decision_ns: IntArray) -> Names:
    start = decision_ns % _DAY_NS // _HOUR_NS // _BLOCK_HOURS * _BLOCK_HOURS
    names = np.array([f"{hour:02d}-{hour + _BLOCK_HOURS:02d}" for hour in range(0, 24, _BLOCK_HOURS)])
    return names[start // _BLOCK_HOURS]


def _by_symbol(rows: Predictions, regime: Callable[[FloatArray], Names]) -> Names:
    found = np.full(len(rows), "", dtype="<U6")
    for name in np.unique(rows.symbol):
        own = np.flatnonzero(rows.symbol == name)
        if len(own) >= _TRAILING_BARS:
            own = own[np.argsort(rows.ts_ns[own], kind="stable")]
            found[own[_TRAILING_BARS - 1 :]] = regime(np.log1p(rows.bar_return[own]))
    return found


def _trailing(log_return: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return sum and root mean square of the last 48 values, from the 48th on.

    Each window is summed on its own: differences of running sums would carry the rounding of one into the next.
    """
    windows = np.lib.stride_tricks.sliding_window_view(log_return, _TRAILING_BARS)
    return windows.sum(axis=1), np.sqrt(np.mean(windows**2, axis=1))


def _volatility_regime(log_return: FloatArray) -> Names:
    _, volatility = _trailing(log_return)
    above = np.zeros(len(volatility))  # how many lie below, minus how many lie above; whole numbers, so exact
    for lag in range(1, min(_REFERENCE_BARS + 1, len(volatility))):
        above[lag:] += np.sign(volatility[lag:] - volatility[:-lag])
    n_before = np.minimum(np.arange(len(volatility)), _REFERENCE_BARS)
    named = np.select([3 * above < -n_before, 3 * above <= n_before], ["low", "middle"], "high")
    return np.where(n_before >= _TRAILING_BARS, named, "")


def _trend_regime(log_return: FloatArray) -> Names:
    total, volatility = _trailing(log_return)
    expected = _FLAT_BELOW * volatility * np.sqrt(_TRAILING_BARS)
    return np.select([total < -expected, total > expected], ["down", "up"], "flat")
