"""Which engine judges: pages for people where the table is small enough to write them, speed where it is not."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ratchet.data.quality.expectations import GreatExpectationsGate
from ratchet.data.quality.gates import QualityGate
from ratchet.data.quality.policy import QualityPolicy
from ratchet.data.quality.vectorized import VectorizedGate
from ratchet.errors import ConfigurationError

MAX_ROWS_WITH_DOCS = 1_000_000
"""Up to so many rows `auto` takes Great Expectations."""


Engine = Literal["auto", "great_expectations", "vectorized"]


def open_gate(
    engine: Engine,
    root: Path,
    policy: QualityPolicy = QualityPolicy(),  # noqa: B008 - it is frozen
    n_rows: int = 0,
) -> QualityGate:
    """Return the gate for a table of `n_rows`; its report says in `engine` which one it was.

    Args:
        engine: `auto` takes Great Expectations up to 1,000,000 rows, and the same checks on plain arrays above.
        root: folder of Great Expectations' context; see `GreatExpectationsGate`.
        policy: the thresholds.
        n_rows: size of the largest table to be judged; only `auto` looks at it.

    Raises:
        ConfigurationError: there is no such engine.
    """
    if engine not in ("auto", "great_expectations", "vectorized"):
        raise ConfigurationError(
            f"there is no quality engine {engine!r}; choose auto, great_expectations or vectorized"
        )
    if engine == "vectorized" or (engine == "auto" and n_rows > MAX_ROWS_WITH_DOCS):
        return VectorizedGate(policy)
    return GreatExpectationsGate(root, policy)
