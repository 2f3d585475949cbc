"""The server answers from whichever online store the settings name."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from ratchet.errors import UnavailableError
from ratchet.features.store import open_online_store
from serving.schemas import Prediction, PredictRequest
from serving.service import open_serving
from tests.redis_server import RedisServer
from tests.serving.workshop import HOUR_NS, REPOSITORY, SCHEMA_HASH, Workshop, run_onnx, tiny_onnx, window


def _ask() -> Prediction:
    with open_serving() as serving:
        serving.table.refresh()
        return serving.engine.predict([PredictRequest(symbol="BTC/USDT")], received_ns=0, started_ns=0)[0]


@pytest.fixture
def homed(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A home with one model in production and no windows, named by the settings."""
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    monkeypatch.setenv("RATCHET_HOME", str(workshop.home))
    return workshop


@pytest.mark.parametrize("engine", ["sqlite", "redis", "unix"])
def test_a_prediction_comes_from_the_window_in_the_store_of_the_url(
    homed: Workshop, engine: str, tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another process wrote into the named store is answered with, and only that."""
    redis_server.flush()
    urls = {"sqlite": f"sqlite:///{tmp_path / 'x.sqlite'}", "redis": redis_server.url, "unix": redis_server.unix_url}
    monkeypatch.setenv("RATCHET_ONLINE_STORE_URL", urls[engine])
    homed.publish("BTC/USDT", window(8))
    with pytest.raises(UnavailableError, match="no features of BTC/USDT"):
        _ask()
    writer = open_online_store(urls[engine])
    opened_ns = (time.time_ns() // HOUR_NS - 1) * HOUR_NS
    writer.write_windows("demo", SCHEMA_HASH, {"BTC/USDT": (opened_ns, window(7))}, HOUR_NS)
    writer.close()
    answer = _ask()
    assert answer.p_up == pytest.approx(run_onnx(tiny_onnx(), window(7)[None])[0], abs=1e-6)
    assert answer.advice == "act"


def test_a_store_in_memory_can_be_opened_and_starts_empty(homed: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Predictions by symbol wait for somebody in the same process to write."""
    monkeypatch.setenv("RATCHET_ONLINE_STORE_URL", "memory://")
    with pytest.raises(UnavailableError, match="no features of BTC/USDT"):
        _ask()
    assert homed.store.read_window("demo", "BTC/USDT") is None


def test_the_service_loads_no_redis_by_itself() -> None:
    """Only a URL that names Redis loads its client."""
    code = (
        "import sys, serving.service; print([m for m in ('redis', 'numba', 'duckdb', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
