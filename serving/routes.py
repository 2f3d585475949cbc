"""The HTTP surface below /api/ml: bodies in, replies out. Decides nothing itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from dataclasses import dataclass

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ratchet.errors import UnavailableError
from serving.bodies import read_json_body
from serving.engine import PredictionEngine
from serving.health import health, served_models
from serving.refusals import EXCEPTION_HANDLERS
from serving.schemas import BatchPrediction, BatchRequest, PredictRequest
from serving.table import ModelTable

MAX_WAITING = 64
"""Predictions that may wait for the answering thread; the next one is refused at once."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Serving:
    """What the endpoints need; `timer` is a monotonic counter, ns."""

    table: ModelTable
    engine: PredictionEngine
    timer: Callable[[], int]
    home: str
    poll_interval_s: float
    max_body_bytes: int


class Api:
    """The endpoints. The event loop only moves bytes; one thread reads requests and answers them.

    Args:
        opened: makes the parts when the server starts and releases them when it stops, so that importing does no work.
    """

    def __init__(self, opened: Callable[[], AbstractContextManager[Serving]]) -> None:
        self._opened = opened
        self._n_waiting = 0

    def app(self) -> Starlette:
        """Return the ASGI app to mount."""
        routes = [
            Route("/predict", self.predict, methods=["POST"]),
            Route("/predict/batch", self.predict_batch, methods=["POST"]),
            Route("/models", self.models, methods=["GET"]),
            Route("/models/reload", self.reload, methods=["POST"]),
            Route("/health", self.health, methods=["GET"]),
        ]
        return Starlette(routes=routes, lifespan=self.lifespan, exception_handlers=EXCEPTION_HANDLERS)

    @asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        """Load what the registry has, watch it while the server runs, and let the last answers finish."""
        with self._opened() as self._serving, ThreadPoolExecutor(1, "answer") as self._answering:
            await asyncio.to_thread(self._serving.table.refresh)
            watching = asyncio.create_task(self._watch())
            try:
                yield
            finally:
                watching.cancel()
                with suppress(asyncio.CancelledError):
                    await watching

    async def predict(self, request: Request) -> Response:
        """POST /predict: one question, one answer."""
        return await self._answered(request, self._predict)

    async def predict_batch(self, request: Request) -> Response:
        """POST /predict/batch: several questions, answers in their order; one that cannot be answered fails all."""
        return await self._answered(request, self._predict_batch)

    async def models(self, _: Request) -> Response:
        """GET /models: what is loaded."""
        return _reply(served_models(self._serving.table.current))

    async def reload(self, _: Request) -> Response:
        """POST /models/reload: look at the registry now instead of at the next poll."""
        table = await asyncio.to_thread(self._serving.table.refresh)
        if problem := self._serving.table.registry_problem:
            raise UnavailableError(f"the registry cannot be read: {problem}")
        return _reply(served_models(table))

    async def health(self, _: Request) -> Response:
        """GET /health: 200 as long as the process answers; the body says whether all is well."""
        return _reply(health(self._serving.table, self._serving.home))

    async def _answered(self, request: Request, answer: Callable[[bytes, int], BaseModel]) -> Response:
        if self._n_waiting >= MAX_WAITING:
            raise HTTPException(503, "too many predictions are waiting; try again", headers={"Retry-After": "1"})
        body = await read_json_body(request, self._serving.max_body_bytes)
        received_ns = self._serving.timer()
        self._n_waiting += 1
        try:
            loop = asyncio.get_running_loop()
            return _reply(await loop.run_in_executor(self._answering, answer, body, received_ns))
        finally:
            self._n_waiting -= 1

    def _predict(self, body: bytes, received_ns: int) -> BaseModel:
        started_ns = self._serving.timer()
        request = PredictRequest.model_validate_json(body)
        return self._serving.engine.predict([request], received_ns=received_ns, started_ns=started_ns)[0]

    def _predict_batch(self, body: bytes, received_ns: int) -> BaseModel:
        started_ns = self._serving.timer()
        batch = BatchRequest.model_validate_json(body)
        answers = self._serving.engine.predict(batch.requests, received_ns=received_ns, started_ns=started_ns)
        return BatchPrediction(predictions=answers)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._serving.poll_interval_s)
            try:
                await asyncio.to_thread(self._serving.table.refresh)
            except Exception:
                logger.exception("looking at the registry failed; the loaded models stay")


def _reply(content: BaseModel) -> Response:
    return Response(content.model_dump_json(), media_type="application/json")
