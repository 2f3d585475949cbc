"""Every market feature by brute force: pure Python over the list of all events, nothing remembered.

Independent of the kernel in all but the definitions: windows are taken from the events themselves, flows case by case,
sums with `math.fsum`. The tile lengths and the rules of validity are those that the features document.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ratchet.features.definitions import FeatureDefinition
from ratchet.features.streaming.events import EventKind

NAN = math.nan
SECOND = 1_000_000_000
QUARTER = 900 * SECOND
HOUR = 3_600 * SECOND
BOOK_AGE = 30 * SECOND

Level = tuple[float, float]


@dataclass(frozen=True)
class Event:
    """An event of one symbol."""

    kind: EventKind
    ts_ns: int
    values: tuple[float, ...] = ()


@dataclass(frozen=True)
class Book:
    """Visible levels, the best first; `is_update` is False where only the time of a known book is new."""

    ts_ns: int
    bids: tuple[Level, ...]
    asks: tuple[Level, ...]
    is_update: bool = True

    @property
    def mid(self) -> float:
        return (self.bids[0][0] + self.asks[0][0]) / 2

    @property
    def n_levels(self) -> int:
        return min(len(self.bids), len(self.asks))

    def side(self, side: float) -> tuple[Level, ...]:
        return self.asks if side else self.bids

    def size(self, side: float, n_levels: float) -> float:
        return math.fsum(size for _, size in self.side(side)[: int(n_levels)])


@dataclass(frozen=True)
class Trade:
    """A trade with what came before it in the same uninterrupted run of trades."""

    ts_ns: int
    price: float
    size: float
    side: float


def _start(now_ns: int, seconds: float, tile_ns: int = SECOND) -> int:
    """Return the time after which a window lies, that of its last tile's end included."""
    if seconds == 1:
        return ((now_ns - 1) // (SECOND // 10) - 9) * (SECOND // 10)
    return ((now_ns - 1) // tile_ns - int(seconds) + 1) * tile_ns


def _parse_book(event: Event) -> Book | None:
    sides = []
    for first in (0, 20):
        pairs = zip(event.values[first : first + 10], event.values[first + 10 : first + 20], strict=True)
        sides.append(tuple((price, size) for price, size in pairs if size > 0))
    bids, asks = sides
    if math.isnan(event.values[10]) or math.isnan(event.values[30]) or not bids[0][0] < asks[0][0]:
        return None
    return Book(event.ts_ns, bids, asks)


def books_of(events: Sequence[Event], now_ns: int) -> list[Book]:
    """Return the books since the last interruption; empty where none is known at `now_ns`."""
    run: list[Book] = []
    seen = 0
    for event in events:
        if event.kind is EventKind.BOOK_LOST:
            run = []
        elif event.kind is EventKind.BOOK:
            book = _parse_book(event)
            if book is None or (run and event.ts_ns - seen > BOOK_AGE):
                run = []
            if book is not None:
                run.append(book)
                seen = event.ts_ns
        elif event.kind is EventKind.BOOK_ALIVE and run:
            if event.ts_ns - seen > BOOK_AGE:
                run = [Book(event.ts_ns, run[-1].bids, run[-1].asks, is_update=False)]
            seen = event.ts_ns
    return run if run and now_ns - seen <= BOOK_AGE else []


def trades_of(events: Sequence[Event]) -> list[Trade]:
    """Return the trades since the last loss; empty where trades are not known."""
    run: list[Trade] = []
    for event in events:
        if event.kind is EventKind.TRADES_LOST:
            run = []
        elif event.kind is EventKind.TRADE:
            run.append(Trade(event.ts_ns, *event.values))
    return run


def _book_at(books: Sequence[Book], end_ns: int) -> Book:
    return [book for book in books if book.ts_ns <= end_ns][-1]


def _bid_flow(before: Level, after: Level) -> float:
    if after[0] > before[0]:
        return after[1]
    if after[0] < before[0]:
        return -before[1]
    return after[1] - before[1]


def _ask_flow(before: Level, after: Level) -> float:
    if after[0] < before[0]:
        return -after[1]
    if after[0] > before[0]:
        return before[1]
    return before[1] - after[1]


def _level(side: tuple[Level, ...], level: int, absent: float) -> Level:
    return side[level] if level < len(side) else (absent, 0.0)


def order_flow(before: Book, after: Book, level: int) -> float:
    """Return the flow of one level from one book to the next, by Cont, Kukanov and Stoikov's cases."""
    bids = [_level(book.bids, level, -math.inf) for book in (before, after)]
    asks = [_level(book.asks, level, math.inf) for book in (before, after)]
    return _bid_flow(bids[0], bids[1]) + _ask_flow(asks[0], asks[1])


def _scaled_flow(books: Sequence[Book], now_ns: int, level: int, seconds: float, *, best: bool) -> float:
    start = _start(now_ns, seconds)
    inside = [book for book in books if book.ts_ns > start and book.is_update]
    pairs = [(a, b) for a, b in pairwise(books) if b.ts_ns > start]
    if not inside:
        return 0.0
    depths = []
    for book in inside:
        n = 1 if best else book.n_levels
        depths.append((book.size(0, n) + book.size(1, n)) / (2 * n))
    return math.fsum(order_flow(a, b, level) for a, b in pairs) / (math.fsum(depths) / len(depths))


BookOracle = Callable[[list[Book], int, tuple[float, ...]], float]


def _samples(books: Sequence[Book], now_ns: int, n: int = 60) -> list[Book]:
    return [_book_at(books, ((now_ns - 1) // SECOND - before + 1) * SECOND) for before in range(n)]


def _spread_z(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    spreads = [book.asks[0][0] - book.bids[0][0] for book in _samples(books, now_ns)]
    mean = math.fsum(spreads) / 60
    deviation = math.sqrt(math.fsum((spread - mean) ** 2 for spread in spreads) / 60)
    return 0.0 if deviation <= 1e-6 * mean else (spreads[0] - mean) / deviation


def _microprice(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    (bid, bid_size), (ask, ask_size) = books[-1].bids[0], books[-1].asks[0]
    return ((ask * bid_size + bid * ask_size) / (bid_size + ask_size) / books[-1].mid - 1) * 1e4


def _weighted_mid(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    sizes, prices = [], []
    for levels in (books[-1].bids[: int(p[0])], books[-1].asks[: int(p[0])]):
        sizes.append(math.fsum(size for _, size in levels))
        prices.append(math.fsum(price * size for price, size in levels) / sizes[-1])
    return ((prices[1] * sizes[0] + prices[0] * sizes[1]) / (sizes[0] + sizes[1]) / books[-1].mid - 1) * 1e4


def _imbalance(book: Book, n_levels: float) -> float:
    bid, ask = book.size(0, n_levels), book.size(1, n_levels)
    return (bid - ask) / (bid + ask)


def _log_depth(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    return math.log(
        books[-1].size(*p) / (math.fsum(book.size(*p) for book in _samples(books, now_ns)) / 60),
    )


def _distance(book: Book, price: float) -> float:
    return abs(price / book.mid - 1) * 1e4


def _slope(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    book = books[-1]
    levels = book.side(p[0])
    distances = [_distance(book, price) for price, _ in levels]
    shares = [book.size(p[0], n + 1) / book.size(p[0], 10) for n in range(10)]
    products = math.fsum(x * y for x, y in zip(distances, shares, strict=True))
    return products / math.fsum(x * x for x in distances)


def _fill_cost(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    book, rest, quantity = books[-1], p[1], 0.0
    levels = book.side(p[0])
    for price, size in levels:
        taken = min(size, rest / price)
        quantity += taken
        rest = max(0.0, rest - taken * price)
    quantity += rest / levels[-1][0]
    return _distance(book, p[1] / quantity)


def _imbalance_change(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    before = _book_at(books, ((now_ns - 1) // SECOND - int(p[0]) + 1) * SECOND)
    return _imbalance(books[-1], 5) - _imbalance(before, 5)


def _rate(times: Sequence[int], now_ns: int, seconds: float) -> float:
    start = _start(now_ns, seconds)
    return sum(ts_ns > start for ts_ns in times) / ((now_ns - start) / 1e9)


def _pressure(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    book = books[-1]
    bid, ask = (math.fsum(q / abs(price - book.mid) for price, q in levels) for levels in (book.bids, book.asks))
    return (bid - ask) / (bid + ask)


def _entropy(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    sizes = [size for _, size in (*books[-1].bids, *books[-1].asks)]
    total = math.fsum(sizes)
    return math.fsum(size / total * math.log(total / size) for size in sizes) / math.log(20)


def _depth_distance(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    levels = books[-1].side(p[0])
    return _distance(books[-1], levels[int(p[1])][0]) if p[1] < len(levels) else NAN


def _depth_share(books: list[Book], now_ns: int, p: tuple[float, ...]) -> float:
    levels, total = books[-1].side(p[0]), books[-1].size(0, 10) + books[-1].size(1, 10)
    return levels[int(p[1])][1] / total if p[1] < len(levels) else NAN


# Per formula: the levels needed on both sides, the window in seconds (0: none), the value.
_Params = tuple[float, ...]
BOOK_ORACLES: dict[str, tuple[Callable[[_Params], float], Callable[[_Params], float], BookOracle]] = {
    "spread_bps": (
        lambda p: 1,
        lambda p: 0,
        lambda books, now, p: (books[-1].asks[0][0] - books[-1].bids[0][0]) / books[-1].mid * 1e4,
    ),
    "spread_z": (lambda p: 1, lambda p: 60, _spread_z),
    "microprice_bps": (lambda p: 1, lambda p: 0, _microprice),
    "weighted_mid_bps": (lambda p: p[0], lambda p: 0, _weighted_mid),
    "imbalance": (lambda p: p[0], lambda p: 0, lambda books, now, p: _imbalance(books[-1], p[0])),
    "log_depth": (lambda p: p[1], lambda p: 60, _log_depth),
    "book_slope": (lambda p: 10, lambda p: 0, _slope),
    "level_gap_bps": (
        lambda p: 2,
        lambda p: 0,
        lambda books, now, p: abs(books[-1].side(p[0])[0][0] - books[-1].side(p[0])[1][0]) / books[-1].mid * 1e4,
    ),
    "fill_cost_bps": (lambda p: 1, lambda p: 0, _fill_cost),
    "imbalance_change": (lambda p: 5, lambda p: p[0], _imbalance_change),
    "book_rate": (
        lambda p: 1,
        lambda p: p[0],
        lambda books, now, p: _rate([book.ts_ns for book in books if book.is_update], now, p[0]),
    ),
    "book_pressure": (lambda p: 10, lambda p: 0, _pressure),
    "depth_entropy": (lambda p: 10, lambda p: 0, _entropy),
    "depth_distance_bps": (lambda p: 1, lambda p: 0, _depth_distance),
    "depth_share": (lambda p: 1, lambda p: 0, _depth_share),
    "ofi": (
        lambda p: 1,
        lambda p: p[0],
        lambda books, now, p: _scaled_flow(books, now, 0, p[0], best=True),
    ),
    "level_ofi": (
        lambda p: p[0] + 1,
        lambda p: p[1],
        lambda books, now, p: _scaled_flow(books, now, int(p[0]), p[1], best=False),
    ),
    "integrated_ofi": (
        lambda p: 10,
        lambda p: p[0],
        lambda books, now, p: math.fsum(_scaled_flow(books, now, level, p[0], best=False) for level in range(10)) / 10,
    ),
}


TradeOracle = Callable[[list[Trade], int, tuple[float, ...]], float]


def _inside(trades: Sequence[Trade], now_ns: int, seconds: float) -> list[Trade]:
    start = _start(now_ns, seconds)
    return [trade for trade in trades if trade.ts_ns > start]


def _volume(trades: Sequence[Trade]) -> float:
    return math.fsum(trade.size for trade in trades)


def _signed(trades: Sequence[Trade]) -> float:
    return math.fsum(trade.size * trade.side for trade in trades)


def _returns(trades: Sequence[Trade]) -> list[tuple[int, float]]:
    return [(b.ts_ns, math.log(b.price / a.price)) for a, b in pairwise(trades)]


def _ratio(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    inside = _inside(trades, now_ns, p[0])
    return _signed(inside) / _volume(inside) if inside else 0.0


def _size_z(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    recent, minute = _inside(trades, now_ns, 10), _inside(trades, now_ns, 60)
    if not recent:
        return NAN
    mean = _volume(minute) / len(minute)
    deviation = math.sqrt(math.fsum((trade.size - mean) ** 2 for trade in minute) / len(minute))
    return 0.0 if deviation <= 1e-6 * mean else (_volume(recent) / len(recent) - mean) / deviation


def _large_share(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    inside = _inside(trades, now_ns, 60)
    first = len(trades) - len(inside)
    large = []
    for place in range(first, len(trades)):
        before = _inside(trades[:place], trades[place].ts_ns, 60)
        if before and trades[place].size * len(before) >= 5 * _volume(before):
            large.append(trades[place])
    return _volume(large) / _volume(inside) if inside else NAN


def _seconds(trades: list[Trade], now_ns: int) -> list[tuple[list[Trade], float]]:
    """Return (trades, log return) of each second of the last minute that has trades."""
    inside, returns = _inside(trades, now_ns, 60), _returns(trades)
    seconds = sorted({(trade.ts_ns - 1) // SECOND for trade in inside})
    return [
        (
            [trade for trade in inside if (trade.ts_ns - 1) // SECOND == second],
            math.fsum(change for ts_ns, change in returns if (ts_ns - 1) // SECOND == second),
        )
        for second in seconds
    ]


def _kyle(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    seconds = _seconds(trades, now_ns)
    square = math.fsum(_signed(inside) ** 2 for inside, _ in seconds)
    if square <= 1e-12 * math.fsum(_volume(inside) ** 2 for inside, _ in seconds):
        return NAN
    slope = math.fsum(_signed(inside) * change for inside, change in seconds) / square
    return slope * math.fsum(_volume(inside) for inside, _ in seconds) / 60 * 1e4


def _amihud(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    seconds = _seconds(trades, now_ns)
    if not seconds:
        return NAN
    values = [math.fsum(trade.price * trade.size for trade in inside) for inside, _ in seconds]
    ratios = [abs(change) / value for (_, change), value in zip(seconds, values, strict=True)]
    return math.fsum(ratios) / len(ratios) * math.fsum(values) / len(values) * 1e4


def _roll(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    start, returns = _start(now_ns, 60), _returns(trades)
    inside = [change for ts_ns, change in returns if ts_ns > start]
    if not inside:
        return NAN
    before = [0.0, *(change for _, change in returns)][-len(inside) - 1 : -1]
    bounce = -math.fsum(x * y for x, y in zip(inside, before, strict=True))
    if bounce <= 1e-9 * math.fsum(x * x for x in inside):
        return 0.0
    return 2 * math.sqrt(bounce / len(inside)) * 1e4


def _toxicity(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    closed: list[list[Trade]] = []
    bucket: list[Trade] = []
    wanted = 0.0
    for place, trade in enumerate(trades):
        if not bucket:
            if trades[0].ts_ns > _start(trade.ts_ns, 60):
                continue
            wanted = _volume(_inside(trades[: place + 1], trade.ts_ns, 60)) / 20
        bucket.append(trade)
        if _volume(bucket) >= wanted:
            closed.append(bucket)
            bucket = []
    kept = closed[-20:]
    if len(kept) < 20:
        return NAN
    return math.fsum(abs(_signed(bucket)) for bucket in kept) / math.fsum(_volume(bucket) for bucket in kept)


def _run(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    length = 0
    for trade in reversed(trades):
        if trade.side != trades[-1].side:
            break
        length += 1
    return length * trades[-1].side


def _gaps(trades: list[Trade], now_ns: int) -> list[float]:
    start = _start(now_ns, 60)
    return [(b.ts_ns - a.ts_ns) / 1e9 for a, b in pairwise(trades) if b.ts_ns > start]


def _gap_mean(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    gaps = _gaps(trades, now_ns)
    return math.fsum(gaps) / len(gaps) if gaps else NAN


def _gap_cv(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    gaps = _gaps(trades, now_ns)
    if len(gaps) < 2 or not any(gaps):
        return NAN
    mean = math.fsum(gaps) / len(gaps)
    cv = math.sqrt(math.fsum((gap - mean) ** 2 for gap in gaps) / len(gaps)) / mean
    return cv if cv > 1e-5 else 0.0


def _volatility(trades: list[Trade], now_ns: int, p: tuple[float, ...]) -> float:
    start = _start(now_ns, p[0])
    return math.sqrt(math.fsum(change**2 for ts_ns, change in _returns(trades) if ts_ns > start)) * 1e4


TRADE_ORACLES: dict[str, tuple[Callable[[_Params], float], TradeOracle]] = {
    "signed_volume_ratio": (lambda p: p[0], _ratio),
    "trade_rate": (lambda p: p[0], lambda trades, now, p: _rate([trade.ts_ns for trade in trades], now, p[0])),
    "mean_size_z": (lambda p: 60, _size_z),
    "large_trade_share": (lambda p: 119, _large_share),
    "kyle_lambda": (lambda p: 60, _kyle),
    "amihud_illiquidity": (lambda p: 60, _amihud),
    "roll_spread_bps": (lambda p: 60, _roll),
    "toxicity": (lambda p: 0, _toxicity),
    "signed_run": (lambda p: 0, _run),
    "interarrival_mean": (lambda p: 60, _gap_mean),
    "interarrival_cv": (lambda p: 60, _gap_cv),
    "tick_volatility_bps": (lambda p: p[0], _volatility),
}


def _vwap_mid(events: Sequence[Event], now_ns: int, seconds: float) -> float:
    books, trades = books_of(events, now_ns), trades_of(events)
    inside = _inside(trades, now_ns, seconds)
    if not books or not inside or trades[0].ts_ns > _start(now_ns, seconds):
        return NAN
    vwap = math.fsum(trade.price * trade.size for trade in inside) / _volume(inside)
    return (vwap / books[-1].mid - 1) * 1e4


def _covers(since_ns: int, now_ns: int, seconds: float) -> bool:
    return seconds == 0 or since_ns <= _start(now_ns, seconds)


@dataclass(frozen=True)
class Observed:
    """What was observed of one derivatives input since the last time it was out of date."""

    points: list[tuple[int, float]]
    seen_ns: int
    age_ns: int

    def is_known(self, now_ns: int) -> bool:
        return bool(self.points) and now_ns - self.seen_ns <= self.age_ns

    def is_known_over(self, now_ns: int, n_tiles: float) -> bool:
        return self.is_known(now_ns) and self.points[0][0] <= _start(now_ns, n_tiles, QUARTER)

    def at(self, tile: int) -> float:
        return [value for ts_ns, value in self.points if ts_ns <= (tile + 1) * QUARTER][-1]


def _observe(events: Sequence[Event], field: int, hours: int = 2) -> Observed:
    points: list[tuple[int, float]] = []
    for event in events:
        if event.kind is not EventKind.DERIVATIVE or math.isnan(event.values[field]):
            continue
        if points and event.ts_ns - points[-1][0] > hours * HOUR:
            points = []
        points.append((event.ts_ns, event.values[field]))
    return Observed(points, points[-1][0] if points else 0, hours * HOUR)


def _observe_basis(events: Sequence[Event]) -> Observed:
    points: list[tuple[int, float]] = []
    seen = 0
    last = {2: (-HOUR * 3, 0.0), 3: (-HOUR * 3, 0.0)}
    for event in events:
        if event.kind is not EventKind.DERIVATIVE:
            continue
        given = {field: event.values[field] for field in (2, 3) if not math.isnan(event.values[field])}
        last.update({field: (event.ts_ns, value) for field, value in given.items()})
        oldest = min(ts_ns for ts_ns, _ in last.values())
        if not given or event.ts_ns - oldest > 2 * HOUR:
            continue
        if points and event.ts_ns - seen > 2 * HOUR:
            points = []
        points.append((event.ts_ns, (last[2][1] / last[3][1] - 1) * 1e4))
        seen = oldest
    return Observed(points, seen, 2 * HOUR)


def _observe_liquidations(events: Sequence[Event]) -> tuple[Observed, list[tuple[int, float, float]]]:
    points: list[tuple[int, float]] = []
    flows: list[tuple[int, float, float]] = []
    for event in events:
        if event.kind is not EventKind.DERIVATIVE or all(math.isnan(value) for value in event.values[4:]):
            continue
        if points and event.ts_ns - points[-1][0] > 2 * HOUR:
            points = []
        points.append((event.ts_ns, 0.0))
        longs, shorts = (0.0 if math.isnan(value) else value for value in event.values[4:])
        flows.append((event.ts_ns, longs, shorts))
    return Observed(points, points[-1][0] if points else 0, 2 * HOUR), flows


def _change(observed: Observed, now_ns: int, n_tiles: float, *, log: bool = False) -> float:
    if not observed.is_known_over(now_ns, n_tiles):
        return NAN
    new, old = observed.points[-1][1], observed.at((now_ns - 1) // QUARTER - int(n_tiles))
    return math.log(new / old) if log else new - old


def _derivative(formula: str, p: tuple[float, ...], events: Sequence[Event], now_ns: int) -> float:  # noqa: PLR0911, C901, PLR0912 -- a table
    funding, interest, basis = _observe(events, 0, 9), _observe(events, 1), _observe_basis(events)
    liquidations, flows = _observe_liquidations(events)

    def total(n_tiles: float) -> tuple[float, float]:
        inside = [flow for flow in flows if flow[0] > _start(now_ns, n_tiles, QUARTER)]
        return math.fsum(flow[1] for flow in inside), math.fsum(flow[2] for flow in inside)

    match formula:
        case "funding_rate_bps":
            return funding.points[-1][1] * 1e4 if funding.is_known(now_ns) else NAN
        case "funding_change_bps":
            return _change(funding, now_ns, p[0]) * 1e4
        case "interest_step":
            known = interest.is_known(now_ns) and len(interest.points) > 1
            return math.log(interest.points[-1][1] / interest.points[-2][1]) if known else NAN
        case "interest_change":
            return _change(interest, now_ns, p[0], log=True)
        case "basis_bps":
            return basis.points[-1][1] if basis.is_known(now_ns) else NAN
        case "basis_change_bps":
            return _change(basis, now_ns, p[0])
        case "basis_deviation_bps":
            if not basis.is_known_over(now_ns, 96):
                return NAN
            return basis.points[-1][1] - math.fsum(basis.at((now_ns - 1) // QUARTER - n) for n in range(96)) / 96
        case "liquidation_imbalance":
            longs, shorts = total(p[0])
            value = (longs - shorts) / (longs + shorts) if longs + shorts else 0.0
            return value if liquidations.is_known_over(now_ns, p[0]) else NAN
        case "liquidation_intensity":
            mark = _observe(events, 2)
            if not (liquidations.is_known_over(now_ns, 4) and interest.is_known(now_ns) and mark.is_known(now_ns)):
                return NAN
            return math.log(1 + sum(total(4)) * 1e4 / (interest.points[-1][1] * mark.points[-1][1]))
        case "liquidation_surge":
            known = liquidations.is_known_over(now_ns, 96) and sum(total(96)) > 0
            return sum(total(4)) / sum(total(96)) if known else NAN
        case _:
            raise KeyError(formula)


def expected(feature: FeatureDefinition, events: Sequence[Event], now_ns: int) -> float:
    """Return the value of a feature at `now_ns` after `events`, all of which are not later."""
    p = tuple(value for _, value in feature.params)
    if feature.formula in BOOK_ORACLES:
        n_levels, seconds, value = BOOK_ORACLES[feature.formula]
        books = books_of(events, now_ns)
        if not books or books[-1].n_levels < n_levels(p) or not _covers(books[0].ts_ns, now_ns, seconds(p)):
            return NAN
        return value(books, now_ns, p)
    if feature.formula in TRADE_ORACLES:
        window, trade_value = TRADE_ORACLES[feature.formula]
        trades = trades_of(events)
        if not trades or not _covers(trades[0].ts_ns, now_ns, window(p)):
            return NAN
        return trade_value(trades, now_ns, p)
    if feature.formula == "vwap_mid_bps":
        return _vwap_mid(events, now_ns, p[0])
    return _derivative(feature.formula, p, events, now_ns)
