"""More work than can be done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from ratchet.clock import SystemClock
from ratchet.features.store import OnlineWindow, SqliteOnlineStore
from serving.engine import PredictionEngine
from serving.routes import MAX_WAITING, Api, Serving
from serving.table import ModelTable
from tests.serving.workshop import Workshop, tiny_onnx, window


class SlowStore(SqliteOnlineStore):
    """An online store whose disk hangs until `go` is set."""

    go = threading.Event()

    def read_window(self, view: str, symbol: str) -> OnlineWindow | None:
        self.go.wait(20)
        return super().read_window(view, symbol)


async def _storm(api: Api, n_requests: int) -> list[httpx.Response]:
    app = api.app()
    async with (
        api.lifespan(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client,
    ):
        calls = [asyncio.create_task(client.post("/predict", json={"symbol": "BTC/USDT"})) for _ in range(n_requests)]
        while sum(call.done() for call in calls) < n_requests - MAX_WAITING:
            await asyncio.sleep(0.01)
        assert (await client.get("/health")).status_code == 200
        SlowStore.go.set()
        return await asyncio.gather(*calls)


def test_what_cannot_wait_is_refused_at_once_and_the_rest_is_answered(workshop: Workshop) -> None:
    """With the store hanging, 64 predictions wait, the others get 503 with Retry-After, and health still answers."""
    workshop.publish("BTC/USDT", window(1))
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))

    @contextmanager
    def opened() -> Iterator[Serving]:
        table = ModelTable(workshop.registry)
        store = SlowStore(f"sqlite:///{workshop.home / 'online' / 'online.sqlite'}")
        engine = PredictionEngine(table, store, SystemClock(), time.perf_counter_ns)
        yield Serving(table, engine, time.perf_counter_ns, str(workshop.home), 3_600, 10_000)
        store.close()

    replies = asyncio.run(_storm(Api(opened), MAX_WAITING + 20))
    refused = [reply for reply in replies if reply.status_code == 503]
    assert len(refused) == 20
    assert {reply.headers["retry-after"] for reply in refused} == {"1"}
    assert [reply.status_code for reply in replies].count(200) == MAX_WAITING
