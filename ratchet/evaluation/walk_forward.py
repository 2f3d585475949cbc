"""Walk-forward folds that are cut by time, purged by label end, and separated by an embargo."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import iso_utc
from ratchet.errors import InputError, LeakageError

_EPOCH_WEEKDAY = 3
"""1970-01-01 was a Thursday: days after the Monday on which its week began."""


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One step of a walk-forward: fit on `train`, judge on `test`.

    `train` and `test` are int64 positions of samples (sample,). `test_start_ns` and `test_end_ns` are the first and
    last decision of the test window, `train_end_ns` the latest label end in train; all ns UTC.
    """

    index: int
    train: NDArray[np.int64]
    test: NDArray[np.int64]
    test_start_ns: int
    test_end_ns: int
    train_end_ns: int


@dataclass(frozen=True, slots=True)
class PurgedWalkForward:
    """Cuts a panel into `n_splits` consecutive test windows, each with a training set that lies before it.

    The first `min_train_share` of the distinct decision times is never tested. The rest is cut into windows with equal
    numbers of decision times, so that all symbols of one moment fall on the same side. A sample trains only if its
    label ended at least `embargo_ns` before the window's first decision. `expanding` trains on everything up to there,
    `rolling` on decisions no older than the first fold's training span. (Lopez de Prado, 2018, chapter 7: purging and
    embargo.)

    With `window`, the windows are calendar periods (UTC, weeks from Monday) instead, each with the decisions taken in
    it: the last `n_splits` whole ones. A period at the end is whole if one more decision, at the shortest step of the
    history, would fall after it; one that is still running is neither tested nor trained on.
    """

    n_splits: int = 5
    embargo_ns: int = 0
    min_train_share: float = 0.4
    scheme: Literal["expanding", "rolling"] = "expanding"
    window: Literal["week", "month", "quarter"] | None = None

    def __post_init__(self) -> None:
        if self.n_splits < 1:
            raise InputError(f"a walk-forward needs at least one split, not {self.n_splits}")
        if self.embargo_ns < 0:
            raise InputError(f"the embargo must not be negative, not {self.embargo_ns} ns")
        if not 0.0 < self.min_train_share < 1.0:
            raise InputError(f"min_train_share must lie between 0 and 1, not {self.min_train_share}")
        if self.scheme not in ("expanding", "rolling"):
            raise InputError(f"the scheme is expanding or rolling, not {self.scheme!r}")
        if self.window not in (None, "week", "month", "quarter"):
            raise InputError(f"the window is week, month, quarter or None, not {self.window!r}")

    def split(self, decision_ns: NDArray[np.int64], t1_ns: NDArray[np.int64]) -> list[Fold]:
        """Return the folds in order of time.

        Args:
            decision_ns: when each sample's decision is taken, int64 ns UTC (sample,); any order.
            t1_ns: when each sample's label ends, int64 ns UTC (sample,).

        Raises:
            InputError: too few distinct times for a window, or a window without a single training sample.
        """
        times = np.unique(decision_ns)
        first_test = math.ceil(self.min_train_share * len(times))
        if len(times) - first_test < self.n_splits:
            raise InputError(
                f"{len(times)} distinct decision times are too few for {self.n_splits} test windows after a training "
                f"share of {self.min_train_share:g}; give a longer history or fewer splits"
            )
        if self.window is None:
            edges = np.linspace(first_test, len(times), self.n_splits + 1).astype(np.int64)
        else:
            edges = self._calendar_edges(times, first_test, self.window)
        oldest = edges[:-1] - edges[0] if self.scheme == "rolling" else np.zeros(self.n_splits, dtype=np.int64)
        return [
            self._fold(
                index,
                decision_ns,
                t1_ns,
                start_ns=int(times[begin]),
                end_ns=int(times[end - 1]),
                oldest_ns=int(times[old]),
            )
            for index, (begin, end, old) in enumerate(zip(edges[:-1], edges[1:], oldest, strict=True))
        ]

    def _calendar_edges(self, times: NDArray[np.int64], first_test: int, window: str) -> NDArray[np.int64]:
        """Return where each tested period begins among the times, and where the last ends, int64 (n_splits + 1,)."""
        periods, begin = np.unique(_period(times, window), return_index=True)
        coming = times[-1:] + np.diff(times).min()
        n_whole = int(np.count_nonzero(periods < _period(coming, window)))
        edges: NDArray[np.int64] = np.append(begin, len(times)).astype(np.int64)[: n_whole + 1]
        n_tested = int(np.count_nonzero(edges[:-1] >= first_test))
        if n_tested < self.n_splits:
            raise InputError(
                f"the history has {n_tested} whole calendar {window}s after a training share of "
                f"{self.min_train_share:g}, too few for {self.n_splits} test windows; give a longer history or fewer "
                "splits"
            )
        return edges[-self.n_splits - 1 :]

    def _fold(
        self,
        index: int,
        decision_ns: NDArray[np.int64],
        t1_ns: NDArray[np.int64],
        *,
        start_ns: int,
        end_ns: int,
        oldest_ns: int,
    ) -> Fold:
        test = np.flatnonzero((decision_ns >= start_ns) & (decision_ns <= end_ns))
        train = np.flatnonzero((t1_ns + self.embargo_ns <= start_ns) & (decision_ns >= oldest_ns))
        if not len(train):
            raise InputError(
                f"fold {index} has no training sample: no label ends {self.embargo_ns / 1e9:g} s before its first test "
                f"decision at {iso_utc(start_ns)}; give a longer history, or a shorter embargo or horizon"
            )
        return Fold(
            index=index,
            train=train,
            test=test,
            test_start_ns=start_ns,
            test_end_ns=end_ns,
            train_end_ns=int(t1_ns[train].max()),
        )


def _period(time_ns: NDArray[np.int64], window: str) -> NDArray[np.int64]:
    """Number the calendar weeks, months or quarters (UTC) of times in ns, int64 (time,)."""
    if window == "week":
        day = time_ns.astype("datetime64[ns]").astype("datetime64[D]").astype(np.int64)
        return (day + _EPOCH_WEEKDAY) // 7
    month = time_ns.astype("datetime64[ns]").astype("datetime64[M]").astype(np.int64)
    return month // 3 if window == "quarter" else month


def refuse_leakage(
    fold: Fold, decision_ns: NDArray[np.int64], t1_ns: NDArray[np.int64], *, embargo_ns: int = 0
) -> None:
    """Check a fold, whoever made it, against the samples themselves.

    Raises:
        LeakageError: a training label ends after the first test decision, or within the embargo before it.
    """
    start_ns = int(decision_ns[fold.test].min())
    n_late = int(np.count_nonzero(t1_ns[fold.train] + embargo_ns > start_ns))
    if n_late:
        raise LeakageError(
            f"fold {fold.index}: {n_late} of {len(fold.train)} training labels end later than the embargo of "
            f"{embargo_ns / 1e9:g} s allows before the first test decision at {iso_utc(start_ns)}"
        )
