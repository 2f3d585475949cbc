"""Answers of a real server process, compared with onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from ratchet.clock import iso_utc
from tests.serving.conftest import ALPHA, BETA, BETA_STAGED
from tests.serving.workshop import HOUR_NS, N_TIME, SCHEMA_HASH, ServerProcess, Workshop, run_onnx, window

pytestmark = pytest.mark.engine


def test_a_prediction_by_symbol_equals_onnxruntime(server: ServerProcess, filled: Workshop) -> None:
    """The stored window goes through the production model unchanged, and the answer says what it came from."""
    answer = server.predict(symbol="btc/usdt").json()
    latency = answer.pop("latency_ms")
    stored = filled.store.read_window("demo", "BTC/USDT")
    assert stored is not None
    closed_ns = stored.ts_event_ns + HOUR_NS
    assert answer.pop("p_up") == pytest.approx(run_onnx(ALPHA, window(11)[None])[0], abs=1e-6)
    assert answer == {
        "symbol": "BTC/USDT",
        "model": "alpha",
        "version": "v1.0.0",
        "stage": "production",
        "digest": filled.registry.get_model("alpha", "production").digest,
        "schema_hash": SCHEMA_HASH,
        "direction": "up" if run_onnx(ALPHA, window(11)[None])[0] > 0.5 else "down",
        "advice": "act",
        "reason": "",
        "as_of": iso_utc(closed_ns),
        "valid_until": iso_utc(closed_ns + HOUR_NS),
        "is_stale": False,
    }
    assert set(latency) == {"queue", "features", "inference", "total"}
    assert 0 < latency["inference"] <= latency["total"]


def test_a_prediction_by_window_equals_onnxruntime(server: ServerProcess) -> None:
    """A caller's own window is answered without the store, and carries no time."""
    values = window(99)
    answer = server.predict(model="alpha", window=values.tolist()).json()
    assert answer["p_up"] == pytest.approx(run_onnx(ALPHA, values[None])[0], abs=1e-6)
    assert (answer["symbol"], answer["as_of"], answer["valid_until"], answer["is_stale"]) == (None, None, None, False)


def test_only_the_last_rows_of_a_longer_stored_window_are_used(server: ServerProcess) -> None:
    """A view may keep more history than a model needs."""
    answer = server.predict(symbol="ETH/USDT", model="alpha").json()
    assert answer["p_up"] == pytest.approx(run_onnx(ALPHA, window(12, n_time=9)[-N_TIME:][None])[0], abs=1e-6)


def test_without_a_model_the_most_recently_promoted_that_covers_the_symbol_answers(server: ServerProcess) -> None:
    """Both models cover ETH/USDT and beta was promoted last; only alpha covers BTC/USDT."""
    assert server.predict(symbol="ETH/USDT").json()["model"] == "beta"
    assert server.predict(symbol="BTC/USDT").json()["model"] == "alpha"


def test_a_staging_request_is_answered_by_the_staged_version(server: ServerProcess) -> None:
    """Production and staging of one model answer side by side, each with its own version and number."""
    staged = server.predict(symbol="ETH/USDT", stage="staging").json()
    live = server.predict(symbol="ETH/USDT").json()
    last = window(12, n_time=9)[-N_TIME:][None]
    assert (staged["version"], staged["stage"]) == ("v1.1.0", "staging")
    assert (live["version"], live["stage"]) == ("v1.0.0", "production")
    assert staged["p_up"] == pytest.approx(run_onnx(BETA_STAGED, last)[0], abs=1e-6)
    assert live["p_up"] == pytest.approx(run_onnx(BETA, last)[0], abs=1e-6)


def test_an_old_window_is_answered_with_the_advice_to_abstain(server: ServerProcess) -> None:
    """The number is still there for the curious, but nobody is told to act on it."""
    answer = server.predict(symbol="SOL/USDT").json()
    assert (answer["is_stale"], answer["advice"]) == (True, "abstain")
    assert "more than 2 bars" in answer["reason"]


def test_a_batch_keeps_the_order_of_its_requests(server: ServerProcess) -> None:
    """Forty windows for three models, shuffled together, come back each in its own place."""
    rng = np.random.default_rng(3)
    kinds = rng.integers(0, 3, size=40)
    named = [("alpha", "production", ALPHA), ("beta", "production", BETA), ("beta", "staging", BETA_STAGED)]
    windows = [window(1_000 + row) for row in range(40)]
    requests = [
        {"model": named[kind][0], "stage": named[kind][1], "window": values.tolist()}
        for kind, values in zip(kinds, windows, strict=True)
    ]
    answers = server.http.post("/predict/batch", json={"requests": requests}).json()["predictions"]
    expected = [run_onnx(named[kind][2], values[None])[0] for kind, values in zip(kinds, windows, strict=True)]
    assert [answer["p_up"] for answer in answers] == pytest.approx(expected, abs=1e-6)
    assert [(answer["model"], answer["stage"]) for answer in answers] == [named[kind][:2] for kind in kinds]


def test_models_and_health_list_what_is_loaded(server: ServerProcess, filled: Workshop) -> None:
    """Both name every production and staging version, and nothing else."""
    listed = server.http.get("/models").json()
    loaded = {(model["model"], model["stage"], model["version"]) for model in listed["models"]}
    assert loaded == {
        ("alpha", "production", "v1.0.0"),
        ("beta", "production", "v1.0.0"),
        ("beta", "staging", "v1.1.0"),
        ("root", "production", "v1.0.0"),
    }
    health = server.http.get("/health").json()
    assert (health["status"], health["is_ready"], health["problems"]) == ("ok", True, [])
    assert (health["models"], health["epoch"]) == (listed["models"], filled.registry.epoch())
    assert health["home"] == str(filled.home)
