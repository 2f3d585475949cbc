"""Feature values as bytes: float32, little endian, rows one after another."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError, InputError

_PACKED = np.dtype("<f4")
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1


class PackedWindow(NamedTuple):
    """A window as bytes; `shape` is (time, feature)."""

    ts_event_ns: int
    shape: tuple[int, int]
    packed: bytes


class PackedVector(NamedTuple):
    """A vector as bytes."""

    ts_event_ns: int
    sequence: int
    n_feature: int
    packed: bytes


def pack_window(symbol: str, ts_event_ns: int, values: NDArray[np.float32]) -> PackedWindow:
    """Check a window and return its bytes.

    Raises:
        InputError: it is not two-dimensional, is empty or holds a number that is not finite.
    """
    packed = _as_float32(values)
    if packed.ndim != 2 or packed.size == 0:
        raise InputError(f"{symbol}: a window is (time, feature), got shape {packed.shape}")
    if not np.isfinite(packed).all():
        raise InputError(f"{symbol}: the window holds numbers that are not finite; it was not published")
    n_time, n_feature = packed.shape
    return PackedWindow(as_int64("ts_event_ns", ts_event_ns), (n_time, n_feature), packed.tobytes())


def pack_vector(symbol: str, ts_event_ns: int, sequence: int, values: NDArray[np.float32]) -> PackedVector:
    """Check a vector and return its bytes; NaN is kept.

    Raises:
        InputError: it is not one-dimensional, is empty or holds an infinity.
    """
    packed = _as_float32(values)
    if packed.ndim != 1 or packed.size == 0:
        raise InputError(f"{symbol}: a vector is (feature,), got shape {packed.shape}")
    if np.isinf(packed).any():
        raise InputError(f"{symbol}: the vector holds infinities; it was not published")
    order = as_int64("ts_event_ns", ts_event_ns), as_int64("sequence", sequence)
    return PackedVector(*order, packed.size, packed.tobytes())


def unpack(name: str, packed: bytes, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return the bytes as a read-only float32 array of that shape.

    Raises:
        ArtifactError: they do not fit it.
    """
    if len(packed) != math.prod(shape) * _PACKED.itemsize:
        raise ArtifactError(f"{name}: {len(packed)} bytes for {' x '.join(map(str, shape))} float32")
    return np.frombuffer(packed, dtype=_PACKED).reshape(shape)


def as_int64(name: str, number: int) -> int:
    """Return a plain int that fits 64 bits.

    Raises:
        InputError: it does not.
    """
    if not _INT64_MIN <= number <= _INT64_MAX:
        raise InputError(f"{name} {number} does not fit 64 bits; times are nanoseconds since 1970")
    return int(number)


def _as_float32(values: NDArray[np.float32]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large for float32 becomes an infinity, which is refused
        return np.asarray(values, dtype=_PACKED)
