"""No feature, label or window changes when the future does."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ratchet.features.bars import Bars, FloatArray
from ratchet.features.labels import label_horizon
from ratchet.features.panel import build_panel
from ratchet.features.sets import FeatureSet
from tests.candle_paths import HOUR, random_candles, recorded_candles, with_new_future
from tests.kernel_columns import compute, kernel_columns

_N_BARS = 640
_FEATURES = FeatureSet.base()
_seeds = st.integers(min_value=0, max_value=2**32 - 1)
_rows = st.integers(min_value=0, max_value=_N_BARS - 2)
_shares = st.sampled_from([0.0, 0.1, 0.7])
_few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _raw_columns(candles: pd.DataFrame) -> dict[str, FloatArray]:
    """Compute every feature without blanking its warm-up, so that early rows are judged as well."""
    return kernel_columns(_FEATURES, Bars.from_frame(candles, HOUR), with_warmup=True)


def _assert_same_until(before: dict[str, FloatArray], after: dict[str, FloatArray], row: int) -> None:
    for name, values in before.items():
        past, past_after = values[: row + 1], after[name][: row + 1]
        assert past.tobytes() == past_after.tobytes(), f"{name} at a row <= {row} depends on a later row"


@_few
@given(seed=_seeds, row=_rows, flat_share=_shares, silent_share=_shares)
def test_features_until_t_do_not_change_by_a_bit_when_all_bars_after_t_do(
    seed: int, row: int, flat_share: float, silent_share: float
) -> None:
    candles = random_candles(_N_BARS, seed=seed, flat_share=flat_share, silent_share=silent_share)
    changed = with_new_future(candles, row, seed=seed + 1)
    _assert_same_until(_raw_columns(candles), _raw_columns(changed), row)


def test_a_feature_that_looks_one_bar_ahead_would_be_found() -> None:
    candles = random_candles(_N_BARS, seed=1)
    changed = with_new_future(candles, 300, seed=2)
    before, after = ({"leak": frame["close"].shift(-1).to_numpy(dtype=np.float64)} for frame in (candles, changed))
    _assert_same_until(before, after, 299)
    with pytest.raises(AssertionError, match="leak at a row <= 300 depends on a later row"):
        _assert_same_until(before, after, 300)


@pytest.mark.parametrize("row", [50, 333, 600])
def test_features_of_recorded_candles_until_t_do_not_change_when_the_future_does(row: int) -> None:
    candles = recorded_candles("ETH/USDT", n_bars=_N_BARS)
    _assert_same_until(_raw_columns(candles), _raw_columns(with_new_future(candles, row, seed=1)), row)


@_few
@given(seed=_seeds, row=st.integers(min_value=520, max_value=_N_BARS - 2))
def test_features_until_t_are_those_of_a_history_that_ends_at_t(seed: int, row: int) -> None:
    candles = random_candles(_N_BARS, seed=seed, flat_share=0.1, silent_share=0.1)
    full, cut = compute(_FEATURES, candles), compute(_FEATURES, candles.iloc[: row + 1])
    np.testing.assert_allclose(cut, full[: row + 1], rtol=1e-6, atol=1e-6)


@_few
@given(seed=_seeds, row=_rows, horizon=st.integers(1, 12))
def test_labels_depend_on_the_next_h_bars_only_and_the_band_on_none_of_them(seed: int, row: int, horizon: int) -> None:
    candles = random_candles(_N_BARS, seed=seed)
    changed = with_new_future(candles, row, seed=seed + 1)
    before = label_horizon(candles, horizon, HOUR, 10.0, k_sigma=0.5)
    after = label_horizon(changed, horizon, HOUR, 10.0, k_sigma=0.5)
    known = max(row + 1 - horizon, 0)
    assert before.ret[:known].tobytes() == after.ret[:known].tobytes()
    assert before.label[:known].tobytes() == after.label[:known].tobytes()
    assert before.band[: row + 1].tobytes() == after.band[: row + 1].tobytes()


@settings(_few, max_examples=8)
@given(seed=_seeds, row=st.integers(min_value=560, max_value=_N_BARS - 2))
def test_a_decisions_window_does_not_change_when_the_bars_after_the_decision_do(seed: int, row: int) -> None:
    candles = random_candles(_N_BARS, seed=seed)
    changed = with_new_future(candles, row, seed=seed + 1)
    panels = [
        build_panel(frame, _FEATURES, timeframe=HOUR, horizon=3, window=16, round_trip_bps=10.0)
        for frame in (candles, changed)
    ]
    past = np.flatnonzero(panels[0].ts_ns <= candles["ts_event_ns"].iloc[row])
    assert len(past)
    assert panels[0].windows(past).tobytes() == panels[1].windows(past).tobytes()
