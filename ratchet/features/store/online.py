"""The newest features of every symbol, as the model server reads them: the port of the online store.

The flow or the stream that computes features writes, the server reads. What is kept is one window and one vector for
each (view, symbol).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError


@dataclass(frozen=True, slots=True)
class OnlineWindow:
    """The newest window of one symbol.

    `values` is a read-only float32 array (time, feature), oldest row first; `ts_event_ns` is the open time of its last
    bar, so everything in it is known from `ts_event_ns + timeframe_ns` on.
    """

    values: NDArray[np.float32]
    ts_event_ns: int
    schema_hash: str
    timeframe_ns: int


@dataclass(frozen=True, slots=True)
class OnlineVector:
    """The newest feature vector of one symbol.

    `values` is a read-only float32 array (feature,), NaN where a feature was declared missing. `ts_event_ns` is the
    time of the event that it was computed after, `sequence` orders the vectors of one such time.
    """

    values: NDArray[np.float32]
    ts_event_ns: int
    sequence: int
    schema_hash: str


class OnlineStore(Protocol):
    """Holds one window and one vector per (view, symbol).

    Implementers owe: a write is all or nothing over its symbols; a reader sees a whole value or the one before it; any
    number of threads may read and write, and of processes where the engine is not the memory of one. What outlives a
    crash once a write has returned differs between engines, and each says so. Every method raises UnavailableError
    where the engine cannot be reached.
    """

    def write_windows(
        self,
        view: str,
        schema_hash: str,
        windows: Mapping[str, tuple[int, NDArray[np.float32]]],
        timeframe_ns: int,
        *,
        replace: bool = False,
    ) -> int:
        """Store `{symbol: (ts_event_ns of the last bar, values (time, feature))}` and return how many were stored.

        A window whose last bar is older than the stored one is left out, so that a slow writer cannot turn time
        back; a changed `schema_hash` or `replace` overrides that.

        Raises:
            InputError: a window is not two-dimensional, is empty or holds a number that is not finite.
            BusyError: another writer held the store for too long.
        """
        ...

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        """Return the newest window, or None where nothing was stored.

        Raises:
            ArtifactError: the stored bytes do not fit their shape.
        """
        ...

    def write_vectors(
        self, view: str, schema_hash: str, vectors: Mapping[str, tuple[int, int, NDArray[np.float32]]]
    ) -> int:
        """Store `{symbol: (ts_event_ns, sequence, values (feature,))}` and return how many were stored.

        A vector is stored where its (ts_event_ns, sequence) is larger than the stored one, and left out otherwise, so
        that a replay changes nothing; a changed `schema_hash` overrides that. NaN means that a feature is missing.

        Raises:
            InputError: a vector is not one-dimensional, is empty or holds an infinity.
            BusyError: another writer held the store for too long.
        """
        ...

    def read_vectors(
        self, view: str, symbols: Sequence[str], *, now_ns: int | None = None, ttl_ns: int | None = None
    ) -> dict[str, OnlineVector]:
        """Return the newest vectors of the symbols that have one, in one round trip.

        With `now_ns` and `ttl_ns`, vectors with `now_ns - ts_event_ns > ttl_ns` are left out: the limit counts in the
        time of events, whenever they were written. A vector from after `now_ns` is returned.

        Raises:
            InputError: only one of `now_ns` and `ttl_ns` is given, or the limit is negative.
            ArtifactError: the stored bytes do not fit their shape.
        """
        ...

    def close(self) -> None:
        """Release what the store holds open."""
        ...


def within_ttl(vectors: dict[str, OnlineVector], now_ns: int | None, ttl_ns: int | None) -> dict[str, OnlineVector]:
    """Leave out vectors whose event is more than `ttl_ns` before `now_ns`; without both, return all.

    Raises:
        InputError: only one of the two is given, or the limit is negative.
    """
    if now_ns is None and ttl_ns is None:
        return vectors
    if now_ns is None or ttl_ns is None or ttl_ns < 0:
        raise InputError(f"now_ns {now_ns} and ttl_ns {ttl_ns}: give both, and no negative limit, or none")
    return {symbol: vector for symbol, vector in vectors.items() if now_ns - vector.ts_event_ns <= ttl_ns}
