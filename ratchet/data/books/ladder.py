"""One side of an order book."""

from __future__ import annotations

from bisect import bisect_left
from typing import Generic, TypeVar

L = TypeVar("L")


class Ladder(Generic[L]):
    """Levels of one side in order of price, the best first.

    What is stored per price is the caller's choice: text for checksums, numbers for sampling.

    >>> bids: Ladder[str] = Ladder(is_bid=True)
    >>> bids.put(9.0, "nine")
    >>> bids.put(10.0, "ten")
    >>> bids.top(1)
    ['ten']
    """

    def __init__(self, *, is_bid: bool) -> None:
        self._sign = -1.0 if is_bid else 1.0
        self._keys: list[float] = []
        self._levels: dict[float, L] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, price: float, level: L) -> None:
        """Set the level at a price."""
        key = self._sign * price
        if key not in self._levels:
            self._keys.insert(bisect_left(self._keys, key), key)
        self._levels[key] = level

    def remove(self, price: float) -> None:
        """Forget the level at a price; nothing happens where there is none."""
        key = self._sign * price
        if self._levels.pop(key, None) is not None:
            del self._keys[bisect_left(self._keys, key)]

    def truncate(self, depth: int) -> None:
        """Keep the best `depth` levels."""
        for key in self._keys[depth:]:
            del self._levels[key]
        del self._keys[depth:]

    def best_price(self) -> float | None:
        """Return the best price; None on an empty side."""
        return self._sign * self._keys[0] if self._keys else None

    def top(self, n: int) -> list[L]:
        """Return the best `n` levels, fewer where there are fewer."""
        return [self._levels[key] for key in self._keys[:n]]
