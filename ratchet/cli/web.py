"""Small loopback requests to the services, with the standard library so that the supervisor stays light."""

from __future__ import annotations

import http.client
import json
import time
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from ratchet.errors import NotFoundError, UnavailableError

_ATTEMPTS = 8
_PAUSE_S = 0.1


def answers(url: str, *, timeout_s: float = 1.0) -> bool:
    """Return whether a GET of `url` is answered with a 2xx status."""
    try:
        status, _ = _request("GET", url, None, timeout_s)
    except (OSError, http.client.HTTPException):
        return False
    return 200 <= status < 300


def call_json(url: str, body: object = None, *, timeout_s: float = 10.0) -> Any:
    """GET `url`, or POST `body` as JSON where one is given, and return the JSON of the answer; None where it is empty.

    A busy answer (503) is asked again for a few seconds: Prefect gives it whenever SQLite was locked, and has then
    changed nothing.

    Raises:
        NotFoundError: the service answers 404.
        UnavailableError: no connection, no answer in time, another status, or no JSON.
    """
    status, answer = _persistently("GET" if body is None else "POST", url, body, timeout_s)
    if status == HTTPStatus.NOT_FOUND:
        raise NotFoundError(f"{url} is not there")
    if not 200 <= status < 300:
        raise UnavailableError(f"{url} answered {status}: {answer[:200].decode(errors='replace')}")
    try:
        return json.loads(answer) if answer else None
    except ValueError as error:
        raise UnavailableError(f"{url} did not answer with JSON") from error


def _persistently(method: str, url: str, body: object, timeout_s: float) -> tuple[int, bytes]:
    for attempt in range(_ATTEMPTS):
        try:
            status, answer = _request(method, url, body, timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise UnavailableError(f"{url} cannot be reached: {error}") from error
        if status != HTTPStatus.SERVICE_UNAVAILABLE:
            break
        time.sleep(_PAUSE_S * (attempt + 1))
    return status, answer


def _request(method: str, url: str, body: object, timeout_s: float) -> tuple[int, bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=timeout_s)
    try:
        payload = None if body is None else json.dumps(body).encode()
        path = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, path, payload, {"Content-Type": "application/json"} if payload else {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
