"""Where rows go: the online store, and whoever else wants them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.clock import Clock
from ratchet.features.store.online import OnlineStore
from ratchet.features.streaming.events import EventKind, FeatureRow
from ratchet.market.symbols import Timeframe


class Sink(Protocol):
    """Takes rows; taking the same rows again changes nothing."""

    def take(self, rows: Sequence[FeatureRow]) -> None:
        """Take rows, by symbol in the order of time."""
        ...

    def flush(self) -> None:
        """Pass on what was held back."""
        ...


class VectorSink:
    """Keeps the newest row of each symbol in an online store.

    What came since the last write goes together: a store that syncs to disk takes about a millisecond for each write,
    however many symbols it is of.

    Args:
        store: where the rows go.
        view: name of the feature view.
        schema_hash: of the feature set.
        clock: says when `every_ns` have passed.
        every_ns: least time between two writes; 0 writes at once.
    """

    def __init__(self, store: OnlineStore, view: str, schema_hash: str, clock: Clock, *, every_ns: int = 0) -> None:
        self._store, self._view, self._schema_hash = store, view, schema_hash
        self._clock, self._every_ns, self._written_ns = clock, every_ns, 0
        self._n_rows = 0
        self._newest: dict[str, tuple[int, int, NDArray[np.float32]]] = {}

    def take(self, rows: Sequence[FeatureRow]) -> None:
        """Note the newest row of each symbol and store them if it is time; see `Sink`."""
        for row in rows:
            self._n_rows += 1  # the numbers of books and trades cannot be compared with each other
            if row.symbol not in self._newest or row.ts_event_ns >= self._newest[row.symbol][0]:
                self._newest[row.symbol] = (row.ts_event_ns, self._n_rows, row.values)
        if self._clock.now_ns() - self._written_ns >= self._every_ns:
            self.flush()

    def flush(self) -> None:
        """Store what is new."""
        if self._newest:
            self._store.write_vectors(self._view, self._schema_hash, self._newest)
            self._newest = {}
            self._written_ns = self._clock.now_ns()


class WindowSink:
    """Keeps each symbol's last bars in an online store, as models read them.

    A window is stored once it is full, has no gap and no missing value; otherwise the stored one grows stale, and who
    asks for it is told so.
    """

    def __init__(self, store: OnlineStore, view: str, schema_hash: str, timeframe: Timeframe, window: int) -> None:
        self._store, self._view, self._schema_hash = store, view, schema_hash
        self._timeframe_ns, self._window = timeframe.ns, window
        self._rows: dict[str, deque[FeatureRow]] = {}

    def take(self, rows: Sequence[FeatureRow]) -> None:
        """Append the rows of bars and store the windows that are whole; see `Sink`."""
        changed = [row.symbol for row in rows if row.kind is EventKind.BAR and self._append(row)]
        windows = {symbol: window for symbol in changed if (window := self._whole(symbol)) is not None}
        if windows:
            self._store.write_windows(self._view, self._schema_hash, windows, self._timeframe_ns)

    def flush(self) -> None:
        """Do nothing: windows are stored as they become whole."""

    def _append(self, row: FeatureRow) -> bool:
        kept = self._rows.setdefault(row.symbol, deque(maxlen=self._window))
        if kept and row.ts_event_ns <= kept[-1].ts_event_ns:
            return False
        if kept and row.ts_event_ns != kept[-1].ts_event_ns + self._timeframe_ns:
            kept.clear()
        kept.append(row)
        return True

    def _whole(self, symbol: str) -> tuple[int, NDArray[np.float32]] | None:
        kept = self._rows[symbol]
        if len(kept) < self._window:
            return None
        values = np.stack([row.values for row in kept])
        opened_ns = kept[-1].ts_event_ns - self._timeframe_ns
        return (opened_ns, values) if np.isfinite(values).all() else None
