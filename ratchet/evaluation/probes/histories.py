"""Feature rows computed again from a part of the candles, as they would have been computed at that time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.features.sets import FeatureSet
from ratchet.market.symbols import Timeframe

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.features.panel import Panel
    from ratchet.features.streaming.events import FeatureEvent

IntArray = NDArray[np.int64]
Rows = NDArray[np.float32]

_CANDLES_ONLY = frozenset({"bars", "universe"})


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Features that are computed together: their `columns` in the whole set, and the bars they need, None for all."""

    features: FeatureSet
    columns: IntArray
    n_bars: int | None


def parts_of(features: FeatureSet, window: int) -> list[Part]:
    """Split a set by how much history the last `window` rows need.

    Features of candles with a finite window rest on their warm-up alone. Recursive ones remember the first bar, and
    features of the market rest on events, so they need the whole history.
    """
    if not features.sources <= _CANDLES_ONLY:
        return [Part(features, np.arange(len(features.names)), None)]
    parts = []
    for is_recursive, name in ((False, "finite"), (True, "recursive")):
        columns = [n for n, item in enumerate(features.definitions) if item.is_recursive == is_recursive]
        chosen = FeatureSet(f"{features.name}, {name}", tuple(features.definitions[n] for n in columns))
        if columns:
            parts.append(Part(chosen, np.array(columns), None if is_recursive else chosen.warmup_bars + window))
    return parts


class Histories:
    """The candles of all symbols and the market around them, to be cut short at either end.

    Raises:
        InputError: candles without a column that they need.
    """

    def __init__(self, candles: pd.DataFrame, timeframe: Timeframe, market: Iterable[FeatureEvent] = ()) -> None:
        from ratchet.features.bars import split_by_symbol  # noqa: PLC0415 - loads pandas

        times = {bars.symbol: bars.ts_ns for bars in split_by_symbol(candles, timeframe)}
        self._times: dict[str, IntArray] = times
        frame = candles.sort_values(["symbol", "ts_event_ns"], kind="stable")
        self._frames: dict[str, pd.DataFrame] = {str(symbol): rows for symbol, rows in frame.groupby("symbol")}
        self._timeframe = timeframe
        self._market = tuple(market)
        self._arrived_ns = np.maximum.accumulate(np.array([event.known_ns for event in self._market], dtype=np.int64))

    def bars_before(self, symbol: str, ts_ns: int) -> int:
        """Return how many bars of a symbol open before `ts_ns`."""
        return int(np.searchsorted(self._times[symbol], ts_ns))

    def rows(self, features: FeatureSet, last_ns: int, n_bars: int | None) -> dict[str, tuple[IntArray, Rows]]:
        """Compute the rows of every symbol from the bars that open at or before `last_ns`, and no later ones.

        Args:
            features: what to compute.
            last_ns: open of the last bar, ns UTC.
            n_bars: how many bars back to begin, None for all; where symbols are related to each other, all begin with
                the one that needs to begin first.

        Returns:
            symbol -> opens of its bars int64 (time,), and float32 (time, feature).
        """
        import pandas as pd  # noqa: PLC0415 - slow to import

        from ratchet.features.panel import feature_rows  # noqa: PLC0415 - loads pandas

        starts = self._starts(last_ns, n_bars, together="universe" in features.sources)
        kept = [
            self._frames[symbol].iloc[start : int(np.searchsorted(times, last_ns, side="right"))]
            for symbol, times in self._times.items()
            if (start := starts[symbol]) < np.searchsorted(times, last_ns, side="right")
        ]
        candles = pd.concat(kept, ignore_index=True)
        first_ns = None if n_bars is None else int(candles["ts_event_ns"].min())
        market = self._market_between(first_ns, last_ns)
        found = feature_rows(candles, features, timeframe=self._timeframe, market=market)
        return {bars.symbol: (bars.ts_ns, values) for bars, values in found}

    def _starts(self, last_ns: int, n_bars: int | None, *, together: bool) -> dict[str, int]:
        """Return the number of each symbol's first bar."""
        if n_bars is None:
            return dict.fromkeys(self._times, 0)
        ends = {symbol: int(np.searchsorted(times, last_ns, side="right")) for symbol, times in self._times.items()}
        starts = {symbol: max(end - n_bars, 0) for symbol, end in ends.items()}
        if not together:
            return starts
        current = [
            self._times[symbol][start]
            for symbol, start in starts.items()
            if self._times[symbol][ends[symbol] - 1] == last_ns
        ]
        first_ns = min(current, default=last_ns)
        return {symbol: int(np.searchsorted(times, first_ns)) for symbol, times in self._times.items()}

    def _market_between(self, first_ns: int | None, last_ns: int) -> list[FeatureEvent]:
        """Return the events of the bars from `first_ns` on that had arrived when a decision at the last bar rests."""
        from ratchet.features.panel import ALLOWED_DELAY_NS  # noqa: PLC0415 - loads pandas

        until_ns = last_ns + self._timeframe.ns + ALLOWED_DELAY_NS
        known = self._market[: int(np.searchsorted(self._arrived_ns, until_ns, side="right"))]
        return [event for event in known if first_ns is None or event.ts_event_ns >= first_ns]


def draw_times(panel: Panel, n_points: int, seed: int) -> list[int]:
    """Draw `n_points` different bars of the panel's samples, ns UTC in order; all where there are fewer."""
    times = np.unique(panel.ts_ns)
    drawn = np.random.default_rng(seed).choice(times, min(n_points, len(times)), replace=False)
    return [int(ts_ns) for ts_ns in np.sort(drawn)]


def samples_at(panel: Panel, ts_ns: int) -> list[tuple[str, int]]:
    """Return the samples of one bar: their symbols, and the numbers of their last rows."""
    first, last = np.searchsorted(panel.ts_ns, ts_ns), np.searchsorted(panel.ts_ns, ts_ns, side="right")
    names = [panel.symbols[number] for number in panel.symbol_id[first:last]]
    return list(zip(names, panel.end_row[first:last].tolist(), strict=True))


def require_same_features(panel: Panel, features: FeatureSet) -> None:
    """Check that the panel has the features of the set.

    Raises:
        InputError: it has others.
    """
    if panel.feature_names != features.names:
        raise InputError(
            f"the panel's features are not those of the set {features.name!r}; name the set it was built of"
        )


def foreign_candles(symbol: str) -> InputError:
    """Return the error for candles that a panel was not built from."""
    return InputError(f"{symbol}: the candles are not those of the panel; give the candles it was built from")
