"""The panel: all symbols' features and labels in one time-ordered set of samples."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ratchet.clock import NS_PER_S
from ratchet.data.atomic import fsync_folder, write_bytes, write_json
from ratchet.errors import ArtifactError, InputError
from ratchet.features.bars import Bars, BoolArray, FloatArray, IntArray, run_length, split_by_symbol
from ratchet.features.history import RowTable, bar_features, bar_table, merged, ordered_tables, replay
from ratchet.features.labels import Labels, label_bars
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import FeatureEvent
from ratchet.market.symbols import Timeframe

ALLOWED_DELAY_NS = 5 * NS_PER_S
"""A book or trade of before a bar's close may arrive this much after it and still count for the decision there."""


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Samples of all symbols, sorted by (ts_ns, symbol_id).

    Rows are bars: `features` float32 (row, feature), `row_ts_ns` int64 (row,), the symbols' blocks one after another.
    Samples are decisions, arrays of shape (sample,): a sample's window is the `window` rows that end at `end_row`. It
    holds bars known at the decision, ts_ns + timeframe, and no later ones. Every sample has a finite window, no gap
    over window and horizon, and a known outcome at `t1_ns`. `last_return` is the decision bar's own close over open,
    minus 1; `label`, `ret` and `band` are those of `labels.Labels`.
    """

    symbols: tuple[str, ...]
    feature_names: tuple[str, ...]
    schema_hash: str
    timeframe: str
    horizon: int
    window: int
    features: NDArray[np.float32]
    row_ts_ns: IntArray
    end_row: IntArray
    symbol_id: NDArray[np.int16]
    ts_ns: IntArray
    t1_ns: IntArray
    label: NDArray[np.int8]
    ret: FloatArray
    band: FloatArray
    last_return: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.end_row)

    @property
    def decision_ns(self) -> IntArray:
        """When each sample's decision is taken: its last bar's close, int64 ns UTC (sample,)."""
        return self.ts_ns + Timeframe.parse(self.timeframe).ns

    def windows(self, index: NDArray[np.int64]) -> NDArray[np.float32]:
        """Gather the windows of the samples `index`: a new float32 array (batch, time, feature), oldest bar first."""
        rows = self.end_row[index][:, None] + np.arange(1 - self.window, 1)
        gathered: NDArray[np.float32] = self.features[rows]
        return gathered


class PanelRef(BaseModel):
    """A stored panel: the absolute path of its folder and the digest of its content."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    digest: str


