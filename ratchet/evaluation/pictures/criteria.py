"""The gate's criteria, each on a scale of its own."""

from __future__ import annotations

import math
from textwrap import wrap
from typing import Any

from ratchet.errors import InputError
from ratchet.evaluation.criteria import Criterion
from ratchet.evaluation.gate import GateReport
from ratchet.evaluation.pictures.canvas import BLACK, BLUE, GREY, ORANGE, VERMILLION, new_figure, plain, png, tidy

_STYLES = {"passed": ("o", BLUE), "inconclusive": ("D", ORANGE), "failed": ("X", VERMILLION)}
_POINTS, _PER_YEAR, _MS, _SHARE = ("points", 100.0), ("a year", 1.0), ("ms", 1.0), ("", 1.0)
_UNITS = {
    "accuracy_gain": _POINTS,
    "accuracy_over_baseline": _POINTS,
    "train_gap": _POINTS,
    "slices": _POINTS,
    "net_sharpe": _PER_YEAR,
    "walk_forward_sharpe": _PER_YEAR,
    "latency_p99": _MS,
}
_YES_OR_NO = ("leak_probes", "infra")
_LINE = 118  # letters of a reason that fit into one line


def gate_picture(report: GateReport, *, title: str | None = None) -> bytes:
    """Draw each criterion's value and bounds against its threshold, the black line, on a scale of its own.

    A criterion without a scale, such as whether a leak was found, stands there with its reason.

    Raises:
        InputError: the report has no criterion.
        ConfigurationError: Matplotlib is not installed.
    """
    if not report.criteria:
        raise InputError("a gate report without criteria cannot be drawn")
    figure = new_figure(1.0 + 0.72 * len(report.criteria), title=title or f"Gate: {report.verdict}")
    axes = figure.subplots(len(report.criteria), 1, squeeze=False)[:, 0]
    for each, criterion in zip(axes, report.criteria, strict=True):
        _name(each, criterion)
        if _has_scale(criterion):
            _draw_on_scale(each, criterion)
        else:
            _write_reason(each, criterion)
    figure.supxlabel("black: threshold; bar: bounds of the estimate", x=0.01, ha="left", fontsize=9, color=GREY)
    return png(figure)


def _has_scale(criterion: Criterion) -> bool:
    is_known = criterion.status != "inconclusive" and criterion.value != criterion.threshold
    return criterion.name not in _YES_OR_NO and (is_known or criterion.low is not None or criterion.high is not None)


def _name(axes: Any, criterion: Criterion) -> None:
    axes.set_ylim(-1, 1)
    axes.set_yticks([0], labels=[plain(f"{criterion.name.replace('_', ' ')}\n{criterion.status}")], fontsize=10)
    axes.get_yticklabels()[0].set_color(VERMILLION if criterion.status == "failed" else BLACK)
    axes.tick_params(axis="y", length=0)
    axes.tick_params(axis="x", labelsize=8)
    tidy(axes, grid="x")
    axes.spines["left"].set_visible(False)


def _draw_on_scale(axes: Any, criterion: Criterion) -> None:
    form, colour = _STYLES[criterion.status]
    unit, factor = _POINTS if criterion.name.startswith("beats_") else _UNITS.get(criterion.name, _SHARE)
    value, threshold = factor * criterion.value, factor * criterion.threshold
    ends = [value if end is None else factor * end for end in (criterion.low, criterion.high)]
    shown = [number for number in (value, threshold, *ends) if math.isfinite(number)]
    axes.axvline(threshold, color=BLACK, linewidth=1.6)
    axes.hlines(0, *ends, color=colour, linewidth=2.4)
    axes.plot(value, 0, form, color=colour, markersize=9)
    room = 0.08 * (max(shown) - min(shown)) or 0.08 * abs(threshold) or 1.0
    axes.set_xlim(min(shown) - room, max(shown) + room)
    text = f"{value:.3g} {unit}\nthreshold {threshold:.3g} {unit}"
    axes.text(1.015, 0.5, text, transform=axes.transAxes, va="center", fontsize=9)


def _write_reason(axes: Any, criterion: Criterion) -> None:
    form, colour = _STYLES[criterion.status]
    axes.set_xlim(0, 1)
    axes.set_xticks([])
    axes.spines["bottom"].set_visible(False)
    axes.plot(0.012, 0, form, color=colour, markersize=9, clip_on=False)
    text = "\n".join(wrap(plain(criterion.reason), _LINE, max_lines=3, placeholder=" ..."))
    axes.text(0.03, 0.5, text, transform=axes.transAxes, va="center", fontsize=9)
