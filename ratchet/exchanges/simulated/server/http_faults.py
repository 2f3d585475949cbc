"""Faults that befall an HTTP answer on its way."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING

from ratchet.exchanges.simulated.server.dialects.dialect import Dialect, Reply
from ratchet.exchanges.simulated.server.faults import FaultKind

if TYPE_CHECKING:
    from aiohttp import web

ELSEWHERE = "http://127.0.0.2:9"
"""Another host, on which nothing listens: where a redirect leads."""

_GATEWAY_PAGE = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
_GARBAGE = "\x16\x03\x01{{<<not json>>"
_RETRY_AFTER = {"Retry-After": "1"}
_NO_LINGER = struct.pack("ii", 1, 0)  # closing then sends a reset


def spoiled_reply(reply: Reply, kind: FaultKind, dialect: Dialect, path: str) -> Reply:
    """Return what is answered instead of `reply`; the same one where the fault lies in the connection."""
    if kind is FaultKind.TRUNCATED:
        return Reply(reply.body[: len(reply.body) * 2 // 3])
    instead = {
        FaultKind.TOO_MANY_REQUESTS: Reply(dialect.too_many().body, 429, _RETRY_AFTER),
        FaultKind.TOO_MANY_REQUESTS_BARE: Reply(dialect.too_many().body, 429),
        FaultKind.BANNED: Reply(dialect.too_many().body, 418, _RETRY_AFTER),
        FaultKind.SERVER_ERROR: Reply("Internal Server Error", 500, {"Content-Type": "text/plain"}),
        FaultKind.BAD_GATEWAY: Reply(_GATEWAY_PAGE, 502, {"Content-Type": "text/html"}),
        FaultKind.UNAVAILABLE: Reply(dialect.busy().body, 503),
        FaultKind.GARBAGE: Reply(_GARBAGE),
        FaultKind.BUSY: dialect.busy(),
        FaultKind.REDIRECT: Reply("", 302, {"Location": ELSEWHERE + path}),
    }
    return instead.get(kind, reply)


async def leave_unanswered(request: web.Request, no_answer_s: float) -> None:
    """Keep the client waiting, then end the connection."""
    await asyncio.sleep(no_answer_s)
    if request.transport is not None:
        request.transport.abort()


async def reset_midway(request: web.Request, response: web.StreamResponse, body: bytes) -> None:
    """Announce the whole body, send half of it and reset the connection."""
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        request.transport.abort()
