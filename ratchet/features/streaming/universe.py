"""Features that relate a symbol to all others: computed once all have closed the same bar."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, ConfigurationError
from ratchet.features.catalogue.graph import GRAPH_FEATURES
from ratchet.features.kernel.graph_window import GraphWindow
from ratchet.features.sets import FeatureSet
from ratchet.features.streaming.events import FeatureRow, decode_row, encode_row
from ratchet.market.symbols import Timeframe

_FLOW = "ofi_10s"
_HELD = struct.Struct("<dI")


class Universe:
    """Lets rows of bars wait for each other and completes them.

    The rows of a close are complete when every symbol that had the bar before has this one, or when a later bar of any
    symbol comes. A symbol without a bar by then is left out of the others' features, gets its own row without these
    features, and is waited for again once it is back.

    Args:
        features: the set that rows have; its features of the source `universe` are filled in.
        timeframe: of the bars.
        symbols: all that relate to each other.

    Raises:
        ConfigurationError: there are no two symbols.
    """

    def __init__(self, features: FeatureSet, timeframe: Timeframe, symbols: Sequence[str]) -> None:
        self.symbols = tuple(sorted(set(symbols)))
        if len(self.symbols) < 2:
            raise ConfigurationError(
                f"feature set {features.name!r} relates symbols to each other: name two or more, not {len(symbols)}"
            )
        self._timeframe_ns = timeframe.ns
        place_of = {item.name: place for place, item in enumerate(GRAPH_FEATURES)}
        pairs = [(n, place_of[item.name]) for n, item in enumerate(features.definitions) if item.source == "universe"]
        self._columns = np.array([n for n, _ in pairs])
        self._places = np.array([place for _, place in pairs])
        self._flow = features.names.index(_FLOW) if _FLOW in features.names else None
        self._index = {symbol: n for n, symbol in enumerate(self.symbols)}
        self._window = GraphWindow(self.symbols)
        self._waiting: dict[int, dict[str, tuple[FeatureRow, float]]] = {}
        self._closed_ns = np.zeros(len(self.symbols), dtype=np.int64)
        self._closes = np.full(len(self.symbols), np.nan)
        self._latest = np.full((len(self.symbols), len(GRAPH_FEATURES)), np.nan)
        self._active = np.ones(len(self.symbols), dtype=np.int8)
        self._done_ns = 0

    def take(self, row: FeatureRow, close: float) -> list[FeatureRow]:
        """Take the row of a bar and its close price; return the rows that are complete now."""
        if row.symbol not in self._index:
            return [row]
        if row.ts_event_ns <= self._done_ns:
            self._active[self._index[row.symbol]] = True
            return [row]
        released: list[FeatureRow] = []
        for ts_ns in sorted(time_ns for time_ns in self._waiting if time_ns < row.ts_event_ns):
            released += self._complete(ts_ns, row.known_ns)
        waiting = self._waiting.setdefault(row.ts_event_ns, {})
        waiting[row.symbol] = (row, close)
        if all(symbol in waiting for symbol, active in zip(self.symbols, self._active, strict=True) if active):
            released += self._complete(row.ts_event_ns, row.known_ns)
        return released

    def latest(self, row: FeatureRow) -> FeatureRow:
        """Fill a row between bars with the features of the last close."""
        place = self._index.get(row.symbol)
        return row if place is None else self._filled(row, place, row.known_ns)

    def flush(self) -> list[FeatureRow]:
        """Complete what waits, in order of time."""
        return [row for ts_ns in sorted(self._waiting) for row in self._complete(ts_ns, 0)]

    def pack(self) -> bytes:
        """Return what is remembered, as bytes."""
        window = self._window.to_bytes()
        arrays = b"".join(array.tobytes() for array in self._arrays())
        parts = [struct.pack("<qI", self._done_ns, len(window)), arrays, window]
        for held in self._waiting.values():
            for row, close in held.values():
                packed = encode_row(row)
                parts += [_HELD.pack(close, len(packed)), packed]
        return b"".join(parts)

    def unpack(self, packed: bytes) -> None:
        """Continue from what `pack` returned.

        Raises:
            ArtifactError: the bytes are damaged, or of other symbols.
        """
        try:
            self._unpack(packed)
        except (struct.error, ValueError) as error:
            raise ArtifactError(f"the state of the universe is damaged, or of other symbols: {error}") from error

    def _complete(self, ts_ns: int, released_ns: int) -> list[FeatureRow]:
        held = self._waiting.pop(ts_ns)
        self._active[:] = [symbol in held for symbol in self.symbols]
        self._done_ns = ts_ns
        self._window.push(self._returns(ts_ns, held))
        self._latest[:] = self._window.features(self._flows(held))
        known_ns = max(released_ns, *(row.known_ns for row, _ in held.values()))
        return [self._filled(held[symbol][0], self._index[symbol], known_ns) for symbol in sorted(held)]

    def _returns(self, ts_ns: int, held: Mapping[str, tuple[FeatureRow, float]]) -> NDArray[np.float64]:
        """Return the log returns over this bar; NaN where a symbol lacks this or the previous one."""
        returns = np.full(len(self.symbols), np.nan)
        for symbol, (_, close) in held.items():
            place = self._index[symbol]
            if self._closed_ns[place] == ts_ns - self._timeframe_ns:
                returns[place] = np.log(close / self._closes[place])
            self._closed_ns[place], self._closes[place] = ts_ns, close
        return returns

    def _flows(self, held: Mapping[str, tuple[FeatureRow, float]]) -> NDArray[np.float64]:
        flows = np.full(len(self.symbols), np.nan)
        if self._flow is not None:
            for symbol, (row, _) in held.items():
                flows[self._index[symbol]] = row.values[self._flow]
        return flows

    def _filled(self, row: FeatureRow, place: int, known_ns: int) -> FeatureRow:
        values = row.values.copy()
        values[self._columns] = self._latest[place, self._places]
        return replace(row, values=values, known_ns=max(row.known_ns, known_ns))

    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self._closed_ns, self._closes, self._latest, self._active

    def _unpack(self, packed: bytes) -> None:
        self._done_ns, n_window = struct.unpack_from("<qI", packed)
        offset = struct.calcsize("<qI")
        for array in self._arrays():
            array[...] = np.frombuffer(packed, dtype=array.dtype, count=array.size, offset=offset).reshape(array.shape)
            offset += array.nbytes
        self._window = GraphWindow.from_bytes(packed[offset : offset + n_window])
        if self._window.symbols != self.symbols:
            raise ValueError(", ".join(self._window.symbols))
        offset += n_window
        self._waiting = {}
        while offset < len(packed):
            close, size = _HELD.unpack_from(packed, offset)
            offset += _HELD.size
            row = decode_row(packed[offset : offset + size])
            self._waiting.setdefault(row.ts_event_ns, {})[row.symbol] = (row, close)
            offset += size
