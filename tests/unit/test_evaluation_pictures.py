"""Pictures of an evaluation, judged by their pixels."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError, InputError
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.pictures import (
    calibration_picture,
    confusion_picture,
    equity_picture,
    fold_picture,
    gate_picture,
    slices_picture,
)
from ratchet.evaluation.records import CalibrationBin, Confusion, Slice
from ratchet.evaluation.trading import equity_curve
from tests.panels import HOUR_NS, START_NS
from tests.unit.evaluations import COSTS, evaluated, gated

BLUE, VERMILLION, ORANGE = (0, 114, 178), (213, 94, 0), (230, 159, 0)
N_BARS = 200
TIMES = START_NS + np.arange(N_BARS, dtype=np.int64) * HOUR_NS


def _equity() -> bytes:
    curve = equity_curve(evaluated().validation.predictions, COSTS)
    return equity_picture(curve.ts_ns, curve.gross, curve.net, curve.drawdown)


PICTURES: dict[str, Callable[[], bytes]] = {
    "folds": lambda: fold_picture(evaluated().validation),
    "equity": _equity,
    "calibration": lambda: calibration_picture(evaluated().scores),
    "confusion": lambda: confusion_picture(evaluated().scores),
    "slices": lambda: slices_picture(evaluated().slices),
    "gate": lambda: gate_picture(gated()),
}


def _pixels(png: bytes) -> NDArray[np.int64]:
    image = pytest.importorskip("matplotlib.image")
    pixels: Any = image.imread(io.BytesIO(png), format="png")
    return np.asarray(np.rint(pixels[:, :, :3] * 255), dtype=np.int64)


def _places(png: bytes, colour: tuple[int, int, int]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows and columns of the pixels that have exactly this colour."""
    row, column = np.nonzero((_pixels(png) == colour).all(axis=2))
    return row, column


def _gate_of(report: GateReport, status: str) -> bytes:
    """Draw the first two criteria that have this status."""
    criteria = tuple(criterion for criterion in report.criteria if criterion.status == status)[:2]
    return gate_picture(report.model_copy(update={"criteria": criteria}))


