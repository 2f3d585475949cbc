"""What must hold after a day's collection, whoever collected it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ratchet.data.history import GapKind
from ratchet.exchanges.simulated.server import FaultKind, FaultPlan
from tests.battery.days import MIXED, Day
from tests.battery.driving import Collected, Outcome

_VALUES = ["open", "high", "low", "close", "volume"]
_TELLS_LISTING = {"okx"}
"""Venues that say since when they list a symbol; elsewhere what lies before its first bar is before its listing."""

_QUARANTINE = {
    *(FaultKind.CONFLICTING_ROW, FaultKind.OFF_GRID, FaultKind.HIGH_BELOW_LOW),
    *(FaultKind.NEGATIVE_PRICE, FaultKind.NULL_PRICE),
}


@dataclass
class Verdict:
    """What a day came to; `problems` is empty where everything held."""

    n_rows: int = 0
    """Rows that were compared with the truth."""
    n_lost: int = 0
    """Bars that the venue has shown and that are not stored."""
    n_fabricated: int = 0
    """Rows that are not in the truth, or twice."""
    n_wrong: int = 0
    """Rows with other values than the truth."""
    n_gaps: int = 0
    n_missing: int = 0
    """Bars in the ledger."""
    n_quarantined: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Truth:
    """The bars of one symbol on a day, and which of them the venue ever shows."""

    opens: NDArray[np.int64]
    values: NDArray[np.float64]
    is_shown: NDArray[np.bool_]
    is_quiet: NDArray[np.bool_]
    has_vanished: bool


def judge(day: Day, collected: Collected) -> Verdict:
    """Compare what was collected with the truth, and what is missing with the ledger."""
    verdict = Verdict()
    truths = _truths(day, day.plan())
    _judge_outcome(day, truths, collected.faulty, verdict)
    verdict.problems += _misnamed(day, truths, collected.faulty)
    if collected.sound is not None:
        verdict.problems += _unsound(day, truths, collected.faulty, collected.sound)
    verdict.n_quarantined = len(collected.quarantined)
    verdict.problems += _quarantine_problems(day, truths, collected)
    return verdict


def _truths(day: Day, plan: FaultPlan) -> dict[str, _Truth]:
    hidden = plan.hidden(day.candles).index
    inside = day.candles[(day.candles["ts_event_ns"] >= day.start_ns) & (day.candles["ts_event_ns"] < day.end_ns)]
    truths = {}
    for symbol, rows in inside.sort_values("ts_event_ns").groupby("symbol"):
        is_quiet = (rows["volume"] == 0).to_numpy()
        left_out = is_quiet if day.venue == "coinbase" else np.zeros(len(rows), dtype=bool)
        truths[str(symbol)] = _Truth(
            opens=rows["ts_event_ns"].to_numpy(),
            values=rows[_VALUES].to_numpy(),
            is_shown=~rows.index.isin(hidden) & ~left_out,
            is_quiet=is_quiet,
            has_vanished=plan.has_vanished(str(symbol), day.end_ns),
        )
    return truths


def _judge_outcome(day: Day, truths: dict[str, _Truth], outcome: Outcome, verdict: Verdict) -> None:
    bar_ns = day.timeframe.ns
    for symbol, truth in truths.items():
        rows = outcome.stored[symbol]
        times = rows["ts_event_ns"].to_numpy(dtype=np.int64)
        at = np.searchsorted(truth.opens, times).clip(max=len(truth.opens) - 1)
        is_known = truth.opens[at] == times
        is_wrong = is_known & (rows[_VALUES].to_numpy(dtype=float) != truth.values[at]).any(axis=1)
        n_twice = len(times) - len(np.unique(times))
        lost = truth.opens[truth.is_shown & ~np.isin(truth.opens, times)]
        verdict.n_rows += len(times)
        verdict.n_fabricated += int((~is_known).sum()) + n_twice
        verdict.n_wrong += int(is_wrong.sum())
        verdict.n_lost += len(lost)
        verdict.problems += _said(symbol, "not of the truth", times[~is_known], day)
        verdict.problems += _said(symbol, "with other values", times[is_wrong], day)
        verdict.problems += _said(symbol, "lost", lost, day)
        if n_twice or (np.diff(times) <= 0).any():
            verdict.problems.append(f"{symbol}: {n_twice} bars are stored twice, or not in order")
        gaps = [gap for gap in outcome.gaps if gap.symbol == symbol]
        missing = np.array([open_ns for gap in gaps for open_ns in range(gap.start_ns, gap.end_ns, bar_ns)], np.int64)
        verdict.n_gaps += len(gaps)
        verdict.n_missing += len(missing)
        if not np.array_equal(np.sort(np.concatenate([times, missing])), truth.opens):
            unexplained = np.setdiff1d(truth.opens, np.concatenate([times, missing]))
            surplus = np.setdiff1d(missing, truth.opens)
            both = np.intersect1d(times, missing)
            verdict.problems.append(
                f"{symbol}: stored and missing are not what was wanted: {len(unexplained)} bars in neither, "
                f"{len(both)} in both, {len(surplus)} missing that nobody wanted"
            )
        verdict.problems += _time_problems(day, symbol, outcome)


def _time_problems(day: Day, symbol: str, outcome: Outcome) -> list[str]:
    if symbol not in outcome.versions:
        return []
    versions = outcome.versions[symbol]
    is_early = (versions["known_ns"] < versions["ts_event_ns"] + day.timeframe.ns).to_numpy()
    is_off_grid = (versions["ts_event_ns"] % day.timeframe.ns != 0).to_numpy()
    times = versions["ts_event_ns"].to_numpy()
    problems = _said(symbol, "known before its close", times[is_early], day)
    problems += _said(symbol, "off the grid", times[is_off_grid], day)
    if outcome.wanted[symbol] != (day.start_ns, day.end_ns):
        start_ns, end_ns = outcome.wanted[symbol]
        n_bars = (end_ns - start_ns) // day.timeframe.ns
        problems.append(f"{symbol}: {n_bars} bars are wanted, not the {day.n_bars} of the day")
    return problems


def _misnamed(day: Day, truths: dict[str, _Truth], outcome: Outcome) -> list[str]:
    """Find gaps whose kind does not fit what the venue can show of them."""
    problems = []
    for gap in outcome.gaps:
        truth = truths[gap.symbol]
        inside = (truth.opens >= gap.start_ns) & (truth.opens < gap.end_ns)
        for row in np.flatnonzero(inside).tolist():
            expected = _fitting_kinds(day, truths, gap.symbol, row, outcome)
            if gap.kind not in expected:
                names = " or ".join(sorted(expected))
                problems.append(f"{gap.symbol}: bar {row} is {gap.kind}, not {names} ({gap.evidence})")
                break
    return problems


def _fitting_kinds(day: Day, truths: dict[str, _Truth], symbol: str, row: int, outcome: Outcome) -> set[GapKind]:
    truth = truths[symbol]
    open_ns = int(truth.opens[row])
    if truth.has_vanished and open_ns + day.timeframe.ns >= day.vanish_ns:
        return {GapKind.NOT_LISTED}
    others = [other for other, known in truths.items() if other != symbol and not known.has_vanished]
    witnesses = [outcome.stored[other]["ts_event_ns"].to_numpy() for other in others]
    witnesses = [times for times in witnesses if len(times) and times[0] <= open_ns]
    is_dark = bool(witnesses) and not any(open_ns in times for times in witnesses)
    has_trades = not truth.is_quiet[row] and day.label != FaultKind.OUTAGE
    shows_trades = day.traits.has_trade_history
    if shows_trades and has_trades:
        return {GapKind.FETCH_FAILURE}
    if _is_leading(outcome, symbol, open_ns) and day.venue not in _TELLS_LISTING:
        return {GapKind.NOT_LISTED, GapKind.FETCH_FAILURE, *([GapKind.EXCHANGE_OUTAGE] if is_dark else [])}
    if is_dark:
        return {GapKind.EXCHANGE_OUTAGE}
    if day.traits.emits_empty_bars and not shows_trades:
        return {GapKind.FETCH_FAILURE}
    return {GapKind.NO_TRADES} if witnesses or not day.traits.emits_empty_bars else {GapKind.EXCHANGE_OUTAGE}


def _is_leading(outcome: Outcome, symbol: str, open_ns: int) -> bool:
    times = outcome.stored[symbol]["ts_event_ns"]
    return times.empty or open_ns < int(times.iloc[0])


def _unsound(day: Day, truths: dict[str, _Truth], faulty: Outcome, sound: Outcome) -> list[str]:
    """Say what a collection without faults did not mend, or what it changed."""
    problems = []
    for symbol, truth in truths.items():
        wanted = truth.opens[~truth.is_quiet] if day.venue == "coinbase" else truth.opens
        times = sound.stored[symbol]["ts_event_ns"].to_numpy()
        problems += _said(symbol, "not mended", np.setdiff1d(wanted, times), day)
        is_complete = not any(gap.symbol == symbol for gap in faulty.gaps)
        if is_complete and faulty.digests[symbol] != sound.digests[symbol]:
            problems.append(f"{symbol}: was complete, yet a further collection changed it")
    verdict = Verdict()
    shown = {
        symbol: _Truth(truth.opens, truth.values, np.isin(truth.opens, sound.stored[symbol]["ts_event_ns"]),
                       truth.is_quiet, False)
        for symbol, truth in truths.items()
    }  # fmt: skip
    _judge_outcome(day, shown, sound, verdict)
    return [f"afterwards, {problem}" for problem in problems + verdict.problems]


def _quarantine_problems(day: Day, truths: dict[str, _Truth], collected: Collected) -> list[str]:
    """Say which rows are in quarantine without a reason; only days with impossible rows may have any."""
    rows = collected.quarantined
    if rows.empty:
        return []
    if day.label != MIXED and day.label not in _QUARANTINE:
        return [f"{len(rows)} rows are in quarantine although none was impossible"]
    return ["a row is in quarantine without a reason"] if (rows["reason"] == "").any() else []


def _said(symbol: str, what: str, times: NDArray[np.int64], day: Day) -> list[str]:
    if not len(times):
        return []
    bars = ", ".join(str((int(open_ns) - day.start_ns) / day.timeframe.ns) for open_ns in times[:5])
    return [f"{symbol}: {len(times)} bars {what} ({bars})"]
