"""Errors become status codes here and nowhere else; every refusal has the same JSON body."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ExceptionHandler

from ratchet.errors import InputError, NotFoundError, RatchetError, RegistryConflictError, TransientError
from serving.schemas import ErrorReply, FieldProblem

_STATUS: tuple[tuple[type[RatchetError], int], ...] = (
    (InputError, 422),
    (NotFoundError, 404),
    (RegistryConflictError, 409),
    (TransientError, 503),
    (RatchetError, 500),
)
_MAX_FIELDS = 10

logger = logging.getLogger(__name__)


def refusal(
    status: int, error: str, *, fields: tuple[FieldProblem, ...] = (), headers: Mapping[str, str] | None = None
) -> Response:
    """Return the reply for a request that is not answered."""
    reply = ErrorReply(error=" ".join(error.split()), fields=fields)
    return Response(reply.model_dump_json(), status, headers, media_type="application/json")


async def _on_ratchet_error(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        logger.error("%s", error)
    return refusal(status, str(error))


async def _on_invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, ValidationError):
        return refusal(422, "the request is not valid")
    fields = tuple(_problem(detail) for detail in error.errors(include_url=False, include_context=False)[:_MAX_FIELDS])
    return refusal(422, f"{fields[0].field}: {fields[0].problem}", fields=fields)


def _problem(detail: ErrorDetails) -> FieldProblem:
    return FieldProblem(field=".".join(str(part) for part in detail["loc"]) or "body", problem=detail["msg"])


async def _on_http_error(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return refusal(500, "internal error")
    return refusal(error.status_code, error.detail, headers=error.headers)


async def _on_disconnect(_: Request, __: Exception) -> Response:
    return refusal(400, "the client went away before its body was read")


async def _on_bug(_: Request, __: Exception) -> Response:
    return refusal(500, "internal error; the server's log has the details")


EXCEPTION_HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    RatchetError: _on_ratchet_error,
    ValidationError: _on_invalid,
    HTTPException: _on_http_error,
    ClientDisconnect: _on_disconnect,
    Exception: _on_bug,
}
