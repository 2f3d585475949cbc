"""Every try counts: the store of all trials of a model, from which the luck of having tried often is deducted.

A trial is one configuration that was trained and judged out of sample: by a retraining, by `ratchet validate`, or in a
tuning study.
The best of many tries looks good without any skill (Bailey and Lopez de Prado, 2014), and only who counts them all can
tell. So trials are appended and never removed, whatever became of them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BigInteger, Column, Connection, Float, Index, LargeBinary, MetaData, Table, Text, select
from sqlalchemy.dialects.sqlite import insert

from ratchet.data.lock import hold
from ratchet.data.sqlite import BUSY_TIMEOUT_S, SqliteDatabase
from ratchet.errors import InputError
from ratchet.evaluation.metrics import NetReturns
from ratchet.evaluation.overfitting import probability_of_backtest_overfitting
from ratchet.evaluation.records import SelectionReport
from ratchet.evaluation.track_record import deflated_sharpe, effective_trials, expected_best_sharpe

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
TrialKind = Literal["retrain", "validation", "tuning"]

_SCHEMA_VERSION = 1
_MIN_SHARED_BARS = 100
_GROUPS = 10
_metadata = MetaData()
_trials = Table(
    "trials",
    _metadata,
    Column("model", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("sharpe", Float, nullable=False),
    Column("skewness", Float, nullable=False),
    Column("kurtosis", Float, nullable=False),
    Column("bars_ns", LargeBinary, nullable=False),
    Column("returns", LargeBinary, nullable=False),
)
Index("trials_by_model", _trials.c.model, _trials.c.ts_ns)


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """One configuration and what trading it out of sample earned, net of costs.

    `key` names the configuration with its data: the same training done again, after a crash, is the same trial.
    `returns` are net returns per bar, float64 (time,), of the bars that open at `bars_ns`, int64 ns UTC (time,);
    `sharpe`, `skewness` and `kurtosis` (normal: 3) are theirs.
    """

    key: str
    model: str
    kind: TrialKind
    ts_ns: int
    run_id: str
    sharpe: float
    skewness: float
    kurtosis: float
    bars_ns: IntArray
    returns: FloatArray

    @classmethod
    def of(cls, key: str, model: str, kind: TrialKind, *, ts_ns: int, run_id: str, traded: NetReturns) -> Self:
        """Make a trial from its net returns.

        Raises:
            InputError: fewer than two bars.
        """
        value = traded.value
        if len(value) < 2:
            raise InputError(f"a trial needs at least two bars of returns, not {len(value)}")
        deviation = float(value.std(ddof=1))
        score = (value - value.mean()) / deviation if deviation > 0 else np.zeros_like(value)
        return cls(
            key=key,
            model=model,
            kind=kind,
            ts_ns=ts_ns,
            run_id=run_id,
            sharpe=float(value.mean()) / deviation if deviation > 0 else 0.0,
            skewness=float((score**3).mean()),
            kurtosis=float((score**4).mean()) if deviation > 0 else 3.0,
            bars_ns=traded.ts_ns,
            returns=value,
        )


class TrialStore:
    """All trials, in one SQLite file.

    Args:
        path: the file; its folder is made.
    """

    def __init__(self, path: Path) -> None:
        self._database = SqliteDatabase(
            path, title="the store of trials", schema_version=_SCHEMA_VERSION, create_schema=_create
        )
        if self._database.is_empty():
            with self._database.translated(), hold(path.with_suffix(".lock"), patience_s=BUSY_TIMEOUT_S):
                self._database.create()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def add(self, trial: Trial) -> None:
        """Append a trial; the same key again is no further trial."""
        row = {
            name: getattr(trial, name)
            for name in ("key", "model", "kind", "ts_ns", "run_id", "sharpe", "skewness", "kurtosis")
        }
        row |= {"bars_ns": _packed(trial.bars_ns), "returns": _packed(trial.returns)}
        with self._database.write() as connection:
            connection.execute(insert(_trials).values(row).on_conflict_do_nothing())

    def all(self, model: str) -> list[Trial]:
        """Return a model's trials, oldest first."""
        with self._database.read() as connection:
            query = select(_trials).where(_trials.c.model == model).order_by(_trials.c.ts_ns, _trials.c.key)
            return [_trial(row) for row in connection.execute(query)]


def judge_selection(trials: list[Trial], own: Trial, *, bars_per_year: float) -> SelectionReport:
    """Say how much of a trial's Sharpe ratio the number of trials explains.

    The number is the true one, all of them; how many are independent is reported beside. The spread of trials without
    skill is estimated from the trials themselves, so a single trial deducts nothing.

    Args:
        trials: all trials of the model, `own` among them.
        own: the trial to judge.
        bars_per_year: to annualise.
    """
    sharpes = np.array([trial.sharpe for trial in trials])
    variance = float(sharpes.var(ddof=1)) if len(sharpes) > 1 else 0.0
    best = expected_best_sharpe(variance, len(trials))
    shared = _shared_returns(trials)
    return SelectionReport(
        n_trials=len(trials),
        n_same_data=sum(int(trial.bars_ns[-1]) == int(own.bars_ns[-1]) for trial in trials),
        effective_trials=effective_trials(shared) if shared.shape[1] > 1 else float(len(trials)),
        expected_best_sharpe=best * float(np.sqrt(bars_per_year)),
        deflated_sharpe=deflated_sharpe(
            own.sharpe,
            len(own.returns),
            own.skewness,
            own.kurtosis,
            variance_of_trials=variance,
            n_trials=len(trials),
        ),
        pbo=probability_of_backtest_overfitting(shared, n_groups=_GROUPS).pbo if shared.shape[1] > 1 else None,
        pbo_trials=shared.shape[1],
    )


def _shared_returns(trials: list[Trial]) -> FloatArray:
    """Return the returns of the trials that share their bars with the newest one, float64 (time, trial)."""
    columns, bars = [trials[-1].returns], trials[-1].bars_ns
    for trial in reversed(trials[:-1]):
        common, left, right = np.intersect1d(bars, trial.bars_ns, assume_unique=True, return_indices=True)
        if len(common) >= _MIN_SHARED_BARS:
            bars, columns = common, [*(column[left] for column in columns), trial.returns[right]]
    return np.column_stack(columns)


def _create(connection: Connection) -> None:
    _metadata.create_all(connection, checkfirst=False)


def _packed(values: NDArray[Any]) -> bytes:
    return zlib.compress(np.ascontiguousarray(values).tobytes())


def _trial(row: Any) -> Trial:
    return Trial(
        key=row.key,
        model=row.model,
        kind=row.kind,
        ts_ns=row.ts_ns,
        run_id=row.run_id,
        sharpe=row.sharpe,
        skewness=row.skewness,
        kurtosis=row.kurtosis,
        bars_ns=np.frombuffer(zlib.decompress(row.bars_ns), dtype=np.int64),
        returns=np.frombuffer(zlib.decompress(row.returns), dtype=np.float64),
    )
