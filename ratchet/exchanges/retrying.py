"""How long to wait before asking a host again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from random import Random

from ratchet.clock import NS_PER_S

_FIRST_S = 0.5
_CAP_S = 60.0


def backoff_s(attempt: int, random: Random) -> float:
    """Draw a waiting time between 0 and half a second doubled with each attempt, a minute at most.

    The whole range is drawn from ("full jitter"), so that many clients that failed together do not come back together.
    """
    return random.uniform(0.0, min(_CAP_S, _FIRST_S * 2**attempt))


def retry_after_s(headers: Mapping[str, str], *, now_ns: int) -> float | None:
    """Return how many seconds a reply asks its caller to stay away; None where it does not say.

    `Retry-After` is a number of seconds or an HTTP date (RFC 9110, section 10.2.3). A date is measured against the
    reply's own `Date`, so that a wrong clock on this side does not matter; without one, against `now_ns`.
    """
    text = headers.get("Retry-After", "").strip()
    try:
        seconds = float(text)
    except ValueError:
        until_s = _http_time_s(text)
        if until_s is None:
            return None
        sent_s = _http_time_s(headers.get("Date", ""))
        return max(0.0, until_s - (now_ns / NS_PER_S if sent_s is None else sent_s))
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _http_time_s(text: str) -> float | None:
    try:
        moment: datetime = parsedate_to_datetime(text)
        return moment.timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
