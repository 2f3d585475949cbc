"""What a challenger and the model in production must have in common before one may be measured by the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ratchet.clock import iso_utc
from ratchet.errors import CandidateRejectedError, LeakageError

_SAME = ("schema_hash", "window", "timeframe", "horizon", "market")


def refuse_incomparable(champion: str, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Refuse a challenger that answers another question than the champion, whose place it would take.

    Both mappings hold `schema_hash`, `window`, `timeframe`, `horizon`, `market` and `symbols` of a model.

    Raises:
        CandidateRejectedError: features, window, timeframe, horizon or market differ, or a symbol would lose its model.
    """
    differing = [key for key in _SAME if known.get(key) != asked[key]]
    lost = sorted(set(known.get("symbols", ())) - set(asked["symbols"]))
    reasons = [f"{key.replace('_', ' ')} {known.get(key)} there, {asked[key]} here" for key in differing]
    reasons += [f"{', '.join(lost)} would be left without a model"] if lost else []
    if reasons:
        raise CandidateRejectedError(
            f"{champion} in production is of another kind ({'; '.join(reasons)}), so nothing can be compared or "
            "replaced; give the new kind a name of its own with --model"
        )


def refuse_seen_window(champion: str, train_end_ns: int, test_starts_ns: Iterable[int], embargo_ns: int) -> None:
    """Refuse a window of judgement that the champion was trained on.

    Raises:
        LeakageError: the latest of the test windows starts before the champion's training and the embargo have ended.
    """
    start_ns = max(test_starts_ns)
    if train_end_ns + embargo_ns > start_ns:
        raise LeakageError(
            f"{champion} in production was trained on labels up to {iso_utc(train_end_ns)}, but the window of "
            f"judgement would start at {iso_utc(start_ns)}; give at least as much and as recent data as it was trained "
            "on, or a name of its own with --model"
        )
