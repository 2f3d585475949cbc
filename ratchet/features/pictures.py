"""Pictures of features against their training: PNG by Matplotlib.

Colours are those of Okabe and Ito, which stay apart for every common kind of colour blindness. All times are UTC.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ratchet.errors import ConfigurationError, InputError
from ratchet.features.audit.health import (
    QUANTILES,
    SHIFTED_ABOVE,
    STABLE_BELOW,
    FeatureCondition,
    FeatureHealth,
    FeatureProfile,
)

MAX_SHOWN = 40
"""The overview shows so many features, those that moved most."""

MAX_INDEX = 1.0
"""The overview cuts bars there and writes the number on them."""

_DPI = 120
_BLUE, _VERMILLION, _ORANGE = "#0072B2", "#D55E00", "#E69F00"
_BLACK, _GREY = "#222222", "#8C8C8C"
_N_SPELLS = 48  # stretches of time for each of which the share of missing values is drawn
_MAX_POINTS = 4_000


def feature_picture(
    profile: FeatureProfile,
    condition: FeatureCondition,
    ts_event_ns: NDArray[np.int64],
    values: NDArray[np.float32],
    *,
    title: str,
) -> bytes:
    """Draw one feature as a PNG of 1320 x 768 pixels: its recent course, its distribution, its missing values.

    Above: the values over time with the band from the 1 % to the 99 % quantile of training. Below: the shares of
    equal steps in training and now, what lies outside the band counting at its edge, and the share of missing values
    over time beside that of training.

    Args:
        profile: the feature in training.
        condition: the same feature now.
        ts_event_ns: int64 (time,), increasing.
        values: float32 (time,), NaN where missing.
        title: stands above the picture.

    Raises:
        InputError: nothing to draw, or not one time per value.
        ConfigurationError: Matplotlib is not installed.
    """
    _require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here

    if len(values) == 0 or values.shape != ts_event_ns.shape:
        raise InputError(f"{profile.name}: {values.shape} values at {ts_event_ns.shape} times cannot be drawn")
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    course, shape, missing = figure.subplot_mosaic(
        [["course", "course"], ["shape", "missing"]], height_ratios=(1.25, 1), width_ratios=(1.4, 1)
    ).values()
    _draw_course(course, profile, ts_event_ns, values)
    _draw_shape(shape, profile, values)
    _draw_missing(missing, profile, ts_event_ns, values)
    for axes in (course, shape, missing):
        axes.grid(visible=True, color="#E5E5E5", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    figure.supxlabel(_verdict(condition), x=0.01, ha="left", fontsize=10, color=_colour(condition))
    return _png(figure)


def overview_picture(health: FeatureHealth, *, title: str) -> bytes:
    """Draw how far each feature moved from training as a PNG, a bar per feature, the largest above.

    A bar is the population stability index, cut at `MAX_INDEX`, and the mark on it what chance alone stays below; what
    is flagged has the warning colour. Flagged features without an index come first.

    Raises:
        InputError: there is neither a feature with an index nor a flagged one.
        ConfigurationError: Matplotlib is not installed.
    """
    _require_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 - only here

    drawn = [item for item in health.features if item.psi is not None or item.findings]
    if not drawn:
        raise InputError("no feature has enough values to be compared with training")
    shown = sorted(drawn, key=lambda item: -(np.inf if item.psi is None else item.psi))[:MAX_SHOWN]
    figure = Figure(figsize=(11, 1.9 + 0.24 * max(len(shown), 5)), layout="constrained")
    axes = figure.subplots()
    _draw_bars(axes, shown)
    axes.set_yticks(np.arange(len(shown)), labels=[item.name for item in shown], fontsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.set_xlabel("population stability index: stable below 0.1, moderate to 0.25, shifted above", loc="left")
    hidden = f", {MAX_SHOWN} of {len(drawn)}" if len(drawn) > MAX_SHOWN else ""
    unmeasured = len(health.features) - len(drawn)
    absent = f", {unmeasured} without enough values" if unmeasured else ""
    figure.suptitle(f"{title}{hidden}{absent}", x=0.01, ha="left", fontsize=13, fontweight="bold")
    return _png(figure)


def _draw_bars(axes: Any, shown: Sequence[FeatureCondition]) -> None:
    from matplotlib.lines import Line2D  # noqa: PLC0415 - only here
    from matplotlib.patches import Patch  # noqa: PLC0415 - only here

    rows = np.arange(len(shown))
    index = np.array([item.psi or 0.0 for item in shown])
    noise = np.array([np.nan if item.noise is None else item.noise for item in shown])
    limit = min(max(1.08 * float(index.max()), SHIFTED_ABOVE + 0.05), MAX_INDEX)
    axes.axvspan(STABLE_BELOW, SHIFTED_ABOVE, color=_ORANGE, alpha=0.10, linewidth=0)
    axes.axvspan(SHIFTED_ABOVE, limit, color=_VERMILLION, alpha=0.08, linewidth=0)
    axes.barh(rows, np.minimum(index, limit), 0.66, color=[_colour(item) for item in shown])
    axes.vlines(np.where(noise < limit, noise, np.nan), rows - 0.42, rows + 0.42, color=_BLACK, linewidth=1.6)
    axes.set_xlim(0, limit)
    for row, item in enumerate(shown):
        if item.psi is None:
            axes.text(0.004 * limit, row, "; ".join(item.findings), color=_VERMILLION, va="center", fontsize=9)
        elif item.psi > limit:
            axes.text(0.995 * limit, row, f"{item.psi:.2f}", color="white", va="center", ha="right", fontsize=9)
    handles = [
        Patch(facecolor=_VERMILLION, label="flagged"),
        Patch(facecolor=_BLUE, label="not flagged"),
        Line2D([], [], color=_BLACK, linewidth=1.6, label="chance stays below"),
    ]
    axes.figure.legend(handles=handles, loc="outside lower right", ncols=3, frameon=False, fontsize=9)


def _draw_course(
    axes: Any, profile: FeatureProfile, ts_event_ns: NDArray[np.int64], values: NDArray[np.float32]
) -> None:
    days, shown = ts_event_ns[-_MAX_POINTS:] / 86_400e9, values[-_MAX_POINTS:]
    if profile.quantiles:
        low, middle, high = (profile.quantiles[QUANTILES.index(level)] for level in (0.01, 0.5, 0.99))
        axes.axhspan(low, high, color=_GREY, alpha=0.22, linewidth=0, label="1 % to 99 % of training")
        axes.axhline(middle, color=_GREY, linewidth=1.0, linestyle="--", label="median of training")
    style = {"linewidth": 1.0} if len(shown) > 1 else {"marker": "o"}
    axes.plot(days, shown, color=_BLUE, label="now", **style)
    _time_axis(axes, ts_event_ns[-_MAX_POINTS:], n_ticks=10)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
    axes.set_ylabel(profile.name)
    axes.legend(loc="upper left", ncols=3, frameon=False, fontsize=9, bbox_to_anchor=(0.0, 1.12))


def _draw_shape(axes: Any, profile: FeatureProfile, values: NDArray[np.float32]) -> None:
    present = values[~np.isnan(values)].astype(np.float64)
    axes.set_xlabel(profile.name, loc="left")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:.4g}")
    axes.set_ylabel("share of rows")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g}%")
    if not profile.bars:
        axes.text(0.5, 0.5, "no value in training", transform=axes.transAxes, ha="center", color=_GREY)
        return
    low, high = (profile.quantiles[QUANTILES.index(level)] for level in (0.01, 0.99))
    shares, edges = np.histogram(np.clip(present, low, high), len(profile.bars), (low, high))
    trained = np.array(profile.bars)
    axes.stairs(trained, edges, fill=True, color=_GREY, alpha=0.45, label="training")
    axes.stairs(shares / max(len(present), 1), edges, color=_BLUE, linewidth=1.6, label="now")
    axes.legend(frameon=False, fontsize=9)


def _draw_missing(
    axes: Any, profile: FeatureProfile, ts_event_ns: NDArray[np.int64], values: NDArray[np.float32]
) -> None:
    spells = np.array_split(np.arange(len(values)), min(_N_SPELLS, len(values)))
    starts = np.array([ts_event_ns[spell[0]] for spell in spells] + [ts_event_ns[-1]]) / 86_400e9
    rates = [float(np.isnan(values[spell]).mean()) for spell in spells]
    axes.stairs(rates, starts, fill=True, color=_BLUE, label="now")
    axes.axhline(profile.null_rate, color=_GREY, linewidth=1.4, linestyle="--", label="training")
    axes.set_ylim(0, 1.05 * max(*rates, profile.null_rate, 0.05))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.set_ylabel("missing values")
    _time_axis(axes, ts_event_ns, n_ticks=6)
    axes.legend(loc="upper right", ncols=2, frameon=False, fontsize=9, bbox_to_anchor=(1.0, 1.17))


def _time_axis(axes: Any, ts_event_ns: NDArray[np.int64], *, n_ticks: int) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter  # noqa: PLC0415 - only here

    locator = AutoDateLocator(minticks=3, maxticks=n_ticks, tz="UTC")
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz="UTC"))
    first, last = ts_event_ns[0] / 86_400e9, ts_event_ns[-1] / 86_400e9
    margin = 0.01 * (last - first) or 0.5
    axes.set_xlim(first - margin, last + margin)


def _verdict(condition: FeatureCondition) -> str:
    if condition.findings:
        return "; ".join(condition.findings)
    if condition.psi is None:
        return "too few values to compare"
    return f"PSI {condition.psi:.2f}, chance alone stays below {condition.noise:.2f}"


def _colour(condition: FeatureCondition) -> str:
    return _VERMILLION if condition.findings else _BLUE


def _require_matplotlib() -> None:
    try:
        import_module("matplotlib")
    except ImportError as error:
        raise ConfigurationError(
            "Matplotlib is missing; install the extra that draws: pip install 'ratchet[collect]'"
        ) from error


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415 - only here

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()
