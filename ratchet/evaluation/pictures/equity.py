"""What trading the predictions would have earned over time, and how far it fell."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import InputError
from ratchet.evaluation.pictures.canvas import (
    BLUE,
    GREY,
    VERMILLION,
    days,
    new_figure,
    percent_axis,
    png,
    tidy,
    time_axis,
)

FloatArray = NDArray[np.float64]


def equity_picture(
    ts_ns: NDArray[np.int64],
    gross: FloatArray,
    net: FloatArray,
    drawdown: FloatArray,
    *,
    title: str = "What trading the predictions would have earned",
) -> bytes:
    """Draw summed returns before and after costs, and below them the fall of the net sum from its last high.

    Args:
        ts_ns: bar opens, int64 ns UTC (bar,), increasing.
        gross: summed returns before costs, share of the capital, float64 (bar,).
        net: the same after costs.
        drawdown: depth below the last high of `net`, share of the capital (bar,); drawn downwards whatever its sign.
        title: stands above the picture.

    Raises:
        InputError: fewer than two bars, or arrays of different lengths.
        ConfigurationError: Matplotlib is not installed.
    """
    if len(ts_ns) < 2 or not ts_ns.shape == gross.shape == net.shape == drawdown.shape:
        raise InputError(
            f"an equity curve needs two bars or more and one value per bar: {ts_ns.shape} times, {gross.shape} gross, "
            f"{net.shape} net, {drawdown.shape} drawdown"
        )
    figure = new_figure(5.8, title=title)
    curve, fall = figure.subplots(2, 1, sharex=True, height_ratios=(2.4, 1))
    x, depth = days(ts_ns), -np.abs(drawdown)
    curve.axhline(0.0, color=GREY, linewidth=1.0)
    curve.plot(x, gross, color=GREY, linewidth=1.3, linestyle="--", label=f"before costs, {gross[-1]:+.1%}")
    curve.plot(x, net, color=BLUE, linewidth=1.6, label=f"after costs, {net[-1]:+.1%}")
    curve.fill_between(x, net, gross, color=GREY, alpha=0.12, linewidth=0, label="costs")
    curve.set_ylabel("sum of returns,\nshare of capital")
    curve.legend(loc="lower right", ncols=3, frameon=False, fontsize=9, bbox_to_anchor=(1.0, 1.0), borderaxespad=0.1)
    fall.fill_between(x, depth, 0.0, color=VERMILLION, alpha=0.35, linewidth=0)
    fall.plot(x, depth, color=VERMILLION, linewidth=0.9)
    fall.set_ylabel("below last high,\nafter costs")
    deepest = int(np.argmin(depth))
    fall.set_title(f"deepest: {depth[deepest]:.1%}", loc="right", fontsize=9, color=VERMILLION)
    for axes in (curve, fall):
        tidy(axes)
        percent_axis(axes.yaxis)
    time_axis(fall)
    fall.set_xlim(x[0], x[-1])
    fall.set_xlabel("UTC", loc="left")
    figure.align_ylabels()
    return png(figure)
