"""Names of topics, and the headers of what goes through them."""

from __future__ import annotations

import re

from ratchet.errors import ConfigurationError, InputError

END_HEADER = "end"
"""An event message with this header asks the engine to flush: the stream ends here, for every view."""
INPUT_HEADER = "input"
"""Where a row or a poison message comes from: `PARTITION/OFFSET/NUMBER`, with the row's number within its event."""
REASON_HEADER = "reason"
"""Why a message was set aside."""

Headers = dict[str, str | bytes | None] | list[tuple[str, str | bytes | None]]
"""Headers as confluent-kafka gives them."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}")
_INPUT = re.compile(rb"(\d{1,9})/(\d{1,18})/(\d{1,9})")


def check_name(what: str, name: str) -> str:
    """Return a prefix or a view that can be part of a topic's name.

    Raises:
        ConfigurationError: it holds something else than letters, digits, `.`, `_` and `-`, or is too long.
    """
    if not _NAME.fullmatch(name):
        raise ConfigurationError(f"{what} {name!r}: use up to 100 letters, digits, '.', '_', '-', not '.' first")
    return name


def events_topic(prefix: str) -> str:
    """Name the topic of events; its key is the symbol."""
    return f"{check_name('prefix', prefix)}.events"


def rows_topic(prefix: str, view: str) -> str:
    """Name the topic of a view's feature rows; its key is the symbol."""
    return f"{check_name('prefix', prefix)}.{check_name('view', view)}.rows"


def poison_topic(prefix: str, view: str) -> str:
    """Name the topic of messages that a view could not use."""
    return f"{check_name('prefix', prefix)}.{check_name('view', view)}.poison"


def input_header(partition: int, offset: int, number: int) -> tuple[str, bytes]:
    """Say which event caused a row."""
    return INPUT_HEADER, f"{partition}/{offset}/{number}".encode()


def read_input_header(headers: Headers | None) -> tuple[int, int, int]:
    """Return (partition, offset, number) of the event that caused a row.

    Raises:
        InputError: there is no such header.
    """
    value = dict(headers or ()).get(INPUT_HEADER)
    match = _INPUT.fullmatch(value) if isinstance(value, bytes) else None
    if match is None:
        raise InputError(f"no header {INPUT_HEADER!r} says which event caused this row")
    partition, offset, number = map(int, match.groups())
    return partition, offset, number
