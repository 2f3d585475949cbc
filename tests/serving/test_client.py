"""The client against the real server, against nothing, and against something else."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import BaseModel

from ratchet.client import ModelServerClient, answers
from ratchet.errors import ConfigurationError, InputError, NotFoundError, UnavailableError
from serving import schemas
from tests.serving.conftest import ALPHA
from tests.serving.workshop import ServerProcess, Workshop, free_port, run_onnx, window

pytestmark = pytest.mark.engine


@pytest.fixture
def client(server: ServerProcess) -> Iterator[ModelServerClient]:
    with ModelServerClient(server.url) as opened:
        yield opened


def test_predictions_come_back_typed(client: ModelServerClient) -> None:
    """By symbol, by window and from staging, the client returns what the server said."""
    by_symbol = client.predict("BTC/USDT")
    by_window = client.predict(model="alpha", window=window(7))
    staged = client.predict("ETH/USDT", model="beta", stage="staging")
    assert by_symbol.p_up == pytest.approx(run_onnx(ALPHA, window(11)[None])[0], abs=1e-6)
    assert by_window.p_up == pytest.approx(run_onnx(ALPHA, window(7)[None])[0], abs=1e-6)
    assert (staged.version, staged.stage) == ("v1.1.0", "staging")


def test_a_batch_comes_back_in_order(client: ModelServerClient) -> None:
    """One answer per symbol, each for its own symbol."""
    symbols = ["SOL/USDT", "BTC/USDT", "ETH/USDT", "BTC/USDT"]
    assert [answer.symbol for answer in client.predict_batch(symbols)] == symbols


def test_what_rollouts_ask_is_answered(client: ModelServerClient, filled: Workshop) -> None:
    """Health, reload and the production version of each model."""
    assert client.is_healthy()
    assert client.reload().epoch == filled.registry.epoch()
    assert client.production_version("beta") == "v1.0.0"
    assert client.production_version("waiting") is None
    assert Path(client.health().home) == filled.home
    assert len(client.models().models) == 4


def test_refusals_become_the_librarys_errors(client: ModelServerClient) -> None:
    """The server's sentence arrives in an error whose kind says whether trying again can help."""
    with pytest.raises(NotFoundError, match="no production model covers 'ADA/USDT'"):
        client.predict("ADA/USDT")
    with pytest.raises(UnavailableError, match="no features of DOGE/USDT"):
        client.predict("DOGE/USDT")
    with pytest.raises(InputError, match="needs 4 rows of 3 features"):
        client.predict(model="alpha", window=window(1)[:-1])
    with pytest.raises(InputError, match="not finite"):
        client.predict(model="alpha", window=np.full((4, 3), np.nan, dtype=np.float32))
    with pytest.raises(UnavailableError, match="one probability per window"):
        client.predict("XRP/USDT")


def test_without_a_server_the_error_says_how_to_start_one() -> None:
    """One line: what is missing, where, and the command."""
    url = f"http://127.0.0.1:{free_port()}"
    with ModelServerClient(url) as client:
        with pytest.raises(UnavailableError) as caught:
            client.predict("BTC/USDT")
        assert str(caught.value) == f"no model server at {url}; start it with: ratchet serve"
        assert not client.is_healthy()


def test_a_url_that_is_none_is_refused_at_once() -> None:
    """A missing scheme is named before any call."""
    with pytest.raises(ConfigurationError, match="expected http://HOST:PORT"):
        ModelServerClient("localhost:8001")


class _Foreign(BaseHTTPRequestHandler):
    """Some other program that holds the port; /api/ml/health hangs."""

    stop = threading.Event()

    def do_GET(self) -> None:
        if self.path.endswith("/health"):
            self.stop.wait(10)
        self.send_response(200 if self.path.endswith("/models") else 404)
        self.end_headers()
        self.wfile.write(b"<html>hello</html>")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Keep quiet."""


@contextmanager
def _foreign_server() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Foreign)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        _Foreign.stop.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_another_program_on_the_port_is_recognised() -> None:
    """Neither a foreign page nor a server that never answers is taken for a model server."""
    with _foreign_server() as url, ModelServerClient(url, timeout_s=0.3) as client:
        with pytest.raises(UnavailableError, match="no model server of this release"):
            client.models()
        with pytest.raises(UnavailableError, match=r"did not answer within 0\.3 s"):
            client.health()
        with pytest.raises(UnavailableError, match="no model server of this release"):
            client.predict("BTC/USDT")


def _kinds(root: type[Exception]) -> set[type[Exception]]:
    return {root}.union(*(_kinds(kind) for kind in root.__subclasses__()))


@pytest.mark.parametrize("kind", sorted(_kinds(httpx.RequestError), key=repr))
def test_every_error_of_the_transport_is_translated(kind: type[httpx.RequestError]) -> None:
    """Whatever httpx raises while it sends, callers see UnavailableError with the server's address."""

    def fail(request: httpx.Request) -> httpx.Response:
        raise kind("broken", request=request)

    with (
        ModelServerClient("http://127.0.0.1:1", transport=httpx.MockTransport(fail)) as client,
        pytest.raises(UnavailableError, match=r"http://127\.0\.0\.1:1"),
    ):
        client.models()


@pytest.mark.parametrize(
    ("seen", "sent"),
    [
        (answers.ServedPrediction, schemas.Prediction),
        (answers.ModelOnServer, schemas.ServedModel),
        (answers.FailedModel, schemas.LoadFailure),
        (answers.ModelsOnServer, schemas.ServedModels),
        (answers.ServerHealth, schemas.Health),
        (answers.Refusal, schemas.ErrorReply),
    ],
)
def test_the_client_knows_the_servers_fields(seen: type[BaseModel], sent: type[BaseModel]) -> None:
    """Both sides are written down once each; they may not drift apart."""
    assert set(seen.model_fields) <= set(sent.model_fields)
