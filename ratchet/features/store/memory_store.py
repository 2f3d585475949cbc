"""The online store in the memory of one process."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ratchet.features.store.online import OnlineVector, OnlineWindow, within_ttl
from ratchet.features.store.packing import as_int64, pack_vector, pack_window, unpack


class MemoryOnlineStore:
    """An `OnlineStore` for one process: what threads of it write, threads of it read.

    Nothing outlives the process, and no other process sees it.

    >>> store = MemoryOnlineStore()
    >>> store.write_vectors("demo", "abc", {"BTC/USDT": (7, 0, np.ones(2, np.float32))})
    1
    >>> store.read_vectors("demo", ["BTC/USDT", "ETH/USDT"])["BTC/USDT"].ts_event_ns
    7
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows: dict[tuple[str, str], OnlineWindow] = {}
        self._vectors: dict[tuple[str, str], OnlineVector] = {}

    def write_windows(
        self,
        view: str,
        schema_hash: str,
        windows: Mapping[str, tuple[int, NDArray[np.float32]]],
        timeframe_ns: int,
        *,
        replace: bool = False,
    ) -> int:
        """Store copies of the windows; see `OnlineStore`."""
        timeframe_ns = as_int64("timeframe_ns", timeframe_ns)
        news = {}
        for symbol, given in windows.items():
            ts_event_ns, shape, packed = pack_window(symbol, *given)
            news[view, symbol] = OnlineWindow(unpack(symbol, packed, shape), ts_event_ns, schema_hash, timeframe_ns)
        with self._lock:
            accepted = {key: new for key, new in news.items() if replace or _is_not_older(new, self._windows.get(key))}
            self._windows |= accepted
        return len(accepted)

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        """Return the newest window; see `OnlineStore`."""
        with self._lock:
            return self._windows.get((view, symbol))

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        """Store copies of the vectors; see `OnlineStore`."""
        news = {}
        for symbol, given in vectors.items():
            ts_event_ns, sequence, n_feature, packed = pack_vector(symbol, *given)
            news[view, symbol] = OnlineVector(unpack(symbol, packed, (n_feature,)), ts_event_ns, sequence, schema_hash)
        with self._lock:
            accepted = {key: new for key, new in news.items() if _is_newer(new, self._vectors.get(key))}
            self._vectors |= accepted
        return len(accepted)

    def read_vectors(
        self, view: str, symbols: Sequence[str], *, now_ns: int | None = None, ttl_ns: int | None = None
    ) -> dict[str, OnlineVector]:
        """Return the newest vectors; see `OnlineStore`."""
        with self._lock:
            found = {symbol: self._vectors[view, symbol] for symbol in symbols if (view, symbol) in self._vectors}
        return within_ttl(found, now_ns, ttl_ns)

    def close(self) -> None:
        """Forget everything."""
        with self._lock:
            self._windows.clear()
            self._vectors.clear()


def _is_not_older(new: OnlineWindow, old: OnlineWindow | None) -> bool:
    return old is None or new.schema_hash != old.schema_hash or new.ts_event_ns >= old.ts_event_ns


def _is_newer(new: OnlineVector, old: OnlineVector | None) -> bool:
    if old is None or new.schema_hash != old.schema_hash:
        return True
    return (new.ts_event_ns, new.sequence) > (old.ts_event_ns, old.sequence)
