"""Reading request bodies: JSON only, never more than the limit."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

DRAIN_FACTOR = 8
"""A refused body is read and dropped up to this many times the limit, so that its sender gets to see the answer."""


async def read_json_body(request: Request, max_bytes: int) -> bytes:
    """Return the body.

    Raises:
        HTTPException: 415 where the content type is not JSON, 413 where the body is longer than `max_bytes`.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = bytearray()
    n_read = 0
    async for chunk in request.stream():
        n_read += len(chunk)
        if n_read > DRAIN_FACTOR * max_bytes:
            break
        if media_type == "application/json" and n_read <= max_bytes:
            body += chunk
    if media_type != "application/json":
        raise HTTPException(415, f"send application/json, not {media_type or 'a body without content type'}")
    if n_read > max_bytes:
        raise HTTPException(413, f"the body is longer than {max_bytes} bytes")
    return bytes(body)
