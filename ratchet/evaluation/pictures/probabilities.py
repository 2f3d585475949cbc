"""Whether p_up means what it says, and which directions are mistaken for which."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ratchet.errors import InputError
from ratchet.evaluation.pictures.canvas import BLACK, BLUE, GREY, new_figure, percent_axis, png, tidy, whiskers
from ratchet.evaluation.records import CalibrationBin, Scores

_LEAST_SPAN = 0.04  # of the axis of p_up; a constant prediction is a point in it


def calibration_picture(scores: Scores, *, title: str = "What p_up says, and how often it went up") -> bytes:
    """Draw how often moves went up against the p_up that was said, with intervals; below, how p_up is distributed.

    Raises:
        InputError: there is no bin.
        ConfigurationError: Matplotlib is not installed.
    """
    bins = scores.calibration
    if not bins:
        raise InputError("scores without calibration bins cannot be drawn")
    figure = new_figure(7.2, title=title, width=7.5)
    curve, shape = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    said = np.array([item.mean_p_up for item in bins])
    low, high = _span(bins)
    curve.plot([low, high], [low, high], color=BLACK, linewidth=1.0, linestyle="--", label="if p_up were exact")
    curve.axhline(0.5, color=GREY, linewidth=1.0, linestyle=":")
    whiskers(
        curve,
        said,
        *([getattr(item.share_up, name) for item in bins] for name in ("value", "low", "high")),
        fmt="o-",
        color=BLUE,
        capsize=4,
        linewidth=1.4,
        elinewidth=1.4,
        label="went up, 95 % interval",
    )
    curve.set_ylabel("share of moves that went up")
    curve.legend(loc="upper left", frameon=False, fontsize=9)
    curve.set_title(f"calibration error {scores.calibration_error:.1%}", loc="right", fontsize=10, color=GREY)
    _draw_shape(shape, bins, (low, high))
    for axes in (curve, shape):
        tidy(axes)
        percent_axis(axes.yaxis)
    percent_axis(shape.xaxis)
    shape.set_xlim(low, high)
    shape.locator_params(axis="x", nbins=6)
    shape.set_xlabel("p_up", loc="left")
    figure.align_ylabels()
    return png(figure)


def confusion_picture(scores: Scores, *, title: str = "Direction: predicted and realised") -> bytes:
    """Draw the four counts of predicted and realised directions, each with its share of the realised ones.

    Raises:
        ConfigurationError: Matplotlib is not installed.
    """
    found = scores.confusion
    counts = np.array([[found.up_as_up, found.up_as_down], [found.down_as_up, found.down_as_down]])
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = new_figure(4.6, title=title, width=6.0)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{counts[row, column]:,}\n{share:.1%}"
        colour = "white" if share > 0.6 else BLACK
        axes.text(column, row, text, ha="center", va="center", fontsize=13, color=colour)
    totals = counts.sum(axis=1)
    axes.set_xticks([0, 1], labels=["predicted up", "predicted down"])
    axes.set_yticks([0, 1], labels=[f"went up\n{totals[0]:,} moves", f"went down\n{totals[1]:,} moves"])
    axes.tick_params(length=0)
    axes.xaxis.tick_top()
    axes.spines[:].set_visible(False)
    accuracy, balanced = scores.accuracy.value, scores.balanced_accuracy.value
    axes.set_xlabel(f"shares are of each row; accuracy {accuracy:.1%}, balanced {balanced:.1%}", fontsize=10)
    return png(figure)


def _draw_shape(axes: Any, bins: Sequence[CalibrationBin], limits: tuple[float, float]) -> None:
    """Draw the bins as areas: equal areas are equal numbers of moves; an outer bin reaches as far out as in."""
    axes.set_ylabel("moves per\npoint of p_up")
    if len(bins) == 1:
        axes.text(0.5, 0.5, f"all {bins[0].n:,} moves in one bin", transform=axes.transAxes, ha="center", color=GREY)
        return
    n = sum(item.n for item in bins)
    first, last = bins[0], bins[-1]
    inner = [item.low for item in bins[1:]]
    edges = np.clip([2 * first.mean_p_up - inner[0], *inner, 2 * last.mean_p_up - inner[-1]], *limits)
    width = np.maximum(np.diff(edges), 0.01 * (limits[1] - limits[0]))
    height = np.array([item.n / n for item in bins]) / (100.0 * width)
    axes.bar(edges[:-1], height, width, align="edge", color=BLUE, alpha=0.45, edgecolor="white", linewidth=0.8)


def _span(bins: Sequence[CalibrationBin]) -> tuple[float, float]:
    """Return the part of p_up to be shown: the means of the bins with half a bin's room, never less than 4 points."""
    said = [item.mean_p_up for item in bins]
    middle, reach = 0.5 * (min(said) + max(said)), 0.6 * (max(said) - min(said))
    reach = max(reach, 0.5 * _LEAST_SPAN)
    return max(middle - reach, 0.0), min(middle + reach, 1.0)