class _Header(BaseModel):
    """What `panel.json` holds: everything of a panel but its arrays."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    symbols: tuple[str, ...]
    feature_names: tuple[str, ...]
    schema_hash: str
    timeframe: str
    horizon: int
    window: int


_ARRAYS = (
    "features",
    "row_ts_ns",
    "end_row",
    "symbol_id",
    "ts_ns",
    "t1_ns",
    "label",
    "ret",
    "band",
    "last_return",
)


def build_panel(
    candles: pd.DataFrame,
    feature_set: FeatureSet,
    *,
    timeframe: Timeframe,
    horizon: int,
    window: int,
    round_trip_bps: float,
    k_sigma: float = 0.0,
    market: Iterable[FeatureEvent] = (),
) -> Panel:
    """Compute features and labels of every symbol and collect the samples.

    A symbol needs `feature_set.warmup_bars + window + horizon` bars for its first sample. `market` are the books,
    trades and derivatives of the symbols in the order of their arrival, for sets that need them.

    Raises:
        InputError: candles that cannot be used, a source of the set that is missing, or symbols without a single
            sample; the message names each symbol, the bars it has and the bars it needs.
    """
    _require_positive(horizon=horizon, window=window)
    histories = split_by_symbol(candles, timeframe)
    _require_history(histories, feature_set.warmup_bars, window, horizon)
    rows = _feature_rows(histories, feature_set, timeframe, market)
    _require_sources(histories, rows, feature_set)
    labels = [label_bars(bars, horizon, round_trip_bps, k_sigma) for bars in histories]
    ends = [
        np.flatnonzero(_has_window(bars, values, window) & np.isfinite(outcome.ret))
        for bars, values, outcome in zip(histories, rows, labels, strict=True)
    ]
    _require_samples(histories, ends, window, horizon, timeframe)
    samples = _stack_samples(histories, labels, ends)
    order = np.lexsort((samples["symbol_id"], samples["ts_ns"]))
    return Panel(
        symbols=tuple(bars.symbol for bars in histories),
        feature_names=feature_set.names,
        schema_hash=feature_set.schema_hash,
        timeframe=timeframe.text,
        horizon=horizon,
        window=window,
        features=np.concatenate(rows),
        row_ts_ns=np.concatenate([bars.ts_ns for bars in histories]),
        **{name: values[order] for name, values in samples.items()},
    )


def latest_windows(
    candles: pd.DataFrame,
    feature_set: FeatureSet,
    *,
    timeframe: Timeframe,
    window: int,
    market: Iterable[FeatureEvent] = (),
) -> dict[str, tuple[int, NDArray[np.float32]]]:
    """Compute each symbol's newest window: symbol -> (open of its last bar in ns UTC, float32 (time, feature)).

    Equal to the panel's window of the same bar when given the same history. A symbol whose newest window has a gap or
    a feature that is missing is left out, so that its stored window grows stale and bots abstain. A window is known one
    timeframe after its time.

    Raises:
        InputError: candles that cannot be used, or symbols with fewer than warm-up + window bars, each named.
    """
    _require_positive(window=window)
    histories = split_by_symbol(candles, timeframe)
    _require_history(histories, feature_set.warmup_bars, window, 0)
    rows = _feature_rows(histories, feature_set, timeframe, market)
    return {
        bars.symbol: (int(bars.ts_ns[-1]), values[-window:])
        for bars, values in zip(histories, rows, strict=True)
        if bars.steps()[-1] >= window - 1 and np.isfinite(values[-window:]).all()
    }


def feature_rows(
    candles: pd.DataFrame, feature_set: FeatureSet, *, timeframe: Timeframe, market: Iterable[FeatureEvent] = ()
) -> list[tuple[Bars, NDArray[np.float32]]]:
    """Compute every row of every symbol: its bars, and float32 (time, feature) with NaN where a feature is missing.

    Raises:
        InputError: candles that cannot be used.
    """
    histories = split_by_symbol(candles, timeframe)
    return list(zip(histories, _feature_rows(histories, feature_set, timeframe, market), strict=True))


def save_panel(root: Path, panel: Panel) -> PanelRef:
    """Store a panel under `root`, in a folder named after its content; an intact copy there is kept untouched.

    The JSON file is written last and makes the panel exist: an interrupted call leaves nothing that `load_panel` reads.
    """
    header = _Header(**{name: getattr(panel, name) for name in _Header.model_fields})
    arrays = {name: np.ascontiguousarray(getattr(panel, name)) for name in _ARRAYS}
    digest = _digest(header, arrays)
    folder = root.resolve() / digest[:16]
    ref = PanelRef(uri=str(folder), digest=digest)
    if not _is_intact(ref):
        buffer = io.BytesIO()
        np.savez(buffer, allow_pickle=False, **arrays)
        write_bytes(folder / "panel.npz", buffer.getvalue())
        write_json(folder / "panel.json", {"digest": digest, **header.model_dump(mode="json")})
        fsync_folder(folder.parent)
    return ref


def load_panel(ref: PanelRef) -> Panel:
    """Read a stored panel and verify it.

    Raises:
        ArtifactError: the panel is missing, unreadable, or its content is not what the digest says.
    """
    try:
        content = json.loads((Path(ref.uri) / "panel.json").read_bytes())
        del content["digest"]
        header = _Header.model_validate_json(json.dumps(content))
        with np.load(Path(ref.uri) / "panel.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in _ARRAYS}
    except _UNREADABLE as error:
        raise ArtifactError(f"panel {ref.uri} cannot be read ({error}); build it again") from error
    if _digest(header, arrays) != ref.digest:
        raise ArtifactError(f"panel {ref.uri} was altered: its content has not the digest {ref.digest}; build it again")
    return Panel(**dict(header), **arrays)


def _is_intact(ref: PanelRef) -> bool:
    try:
        load_panel(ref)
    except ArtifactError:
        return False
    return True


# What json, pydantic, zipfile and numpy raise on damaged files; pydantic's and json's errors are ValueErrors.
_UNREADABLE = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    EOFError,
    NotImplementedError,
    zipfile.BadZipFile,
)


def _digest(header: _Header, arrays: Mapping[str, NDArray[Any]]) -> str:
    state = hashlib.sha256(header.model_dump_json().encode())
    for name in _ARRAYS:
        array = arrays[name]
        state.update(f"{name} {array.dtype.str} {array.shape}".encode())
        state.update(array.data)
    return state.hexdigest()


def _stack_samples(histories: list[Bars], labels: list[Labels], ends: list[IntArray]) -> dict[str, NDArray[Any]]:
    parts = []
    offset = 0
    for symbol_id, (bars, outcome, end) in enumerate(zip(histories, labels, ends, strict=True)):
        parts.append(
            {
                "end_row": end + offset,
                "symbol_id": np.full(len(end), symbol_id, dtype=np.int16),
                "ts_ns": bars.ts_ns[end],
                "t1_ns": outcome.t1_ns[end],
                "label": outcome.label[end],
                "ret": outcome.ret[end],
                "band": outcome.band[end],
                "last_return": (bars.close[end] / bars.open[end] - 1.0).astype(np.float32),
            }
        )
        offset += len(bars)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _has_window(bars: Bars, values: NDArray[np.float32], window: int) -> BoolArray:
    is_complete: BoolArray = np.all(np.isfinite(values), axis=1)
    is_finite = run_length(is_complete) >= window
    is_gapless = bars.steps() >= window - 1
    return np.asarray(is_finite & is_gapless, dtype=np.bool_)


def _feature_rows(
    histories: list[Bars], features: FeatureSet, timeframe: Timeframe, market: Iterable[FeatureEvent]
) -> list[NDArray[np.float32]]:
    """Compute one row for each bar: float32 (time, feature) by symbol."""
    if features.sources == {"bars"}:
        return [bar_features(features, bars) for bars in histories]
    symbols = [bars.symbol for bars in histories]
    tables = [bar_table(bars) for bars in histories]
    known = {table.symbol: table for table in ordered_tables(event for event in market if event.symbol in symbols)}
    tables = [merged(table, known[table.symbol]) if table.symbol in known else table for table in tables]
    return [_in_time(table) for table in replay(features, timeframe, tables, universe=symbols)]


def _in_time(table: RowTable) -> NDArray[np.float32]:
    """Leave out rows that rest on something which arrived too late for the decision at their bar's close."""
    values = table.values.copy()
    values[table.times[:, 1] - table.times[:, 0] > ALLOWED_DELAY_NS] = np.nan
    return values


