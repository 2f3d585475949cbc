"""Order books that walk about a price, and the trades that go with them."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

BOOK_DEPTH = 25
"""Levels on each side."""

_SIGNIFICANT_DIGITS = 7
_MOST_DECIMALS = 10
_LOTS_PER_UNIT = 10_000
_STEP_BPS = 0.5

Level = tuple[int, int]
"""Price in ticks and size in lots of a ten-thousandth unit; size 0 removes the level."""


@dataclass(frozen=True, slots=True)
class BookView:
    """The best levels of a book, best first, the id of its last update, and how many steps it has taken."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    update_id: int
    decimals: int
    n_steps: int

    def price(self, ticks: int) -> str:
        """Return a price as the venue writes it, with all its decimals."""
        return f"{ticks / 10**self.decimals:.{self.decimals}f}"

    def size(self, lots: int) -> str:
        """Return a size as the venue writes it."""
        return f"{lots / _LOTS_PER_UNIT:.8f}"

    def texts(self, levels: tuple[Level, ...]) -> list[tuple[str, str]]:
        """Return (price, size) of levels of this book."""
        return [(self.price(ticks), self.size(lots)) for ticks, lots in levels]

    def crossed(self) -> BookView:
        """Return a book like this one in which somebody bids more than the best ask."""
        return replace(self, bids=(_crossing_bid(self), *self.bids[:-1]))


@dataclass(frozen=True, slots=True)
class BookChange:
    """Levels that differ between two views; ids of the updates from `first_id` to `after.update_id`."""

    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    before: BookView
    after: BookView

    @property
    def first_id(self) -> int:
        """Id of the first update in it."""
        return self.before.update_id + 1

    def crossed(self) -> BookChange:
        """Return a change that also bids more than the best ask."""
        return replace(self, bids=(*self.bids, _crossing_bid(self.after)))


@dataclass(frozen=True, slots=True)
class BookTrade:
    """A trade at the best price of a book, in its texts."""

    trade_id: int
    price: str
    size: str
    is_buy: bool


class OrderBookWalk:
    """A book of `BOOK_DEPTH` levels a side on an even grid; each step changes some sizes, and its middle sometimes.

    Deterministic in (`seed`, number of steps).
    """

    def __init__(self, price: float, decimals: int, seed: str) -> None:
        self._random = random.Random(seed)  # noqa: S311 - a simulation
        self._decimals = decimals
        ticks = max(1.0, price * 10**decimals)
        self._step = max(1, round(ticks * _STEP_BPS / 1e4))
        self._middle = max(BOOK_DEPTH + 1, round(ticks / self._step))
        self._sizes: dict[int, int] = {}
        self._update_id = self._random.randrange(1_000_000, 10_000_000)
        self._trade_id = self._random.randrange(1_000_000, 10_000_000)
        self._n_steps = 1_000
        self._fill()

    def view(self, depth: int = BOOK_DEPTH) -> BookView:
        """Return the book as it is, at most `depth` levels a side."""
        offsets = range(1, min(depth, BOOK_DEPTH) + 1)
        bids = tuple(self._level(self._middle - offset) for offset in offsets)
        asks = tuple(self._level(self._middle + offset) for offset in offsets)
        return BookView(bids, asks, self._update_id, self._decimals, self._n_steps)

    def step(self) -> BookTrade | None:
        """Move on by one step; return the trade of this step, if there is one."""
        move = self._random.choice((-1, 0, 0, 1))
        if self._middle + move > BOOK_DEPTH:
            self._middle += move
        for offset in self._random.sample([*range(-BOOK_DEPTH, 0), *range(1, BOOK_DEPTH + 1)], 2):
            self._sizes[self._middle + offset] = self._size()
        self._fill()
        self._update_id += self._random.randrange(1, 6)
        self._n_steps += 1
        return self._trade() if self._random.random() < 0.5 else None

    def _fill(self) -> None:
        """Give every grid point within reach a size, and forget the others."""
        reach = range(self._middle - BOOK_DEPTH, self._middle + BOOK_DEPTH + 1)
        self._sizes = {point: self._sizes.get(point) or self._size() for point in reach}

    def _level(self, point: int) -> Level:
        return point * self._step, self._sizes[point]

    def _size(self) -> int:
        return self._random.randrange(1, 5 * _LOTS_PER_UNIT)

    def _trade(self) -> BookTrade:
        self._trade_id += 1
        view, is_buy = self.view(1), self._random.random() < 0.5
        ticks, lots = (view.asks if is_buy else view.bids)[0]
        return BookTrade(self._trade_id, view.price(ticks), view.size(self._random.randrange(1, lots + 1)), is_buy)


def change_between(before: BookView, after: BookView) -> BookChange:
    """Return what turns one view into the other."""
    return BookChange(_differing(before.bids, after.bids), _differing(before.asks, after.asks), before, after)


def price_decimals(price: float) -> int:
    """Return how many decimals a venue gives to prices of this size.

    >>> price_decimals(42_000.0), price_decimals(0.09)
    (2, 8)
    """
    magnitude = math.floor(math.log10(price)) if price > 0 else 0
    return min(_MOST_DECIMALS, max(0, _SIGNIFICANT_DIGITS - 1 - magnitude))


def _differing(before: tuple[Level, ...], after: tuple[Level, ...]) -> tuple[Level, ...]:
    known, wanted = dict(before), dict(after)
    gone = [(ticks, 0) for ticks in known if ticks not in wanted]
    return (*gone, *((ticks, lots) for ticks, lots in after if known.get(ticks) != lots))


def _crossing_bid(view: BookView) -> Level:
    gap = view.asks[1][0] - view.asks[0][0] if len(view.asks) > 1 else 1
    return view.asks[0][0] + gap, _LOTS_PER_UNIT
