"""The accuracy of each part of the rows, one line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratchet.errors import InputError
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.pictures.canvas import (
    BLUE,
    GREY,
    VERMILLION,
    new_figure,
    percent_axis,
    plain,
    png,
    tidy,
)
from ratchet.evaluation.records import Slice

MAX_SHOWN = 30
"""So many slices of one kind are drawn, those with the most moves."""

_KINDS = {"symbol": "symbol", "volatility": "volatility", "trend": "trend", "hour": "hour of day, UTC"}


def slices_picture(slices: Sequence[Slice], *, title: str = "Accuracy by part of the data") -> bytes:
    """Draw each slice's accuracy and interval as one line, grouped by kind; figures stand on the right.

    An interval that lies below 50 % as a whole is hollow and has the warning colour.

    Raises:
        InputError: there is no slice.
        ConfigurationError: Matplotlib is not installed.
    """
    if not slices:
        raise InputError("there is no slice to draw")
    lines = _lines(slices)
    has_champion = any(item.gain_over_champion is not None for item in slices)
    figure = new_figure(1.4 + 0.25 * len(lines), title=title)
    forest, figures = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1.45 if has_champion else 0.6))
    forest.axvline(0.5, color=GREY, linewidth=1.0, linestyle=":")
    for place, line in enumerate(lines):
        if isinstance(line, Slice):
            _draw_slice(forest, place, line)
    _write_figures(figures, lines, has_champion=has_champion)
    _name_lines(forest, lines)
    tidy(forest, grid="x")
    forest.spines["left"].set_visible(False)
    percent_axis(forest.xaxis)
    forest.set_xlabel("accuracy among moves, 95 % interval; dotted: coin toss", loc="left")
    return png(figure)


def _lines(slices: Sequence[Slice]) -> list[str | Slice]:
    """Return what stands below each other: a heading per kind, then its slices."""
    lines: list[str | Slice] = []
    for kind, heading in _KINDS.items():
        of_kind = [item for item in slices if item.kind == kind]
        most = sorted(of_kind, key=lambda item: -item.n_moves)[:MAX_SHOWN]
        hidden = f", {MAX_SHOWN} of {len(of_kind)} with most moves" if len(of_kind) > MAX_SHOWN else ""
        lines += [heading + hidden, *(item for item in of_kind if item in most)] if of_kind else []
    return lines


def _draw_slice(axes: Any, place: int, item: Slice) -> None:
    found = item.accuracy
    is_worse = found.high < 0.5
    colour = VERMILLION if is_worse else BLUE
    axes.hlines(place, found.low, found.high, color=colour, linewidth=1.8)
    axes.plot(found.value, place, "o", color=colour, markersize=6, markerfacecolor="white" if is_worse else colour)


def _write_figures(axes: Any, lines: list[str | Slice], *, has_champion: bool) -> None:
    """Write accuracy, moves and the gain beside the lines, each column flush right."""
    columns = ((0.16, "accuracy"), (0.42, "moves"), (0.99, "points over champion"))
    if not has_champion:
        columns = ((0.45, "accuracy"), (0.99, "moves"), (0.99, ""))
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    for x, text in columns:
        axes.text(x, -1.0, text, ha="right", va="center", fontsize=9, color=GREY)
    for place, line in enumerate(lines):
        if isinstance(line, Slice):
            texts = (f"{line.accuracy.value:.1%}", f"{line.n_moves:,}", _gain(line.gain_over_champion))
            for (x, _), text in zip(columns, texts, strict=True):
                axes.text(x, place, text, ha="right", va="center", fontsize=9)


def _gain(gain: Metric | None) -> str:
    return "" if gain is None else f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def _name_lines(axes: Any, lines: list[str | Slice]) -> None:
    labels = [plain(line.name if isinstance(line, Slice) else line) for line in lines]
    axes.set_yticks(range(len(lines)), labels=labels, fontsize=9)
    for label, line in zip(axes.get_yticklabels(), lines, strict=True):
        label.set_fontweight("bold" if isinstance(line, str) else "normal")
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(lines) - 0.4, -1.3)