_SOURCES = {
    "bars": "bars",
    "book": "book",
    "trades": "trades",
    "derivatives": "derivatives",
    "universe": "other symbols with BTC/... and ETH/... among them",
}


def _require_sources(histories: list[Bars], rows: list[NDArray[np.float32]], features: FeatureSet) -> None:
    """Refuse a symbol with features that never have a value: zero would be a lie, and training needs numbers."""
    for bars, values in zip(histories, rows, strict=True):
        is_missing = np.asarray(np.isnan(values).all(axis=0))
        sources = {item.source for item, missing in zip(features.definitions, is_missing, strict=True) if missing}
        if sources:
            names = " and no ".join(_SOURCES[name] for name in sorted(sources))
            raise InputError(
                f"{bars.symbol}: {int(is_missing.sum())} of {len(is_missing)} features of the set {features.name!r} "
                f"have no value: no {names} at that time; record it or choose another set"
            )


def _require_positive(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise InputError(f"the {name} must be at least one bar, not {count}")


def _require_history(histories: list[Bars], warmup: int, window: int, horizon: int) -> None:
    needed = warmup + window + horizon
    short = [f"{bars.symbol} has {len(bars)} bars" for bars in histories if len(bars) < needed]
    if short:
        parts = f"warm-up {warmup} + window {window}" + (f" + horizon {horizon}" if horizon else "")
        raise InputError(f"history too short: {', '.join(short)}; {needed} are needed ({parts})")


def _require_samples(
    histories: list[Bars], ends: list[IntArray], window: int, horizon: int, timeframe: Timeframe
) -> None:
    empty = [f"{bars.symbol} has {len(bars)} bars" for bars, end in zip(histories, ends, strict=True) if not len(end)]
    if empty:
        raise InputError(
            f"gaps leave no sample: {', '.join(empty)}, but after the warm-up never {window + horizon} in a row at "
            f"steps of {timeframe.text} (window {window} + horizon {horizon}); fill the gaps or correct the timeframe"
        )