def _slice(name: str, accuracy: float, n_moves: int = 1_000) -> Slice:
    found = Metric(value=accuracy, low=accuracy - 0.02, high=accuracy + 0.02)
    return Slice(kind="symbol", name=name, n_moves=n_moves, accuracy=found)


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_fits_a_page_and_leaves_no_state(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every picture of real figures is a PNG of at most 1,200 pixels, drawn without pyplot, the same every time."""
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    png = PICTURES[name]()
    height, width, _ = _pixels(png).shape
    assert 500 < width <= 1_200
    assert 300 < height < 2_000
    assert PICTURES[name]() == png


def test_a_fold_that_is_right_more_often_stands_higher() -> None:
    """The points of two folds lie in their windows, at the height of their accuracy; the baselines move neither."""
    validation = evaluated().validation
    accuracies = (Metric(value=0.40, low=0.395, high=0.405), Metric(value=0.60, low=0.595, high=0.605))
    folds = tuple(
        fold.model_copy(update={"accuracy": found})
        for fold, found in zip(validation.folds[:2], accuracies, strict=True)
    )
    png = fold_picture(validation.model_copy(update={"folds": folds}))
    row, column = _places(png, BLUE)
    plotted = row < 480  # above the legend
    left, right = row[plotted & (column < 640)], row[plotted & (column >= 640)]
    assert len(left) > 30
    assert len(right) > 30
    assert left.mean() > right.mean() + 150


def test_the_equity_curve_rises_where_money_is_earned() -> None:
    """The line after costs goes from the lower left to the upper right; a drawdown may come with either sign."""
    net = np.linspace(0.0, 1.0, N_BARS)
    fall = 0.1 * np.sin(np.linspace(0.0, np.pi, N_BARS))
    png = equity_picture(TIMES, 1.2 * net, net, fall)
    row, column = _places(png, BLUE)
    curve = row > 60  # below the legend
    assert row[curve & (column < 400)].mean() > row[curve & (column > 900)].mean() + 150
    assert equity_picture(TIMES, 1.2 * net, net, -fall) == png


def test_the_gate_shows_failures_in_the_warning_colour() -> None:
    """What failed has the warning colour, an open question another; what passed has neither."""
    failed = _gate_of(gated(is_better=False), "failed")
    undecided, passed = _gate_of(gated(), "inconclusive"), _gate_of(gated(), "passed")
    assert np.count_nonzero(_places(failed, VERMILLION)[1] > 250) > 100  # right of the names
    assert len(_places(undecided, VERMILLION)[0]) == 0
    assert len(_places(undecided, ORANGE)[0]) > 50
    assert len(_places(passed, VERMILLION)[0]) == 0
    assert len(_places(passed, ORANGE)[0]) == 0
    assert len(_places(passed, BLUE)[0]) > 100


def test_a_criterion_without_an_interval_and_without_a_distance_can_be_drawn() -> None:
    """A value that is not a number, or equal to its threshold, or far off, does not break the scale."""
    first = gated().criteria[0]
    odd = (
        first.model_copy(update={"value": float("nan"), "low": float("-inf"), "high": float("inf")}),
        first.model_copy(update={"value": 0.0, "threshold": 0.0, "low": None, "high": None, "reason": "costs $^$"}),
        first.model_copy(update={"value": 1e9}),
        first.model_copy(update={"name": "of_tomorrow_$^$"}),
    )
    assert _pixels(gate_picture(gated().model_copy(update={"criteria": odd}))).shape[1] == 1_200


def test_a_slice_that_is_wrong_more_often_than_a_coin_is_marked() -> None:
    """Only an interval that lies below one half as a whole has the warning colour."""
    fair = slices_picture([_slice("A/USDT", 0.53), _slice("B/USDT", 0.49)])
    wrong = slices_picture([_slice("A/USDT", 0.53), _slice("B/USDT", 0.47)])
    assert len(_places(fair, VERMILLION)[0]) == 0
    assert len(_places(wrong, VERMILLION)[0]) > 50


def test_many_slices_do_not_grow_the_picture_without_end() -> None:
    """Of a hundred symbols the thirty with the most moves are drawn, so the rest do not matter; `$` is a letter."""
    many = [_slice(f"$^$ {i:02d}/USDT", 0.5 + 0.001 * i, n_moves=1_000 + i) for i in range(100)]
    fewest_are_wrong = [_slice(item.name, 0.3, item.n_moves) for item in many[:70]] + many[70:]
    png = slices_picture(many)
    assert len(_pixels(png)) < 1_200
    assert slices_picture(fewest_are_wrong) == png


def test_the_calibration_of_a_constant_prediction_is_one_point() -> None:
    """One bin is drawn as one point with its interval, and off the diagonal when it is wrong."""
    said = CalibrationBin(low=0.0, high=1.0, n=900, mean_p_up=0.51, share_up=Metric(value=0.495, low=0.492, high=0.498))
    scores = evaluated().scores.model_copy(update={"calibration": (said,)})
    row, column = _places(calibration_picture(scores), BLUE)
    point = row > 120  # below the legend
    assert np.ptp(column[point]) < 40
    assert row[point].mean() > 330


def test_the_confusion_picture_is_dark_where_the_counts_are() -> None:
    """Of rises that were all predicted, the cell is dark and its neighbour is light."""
    found = Confusion(up_as_up=500, up_as_down=0, down_as_up=250, down_as_down=250)
    pixels = _pixels(confusion_picture(evaluated().scores.model_copy(update={"confusion": found})))
    row, left, right = 90, 180, 570
    assert pixels[row, left].sum() < 300
    assert pixels[row, right].sum() > 650


def test_nothing_to_draw_is_said() -> None:
    """Empty records are refused in words, not drawn as an empty picture."""
    report = evaluated()
    empty = np.array([])
    with pytest.raises(InputError, match="without folds"):
        fold_picture(report.validation.model_copy(update={"folds": ()}))
    with pytest.raises(InputError, match="two bars or more"):
        equity_picture(empty.astype(np.int64), empty, empty, empty)
    with pytest.raises(InputError, match="one value per bar"):
        equity_picture(TIMES, np.zeros(N_BARS), np.zeros(N_BARS - 1), np.zeros(N_BARS))
    with pytest.raises(InputError, match="without calibration"):
        calibration_picture(report.scores.model_copy(update={"calibration": ()}))
    with pytest.raises(InputError, match="no slice"):
        slices_picture([])
    with pytest.raises(InputError, match="without criteria"):
        gate_picture(gated().model_copy(update={"criteria": ()}))


@pytest.mark.parametrize("name", PICTURES)
def test_without_matplotlib_the_extra_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Matplotlib is missing, the message says what to install."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigurationError, match=r"ratchet\[collect\]"):
        PICTURES[name]()
