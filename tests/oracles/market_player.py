"""The compiled market formulas over a list of events, for tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from ratchet.features.catalogue.book import BOOK_FEATURES
from ratchet.features.catalogue.depth import DEPTH_FEATURES
from ratchet.features.catalogue.derivative import DERIVATIVE_FEATURES
from ratchet.features.catalogue.flow import FLOW_FEATURES
from ratchet.features.catalogue.trade import TRADE_FEATURES
from ratchet.features.definitions import FeatureDefinition
from ratchet.features.kernel.compiling import SOURCE_DIGEST, dispatcher, entry_point, section
from ratchet.features.kernel.market import (
    MARKET_FORMULAS,
    Market,
    confirm_book,
    lose_book,
    lose_trades,
    take_book,
    take_derivative,
    take_trade,
)
from tests.oracles.market import Event

MARKET_FEATURES = (*BOOK_FEATURES, *TRADE_FEATURES, *DEPTH_FEATURES, *FLOW_FEATURES, *DERIVATIVE_FEATURES)
"""The 125 features that rest on a symbol's own market."""

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_OPERATIONS = {function.__name__: place for place, function in enumerate(MARKET_FORMULAS)}
_value = dispatcher(MARKET_FORMULAS, "m, now_ns, p")


@section
def take(m: Market, kind: int, ts_ns: int, values: FloatArray) -> None:
    """Take an event of any kind."""
    if kind == 1:
        take_book(m, ts_ns, values)
    elif kind == 2:
        take_trade(m, ts_ns, values)
    elif kind == 3:
        take_derivative(m, ts_ns, values)
    elif kind == 4:
        lose_book(m, ts_ns)
    elif kind == 5:
        lose_trades(m, ts_ns)
    elif kind == 6:
        confirm_book(m, ts_ns)


def _compiled(digest: int) -> Callable[..., None]:
    @entry_point
    def play_all(
        m: Market,
        kinds: IntArray,
        times: IntArray,
        values: FloatArray,
        asked: IntArray,
        operations: IntArray,
        params: FloatArray,
        out: FloatArray,
    ) -> None:
        for event in range(len(kinds) if digest != 0 else 0):
            take(m, kinds[event], times[event], values[event])
            for feature in range(len(operations)):
                out[event, feature] = _value(operations[feature], m, asked[event], params[feature])

    return play_all


_play = _compiled(SOURCE_DIGEST)


def play(
    m: Market,
    events: Sequence[Event],
    asked_ns: Sequence[int] | None = None,
    features: Sequence[FeatureDefinition] = MARKET_FEATURES,
) -> FloatArray:
    """Take all events and return float64 (event, feature): the values after each, at its time or at `asked_ns`."""
    values = np.full((len(events), 40), np.nan)
    for place, event in enumerate(events):
        values[place, : len(event.values)] = event.values
    times = np.array([event.ts_ns for event in events], dtype=np.int64)
    params = np.zeros((len(features), 2))
    for place, feature in enumerate(features):
        params[place, : len(feature.params)] = [value for _, value in feature.params]
    out = np.empty((len(events), len(features)))
    _play(
        m,
        np.array([event.kind for event in events], dtype=np.int64),
        times,
        values,
        times if asked_ns is None else np.array(asked_ns, dtype=np.int64),
        np.array([_OPERATIONS[feature.formula] for feature in features], dtype=np.int64),
        params,
        out,
    )
    return out
