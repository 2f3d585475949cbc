"""How complete the history is: per series in numbers, and over time for a picture."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ratchet.data.coverage import COVERAGE_COLUMNS, cover
from ratchet.data.history.candles import CandleHistory
from ratchet.data.history.gaps import Gap, GapKind
from ratchet.data.history.series import SeriesKey


def coverage_table(history: CandleHistory, keys: Sequence[SeriesKey]) -> pd.DataFrame:
    """Return one row per series: bars stored and wanted, the share, missing bars by kind, first and last bar."""
    rows = []
    for key in keys:
        times = history.times(key)
        gaps = history.missing(key)
        missing = {kind.value: sum(gap.n_bars for gap in gaps if gap.kind is kind) for kind in GapKind}
        n_wanted = len(times) + sum(missing.values())
        rows.append(
            {
                "venue": key.venue,
                "symbol": key.symbol,
                "timeframe": key.timeframe,
                "n_bars": len(times),
                "n_wanted": n_wanted,
                "share": len(times) / n_wanted if n_wanted else 0.0,
                **missing,
                "first_ns": int(times[0]) if len(times) else None,
                "last_ns": int(times[-1]) if len(times) else None,
            }
        )
    return pd.DataFrame(rows)


def coverage_over_time(history: CandleHistory, keys: Sequence[SeriesKey], *, n_buckets: int = 120) -> pd.DataFrame:
    """Return `COVERAGE_COLUMNS` for series of one timeframe, over everything that was ever asked for of them."""
    wanted = [span for key in keys if (span := history.catalog.wanted(key))]
    if not wanted:
        return pd.DataFrame(columns=list(COVERAGE_COLUMNS))
    bars = [pd.DataFrame({"symbol": key.symbol, "ts_event_ns": history.times(key)}) for key in keys]
    return cover(
        pd.concat(bars, ignore_index=True),
        gap_frame([gap for key in keys for gap in history.missing(key)]),
        timeframe=keys[0].bar,
        start_ns=min(span.start_ns for span in wanted),
        end_ns=max(span.end_ns for span in wanted),
        n_buckets=n_buckets,
    )


def gap_frame(gaps: Sequence[Gap]) -> pd.DataFrame:
    """Return gaps as columns `symbol`, `start_ns`, `end_ns` (exclusive) and `kind`, as pictures take them."""
    rows = [(gap.symbol, gap.start_ns, gap.end_ns, gap.kind.value) for gap in gaps]
    return pd.DataFrame(rows, columns=["symbol", "start_ns", "end_ns", "kind"])
