"""Which request, page, message or bar gets which fault."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ratchet.clock import NS_PER_S
from ratchet.errors import InputError
from ratchet.exchanges.simulated.server.faults import FaultKind, FaultScope

OUTAGE_NS = 3 * 3_600 * NS_PER_S
"""Length of one outage."""

_LONGEST_SKEW_S = 86_400.0
_REMEMBERED_ROWS = 65_536  # revised rows that were already shown; older ones are forgotten, and wrong once more
_DRAWN_TOGETHER = (
    {FaultScope.REQUEST, FaultScope.PAGE},
    {FaultScope.REQUEST, FaultScope.BOOK},
    {FaultScope.MESSAGE},
    {FaultScope.VENUE},
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault that was drawn; `where` in [0, 1) chooses the row that it befalls."""

    kind: FaultKind
    where: float


class FaultPlan:
    """Faults that a seed decides, so that they repeat exactly.

    `kinds` gives each kind its rate: the chance per request, page or message, the share of bars, symbols or time for
    kinds of scope `ROW`, the chance that the venue has it for scope `VENUE`. Transient faults are a function of (seed,
    lane, number of the request in its lane), a lane being one endpoint and symbol; at most `max_consecutive` follow
    each other in a lane, so a client that tries `max_consecutive` + 1 times gets through. Faults of bars are a function
    of (seed, symbol, open time).

    `no_answer_s` is how long `NO_ANSWER` keeps a client waiting, `late_by_s` how long after its close a late bar
    appears, `vanish_at_ns` the server's time from which symbols that vanish are unknown, `clock_skew_s` how far the
    clock is off (None: drawn between a second and a day). `counts` says how often each kind was really injected;
    kinds that only leave bars out count the pages that lack some.

    Raises:
        InputError: a rate is not from 0 to 1, or the rates of kinds that are drawn together add up to more than 1.
    """

    def __init__(
        self,
        kinds: Mapping[FaultKind, float],
        *,
        seed: int,
        max_consecutive: int = 2,
        no_answer_s: float = 30.0,
        late_by_s: float = 300.0,
        vanish_at_ns: int = 0,
        clock_skew_s: float | None = None,
    ) -> None:
        _check_rates(kinds)
        self.rates = {kind: kinds[kind] for kind in FaultKind if kind in kinds}  # in an order that never changes
        self.seed = seed
        self.max_consecutive = max_consecutive
        self.no_answer_s = no_answer_s
        self.counts: Counter[FaultKind] = Counter()
        self._late_by_ns = round(late_by_s * NS_PER_S)
        self._vanish_at_ns = vanish_at_ns
        self._lanes: dict[str, tuple[int, int]] = {}
        self._shown: OrderedDict[tuple[str, int], None] = OrderedDict()
        self.clock_offset_ns = self._clock_offset_ns(clock_skew_s)

    def draw(self, lane: str, kinds: Iterable[FaultKind]) -> Fault | None:
        """Return the fault of the next request or message in `lane`, out of `kinds`; None where it is spared."""
        number, streak = self._lanes.get(lane, (0, 0))
        chance, where = self._pair(f"{lane}#{number}")
        kind = self._pick(chance, kinds) if streak < self.max_consecutive else None
        self._lanes[lane] = (number + 1, streak + 1 if kind else 0)
        return Fault(kind, where) if kind else None

    def has_vanished(self, symbol: str, now_ns: int) -> bool:
        """Say whether the venue no longer knows `symbol`."""
        return now_ns >= self._vanish_at_ns and self._vanishes(symbol)

    def visible(
        self, symbol: str, ts_event_ns: NDArray[np.int64], volume: NDArray[np.float64], closed_for_ns: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        """Return (row,) False where a bar is not shown; `closed_for_ns` is the time since its close."""
        masks = self._left_out(symbol, ts_event_ns, volume)
        masks[FaultKind.LATE_ROW] = self._chosen(FaultKind.LATE_ROW, symbol, ts_event_ns) & (
            closed_for_ns < self._late_by_ns
        )
        self.counts.update(kind for kind, mask in masks.items() if mask.any())
        visible: NDArray[np.bool_] = ~np.any(list(masks.values()), axis=0)
        return visible

    def first_shown(self, symbol: str, ts_event_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return (row,) True where a bar will be revised and is shown for the first time now."""
        chosen = self._chosen(FaultKind.REVISED_ROW, symbol, ts_event_ns)
        for row in np.flatnonzero(chosen):
            key = (symbol, int(ts_event_ns[row]))
            chosen[row] = key not in self._shown
            self._shown[key] = None
            if len(self._shown) > _REMEMBERED_ROWS:
                self._shown.popitem(last=False)
        return chosen

    def hidden(self, candles: pd.DataFrame) -> pd.DataFrame:
        """Return the rows of `candles` (`CANDLE_COLUMNS`) that no request will ever deliver, because of this plan.

        Late bars are not among them. Of a symbol that vanishes they are the bars that close after it does: earlier
        ones are delivered only as long as the server's clock is before that. Nor are bars that a venue never shows
        anyway: those without trades at Coinbase, all but the latest 720 at Kraken.
        """
        hidden = np.zeros(len(candles), dtype=np.bool_)
        for symbol, at in candles.groupby("symbol", sort=False).indices.items():
            hidden[at] = self._hidden_rows(str(symbol), candles.iloc[at])
        return candles[hidden]

    def _hidden_rows(self, symbol: str, rows: pd.DataFrame) -> NDArray[np.bool_]:
        times = rows["ts_event_ns"].to_numpy(dtype=np.int64)
        masks = self._left_out(symbol, times, rows["volume"].to_numpy(dtype=np.float64))
        hidden: NDArray[np.bool_] = np.any(list(masks.values()), axis=0)
        if self._vanishes(symbol):
            steps = np.diff(np.sort(times))
            bar_ns = int(steps[steps > 0].min()) if np.any(steps > 0) else 0
            hidden |= times + bar_ns >= self._vanish_at_ns
        return hidden

    def _left_out(
        self, symbol: str, ts_event_ns: NDArray[np.int64], volume: NDArray[np.float64]
    ) -> dict[FaultKind, NDArray[np.bool_]]:
        return {
            FaultKind.MISSING_ROW: self._chosen(FaultKind.MISSING_ROW, symbol, ts_event_ns),
            FaultKind.OUTAGE: self._chosen(FaultKind.OUTAGE, "", ts_event_ns // OUTAGE_NS),
            FaultKind.QUIET_ROW_LEFT_OUT: (volume == 0)
            & self._chosen(FaultKind.QUIET_ROW_LEFT_OUT, symbol, ts_event_ns),
        }

    def _vanishes(self, symbol: str) -> bool:
        rate = self.rates.get(FaultKind.VANISHED_SYMBOL, 0.0)
        return self._pair(f"{FaultKind.VANISHED_SYMBOL}/{symbol}")[0] < rate

    def _chosen(self, kind: FaultKind, symbol: str, numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
        rate = self.rates.get(kind, 0.0)
        if rate == 0.0:
            return np.zeros(len(numbers), dtype=np.bool_)
        key = np.uint64(int.from_bytes(self._digest(f"{kind}/{symbol}")[:8], "little"))
        words = _mixed(_mixed(numbers.astype(np.uint64)) ^ key)
        return np.asarray((words >> np.uint64(11)) * 2.0**-53 < rate, dtype=np.bool_)

    def _pick(self, chance: float, kinds: Iterable[FaultKind]) -> FaultKind | None:
        allowed = set(kinds)
        for kind, rate in self.rates.items():
            if kind in allowed:
                if chance < rate:
                    return kind
                chance -= rate
        return None

    def _clock_offset_ns(self, skew_s: float | None) -> int:
        chance, size = self._pair("clock")
        kind = self._pick(chance, (FaultKind.CLOCK_AHEAD, FaultKind.CLOCK_BEHIND))
        if kind is None:
            return 0
        self.counts[kind] += 1
        drawn_s = _LONGEST_SKEW_S**size if skew_s is None else skew_s
        return round(math.copysign(drawn_s * NS_PER_S, 1 if kind is FaultKind.CLOCK_AHEAD else -1))

    def _pair(self, text: str) -> tuple[float, float]:
        """Two numbers, uniform on [0, 1)."""
        digest = self._digest(text)
        first, second = int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little")
        return (first >> 11) * 2.0**-53, (second >> 11) * 2.0**-53

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(f"{self.seed}/{text}".encode(), digest_size=16).digest()


def _check_rates(kinds: Mapping[FaultKind, float]) -> None:
    for kind, rate in kinds.items():
        if not 0 <= rate <= 1:
            raise InputError(f"fault plan: the rate of {kind} is {rate}; it must be from 0 to 1")
    for scopes in _DRAWN_TOGETHER:
        total = sum(rate for kind, rate in kinds.items() if kind.scope in scopes)
        if total > 1 + 1e-9:
            raise InputError(
                f"fault plan: the rates of {' and '.join(sorted(scopes))} faults add up to {total}, over 1"
            )


def _mixed(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Scramble 64-bit words: the finalizer of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014)."""
    words = words + np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
