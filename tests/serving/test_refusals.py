"""What a real server process refuses, and how."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.serving.workshop import ServerProcess, window

pytestmark = pytest.mark.engine

_GOOD = window(5).tolist()


def _with(row: int, column: int, value: object) -> list[list[Any]]:
    changed: list[list[Any]] = window(5).tolist()
    changed[row][column] = value
    return changed


@pytest.mark.parametrize(
    ("question", "status", "says"),
    [
        ({"symbol": "ADA/USDT"}, 404, "no production model covers 'ADA/USDT'; covered: BTC/USDT"),
        ({"symbol": "not a symbol"}, 404, "no production model covers"),
        ({"symbol": "SOL/USDT", "model": "alpha"}, 404, "model alpha does not cover 'SOL/USDT'"),
        ({"symbol": "BTC/USDT", "model": "nobody"}, 404, "no model 'nobody'; registered: alpha, beta, root, waiting"),
        ({"symbol": "BTC/USDT", "model": "waiting"}, 503, "model waiting has no production version loaded"),
        ({"symbol": "BTC/USDT", "model": "alpha", "stage": "staging"}, 503, "alpha has no staging version"),
        ({"symbol": "DOGE/USDT"}, 503, "no features of DOGE/USDT in view demo yet"),
        ({"model": "alpha", "window": _GOOD[:-1]}, 422, "needs 4 rows of 3 features, got 3 rows"),
        ({"model": "alpha", "window": [[*row, 0.0] for row in _GOOD]}, 422, "got 4 rows of [4]"),
        ({"model": "alpha", "window": [[1.0], *_GOOD[1:]]}, 422, "got 4 rows of [1, 3]"),
        ({"model": "alpha", "window": _with(1, 2, "0.5")}, 422, "window.1.2"),
        ({"model": "alpha", "window": _with(1, 2, None)}, 422, "window.1.2"),
        ({"model": "alpha", "window": _with(1, 2, True)}, 422, "window.1.2"),
        ({"model": "alpha", "window": _with(0, 0, 1e39)}, 422, "too large for float32"),
        ({"model": "alpha", "window": []}, 422, "window"),
        ({"symbol": "BTC/USDT", "horizon": 3}, 422, "horizon: Extra inputs are not permitted"),
        ({"symbol": 7}, 422, "symbol"),
        ({"symbol": "X" * 65}, 422, "symbol"),
        ({"symbol": "BTC/USDT", "stage": "archived"}, 422, "stage"),
        ({}, 422, "give a symbol, a window, or both"),
        ([], 422, "body"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_one_line(
    server: ServerProcess, question: object, status: int, says: str
) -> None:
    """Each mistake has its status code and a sentence that names it."""
    answer = server.http.post("/predict", json=question)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(server: ServerProcess, number: str) -> None:
    """Neither the spellings that JSON forbids nor an overflow reach the model."""
    text = json.dumps({"model": "alpha", "window": _with(2, 1, "@")}).replace('"@"', number)
    answer = server.http.post("/predict", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 422
    assert answer.json()["fields"][0]["field"] == "window.2.1"


@pytest.mark.parametrize("body", ["", "{", "nonsense", '{"symbol": "BTC/USDT"', "[" * 50_000, '{"symbol": "\\ud800"}'])
def test_a_body_that_is_not_json_is_refused(server: ServerProcess, body: str) -> None:
    """Truncated, empty and absurdly nested bodies are the sender's mistake, not the server's."""
    answer = server.http.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/vnd.bentoml+pickle", "multipart/form-data; boundary=x", None]
)
@pytest.mark.parametrize("path", ["/predict", "/predict/batch"])
def test_only_json_is_read(server: ServerProcess, path: str, content_type: str | None) -> None:
    """Pickle, forms and bodies of no declared type are refused, whatever is in them."""
    headers = {} if content_type is None else {"content-type": content_type}
    answer = server.http.post(path, content=b'{"symbol": "BTC/USDT"}', headers=headers)
    assert answer.status_code == 415


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit_is_refused(server: ServerProcess, is_chunked: bool) -> None:
    """The limit of 100,000 bytes holds with and without a declared length, and the sender sees the answer."""
    block = b" " * 50_000
    content = iter([block, block, block]) if is_chunked else block * 3
    answer = server.http.post("/predict", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["error"] == "the body is longer than 100000 bytes"


def test_a_model_that_gives_no_number_gives_no_answer(server: ServerProcess) -> None:
    """The square root of a negative sum is NaN: the reply is an error without any number in it."""
    answer = server.predict(symbol="XRP/USDT")
    assert answer.status_code == 500
    assert answer.json() == {
        "error": "root v1.0.0 did not answer with one probability per window",
        "fields": [],
    }


def test_a_batch_fails_whole_and_names_the_request(server: ServerProcess) -> None:
    """No half batches: the refusal says which request was at fault."""
    requests = [{"symbol": "BTC/USDT"}, {"symbol": "ADA/USDT"}]
    answer = server.http.post("/predict/batch", json={"requests": requests})
    assert answer.status_code == 404
    assert answer.json()["error"].startswith("requests[1]: no production model covers 'ADA/USDT'")


@pytest.mark.parametrize("n_requests", [0, 257])
def test_a_batch_has_bounds(server: ServerProcess, n_requests: int) -> None:
    """An empty batch and one of more than 256 are refused."""
    answer = server.http.post("/predict/batch", json={"requests": [{"symbol": "BTC/USDT"}] * n_requests})
    assert answer.status_code == 422


def test_a_request_for_another_host_is_refused(server: ServerProcess) -> None:
    """A web page whose name was rebound to loopback gets nothing, on any path."""
    for path in (f"{server.url}/api/ml/models", f"{server.url}/docs.json"):
        assert httpx.get(path, headers={"host": "evil.example"}, trust_env=False).status_code == 421
        assert httpx.get(path, headers={"host": f"localhost:{server.port}"}, trust_env=False).status_code == 200
