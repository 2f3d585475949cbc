"""What can go wrong with a venue, one kind at a time."""

from __future__ import annotations

from enum import StrEnum


class FaultScope(StrEnum):
    """What a fault befalls, and so what it is drawn for."""

    REQUEST = "request"
    """One HTTP request of any endpoint, whatever its answer would be."""

    PAGE = "page"
    """One page of candles (an empty one: of trades too)."""

    BOOK = "book"
    """One order-book snapshot over HTTP."""

    MESSAGE = "message"
    """One WebSocket message."""

    ROW = "row"
    """A bar, by its symbol and time: the same bars on every request."""

    VENUE = "venue"
    """The venue as long as it runs."""


class FaultKind(StrEnum):
    """A fault that can be asked for.

    `description` says in one line what a client sees. `is_recoverable` is True where every row reaches a client that
    checks what it reads and asks again; where it is False, rows stay out for good.
    """

    scope: FaultScope
    description: str
    is_recoverable: bool

    def __new__(cls, value: str, scope: FaultScope, description: str, is_recoverable: bool = True) -> FaultKind:
        """Make a member whose value is the name alone."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.scope, member.description, member.is_recoverable = scope, description, is_recoverable
        return member

    TOO_MANY_REQUESTS = "too-many-requests", FaultScope.REQUEST, "429 with Retry-After"
    TOO_MANY_REQUESTS_BARE = "too-many-requests-bare", FaultScope.REQUEST, "429 that does not say how long to wait"
    BANNED = "banned", FaultScope.REQUEST, "418 with Retry-After: the address is shut out"
    SERVER_ERROR = "server-error", FaultScope.REQUEST, "500"
    BAD_GATEWAY = "bad-gateway", FaultScope.REQUEST, "502 with an HTML page of the proxy in front"
    UNAVAILABLE = "unavailable", FaultScope.REQUEST, "503"
    NO_ANSWER = "no-answer", FaultScope.REQUEST, "nothing until the plan's time-out, then the connection ends"
    RESET = "reset", FaultScope.REQUEST, "the connection is reset in the middle of the body"
    GARBAGE = "garbage", FaultScope.REQUEST, "200 with bytes that are no JSON"
    TRUNCATED = "truncated", FaultScope.REQUEST, "200 with the first two thirds of the JSON text"
    BUSY = "busy", FaultScope.REQUEST, "200 whose body is the venue's own 'system busy' error"
    REDIRECT = "redirect", FaultScope.REQUEST, "302 to another host"

    EMPTY_PAGE = "empty-page", FaultScope.PAGE, "no rows although there are some"
    DUPLICATED_ROW = "duplicated-row", FaultScope.PAGE, "a bar is there twice"
    CONFLICTING_ROW = "conflicting-row", FaultScope.PAGE, "a bar is there twice, with another close"
    OUT_OF_ORDER = "out-of-order", FaultScope.PAGE, "two bars have changed places"
    BEFORE_SINCE = "before-since", FaultScope.PAGE, "bars before the start that was asked for"
    SHORT_PAGE = "short-page", FaultScope.PAGE, "the first half of the page, in the venue's order"
    MISSING_ONCE = "missing-once", FaultScope.PAGE, "a bar inside the page is missing this time"
    OFF_GRID = "off-grid", FaultScope.PAGE, "a bar opens a third of a bar late"
    HIGH_BELOW_LOW = "high-below-low", FaultScope.PAGE, "high and low of a bar are exchanged"
    NEGATIVE_PRICE = "negative-price", FaultScope.PAGE, "the low of a bar is negative"
    NULL_PRICE = "null-price", FaultScope.PAGE, "the close of a bar is null"
    WRONG_TIME_UNIT = "wrong-time-unit", FaultScope.PAGE, "seconds where ms belong, or ms where seconds do"
    UNCLOSED_AS_CLOSED = (
        "unclosed-as-closed",
        FaultScope.PAGE,
        "the last bar has half of its values and counts as final",
    )

    CROSSED_BOOK = "crossed-book", FaultScope.BOOK, "the best bid is above the best ask"

    DROPPED_MESSAGE = "dropped-message", FaultScope.MESSAGE, "a message never comes"
    DUPLICATED_MESSAGE = "duplicated-message", FaultScope.MESSAGE, "a message comes twice"
    REORDERED_MESSAGE = "reordered-message", FaultScope.MESSAGE, "a message comes after the next one"
    CLOSED_STREAM = "closed-stream", FaultScope.MESSAGE, "the connection is closed"
    WRONG_CHECKSUM = "wrong-checksum", FaultScope.MESSAGE, "the book's checksum is not that of the book"
    CROSSED_STREAM_BOOK = "crossed-stream-book", FaultScope.MESSAGE, "an update puts a bid above the best ask"

    REVISED_ROW = "revised-row", FaultScope.ROW, "a bar has a wrong close the first time and the right one later"
    LATE_ROW = "late-row", FaultScope.ROW, "a bar appears only some minutes after its close"
    MISSING_ROW = "missing-row", FaultScope.ROW, "a bar of one symbol is never there", False
    OUTAGE = "outage", FaultScope.ROW, "bars of all symbols are never there for hours", False
    QUIET_ROW_LEFT_OUT = "quiet-row-left-out", FaultScope.ROW, "a bar without trades is left out", False
    VANISHED_SYMBOL = "vanished-symbol", FaultScope.ROW, "a symbol is unknown from a time on", False

    CLOCK_AHEAD = "clock-ahead", FaultScope.VENUE, "server time and Date are seconds to a day ahead"
    CLOCK_BEHIND = "clock-behind", FaultScope.VENUE, "server time and Date are seconds to a day behind"
