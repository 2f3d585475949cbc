"""What candles must satisfy.

Critical checks fail the gate, row checks send single bars to quarantine, warnings only tell. A bar's neighbours are
those of its symbol in time, whatever the order of the rows.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from ratchet.data.quality.bars import (
    AGE_COLUMN,
    COVERAGE_COLUMN,
    GAP_COLUMN,
    MARKET_AGE_COLUMN,
    OFFSET_COLUMN,
    STEP_COLUMN,
    ages,
    coverages,
    gaps,
    offsets,
    steps,
)
from ratchet.data.quality.checks import NUMBER_TYPES, TIME_TYPES, Check, Suite
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.reference import COMMON_COLUMN, EXCESS_COLUMN, second_venue
from ratchet.data.quality.rules import AtLeast, Between, Other, Present, Unique
from ratchet.data.quality.runs import SILENT_COLUMN, STALE_COLUMN, silent_runs
from ratchet.data.quality.spikes import REVERSAL_COLUMN, SPIKE_COLUMN, spikes
from ratchet.market.candles import CANDLE_COLUMNS, PRICE_COLUMNS
from ratchet.market.symbols import Timeframe

LARGEST = float(np.finfo(np.float64).max)
_TIME = ("ts_event_ns",)
_NUMBERS = (*PRICE_COLUMNS, "volume")


def candle_suite(
    timeframe: Timeframe,
    policy: QualityPolicy,
    *,
    reference: pd.DataFrame | None = None,
    now_ns: int | None = None,
) -> Suite:
    """Return the checks of candles, the critical ones first.

    Args:
        timeframe: length of the bars.
        policy: the thresholds.
        reference: candles of a second venue, to compare closes with; without them that check is left out.
        now_ns: the time at which the last bars must not be too old; without it that check is left out.

    Raises:
        InputError: the reference is no candle frame.
    """
    checks = [*_structure(timeframe), *_values(), *_odd_bars(policy), *_told(policy)]
    derived = [
        offsets(timeframe),
        steps(),
        gaps(timeframe),
        coverages(timeframe),
        silent_runs(),
        spikes(timeframe, policy),
    ]
    if reference is not None:
        checks += _against_reference()
        derived.append(second_venue(reference, policy))
    if now_ns is not None:
        checks += _freshness(policy)
        derived.append(ages(timeframe, now_ns))
    types = dict.fromkeys(_NUMBERS, NUMBER_TYPES) | {"ts_event_ns": TIME_TYPES, "symbol": None}
    return Suite(
        table="candles",
        types={name: types[name] for name in CANDLE_COLUMNS},
        checks=tuple(sorted(checks, key=lambda check: ("critical", "row", "warn").index(check.severity))),
        derived=tuple(derived),
        max_quarantined_share=policy.max_quarantined_share,
    )


def _structure(timeframe: Timeframe) -> list[Check]:
    bar = timeframe.text
    return [
        Check("symbol_named", ("symbol",), Present("symbol"), "critical", "the row has no symbol"),
        Check("unique_bar", _TIME, Unique("ts_event_ns"), "critical", "another row has the same symbol and time"),
        Check("on_grid", _TIME, Between(OFFSET_COLUMN, 0, 0), "critical", f"the time is not the open of a {bar} bar"),
        Check("ascending", _TIME, Between(STEP_COLUMN, 0), "critical", "the time is before that of the row above"),
        *(
            Check("zero_price", (name,), Other(name, 0.0), "critical", f"{name} is 0, which no trade can have been")
            for name in PRICE_COLUMNS
        ),
        *(
            Check("positive_price", (name,), Between(name, 0), "critical", f"{name} is not above 0")
            for name in PRICE_COLUMNS
        ),
    ]


def _values() -> list[Check]:
    return [
        *(Check("not_missing", (name,), Present(name), "row", f"{name} is missing") for name in _NUMBERS),
        *(
            Check("finite", (name,), Between(name, -LARGEST, LARGEST), "row", f"{name} is not finite")
            for name in _NUMBERS
        ),
        *(
            Check("high_is_highest", ("high", name), AtLeast("high", name), "row", f"high is below {name}")
            for name in ("open", "close")
        ),
        *(
            Check("low_is_lowest", ("low", name), AtLeast(name, "low"), "row", f"low is above {name}")
            for name in ("open", "close")
        ),
        Check("volume_not_negative", ("volume",), Between("volume", 0), "row", "volume is negative"),
    ]


def _odd_bars(policy: QualityPolicy) -> list[Check]:
    stale = policy.min_stale_bars
    return [
        Check(
            "coverage",
            _TIME,
            Between(COVERAGE_COLUMN, policy.min_coverage),
            "critical",
            f"fewer than {policy.min_coverage:.1%} of the bars from the first to the last are there; fill the holes "
            "or lower min_coverage where the venue leaves out bars without trades",
            "(last bar) has {n_bars:.0f} of {n_expected:.0f} bars ({coverage:.1%})",
            subject="symbol",
        ),
        Check(
            "stale",
            (*PRICE_COLUMNS, "volume"),
            Between(STALE_COLUMN, 0, stale - 1),
            "row",
            f"{stale} or more bars repeat the same prices without volume",
            "one of {stale_bars:.0f} bars that repeat the same prices without volume",
        ),
        Check(
            "spike",
            ("close",),
            Between(SPIKE_COLUMN, 0, policy.spike_deviations),
            "row",
            f"the close jumps by {_jump(policy)}, and the next bar opens where it was before",
            "close {close} is {spike_deviations:.1f} robust deviations away from the close before ({spike_before}) "
            "and the next open ({spike_after})",
        ),
    ]


def _told(policy: QualityPolicy) -> list[Check]:
    silent = policy.max_zero_volume_bars
    return [
        Check(
            "missing_bars",
            _TIME,
            Between(GAP_COLUMN, 0, 0),
            "warn",
            "bars are missing before this one",
            "after {missing_bars:.0f} missing bars, {missing_from_ns:iso} to {missing_to_ns:iso}",
        ),
        Check(
            "zero_volume_run",
            ("volume",),
            Between(SILENT_COLUMN, 0, silent),
            "warn",
            f"more than {silent} bars in a row have no volume",
            "one of {zero_volume_bars:.0f} bars in a row without volume",
        ),
        Check(
            "reversal",
            ("close",),
            Between(REVERSAL_COLUMN, 0, policy.spike_deviations),
            "warn",
            f"the close jumps by {_jump(policy)}, and the next bar takes it back",
            "close {close} is {reversal_deviations:.1f} robust deviations away from the closes before "
            "({reversal_before}) and after ({reversal_after})",
        ),
    ]


def _jump(policy: QualityPolicy) -> str:
    return f"at least {policy.spike_share:.1%} and {policy.spike_deviations:g} robust deviations"


def _against_reference() -> list[Check]:
    return [
        Check(
            "reference_price",
            ("close",),
            Between(EXCESS_COLUMN, 0, 1),
            "row",
            "the close is too far from that of the second venue",
            "close {close} is {reference_distance:.2%} away from {reference_close} of the second venue; "
            "at most {reference_tolerance:.2%} may be",
        ),
        Check(
            "reference_overlap",
            _TIME,
            Between(COMMON_COLUMN, 1),
            "warn",
            "the second venue has none of the symbol's bars, so that none was compared",
            "(last bar)",
            subject="symbol",
        ),
    ]


def _freshness(policy: QualityPolicy) -> list[Check]:
    limit = policy.max_age_bars
    return [
        Check(
            "fresh",
            _TIME,
            Between(MARKET_AGE_COLUMN, -np.inf, limit),
            "critical",
            f"the latest bar of all is more than {limit} bars old",
            "(last bar) closed {market_age_bars:.1f} bars ago",
            subject="symbol",
        ),
        Check(
            "fresh_symbol",
            _TIME,
            Between(AGE_COLUMN, -np.inf, limit),
            "warn",
            f"the symbol's last bar is more than {limit} bars old",
            "(last bar) closed {age_bars:.1f} bars ago",
            subject="symbol",
        ),
    ]
