"""A seeded day: a market, a venue's dialect, and the faults that the venue has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np
import pandas as pd

from ratchet.clock import NS_PER_S, parse_utc
from ratchet.exchanges.simulated import SimulatedMarket, SimulatedMarketConfig
from ratchet.exchanges.simulated.server import FaultKind, FaultPlan
from ratchet.exchanges.simulated.server.faults import FaultScope
from ratchet.exchanges.venues import VENUES
from ratchet.exchanges.venues.table import open_dialect
from ratchet.market import Timeframe
from ratchet.market.venue import VenueTraits

CANDLE_KINDS = tuple(kind for kind in FaultKind if kind.scope not in {FaultScope.BOOK, FaultScope.MESSAGE})
"""Faults that candles can suffer from."""

MIXED = "all-recoverable"
"""Label of days on which every recoverable fault occurs."""

SOUND = "none"
"""Label of days without a fault."""

LABELS = (SOUND, *map(str, CANDLE_KINDS), MIXED)

SPECIAL_DATES = (
    *("2019-03-10", "2019-03-31", "2020-02-29", "2020-10-25", "2020-11-01", "2021-03-14", "2021-03-28", "2021-10-31"),
    *("2021-11-07", "2021-12-31", "2022-01-01", "2022-03-27", "2022-11-06", "2023-03-26", "2023-04-02", "2023-10-01"),
    *("2023-10-29", "2024-02-28", "2024-02-29", "2024-03-01", "2024-03-10", "2024-03-31", "2024-04-07", "2024-10-06"),
    *("2024-10-27", "2024-11-03", "2024-12-31", "2025-01-01", "2025-03-09", "2025-03-30"),
)
"""Changes of the clocks in America, Europe and Australia, leap days and their neighbours, ends of years."""

_DAY_NS = 86_400 * NS_PER_S
_FIRST_DATE_NS = parse_utc("2019-01-01")
_N_DATES = 2_400
_LATEST_BARS = 400
"""Bars of a day at a venue that answers its latest 720 alone; the others are for the time that passes meanwhile."""

LIVE_LABELS = {
    MIXED,
    *(FaultKind.REVISED_ROW, FaultKind.LATE_ROW, FaultKind.UNCLOSED_AS_CLOSED, FaultKind.VANISHED_SYMBOL),
    *(FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BEHIND),
}
"""Labels of faults of the newest bars: only collecting while the day passes meets them."""

_RATES = {
    FaultKind.NO_ANSWER: 0.1,
    FaultKind.OUTAGE: 0.2,
    FaultKind.QUIET_ROW_LEFT_OUT: 0.7,
    FaultKind.VANISHED_SYMBOL: 0.5,
    FaultKind.LATE_ROW: 0.15,
    FaultKind.REVISED_ROW: 0.2,
    FaultKind.CLOCK_AHEAD: 1.0,
    FaultKind.CLOCK_BEHIND: 1.0,
}
_RATE_BY_SCOPE = {FaultScope.REQUEST: 0.3, FaultScope.PAGE: 0.6}
_MIXED_RATES = {FaultScope.REQUEST: 0.02, FaultScope.PAGE: 0.02, FaultScope.ROW: 0.08, FaultScope.VENUE: 0.3}
_MISSING_BARS = 6
_QUIET_BARS = 5


@dataclass(frozen=True)
class Day:
    """What happens on one day; equal days are equal in every number.

    `is_live`: the day is collected while it passes, in steps of a few bars; else as a whole afterwards, `wait_ns` after
    its end.
    """

    label: str
    number: int
    venue: str
    timeframe: Timeframe
    start_ns: int
    n_bars: int
    n_symbols: int
    seed: int
    is_live: bool
    wait_ns: int

    @classmethod
    def draw(cls, label: str, number: int) -> Day:
        """Return day `number` of a kind of fault, of `MIXED` or of `SOUND`; venues take turns."""
        random = Random(f"{label}/{number}")  # noqa: S311 - a test's own numbers
        venue = VENUES[number % len(VENUES)]
        is_live = label in LIVE_LABELS
        text, n_bars = random.choice(_LIVE_BARS if is_live else _WHOLE_BARS)
        if label == FaultKind.VANISHED_SYMBOL and text == "1m":
            text = "15m"  # a collection at Kraken takes most of a minute, and symbols must not vanish during it
        limit = open_dialect(venue, "spot").traits.max_history_bars
        is_special = random.random() < 0.4
        return cls(
            label=label,
            number=number,
            venue=venue,
            timeframe=Timeframe.parse(text),
            start_ns=parse_utc(random.choice(SPECIAL_DATES))
            if is_special
            else _FIRST_DATE_NS + random.randrange(_N_DATES) * _DAY_NS,
            n_bars=min(n_bars, _LATEST_BARS) if limit else n_bars,
            n_symbols=random.choice((2, 2, 3)),
            seed=random.randrange(2**32),
            is_live=is_live,
            wait_ns=random.choice((5, 600) if limit else (5, 3_600, 40 * 86_400)) * NS_PER_S,
        )

    @property
    def end_ns(self) -> int:
        """Close of the last bar."""
        return self.start_ns + self.n_bars * self.timeframe.ns

    @property
    def traits(self) -> VenueTraits:
        """What the venue's adapter says about its data."""
        return open_dialect(self.venue, "spot").traits

    @property
    def kinds(self) -> dict[FaultKind, float]:
        """The faults of the day and their rates."""
        if self.label == SOUND:
            return {}
        if self.label == MIXED:
            return {
                kind: _MIXED_RATES[kind.scope] / (4 if kind is FaultKind.NO_ANSWER else 1)
                for kind in CANDLE_KINDS
                if kind.is_recoverable
            }
        kind = next(kind for kind in CANDLE_KINDS if kind == self.label)
        if kind is FaultKind.MISSING_ROW:
            return {kind: min(0.1, _MISSING_BARS / self.n_bars)}
        return {kind: _RATES.get(kind) or _RATE_BY_SCOPE[kind.scope]}

    def plan(self) -> FaultPlan:
        """Return the faults, none of them injected yet."""
        return FaultPlan(self.kinds, seed=self.seed, no_answer_s=5.0, vanish_at_ns=self.vanish_ns)

    @property
    def vanish_ns(self) -> int:
        """When symbols vanish: soon after a bar in the middle of the day has closed."""
        return self.start_ns + self.n_bars // 2 * self.timeframe.ns + 300 * NS_PER_S

    @cached_property
    def candles(self) -> pd.DataFrame:
        """The truth, from a few bars before the day to a day after it: some bars are quiet, which is volume 0."""
        bar_ns = self.timeframe.ns
        config = SimulatedMarketConfig(
            seed=self.seed,
            n_symbols=self.n_symbols,
            timeframe=self.timeframe.text,
            start_ns=self.start_ns - 2 * bar_ns,
            n_bars=self.n_bars + 4 + (_DAY_NS // bar_ns if self.label == FaultKind.CLOCK_BEHIND else 8),
        )
        candles = SimulatedMarket(config).candles()
        is_quiet = np.random.default_rng(self.seed).random(len(candles)) < min(0.1, _QUIET_BARS / self.n_bars)
        for column in ("high", "low", "close"):
            candles.loc[is_quiet, column] = candles.loc[is_quiet, "open"]
        candles.loc[is_quiet, "volume"] = 0.0
        return candles

    @property
    def symbols(self) -> list[str]:
        """The symbols, sorted."""
        return sorted(self.candles["symbol"].unique())

    def trades(self, plan: FaultPlan) -> pd.DataFrame:
        """Return one trade in the middle of each bar that had some: not of quiet bars, nor during outages."""
        traded = self.candles[self.candles["volume"] > 0]
        if FaultKind.OUTAGE in plan.rates:
            traded = traded.drop(plan.hidden(traded).index)
        return pd.DataFrame(
            {
                "symbol": traded["symbol"],
                "ts_event_ns": traded["ts_event_ns"] + self.timeframe.ns // 2,
                "price": traded["close"],
                "size": traded["volume"],
                "side": np.int8(1),
                "trade_id": (traded["ts_event_ns"] // self.timeframe.ns).astype(str),
            }
        )

    def __str__(self) -> str:
        return f"{self.label} day {self.number} ({self.venue} {self.timeframe.text}, seed {self.seed})"


_WHOLE_BARS = (("1m", 1_440), ("5m", 288), ("15m", 96), ("15m", 96), ("1h", 48))
_LIVE_BARS = (("1m", 14), ("15m", 14), ("1h", 16))
