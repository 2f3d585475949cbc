"""What must hold before a request is looked at."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from serving.refusals import refusal

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_WILDCARDS = ("0.0.0.0", "::", "")  # noqa: S104 - compared with, never bound to


class HostGuard:
    """Answer only requests that name this server in `Host`, so that a web page cannot reach it by DNS rebinding.

    Args:
        app: the app behind the guard.
        host: the address that the server binds to; with a wildcard address every name is accepted.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._allowed = None if host in _WILDCARDS else frozenset({*_LOOPBACK, host.lower()})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 421."""
        if scope["type"] == "http" and self._allowed is not None and _host_name(scope) not in self._allowed:
            await refusal(421, "this server does not answer for the host that the request names")(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _host_name(scope: Scope) -> str:
    value = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    if value.startswith("["):
        return value[1:].partition("]")[0]
    return value.partition(":")[0]
