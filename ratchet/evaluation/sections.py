"""Sections that a model's card and a validation's report share: what was measured, as tables in Markdown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ratchet.evaluation.markdown import number, plain, points, share, table, title_of
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.records import LeakReport, Scores, SelectionReport, Slice, Trading


def accuracy_section(accuracy: Metric, baselines: Mapping[str, Metric], gain_over: Mapping[str, Metric]) -> list[str]:
    """Return the model's accuracy beside the baselines', and its paired gain over each."""
    rows = [("**model**", share(accuracy), "")]
    for name, metric in baselines.items():
        gain = gain_over.get(name)
        rows.append((title_of(name), share(metric), "" if gain is None else points(gain)))
    return [
        "## Accuracy",
        "",
        (
            "Share of right directions among moves beyond the cost band; the gain is the model's over the baseline, "
            "paired row by row, in points."
        ),
        "",
        *table(("", "accuracy", "gain of the model"), rows),
    ]


def probabilities_section(scores: Scores) -> list[str]:
    """Return how good the probabilities are, and what they mistake for what."""
    found = scores.confusion
    return [
        "## Probabilities",
        "",
        *table(
            ("figure", "value"),
            [
                ("moves", f"{scores.n_moves:,}"),
                ("balanced accuracy", share(scores.balanced_accuracy)),
                ("log loss (a coin: 0.6931)", number(scores.log_loss, 4)),
                ("Brier score (a coin: 0.2500)", number(scores.brier, 4)),
                ("calibration error", f"{100 * scores.calibration_error:.1f} points"),
                ("information coefficient", number(scores.information_coefficient, 3)),
            ],
        ),
        *table(
            ("", "predicted up", "predicted down"),
            [
                ("went up", f"{found.up_as_up:,}", f"{found.up_as_down:,}"),
                ("went down", f"{found.down_as_up:,}", f"{found.down_as_down:,}"),
            ],
        ),
    ]


def trading_section(trading: Trading) -> list[str]:
    """Return what trading the predictions would have earned, before and after costs."""
    per_year = trading.bars_per_year
    needed = trading.min_track_record_bars
    return [
        "## Trading",
        "",
        (
            f"Every prediction followed over {trading.n_bars:,} bars ({trading.n_bars / per_year:.2f} years); returns "
            "are summed, not compounded."
        ),
        "",
        *table(
            ("", "before costs", "after costs"),
            [
                ("Sharpe ratio, a year", number(trading.gross_sharpe), number(trading.net_sharpe)),
                ("sum of returns", f"{trading.gross_return:+.1%}", f"{trading.net_return:+.1%}"),
            ],
        ),
        *table(
            ("figure", "value"),
            [
                ("costs", f"{trading.costs:.1%} of the capital"),
                ("traded per bar", f"{trading.turnover_per_bar:.3f} of the capital"),
                ("deepest fall after costs", f"{trading.max_drawdown:.1%}"),
                ("skewness and kurtosis per bar", f"{trading.skewness:.2f} and {trading.kurtosis:.1f}"),
                ("P(true net Sharpe ratio > 0)", f"{trading.probabilistic_sharpe:.1%}"),
                (
                    "record needed to show it at 95%",
                    "none would do, it is not above 0"
                    if needed is None
                    else f"{math.ceil(needed):,} bars ({needed / per_year:.2f} years)",
                ),
            ],
        ),
    ]


def selection_section(selection: SelectionReport | None) -> list[str]:
    """Return how much of the result the number of trials explains."""
    if selection is None:
        return ["## Luck of having tried often", "", "The trials were not counted.", ""]
    deflated, pbo = selection.deflated_sharpe, selection.pbo
    return [
        "## Luck of having tried often",
        "",
        *table(
            ("figure", "value"),
            [
                ("trials, this one included", f"{selection.n_trials:,}"),
                ("of these independent, about", f"{selection.effective_trials:.1f}"),
                ("best Sharpe ratio a year of so many without skill", f"{selection.expected_best_sharpe:.2f}"),
                ("P(true net Sharpe ratio > that)", "too few trials" if deflated is None else f"{deflated:.1%}"),
                (
                    f"P(best trial below the median out of sample), {selection.pbo_trials} trials",
                    "too few trials" if pbo is None else f"{pbo:.1%}",
                ),
            ],
        ),
    ]


def slices_section(slices: Sequence[Slice]) -> list[str]:
    """Return the accuracy of every part of the rows."""
    if not slices:
        return ["## Slices", "", "No part of the rows holds enough moves to be judged.", ""]
    rows = [
        (
            item.kind,
            plain(item.name),
            f"{item.n_moves:,}",
            share(item.accuracy),
            "" if item.gain_over_champion is None else points(item.gain_over_champion),
        )
        for item in slices
    ]
    return ["## Slices", "", *table(("kind", "part", "moves", "accuracy", "points over the champion"), rows)]


def leaks_section(leaks: LeakReport | None) -> list[str]:
    """Return what each leak probe found."""
    if leaks is None or not leaks.probes:
        return ["## Leak probes", "", "No probe was run.", ""]
    rows = [
        (
            title_of(probe.name),
            _status(probe.status),
            "" if probe.value is None else f"{probe.value:.4g}",
            _accepted(probe.low, probe.high),
            f"{probe.n:,}",
            plain(probe.reason),
        )
        for probe in leaks.probes
    ]
    return [
        "## Leak probes",
        "",
        *table(("probe", "status", "found", "accepted", "rows", "reason"), rows),
    ]


def limits_section(sentences: Sequence[str]) -> list[str]:
    """Return what the figures do not show."""
    lines = [f"- {sentence}" for sentence in sentences]
    lines = lines or ["Nothing beyond what every measurement of the past leaves open: a market can change."]
    return ["## What this does not show", "", *lines, ""]


def _accepted(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if high is None else f"{low:.4g} to {high:.4g}"


def _status(status: str) -> str:
    return status if status == "passed" else f"**{status}**"
