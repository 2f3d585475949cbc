"""HTTP to one venue: paced, retried, and with errors of ours only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ratchet.clock import Clock
from ratchet.errors import ConfigurationError, InputError, UnavailableError
from ratchet.exchanges.pacing import HostLimit, HostPace, HostPaces, Sleep
from ratchet.exchanges.retrying import backoff_s, retry_after_s

_ATTEMPTS = 7
_MOST_BYTES = 32 * 1024 * 1024
_CHUNK_BYTES = 1 << 16
_ASKED_TOO_OFTEN = frozenset({418, 429})
_BANNED = frozenset({403, 451})
_TRY_AGAIN = frozenset({408, 425})
_USED_WEIGHT = "X-MBX-USED-WEIGHT-1M"

Weigh = Callable[[str, Mapping[str, str]], float]
"""Returns the weight that a venue counts for a path and its query."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP reply, read whole; `content` is the JSON object or array in it, None where there is none."""

    url: str
    status: int
    headers: Mapping[str, str]
    text: str
    content: Any


class VenueBusyError(UnavailableError):
    """No usable answer this time, but perhaps the next; `is_rate_limit` where the host was asked too often."""

    def __init__(self, message: str, *, is_rate_limit: bool = False) -> None:
        super().__init__(message)
        self.is_rate_limit = is_rate_limit


Examine = Callable[[Reply], None]
"""Raises `VenueBusyError` or `InputError` where the body of a reply is an error of the venue."""


class VenueTransport:
    """Sends requests for a ccxt client, in the place of its own `fetch`.

    Redirects are not followed, proxies and cookies of the environment are not used, and a body is read up to 32 MiB.

    Args:
        venue: name for messages.
        limit: what each host of the venue takes.
        weigh: the weight of a request.
        examine: finds the venue's own errors in bodies.
        timeout_s: how long one reply may take; measured by the event loop.
    """

    def __init__(
        self,
        venue: str,
        *,
        limit: HostLimit,
        weigh: Weigh,
        examine: Examine,
        paces: HostPaces,
        clock: Clock,
        sleep: Sleep,
        random: Random,
        timeout_s: float,
    ) -> None:
        self._venue = venue
        self._limit = limit
        self._weigh = weigh
        self._examine = examine
        self._paces = paces
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._timeout_s = timeout_s
        self._session: Any = None

    async def fetch(self, url: str, method: str = "GET", headers: Any = None, body: Any = None) -> Any:
        """Return the JSON that a URL answers; the signature is that of ccxt, and market data needs GET alone.

        Raises:
            InputError: the venue does not accept the request.
            UnavailableError: no usable answer after seven attempts, or nothing may be sent at present.
        """
        parts = urlsplit(url)
        pace = self._paces.of(parts.netloc, self._limit)
        pace.admit(now_ns=self._clock.now_ns())
        weight = self._weigh(parts.path, {key: values[-1] for key, values in parse_qs(parts.query).items()})
        try:
            content = await self._insist(url, pace, weight)
        except InputError:
            pace.succeeded()  # the host is well, the question was not
            raise
        except UnavailableError as cause:
            pace.failed(now_ns=self._clock.now_ns())
            raise UnavailableError(f"{self._venue} gave no answer to {parts.path}: {cause}") from cause
        pace.succeeded()
        return content

    async def wait(self, attempt: int) -> None:
        """Wait as before another attempt."""
        await self._sleep(backoff_s(attempt, self._random))

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _insist(self, url: str, pace: HostPace, weight: float) -> Any:
        last: VenueBusyError | None = None
        for attempt in range(_ATTEMPTS):
            if last is not None and not last.is_rate_limit:  # after a refusal the whole host waits already
                await self.wait(attempt - 1)
            await pace.turn(weight, clock=self._clock, sleep=self._sleep)
            try:
                return await self._ask(url, pace, attempt)
            except VenueBusyError as busy:
                last = busy
        raise UnavailableError(f"{_ATTEMPTS} attempts, the last one: {last}") from last

    async def _ask(self, url: str, pace: HostPace, attempt: int) -> Any:
        reply = await self._send(url)
        now_ns = self._clock.now_ns()
        used = reply.headers.get(_USED_WEIGHT, "")
        if used.isdecimal():
            pace.learn_used(int(used), now_ns=now_ns)
        try:
            self._judge(reply)
        except VenueBusyError as busy:
            if busy.is_rate_limit:
                asked_s = retry_after_s(reply.headers, now_ns=now_ns)
                # Windows last up to a minute, so these waits are four times those after other failures.
                pace.pause(backoff_s(attempt + 2, self._random) if asked_s is None else asked_s, now_ns=now_ns)
            raise
        return reply.content

    def _judge(self, reply: Reply) -> None:
        status = reply.status
        if status in _ASKED_TOO_OFTEN:
            raise VenueBusyError(f"it was asked too often (status {status})", is_rate_limit=True)
        if status in _BANNED:
            raise UnavailableError(f"it refuses this address (status {status}): {_start(reply.text)}")
        if 300 <= status < 400:
            target = urlsplit(reply.headers.get("Location", "")).netloc or "another page"
            raise VenueBusyError(f"it redirects to {target} (status {status}), which is not followed")
        if status >= 500 or status in _TRY_AGAIN:
            raise VenueBusyError(f"status {status}: {_start(reply.text)}")
        if reply.content is not None:
            self._examine(reply)
        if status >= 400:
            raise InputError(
                f"{self._venue} refuses {urlsplit(reply.url).path} (status {status}): {_start(reply.text)}"
            )
        if reply.content is None:
            raise VenueBusyError(f"the body is not JSON: {_start(reply.text)}")

    async def _send(self, url: str) -> Reply:
        try:
            import aiohttp  # noqa: PLC0415 - an optional package, needed by this file alone
            import yarl  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError("aiohttp is not installed; run pip install 'ratchet[collect]'") from error
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
        try:
            async with self._session.get(yarl.URL(url, encoded=True), allow_redirects=False) as response:
                body = bytearray()
                async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                    body += chunk
                    if len(body) > _MOST_BYTES:
                        raise UnavailableError(f"the body is larger than {_MOST_BYTES} bytes")
                text = body.decode(errors="replace")
                return Reply(url, response.status, response.headers, text, _json_or_none(text))
        except TimeoutError as error:
            raise VenueBusyError(f"no reply within {self._timeout_s:g} s") from error
        except aiohttp.ClientError as error:
            raise VenueBusyError(f"{type(error).__name__}: {_start(str(error))}") from error


def _json_or_none(text: str) -> Any:
    """Read JSON; fractions stay text, because venues write times with more digits than a float holds."""
    try:
        content = json.loads(text, parse_float=str)
    except (ValueError, RecursionError):
        return None
    return content if isinstance(content, dict | list) else None


def _start(text: str) -> str:
    return " ".join(text.split())[:160]
