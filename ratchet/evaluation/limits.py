"""What the figures do not show, said plainly: one sentence for each doubt that they leave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ratchet.evaluation.markdown import number, plain, points, share, title_of
from ratchet.evaluation.metrics import Metric
from ratchet.evaluation.records import LeakReport, Scores, SelectionReport, Slice, Trading

_LEAST_PROBABILITY = 0.95
_LARGEST_PBO = 0.5
_MISSED_BY_CHANCE = 0.05
_WRONG_BY_CHANCE = 0.025


def limits(
    *,
    scores: Scores,
    gain_over: Mapping[str, Metric],
    trading: Trading,
    selection: SelectionReport | None,
    slices: Sequence[Slice],
    leaks: LeakReport | None,
) -> list[str]:
    """Return what the figures leave open or speak against, in sentences of Markdown; empty where nothing does.

    An interval that includes "no skill" is named as such, whatever the estimate.
    """
    return [
        *_of_leaks(leaks),
        *_of_accuracy(scores, gain_over),
        *_of_trading(trading),
        *_of_selection(selection),
        *_of_probabilities(scores),
        *_of_slices(slices),
    ]


def _of_leaks(leaks: LeakReport | None) -> list[str]:
    if leaks is None or not leaks.probes:
        return ["No search for leaks was run, so it is not known whether the figures hold at all."]
    failed = [title_of(probe.name) for probe in leaks.probes if probe.status == "failed"]
    skipped = [title_of(probe.name) for probe in leaks.probes if probe.status == "skipped"]
    found = [f"A leak was found ({', '.join(failed)}): no figure here can be relied on."] if failed else []
    return found + ([f"Not every leak was searched for; skipped: {', '.join(skipped)}."] if skipped else [])


def _of_accuracy(scores: Scores, gain_over: Mapping[str, Metric]) -> list[str]:
    found = []
    right = scores.accuracy
    if right.high < 0.5:
        found.append(f"It is right less often than a coin: accuracy {share(right)}.")
    elif right.low <= 0.5:
        found.append(
            f"It is not shown to be right more often than a coin: the interval of its accuracy, {share(right)}, "
            "includes 50%."
        )
    for name, gain in gain_over.items():
        if gain.high < 0.0:
            found.append(f"It is worse than {title_of(name)}: {points(gain)} points.")
        elif gain.low <= 0.0:
            found.append(
                f"It is not shown to be better than {title_of(name)}: the interval of its gain, {points(gain)} points, "
                "includes 0."
            )
    return found


def _of_trading(trading: Trading) -> list[str]:
    found = []
    net, years = trading.net_sharpe, trading.n_bars / trading.bars_per_year
    if net.high < 0.0:
        found.append(f"Trading it loses money after costs: net Sharpe ratio {number(net)} a year.")
    elif net.low <= 0.0:
        found.append(
            f"It is not shown that trading it earns anything after costs: the interval of the net Sharpe ratio a year, "
            f"{number(net)}, includes 0."
        )
    if trading.gross_return > 0.0 >= trading.net_return:
        found.append(
            f"Costs take all that it earns: {trading.gross_return:+.1%} before costs of {trading.costs:.1%}, "
            f"{trading.net_return:+.1%} after."
        )
    needed = trading.min_track_record_bars
    if needed is not None and needed > trading.n_bars:
        found.append(
            f"The record is too short: a net Sharpe ratio of this size takes {needed / trading.bars_per_year:.2f} "
            f"years to be told from 0 at 95%, and the test windows hold {years:.2f} years."
        )
    return found


def _of_selection(selection: SelectionReport | None) -> list[str]:
    if selection is None:
        return ["The trials were not counted, so the luck of having tried often is not deducted from any figure."]
    found = []
    deflated = selection.deflated_sharpe
    if deflated is None:
        found.append(f"With {selection.n_trials:,} trials the deflated Sharpe ratio cannot be estimated yet.")
    elif deflated < _LEAST_PROBABILITY:
        found.append(
            f"The net Sharpe ratio may be the luck of {selection.n_trials:,} trials: the probability that it is more "
            f"is {deflated:.0%}, and {_LEAST_PROBABILITY:.0%} would show it."
        )
    if selection.pbo is not None and selection.pbo >= _LARGEST_PBO:
        found.append(
            f"Choosing the best trial is no help: with probability {selection.pbo:.0%} it is below the median "
            "out of sample."
        )
    return found


def _of_probabilities(scores: Scores) -> list[str]:
    bins = scores.calibration
    missed = sum(not item.share_up.low <= item.mean_p_up <= item.share_up.high for item in bins)
    expected = _MISSED_BY_CHANCE * len(bins)
    if missed <= expected:
        return []
    return [
        (
            f"p\\_up is not a probability to be taken at its word: in {missed} of {len(bins)} bins the share that went "
            f"up differs from it, where chance alone makes {expected:.1f}; the mean difference is "
            f"{100 * scores.calibration_error:.1f} points."
        )
    ]


def _of_slices(slices: Sequence[Slice]) -> list[str]:
    wrong = [_slice_name(item) for item in slices if item.accuracy.high < 0.5]
    lost = [_slice_name(item) for item in slices if item.gain_over_champion and item.gain_over_champion.high < 0.0]
    chance = f"by chance it would be {_WRONG_BY_CHANCE * len(slices):.1f} of {len(slices)}"
    found = [f"It is right less often than a coin in {', '.join(wrong)}; {chance}."] if wrong else []
    return found + ([f"It is worse than the champion in {', '.join(lost)}; {chance}."] if lost else [])


def _slice_name(item: Slice) -> str:
    return plain(f"{item.kind} {item.name}")
