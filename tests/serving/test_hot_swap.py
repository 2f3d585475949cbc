"""New versions while the server runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from tests.serving.workshop import ServerProcess, Workshop, corrupt, run_onnx, running, tiny_onnx, window

pytestmark = pytest.mark.engine

_ON_DEMAND = "3600"


def _until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_a_new_production_version_is_picked_up_without_restart(workshop: Workshop) -> None:
    """A server that starts empty serves v1, then v1.1, each with its own version, digest and number."""
    workshop.publish("BTC/USDT", window(1))
    with running(workshop.home, poll_interval_s="0.1") as server:
        empty = server.predict(symbol="BTC/USDT")
        assert (empty.status_code, server.http.get("/health").json()["is_ready"]) == (503, False)
        assert empty.json()["error"] == "no production model is loaded; train one with: ratchet run"
        for bias, number in ((0.0, "v1.0.0"), (1.5, "v1.1.0")):
            content = tiny_onnx(bias)
            live = workshop.promote(workshop.register("alpha", content, ["BTC/USDT"]))
            _until(lambda number=number: server.predict(symbol="BTC/USDT").json().get("version") == number)  # type: ignore[misc]
            answer = server.predict(symbol="BTC/USDT").json()
            assert (answer["version"], answer["digest"]) == (number, live.digest)
            assert answer["p_up"] == pytest.approx(run_onnx(content, window(1)[None])[0], abs=1e-6)


def test_a_corrupted_file_leaves_the_old_version_serving_and_shows_in_health(workshop: Workshop) -> None:
    """The number stays the old version's until the registry points at something whole again, or at nothing."""
    workshop.publish("BTC/USDT", window(1))
    workshop.promote(workshop.register("alpha", tiny_onnx(0.0), ["BTC/USDT"]))
    with running(workshop.home, poll_interval_s=_ON_DEMAND) as server:
        before = server.predict(symbol="BTC/USDT").json()
        corrupt(workshop.promote(workshop.register("alpha", tiny_onnx(1.5), ["BTC/USDT"])))
        failures = server.http.post("/models/reload").json()["failures"]
        after = server.predict(symbol="BTC/USDT").json()
        assert [(each["version"], each["still_serving"]) for each in failures] == [("v1.1.0", "v1.0.0")]
        assert (after["version"], after["digest"], after["p_up"]) == ("v1.0.0", before["digest"], before["p_up"])
        health = server.http.get("/health")
        assert (health.status_code, health.json()["status"]) == (200, "degraded")
        assert "alpha v1.1.0 (production)" in health.json()["problems"][0]
        workshop.registry.rollback_to_previous("alpha", actor="test", reason="test")
        assert server.http.post("/models/reload").json()["failures"] == []
        assert server.http.get("/health").json()["status"] == "ok"
        workshop.registry.withdraw_model("alpha", "v1.0.0", actor="test", reason="test")
        assert server.http.post("/models/reload").json()["models"] == []
        assert server.predict(symbol="BTC/USDT").status_code == 503


def test_swaps_under_load_fail_no_request_and_mix_no_versions(workshop: Workshop) -> None:
    """While six versions follow each other, every answer is whole: its number belongs to its version."""
    workshop.publish("BTC/USDT", window(1))
    contents = {f"v1.{minor}.0": tiny_onnx(0.3 * minor) for minor in range(6)}
    expected = {number: run_onnx(content, window(1)[None])[0] for number, content in contents.items()}
    workshop.promote(workshop.register("alpha", contents["v1.0.0"], ["BTC/USDT"]))
    answers: list[tuple[int, str | None, float | None]] = []
    with running(workshop.home, poll_interval_s="0.05") as server:
        stop = threading.Event()
        callers = [threading.Thread(target=_call, args=(server, stop, answers)) for _ in range(2)]
        for caller in callers:
            caller.start()
        for number in list(contents)[1:]:
            workshop.promote(workshop.register("alpha", contents[number], ["BTC/USDT"]))
            _until(lambda number=number: server.predict(symbol="BTC/USDT").json()["version"] == number)  # type: ignore[misc]
        stop.set()
        for caller in callers:
            caller.join()
    assert {status for status, _, _ in answers} == {200}
    assert {number for _, number, _ in answers} >= {"v1.0.0", "v1.5.0"}
    assert all(p_up == pytest.approx(expected[str(number)], abs=1e-6) for _, number, p_up in answers)


def _call(server: ServerProcess, stop: threading.Event, answers: list[tuple[int, str | None, float | None]]) -> None:
    while not stop.is_set():
        reply = server.predict(symbol="BTC/USDT")
        answers.append((reply.status_code, reply.json().get("version"), reply.json().get("p_up")))
