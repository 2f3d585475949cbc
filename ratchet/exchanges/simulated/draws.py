"""Random numbers that depend on where they are used, not on what was drawn before.

Every number is a function of (seed, stream, lane, bar): a longer market starts with the shorter one, more symbols leave
the present ones alone, and any range of bars can be drawn by itself. Philox is a counter-based generator
(Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), so jumping to a bar costs nothing.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

_WORDS_PER_BLOCK = 4  # a Philox counter value yields four 64-bit words


class Stream(IntEnum):
    """What the numbers are for; the values are part of a market's identity and never change."""

    COMMON_NOISE = 1
    OWN_NOISE = 2
    BRIDGE = 3
    REGIME = 4
    LEVEL = 5
    VOLUME = 6
    BOOK = 7
    TRADE = 8


def uniforms(seed: int, stream: Stream, lane: int, *, first_bar: int, n_bars: int, width: int) -> NDArray[np.float64]:
    """Return (n_bars, width) independent numbers, uniform on the open interval (0, 1).

    `lane` separates symbols. The row of a bar is the same whichever range it is drawn in.
    """
    blocks_per_bar = -(-width // _WORDS_PER_BLOCK)
    key = np.random.SeedSequence((seed, stream, lane)).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key, counter=first_bar * blocks_per_bar)
    words = bits.random_raw(n_bars * blocks_per_bar * _WORDS_PER_BLOCK)
    rows = words.reshape(n_bars, blocks_per_bar * _WORDS_PER_BLOCK)[:, :width]
    return np.asarray(((rows >> np.uint64(11)) + 0.5) * 2.0**-53, dtype=np.float64)


def normals(seed: int, stream: Stream, lane: int, *, first_bar: int, n_bars: int, width: int) -> NDArray[np.float64]:
    """Return (n_bars, width) independent standard normal numbers; otherwise as `uniforms`."""
    return np.asarray(
        ndtri(uniforms(seed, stream, lane, first_bar=first_bar, n_bars=n_bars, width=width)), dtype=np.float64
    )
