"""Out-of-sample predictions with what is needed to judge them, kept as one Parquet file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ratchet.data.atomic import sha256_bytes, write_bytes
from ratchet.errors import ArtifactError, CandidateRejectedError, InputError
from ratchet.market.symbols import Timeframe

if TYPE_CHECKING:
    from ratchet.features.panel import Panel

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_DTYPES = {
    "ts_ns": np.int64,
    "t1_ns": np.int64,
    "fold": np.int16,
    "label": np.int8,
    "ret": np.float64,
    "band": np.float64,
    "bar_return": np.float64,
    "p_up": np.float64,
}
_ROW_COLUMNS = ("symbol", *_DTYPES)
_BASELINE_PREFIX = "p_baseline_"


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """One row per (symbol, decision), sorted by (ts_ns, symbol); arrays of shape (row,).

    `ts_ns` is the decision bar's open, `t1_ns` the label's end (int64 ns UTC); `label`, `ret`, `band` are the panel's;
    `bar_return` is the decision bar's own simple return; `p_up` is the model's probability of an upward move, and
    `baselines` holds those of the baselines by name.
    """

    timeframe: str
    horizon: int
    symbol: NDArray[np.str_]
    ts_ns: IntArray
    t1_ns: IntArray
    fold: NDArray[np.int16]
    label: NDArray[np.int8]
    ret: FloatArray
    band: FloatArray
    bar_return: FloatArray
    p_up: FloatArray
    baselines: Mapping[str, FloatArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ts_ns)

    @property
    def decision_ns(self) -> IntArray:
        """When each decision is taken: the close of its bar, int64 ns UTC (row,)."""
        return self.ts_ns + Timeframe.parse(self.timeframe).ns

    @property
    def digest(self) -> str:
        """SHA-256 over all columns, lower-case hex."""
        state = hashlib.sha256(f"{self.timeframe} {self.horizon}".encode())
        for name, values in _columns(self).items():
            state.update(f"\n{name} {len(values)}\n".encode())
            state.update("\n".join(values.tolist()).encode() if name == "symbol" else values.tobytes())
        return state.hexdigest()

    def with_p_up(self, p_up: FloatArray) -> Predictions:
        """Return the same rows with other probabilities, float64 (row,)."""
        return replace(self, p_up=checked_probabilities(p_up, len(self)))

    def take(self, index: IntArray) -> Predictions:
        """Return the rows at the positions `index`, in that order."""
        columns = {name: getattr(self, name)[index] for name in _ROW_COLUMNS}
        return replace(self, **columns, baselines={name: p[index] for name, p in self.baselines.items()})


def predictions_of(
    panel: Panel,
    index: IntArray,
    p_up: FloatArray,
    *,
    fold: int = 0,
    baselines: Mapping[str, FloatArray] | None = None,
) -> Predictions:
    """Put a model's probabilities for the samples `index` beside the panel's outcomes.

    Raises:
        CandidateRejectedError: a probability is not a number within [0, 1], or there are too few or too many.
    """
    return Predictions(
        timeframe=panel.timeframe,
        horizon=panel.horizon,
        symbol=np.asarray(panel.symbols, dtype=np.str_)[panel.symbol_id[index]],
        ts_ns=panel.ts_ns[index],
        t1_ns=panel.t1_ns[index],
        fold=np.full(len(index), fold, dtype=np.int16),
        label=panel.label[index],
        ret=panel.ret[index],
        band=panel.band[index],
        bar_return=panel.last_return[index].astype(np.float64),
        p_up=checked_probabilities(p_up, len(index)),
        baselines={name: checked_probabilities(p, len(index)) for name, p in (baselines or {}).items()},
    )


def checked_probabilities(p_up: NDArray[Any], n_rows: int) -> FloatArray:
    """Return probabilities as float64 (row,).

    Raises:
        CandidateRejectedError: one is not a number within [0, 1], or there is not one per row.
    """
    values = np.asarray(p_up, dtype=np.float64)
    if values.shape != (n_rows,):
        raise CandidateRejectedError(f"the model answered {values.shape} probabilities for {n_rows} rows")
    n_wrong = int(np.count_nonzero(~((values >= 0.0) & (values <= 1.0))))
    if n_wrong:
        raise CandidateRejectedError(f"{n_wrong} of {n_rows} answers of the model are not probabilities within [0, 1]")
    return values


def concatenate(parts: Sequence[Predictions]) -> Predictions:
    """Join predictions of different folds, sorted by (ts_ns, symbol).

    Raises:
        InputError: nothing to join, or the parts differ in timeframe, horizon or baselines.
    """
    if not parts:
        raise InputError("there are no predictions to join")
    first = parts[0]
    kinds = {(part.timeframe, part.horizon, frozenset(part.baselines)) for part in parts}
    if len(kinds) > 1:
        raise InputError("predictions of different timeframes, horizons or baselines cannot be joined")
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _ROW_COLUMNS}
    baselines = {name: np.concatenate([part.baselines[name] for part in parts]) for name in first.baselines}
    joined = replace(first, **columns, baselines=baselines)
    return joined.take(np.lexsort((joined.symbol, joined.ts_ns)))


def require_same_rows(first: Predictions, second: Predictions) -> None:
    """Check that two models were asked about the same rows with the same outcomes.

    Raises:
        InputError: symbols, times, horizons or labels differ.
    """
    same_kind = (first.timeframe, first.horizon, len(first)) == (second.timeframe, second.horizon, len(second))
    names = ("symbol", "ts_ns", "t1_ns", "label", "ret", "band", "bar_return")
    if not same_kind or any(not np.array_equal(getattr(first, name), getattr(second, name)) for name in names):
        raise InputError("the two models were judged on different rows or labels; predict the same window with both")


def save_predictions(path: Path, predictions: Predictions) -> str:
    """Write one Parquet file atomically and return the SHA-256 of its bytes."""
    import pyarrow as pa  # noqa: PLC0415 - pyarrow is slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    table = pa.table(_columns(predictions))
    table = table.replace_schema_metadata({"timeframe": predictions.timeframe, "horizon": str(predictions.horizon)})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes(path, buffer.getvalue())
    return sha256_bytes(buffer.getvalue())


def load_predictions(path: Path) -> Predictions:
    """Read what `save_predictions` wrote.

    Raises:
        ArtifactError: the file is missing, damaged, or not a file of predictions.
    """
    import pyarrow as pa  # noqa: PLC0415 - pyarrow is slow to import
    import pyarrow.parquet as pq  # noqa: PLC0415

    try:
        table = pq.read_table(io.BytesIO(path.read_bytes()))
        header = table.schema.metadata or {}
        columns = {name: table.column(name).to_numpy().astype(dtype) for name, dtype in _DTYPES.items()}
        symbol = np.asarray(table.column("symbol").to_pylist(), dtype=np.str_)
        names = [name for name in table.column_names if name.startswith(_BASELINE_PREFIX)]
        return Predictions(
            timeframe=header[b"timeframe"].decode(),
            horizon=int(header[b"horizon"]),
            symbol=symbol,
            baselines={name.removeprefix(_BASELINE_PREFIX): table.column(name).to_numpy() for name in names},
            **columns,
        )
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise ArtifactError(f"{path} is missing or is not a file of predictions: {error}") from error


def _columns(predictions: Predictions) -> dict[str, NDArray[Any]]:
    columns = {name: getattr(predictions, name) for name in _ROW_COLUMNS}
    return columns | {_BASELINE_PREFIX + name: predictions.baselines[name] for name in sorted(predictions.baselines)}
