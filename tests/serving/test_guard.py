"""Which `Host` a server answers to."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from serving.guard import HostGuard


@pytest.mark.parametrize(
    ("bound_to", "named", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8001", 200),
        ("127.0.0.1", "LOCALHOST", 200),
        ("127.0.0.1", "[::1]:8001", 200),
        ("127.0.0.1", "evil.example:8001", 421),
        ("127.0.0.1", "127.0.0.1.evil.example", 421),
        ("127.0.0.1", "", 421),
        ("10.0.0.5", "10.0.0.5:8001", 200),
        ("10.0.0.5", "10.0.0.6:8001", 421),
        ("0.0.0.0", "models.internal:8001", 200),  # noqa: S104 - only compared with
    ],
)
def test_only_the_servers_own_names_are_answered(bound_to: str, named: str, status: int) -> None:
    """Loopback names and the bound address pass; a wildcard address leaves the choice to whoever set it."""

    async def ask() -> httpx.Response:
        app = HostGuard(PlainTextResponse("passed"), bound_to)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
            return await client.get("/", headers={"host": named})

    assert asyncio.run(ask()).status_code == status
