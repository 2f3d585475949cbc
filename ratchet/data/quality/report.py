"""What a quality gate answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Severity = Literal["critical", "row", "warn"]
Subject = Literal["row", "symbol"]
Engine = Literal["great_expectations", "vectorized"]


class Failure(BaseModel):
    """One check that some rows, some symbols, or the table as a whole, did not meet."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    check: str
    column: str
    """The column or columns concerned, separated by commas; empty for the table as a whole."""
    n_rows: int
    """How many rows are concerned; symbols, where the check judges these."""
    sample: tuple[str, ...]
    """The first rows concerned: symbol, ISO time, values."""
    reason: str
    severity: Severity
    """`critical` fails the gate; `row` only sends rows to quarantine, as long as they are few; `warn` only tells."""
    subject: Subject = "row"
    """What is counted and named: rows, or symbols, of which the last row is named."""


class QualityReport(BaseModel):
    """The verdict of a gate; a report that passed may still list warnings and rows that went to quarantine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    n_rows: int
    n_quarantined: int
    failures: tuple[Failure, ...]
    docs_path: str | None
    """The page for people, where the engine writes one."""
    table: str = "candles"
    """What was judged: `candles`, `books` or `trades`."""
    engine: Engine
    """Who judged; `auto` of `open_gate` takes the second one for large tables."""
