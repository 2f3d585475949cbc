"""What may be compared with the model in production."""

from __future__ import annotations

from typing import Any

import pytest

from ratchet.errors import CandidateRejectedError, LeakageError
from ratchet.evaluation.champion import refuse_incomparable, refuse_seen_window

KNOWN: dict[str, Any] = {
    "schema_hash": "abc",
    "window": 32,
    "timeframe": "1h",
    "horizon": 1,
    "market": "files",
    "symbols": ["BTC/USDT", "ETH/USDT"],
}


def test_a_challenger_of_the_same_kind_may_cover_more_symbols() -> None:
    """The same question, for the champion's symbols and more, is comparable."""
    refuse_incomparable("m v1.0.0", KNOWN, KNOWN | {"symbols": ["ETH/USDT", "BTC/USDT", "SOL/USDT"]})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"horizon": 4}, "horizon 1 there, 4 here"),
        ({"timeframe": "5m"}, "timeframe 1h there, 5m here"),
        ({"schema_hash": "def"}, "schema hash"),
        ({"window": 64}, "window 32 there"),
        ({"market": "simulated, seed 7, signal 1.15"}, "market files there"),
        ({"symbols": ["ETH/USDT"]}, "BTC/USDT would be left without a model"),
    ],
)
def test_a_challenger_of_another_kind_is_refused(change: dict[str, Any], says: str) -> None:
    """Bots must not wake up to another horizon, timeframe, market, or without their symbol."""
    with pytest.raises(CandidateRejectedError, match=says):
        refuse_incomparable("m v1.0.0", KNOWN, KNOWN | change)


def test_a_window_that_the_champion_was_trained_on_is_refused() -> None:
    """The last test window must start after the champion's training and the embargo."""
    refuse_seen_window("m v1.0.0", 100, [50, 110], embargo_ns=10)
    with pytest.raises(LeakageError, match=r"m v1\.0\.0 in production was trained on labels"):
        refuse_seen_window("m v1.0.0", 101, [50, 110], embargo_ns=10)
