"""The report of a validation for people, in Markdown."""

from __future__ import annotations

import numpy as np

from ratchet.clock import iso_utc
from ratchet.evaluation.limits import limits
from ratchet.evaluation.markdown import code, number, plain, points, share, table, title_of
from ratchet.evaluation.records import PathResult, Scores
from ratchet.evaluation.report import EvaluationReport
from ratchet.evaluation.sections import (
    leaks_section,
    limits_section,
    probabilities_section,
    selection_section,
    slices_section,
    trading_section,
)


def validation_report(title: str, evaluation: EvaluationReport) -> str:
    """Write a validation for people, in Markdown: folds, baselines, trading, luck, paths, slices, probes, doubts.

    Text that came from outside is escaped, so that nothing in it is Markdown or HTML.
    """
    validation = evaluation.validation
    lines = [
        f"# {plain(title)}",
        "",
        (
            f"{len(evaluation.symbols)} symbols ({plain(', '.join(evaluation.symbols))}), bars of "
            f"{plain(evaluation.timeframe)}, horizon {evaluation.horizon}, {iso_utc(evaluation.start_ns)} to "
            f"{iso_utc(evaluation.end_ns)}, dataset {code(evaluation.dataset_digest[:16])}."
        ),
        "",
        (
            "Accuracy is the share of right directions among moves beyond the cost band. Figures in brackets are 95 % "
            "intervals; a year has 365 days."
        ),
        "",
        *limits_section(
            limits(
                scores=evaluation.scores,
                gain_over=validation.pooled.gain_over,
                trading=evaluation.trading,
                selection=evaluation.selection,
                slices=evaluation.slices,
                leaks=evaluation.leaks,
            )
        ),
        *_folds(evaluation),
        *_beside_baselines(evaluation),
        *probabilities_section(evaluation.scores),
        *trading_section(evaluation.trading),
        *selection_section(evaluation.selection),
        *_paths(evaluation.paths),
        *slices_section(evaluation.slices),
        *leaks_section(evaluation.leaks),
    ]
    return "\n".join(lines).rstrip() + "\n"


def _folds(evaluation: EvaluationReport) -> list[str]:
    pooled = evaluation.validation.pooled
    names = list(pooled.baselines)
    header = ("fold", "test window", "moves", "accuracy", "in training", "net Sharpe, a year", *map(title_of, names))
    rows = [
        (
            str(fold.index + 1),
            f"{iso_utc(fold.test_start_ns)[:10]} to {iso_utc(fold.test_end_ns)[:10]}",
            f"{fold.n_moves:,}",
            share(fold.accuracy),
            f"{fold.train_accuracy:.1%}",
            number(fold.net_sharpe),
            *(f"{fold.baselines[name]:.1%}" if name in fold.baselines else "" for name in names),
        )
        for fold in evaluation.validation.folds
    ]
    rows.append(
        (
            "**all**",
            "",
            f"{pooled.n_moves:,}",
            share(pooled.accuracy),
            f"{pooled.train_accuracy:.1%}",
            number(pooled.net_sharpe),
            *(f"{pooled.baselines[name].value:.1%}" for name in names),
        )
    )
    lines = ["## Folds", "", *table(header, rows)]
    if pooled.bayes_accuracy is not None:
        lines += [f"The best possible predictor is expected to be right on {pooled.bayes_accuracy:.1%}.", ""]
    return lines


def _beside_baselines(evaluation: EvaluationReport) -> list[str]:
    gains = evaluation.validation.pooled.gain_over
    scored = {"**model**": evaluation.scores} | {title_of(name): it for name, it in evaluation.baselines.items()}
    gain_of = {title_of(name): points(gain) for name, gain in gains.items()}
    rights = [
        (name, share(scores.accuracy), gain_of.get(name, ""), share(scores.balanced_accuracy))
        for name, scores in scored.items()
    ]
    return [
        "## Beside the baselines",
        "",
        "The gain is the model's over the baseline, paired row by row, in points.",
        "",
        *table(("", "accuracy", "gain of the model", "balanced accuracy"), rights),
        *table(
            ("", "log loss", "Brier score", "calibration error", "information coefficient"),
            [(name, *_losses(scores)) for name, scores in scored.items()],
        ),
    ]


def _losses(scores: Scores) -> tuple[str, str, str, str]:
    return (
        number(scores.log_loss, 4),
        number(scores.brier, 4),
        f"{100 * scores.calibration_error:.1f} points",
        number(scores.information_coefficient, 3),
    )


def _paths(paths: PathResult | None) -> list[str]:
    if paths is None:
        return ["## Paths", "", "No combinatorial validation was run.", ""]
    found = np.array(paths.accuracies)
    lines = [
        "## Paths",
        "",
        (
            f"Combinatorial purged cross-validation: {paths.n_groups} groups of time, {paths.n_test_groups} tested at "
            f"a time, {paths.n_splits} fits, {len(found)} paths through all the data."
        ),
        "",
    ]
    if not len(found):
        return lines
    worst, middle, best = np.min(found), np.median(found), np.max(found)
    below = int(np.count_nonzero(found <= 0.5))
    return lines + table(
        ("worst path", "median", "best path", "paths at or below 50%"),
        [(f"{worst:.1%}", f"{middle:.1%}", f"{best:.1%}", f"{below} of {len(found)}")],
    )
