"""What the kernel remembers of one symbol, and how it is put into bytes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ArtifactError
from ratchet.features.kernel.bars import CLOSE, N_FIELDS
from ratchet.features.kernel.market import Market, new_market
from ratchet.features.kernel.program import BY_MARKET, Program

N_PENDING: Final = 4
"""Bar closes for which the market's features are kept until their bar arrives."""

# Places in `State.clock`.
N_BARS: Final = 0
BAR_NS: Final = 1
"""Close of the last bar."""
NOW_NS: Final = 2
"""Latest event time."""
KNOWN_NS: Final = 3
"""Latest time of arrival."""
BOUNDARY_NS: Final = 4
"""Next close of a bar that the market has not passed; 0 before the first event."""
ROW_KNOWN_NS: Final = 5
"""When what the last row rests on had arrived."""
ROW_NS: Final = 6
"""As of when the last row holds."""
BARS_KNOWN_NS: Final = 7
"""Latest arrival of a bar: what is computed from bars rests on all of them."""
N_CLOCKS: Final = 8

_HEADER = struct.Struct("<II")
_VERSION = 1


class State(NamedTuple):
    """Everything that the next row of a symbol depends on. All arrays are changed in place.

    `clock` int64 (`N_CLOCKS`,); `bars` float64 (field, 2 * capacity), see `bars.push_bar`; `slots` float64; `values`
    float64 (feature,), the last bar's and nothing else's; `row` float64 (feature,), the last row; `pending` float64
    (`N_PENDING`, feature) and `pending_ns` int64 (`N_PENDING`, 2: close, arrival), the market as of bar closes.
    `market` is None where no feature needs it; books and trades are then ignored.
    """

    clock: NDArray[np.int64]
    bars: NDArray[np.float64]
    slots: NDArray[np.float64]
    values: NDArray[np.float64]
    row: NDArray[np.float64]
    pending: NDArray[np.float64]
    pending_ns: NDArray[np.int64]
    market: Market | None


def new_state(program: Program, capacity: int) -> State:
    """Return the state before the first event."""
    n_features = len(program.operation)
    return State(
        clock=np.zeros(N_CLOCKS, dtype=np.int64),
        bars=np.zeros((N_FIELDS, 2 * capacity)),
        slots=np.zeros(int(program.slot[-1])),
        values=np.full(n_features, np.nan),
        row=np.full(n_features, np.nan),
        pending=np.full((N_PENDING, n_features), np.nan),
        pending_ns=np.zeros((N_PENDING, 2), dtype=np.int64),
        market=new_market() if np.any(program.clock == BY_MARKET) else None,
    )


def last_close(state: State) -> float:
    """Return the close of the last bar."""
    capacity = state.bars.shape[1] // 2
    return float(state.bars[CLOSE, (state.clock[N_BARS] - 1) % capacity])


def pack_state(state: State) -> bytes:
    """Return the state as bytes, without loss."""
    body = b"".join(array.tobytes() for array in _arrays(state))
    return _HEADER.pack(_VERSION, len(body)) + body


def unpack_state(packed: bytes, into: State) -> None:
    """Overwrite a fresh state of the same program.

    Raises:
        ArtifactError: the bytes are damaged, or of another feature set or release.
    """
    arrays = list(_arrays(into))
    expected = sum(array.nbytes for array in arrays)
    if len(packed) != _HEADER.size + expected or _HEADER.unpack_from(packed) != (_VERSION, expected):
        raise ArtifactError(f"a kernel state of {len(packed)} bytes, {_HEADER.size + expected} are expected")
    offset = _HEADER.size
    for array in arrays:
        array[...] = np.frombuffer(packed, dtype=array.dtype, count=array.size, offset=offset).reshape(array.shape)
        offset += array.nbytes


def _arrays(state: State) -> Iterator[NDArray[Any]]:
    for part in state:
        if part is not None:
            yield from part if isinstance(part, Market) else (part,)
