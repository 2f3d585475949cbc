"""Scores against figures worked out by hand, against scikit-learn and SciPy, and their intervals against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr
from sklearn.metrics import balanced_accuracy_score, brier_score_loss, log_loss

from ratchet.errors import InputError
from ratchet.evaluation.metrics import accuracy, hit_interval
from ratchet.evaluation.predictions import Predictions
from ratchet.evaluation.records import Scores
from ratchet.evaluation.scores import score
from tests.panels import HOUR_NS, START_NS, rival_predictions

FloatArray = NDArray[np.float64]


def rows_of(label: list[int] | NDArray[np.int8], p_up: list[float] | FloatArray) -> Predictions:
    """One symbol on consecutive hours; a move of 1 % where the label says so."""
    n = len(label)
    ts_ns = START_NS + np.arange(n) * HOUR_NS
    return Predictions(
        timeframe="1h",
        horizon=1,
        symbol=np.full(n, "BTC/USDT"),
        ts_ns=ts_ns,
        t1_ns=ts_ns + 2 * HOUR_NS,
        fold=np.zeros(n, dtype=np.int16),
        label=np.asarray(label, dtype=np.int8),
        ret=0.01 * np.asarray(label, dtype=np.float64),
        band=np.zeros(n),
        bar_return=np.zeros(n),
        p_up=np.asarray(p_up, dtype=np.float64),
    )


def test_every_figure_of_four_moves_and_a_flat_row_is_as_by_hand() -> None:
    """Ups at 0.8, 0.4 and 0.5, a down at 0.3; the flat row at 0.99 counts nowhere but in the ranks."""
    found = score(rows_of([1, 1, 1, -1, 0], [0.8, 0.4, 0.5, 0.3, 0.99]), seed=0, n_resamples=200)

    assert found.n_moves == 4
    assert found.accuracy.value == 2.5 / 4
    assert found.balanced_accuracy.value == pytest.approx((1.5 / 3 + 1.0) / 2)
    assert found.log_loss.value == pytest.approx(-(math.log(0.8 * 0.4 * 0.5 * 0.7)) / 4)
    assert found.brier.value == pytest.approx((0.04 + 0.36 + 0.25 + 0.09) / 4)
    assert found.confusion.model_dump() == {"up_as_up": 1, "up_as_down": 2, "down_as_up": 0, "down_as_down": 1}
    (only,) = found.calibration
    assert (only.low, only.high, only.n, only.share_up.value) == (0.0, 1.0, 4, 0.75)
    assert only.mean_p_up == pytest.approx(0.5)
    assert found.calibration_error == pytest.approx(0.25)
    # the returns rank 4, 4, 4, 1, 2 and p_up ranks 4, 2, 3, 1, 5: products about 3 sum to 2, squares to 8 and to 10
    assert found.information_coefficient.value == pytest.approx(2.0 / math.sqrt(80.0))


def test_figures_agree_with_scikit_learn_and_scipy() -> None:
    """On rows with ties and flats, of several symbols, by other implementations."""
    rows, _ = rival_predictions((0.3, 0.0), n_times=400, horizon=4, seed=1, n_symbols=3)
    label = np.where(np.abs(rows.ret) < 0.003, 0, rows.label).astype(np.int8)
    rows = Predictions(**{name: getattr(rows, name) for name in rows.__slots__} | {"label": label})
    rows = rows.with_p_up(np.round(rows.p_up, 2) + 0.001)
    found = score(rows, seed=0, n_resamples=100)
    moved = label != 0
    is_up, p_up = label[moved] > 0, rows.p_up[moved]

    assert 0 < found.n_moves == moved.sum() < len(rows)
    assert found.balanced_accuracy.value == pytest.approx(balanced_accuracy_score(is_up, p_up > 0.5))
    assert found.log_loss.value == pytest.approx(log_loss(is_up, p_up))
    assert found.brier.value == pytest.approx(brier_score_loss(is_up, p_up))
    assert found.information_coefficient.value == pytest.approx(spearmanr(rows.p_up, rows.ret)[0])
    for metric in (found.accuracy, found.balanced_accuracy, found.log_loss, found.brier, found.information_coefficient):
        assert metric.low < metric.value < metric.high


@pytest.mark.parametrize("horizon", [1, 6])
def test_accuracy_is_the_accuracy_of_the_gate_to_the_last_bit(horizon: int) -> None:
    """Value and interval are those of `accuracy` and `hit_interval`, undecided rows included."""
    rows, _ = rival_predictions((0.2, 0.0), n_times=300, horizon=horizon, seed=2, n_symbols=2)
    rows = rows.with_p_up(np.where(np.arange(len(rows)) % 7 == 0, 0.5, rows.p_up))
    found = score(rows, seed=3)

    assert found.accuracy.value == accuracy(rows.label, rows.p_up)
    assert found.accuracy == hit_interval(rows.ts_ns, rows.label, rows.p_up, horizon=horizon, seed=3)


def test_certain_and_wrong_costs_what_the_clip_allows() -> None:
    """p_up = 0 before an upward move is clipped at 1e-7; so is p_up = 1 before a downward one."""
    found = score(rows_of([1, -1], [0.0, 1.0]), seed=0, n_resamples=100)

    assert found.log_loss.value == pytest.approx(-math.log(1e-7), rel=1e-6)
    assert found.brier.value == 1.0


def test_where_all_went_up_the_balanced_accuracy_is_the_recall_of_up() -> None:
    """One recall is all there is; every figure stays a number and survives JSON."""
    found = score(rows_of([1] * 80, [0.6] * 60 + [0.4] * 20), seed=0, n_resamples=200)

    assert found.balanced_accuracy.value == found.accuracy.value == 0.75
    assert found.confusion.up_as_down == 20
    assert found.information_coefficient.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert Scores.model_validate_json(found.model_dump_json()) == found


def test_one_single_fall_among_many_rises_leaves_every_figure_a_number() -> None:
    """Resamples without the fall have no recall of down and are left out."""
    label = np.where(np.arange(200) == 70, -1, 1).astype(np.int8)
    found = score(rows_of(label, np.linspace(0.4, 0.6, 200)), seed=0, n_resamples=200)

    assert found.confusion.down_as_down + found.confusion.down_as_up == 1
    assert found.balanced_accuracy.value == pytest.approx((100 / 199 + 1.0) / 2, abs=0.01)
    assert 0.0 <= found.balanced_accuracy.low < found.balanced_accuracy.high <= 1.0


def test_a_constant_probability_ranks_nothing_and_is_one_bin() -> None:
    """The majority rule has rank correlation 0 and a balanced accuracy of one half."""
    label = np.where(np.arange(300) % 3 == 0, -1, 1).astype(np.int8)
    found = score(rows_of(label, [0.6] * 300), seed=0, n_resamples=200)

    assert found.information_coefficient.model_dump() == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert found.balanced_accuracy.model_dump() == {"value": 0.5, "low": 0.5, "high": 0.5}
    assert [one.n for one in found.calibration] == [300]
    assert found.calibration_error == pytest.approx(2 / 3 - 0.6)


def test_rows_without_a_move_are_refused() -> None:
    """There is no direction to score."""
    with pytest.raises(InputError, match="none of 3 rows moved"):
        score(rows_of([0, 0, 0], [0.1, 0.2, 0.3]), seed=0)


def test_calibration_bins_are_deciles_that_hold_50_rows() -> None:
    """1,000 spread probabilities give ten bins of 100; 230 are cut after every third decile; ties stay together."""
    rng = np.random.default_rng(0)
    sizes = {}
    for name, p_up in {
        "spread": rng.random(1000),
        "few": rng.random(120),
        "ties": np.concatenate([np.full(900, 0.5), rng.random(100)]),
        "odd": rng.random(230),
        "two": rng.permutation(np.repeat([0.1, 0.5], [150, 850])),
    }.items():
        found = score(
            rows_of(np.where(rng.random(len(p_up)) < p_up, 1, -1).astype(np.int8), p_up), seed=0, n_resamples=50
        )
        bins = found.calibration
        assert [one.high for one in bins[:-1]] == [one.low for one in bins[1:]]
        assert (bins[0].low, bins[-1].high) == (0.0, 1.0)
        assert [one.n for one in bins] == [int(np.count_nonzero((p_up >= one.low) & (p_up < one.high))) for one in bins]
        assert all(one.low <= one.mean_p_up <= one.high for one in bins)
        sizes[name] = [one.n for one in bins]

    assert sizes["spread"] == [100] * 10
    assert len(sizes["few"]) == 2
    assert min(sizes["few"]) >= 50
    assert sizes["odd"] == [69, 69, 92]
    assert sizes["two"] == [150, 850]
    assert max(sizes["ties"]) >= 900
    assert min(sizes["ties"]) >= 50


def test_honest_probabilities_are_calibrated_and_boasting_ones_are_not() -> None:
    """Where moves follow p_up the bins' intervals hold its mean; pushed outwards by 0.2 they do not."""
    rng = np.random.default_rng(5)
    p_up = rng.uniform(0.3, 0.7, 4000)
    label = np.where(rng.random(4000) < p_up, 1, -1).astype(np.int8)
    honest = score(rows_of(label, p_up), seed=0, n_resamples=300)
    boasting = score(rows_of(label, p_up + 0.2 * np.sign(p_up - 0.5)), seed=0, n_resamples=300)

    def held(found: Scores) -> int:
        return sum(one.share_up.low <= one.mean_p_up <= one.share_up.high for one in found.calibration)

    assert held(honest) >= 8
    assert held(boasting) == 0
    assert honest.calibration_error < 0.04
    assert boasting.calibration_error == pytest.approx(0.2, abs=0.04)


@pytest.mark.parametrize(("horizon", "n_times"), [(1, 300), (12, 480)])
def test_intervals_cover_the_truth_about_95_percent_of_the_time(horizon: int, n_times: int) -> None:
    """On Gaussian models of known skill: balanced accuracy 1/2 + atan(a)/pi, Spearman 6/pi asin(rho/2)."""
    skill, n_worlds = 0.2, 150
    truths = {
        "balanced_accuracy": 0.5 + math.atan(skill) / math.pi,
        "information_coefficient": 6.0 / math.pi * math.asin(0.5 * skill / math.hypot(1.0, skill)),
    }
    covered = dict.fromkeys(truths, 0)
    for seed in range(n_worlds):
        rows, _ = rival_predictions((skill, 0.0), n_times=n_times, horizon=horizon, seed=seed)
        found = score(rows, seed=seed, n_resamples=150)
        for name, truth in truths.items():
            metric = getattr(found, name)
            covered[name] += metric.low <= truth <= metric.high

    for name, count in covered.items():
        assert 0.90 <= count / n_worlds <= 0.99, (name, count)
