"""The BentoML service: the API below /api/ml, wired from the settings when the server starts.

Host it with `python -m serving.launcher`. There is one service and nothing depends on another: between BentoML
services requests travel as pickle.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from typing import Any

import bentoml
from starlette.types import ASGIApp

from ratchet.clock import SystemClock
from ratchet.features.store import open_online_store
from ratchet.registry import FileRegistry
from ratchet.settings import Settings, load_settings
from serving.engine import PredictionEngine
from serving.routes import Api, Serving
from serving.served import ServedSampler
from serving.table import ModelTable

API_PATH = "/api/ml"
REQUEST_TIMEOUT_S = 10.0


@contextmanager
def open_serving() -> Iterator[Serving]:
    """Make the parts from the settings in the environment, and release them at the end.

    Raises:
        ConfigurationError: a setting is wrong.
        UnavailableError: the registry or the online store cannot be opened.
    """
    settings = load_settings()
    clock = SystemClock()
    with (
        FileRegistry(settings.root / "registry", settings.registry_database_url, clock, read_only=True) as registry,
        closing(open_online_store(settings.online_store_database_url)) as store,
        _sampler(settings) as sampler,
    ):
        table = ModelTable(registry)
        yield Serving(
            table=table,
            engine=PredictionEngine(table, store, clock, time.perf_counter_ns, sampler),
            timer=time.perf_counter_ns,
            home=str(settings.root),
            poll_interval_s=settings.serving.poll_interval_s,
            max_body_bytes=settings.serving.max_body_bytes,
        )


def _sampler(settings: Settings) -> AbstractContextManager[ServedSampler | None]:
    share = settings.serving.audit_share
    if share == 0:
        return nullcontext()
    draw = random.random  # which predictions are logged is no secret
    return ServedSampler(settings.served_log_path, share=share, kept=settings.serving.audit_kept, draw=draw)


@bentoml.service(
    workers=1,
    http={"host": "127.0.0.1", "port": 8001},
    traffic={"timeout": REQUEST_TIMEOUT_S},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    tracing={"excluded_urls": [API_PATH]},
)
@bentoml.asgi_app(Api(open_serving).app(), path=API_PATH)
class Predictor:
    """Predictions of the direction of the next move, from the models in production and in staging."""


def asgi_app() -> ASGIApp:
    """Return the whole service as one ASGI app, for a server of one's own.

    `is_main` keeps BentoML from accepting pickle.
    """
    service: Any = Predictor
    app: ASGIApp = service.to_asgi(is_main=True)
    return app
