"""What a collection is asked to do, as a person types it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import BaseModel, ConfigDict

from ratchet.clock import parse_utc
from ratchet.errors import InputError
from ratchet.market.symbols import Timeframe, parse_symbol


class CollectionRequest(BaseModel):
    """Which candles to keep current. None means: what was collected before, or the default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    symbols: tuple[str, ...] | None = None
    timeframe: str = "1h"
    start_ns: int | None = None
    end_ns: int | None = None
    ask_again: bool = False

    @classmethod
    def create(
        cls,
        *,
        source: str,
        symbols: Sequence[str] | None,
        timeframe: str,
        start: str | None = None,
        end: str | None = None,
        ask_again: bool = False,
    ) -> Self:
        """Check and normalise what a user typed.

        Raises:
            InputError: a symbol, the timeframe or a time cannot be read, or the end is not after the start.
        """
        start_ns, end_ns = _time("start", start), _time("end", end)
        if start_ns is not None and end_ns is not None and end_ns <= start_ns:
            raise InputError(f"end {end} is not after start {start}")
        return cls(
            source=source,
            symbols=tuple(dict.fromkeys(parse_symbol(symbol) for symbol in symbols)) if symbols else None,
            timeframe=Timeframe.parse(timeframe).text,
            start_ns=start_ns,
            end_ns=end_ns,
            ask_again=ask_again,
        )

    @property
    def is_live(self) -> bool:
        """Whether the venue goes on trading, so that old bars mean trouble."""
        return self.end_ns is None and not self.source.startswith("simulated://")

    @property
    def bar(self) -> Timeframe:
        """Length of one bar."""
        return Timeframe.parse(self.timeframe)


def _time(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return parse_utc(text)
    except ValueError as error:
        raise InputError(f"{name} {text!r} is not a time; write for example 2024-01-31 or 2024-01-31T10:00Z") from error
