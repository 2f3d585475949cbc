"""The accuracy of every fold in time, with the baselines beside it."""

from __future__ import annotations

from typing import Any

from ratchet.errors import InputError
from ratchet.evaluation.pictures.canvas import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    NS_PER_DAY,
    ORANGE,
    PINK,
    VERMILLION,
    new_figure,
    percent_axis,
    png,
    tidy,
    time_axis,
    whiskers,
)
from ratchet.evaluation.validation import FoldResult, ValidationResult

_MAJORITY = "majority"
_MARKS = (("s", VERMILLION), ("^", GREEN), ("D", ORANGE), ("v", PINK), ("P", GREY))


def fold_picture(validation: ValidationResult, *, title: str = "Accuracy out of sample, fold by fold") -> bytes:
    """Draw each fold's accuracy over its test window, with its interval and the baselines' accuracies.

    The band is the interval of all folds together; the dashed line of each window is the majority class.

    Raises:
        InputError: there is no fold.
        ConfigurationError: Matplotlib is not installed.
    """
    if not validation.folds:
        raise InputError("a validation without folds cannot be drawn")
    figure = new_figure(5.0, title=title)
    axes = figure.subplots()
    pooled = validation.pooled.accuracy
    axes.axhspan(pooled.low, pooled.high, color=BLUE, alpha=0.10, linewidth=0)
    axes.axhline(pooled.value, color=BLUE, linewidth=1.0, alpha=0.7, label=f"all folds, {pooled.value:.1%}")
    axes.axhline(0.5, color=GREY, linewidth=1.0, linestyle=":", label="coin toss")
    _draw_baselines(axes, validation.folds)
    accuracies = [fold.accuracy for fold in validation.folds]
    whiskers(
        axes,
        [_at(fold, 0.5) for fold in validation.folds],
        *([getattr(metric, name) for metric in accuracies] for name in ("value", "low", "high")),
        fmt="o",
        color=BLUE,
        markersize=8,
        capsize=5,
        linewidth=1.8,
        label="model, 95 % interval",
        zorder=5,
    )
    _number_folds(axes, validation.folds)
    tidy(axes, grid="y")
    time_axis(axes)
    percent_axis(axes.yaxis)
    axes.set_ylabel("accuracy among moves")
    axes.set_xlabel("test windows, UTC", loc="left")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return png(figure)


def _draw_baselines(axes: Any, folds: tuple[FoldResult, ...]) -> None:
    if all(_MAJORITY in fold.baselines for fold in folds):
        axes.hlines(
            [fold.baselines[_MAJORITY] for fold in folds],
            [_at(fold, 0.03) for fold in folds],
            [_at(fold, 0.97) for fold in folds],
            color=BLACK,
            linewidth=1.6,
            linestyle="--",
            label="majority class",
        )
    marked = sorted({name for fold in folds for name in fold.baselines} - {_MAJORITY})
    for place, name in enumerate(marked):
        form, colour = _MARKS[place % len(_MARKS)]
        having = [fold for fold in folds if name in fold.baselines]
        before = (len(marked) + 1) // 2  # so many stand left of the model, which is in the middle
        share = 0.5 * (place + 1) / (before + 1) if place < before else 0.5 + 0.5 * (place - before + 1) / (before + 1)
        axes.plot(
            [_at(fold, share) for fold in having],
            [fold.baselines[name] for fold in having],
            form,
            color=colour,
            markersize=6,
            label=name.replace("_", " "),
        )


def _number_folds(axes: Any, folds: tuple[FoldResult, ...]) -> None:
    """Part the windows by lines and number them above, as long as the numbers have room."""
    for fold in folds:
        axes.axvline(_at(fold, 0.0), color=GREY, linewidth=0.6, alpha=0.5)
        if len(folds) <= 24:
            label = f"fold {fold.index + 1}" if len(folds) <= 12 else str(fold.index + 1)
            axes.text(
                _at(fold, 0.5), 1.01, label, transform=axes.get_xaxis_transform(), ha="center", fontsize=9, color=GREY
            )
    axes.axvline(_at(folds[-1], 1.0), color=GREY, linewidth=0.6, alpha=0.5)
    axes.set_xlim(_at(folds[0], -0.02), _at(folds[-1], 1.02))


def _at(fold: FoldResult, share: float) -> float:
    """Return the day at a share of the fold's test window."""
    length_ns = max(fold.test_end_ns - fold.test_start_ns, 1)
    return (fold.test_start_ns + share * length_ns) / NS_PER_DAY
