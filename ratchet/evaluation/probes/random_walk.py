"""The canary: nothing predicts a random walk, so whoever does has seen the future."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ratchet.errors import InputError
from ratchet.evaluation.metrics import accuracy
from ratchet.evaluation.predictions import checked_probabilities
from ratchet.evaluation.probes.shuffled_labels import Splitter
from ratchet.evaluation.records import Probe
from ratchet.evaluation.validation import Fit
from ratchet.evaluation.walk_forward import PurgedWalkForward
from ratchet.features.sets import FeatureSet
from ratchet.market.symbols import Timeframe

if TYPE_CHECKING:
    import pandas as pd

    from ratchet.features.panel import Panel

MAX_DISTANCE = 0.03
"""How far from one half the accuracy may lie."""

_SIGMA = 0.006
_START_NS = 1_704_067_200_000_000_000  # 2024-01-01, where every timeframe up to a day has a bar
_N_STEPS = 8  # of the path within a bar, from which high and low come
_LEADERS = ("BTC/USDT", "ETH/USDT")  # features that relate symbols to each other look for them


def random_walk_canary(
    feature_set: FeatureSet,
    *,
    timeframe: Timeframe,
    horizon: int,
    learner: Fit,
    n_symbols: int = 12,
    n_bars: int = 6_000,
    seed: int,
    walk_forward: Splitter | None = None,
) -> Probe:
    """Let the real pipeline predict independent random walks without drift; the accuracy must be 50 +- 3 %.

    Candles go through `build_panel` and a purged walk-forward of five folds with an embargo of one horizon, or through
    `walk_forward` where that is given. With the defaults and a horizon of 24 the accuracy has a standard deviation
    below one point; with fewer bars or a longer horizon chance alone may raise the alarm.

    Raises:
        InputError: the set needs more than candles, or there are too few bars for its warm-up and the folds.
        CandidateRejectedError: the learner answered something that is not a probability per sample.
    """
    panel = random_walk_panel(
        feature_set, timeframe=timeframe, horizon=horizon, n_symbols=n_symbols, n_bars=n_bars, seed=seed
    )
    folds = walk_forward or PurgedWalkForward(n_splits=5, embargo_ns=horizon * timeframe.ns)
    label, p_up = [], []
    for fold in folds.split(panel.decision_ns, panel.t1_ns):
        label.append(panel.label[fold.test])
        p_up.append(checked_probabilities(learner(panel, fold)(panel, fold.test), len(fold.test)))
    outcomes = np.concatenate(label)
    value = accuracy(outcomes, np.concatenate(p_up))
    is_fair = abs(value - 0.5) <= MAX_DISTANCE
    verdict = "as by chance" if is_fair else "which nobody can: features, labels or splits see the future"
    return Probe(
        name="random_walk",
        status="passed" if is_fair else "failed",
        value=value,
        low=0.5 - MAX_DISTANCE,
        high=0.5 + MAX_DISTANCE,
        n=int(np.count_nonzero(outcomes)),
        reason=f"A random walk is predicted with an accuracy of {value:.1%}, {verdict}.",
    )


def random_walk_panel(
    feature_set: FeatureSet, *, timeframe: Timeframe, horizon: int, n_symbols: int, n_bars: int, seed: int
) -> Panel:
    """Build the samples of random walks; every move counts, the window is one bar.

    Raises:
        InputError: as `random_walk_canary`.
    """
    from ratchet.features.panel import build_panel  # noqa: PLC0415 - loads pandas

    if not feature_set.sources <= {"bars", "universe"}:
        raise InputError(
            f"feature set {feature_set.name!r} needs more than candles, which a random walk does not have; "
            "name base, graph, alpha158 or alpha360"
        )
    candles = random_walk_candles(timeframe, n_symbols=n_symbols, n_bars=n_bars, seed=seed)
    return build_panel(candles, feature_set, timeframe=timeframe, horizon=horizon, window=1, round_trip_bps=0.0)


def random_walk_candles(timeframe: Timeframe, *, n_symbols: int, n_bars: int, seed: int) -> pd.DataFrame:
    """Return candles of independent random walks whose log price rises as often as it falls.

    Each bar opens at the last close; high and low are those of the path within the bar; volume is random, and larger
    in bars that moved.
    """
    import pandas as pd  # noqa: PLC0415 - slow to import

    from ratchet.market.candles import as_candle_frame  # noqa: PLC0415 - loads pandas

    rng = np.random.default_rng(seed)
    frames = []
    for number in range(n_symbols):
        steps = rng.normal(0.0, _SIGMA / np.sqrt(_N_STEPS), size=(n_bars, _N_STEPS))
        path = 100.0 * np.exp(np.cumsum(steps).reshape(n_bars, _N_STEPS))
        opening = np.concatenate(([100.0], path[:-1, -1]))
        moved = np.abs(steps.sum(axis=1)) / _SIGMA
        frames.append(
            pd.DataFrame(
                {
                    "symbol": _LEADERS[number] if number < len(_LEADERS) else f"W{number:02d}/USDT",
                    "ts_event_ns": _START_NS + np.arange(n_bars) * timeframe.ns,
                    "open": opening,
                    "high": np.maximum(opening, path.max(axis=1)),
                    "low": np.minimum(opening, path.min(axis=1)),
                    "close": path[:, -1],
                    "volume": 50.0 * (1.0 + moved) * np.exp(rng.normal(size=n_bars)),
                }
            )
        )
    return as_candle_frame(pd.concat(frames, ignore_index=True))
