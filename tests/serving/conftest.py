from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.workshop import ServerProcess, Workshop, running, tiny_onnx, window

ALPHA, BETA, BETA_STAGED, SQUARE_ROOT = tiny_onnx(0.1), tiny_onnx(-0.2), tiny_onnx(0.4), tiny_onnx(50.0, op="Sqrt")


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    """An empty home folder for one test."""
    made = Workshop(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    """A home that tests only read: four models, fresh and stale windows."""
    made = Workshop(tmp_path_factory.mktemp("home"))
    made.promote(made.register("alpha", ALPHA, ["BTC/USDT", "ETH/USDT", "DOGE/USDT"]))
    made.promote(made.register("beta", BETA, ["ETH/USDT", "SOL/USDT"]))
    made.stage(made.register("beta", BETA_STAGED, ["ETH/USDT", "SOL/USDT"]))
    made.promote(made.register("root", SQUARE_ROOT, ["XRP/USDT"]))
    made.register("waiting", ALPHA, ["BTC/USDT"])
    made.publish("BTC/USDT", window(11))
    made.publish("ETH/USDT", window(12, n_time=9))
    made.publish("SOL/USDT", window(13), bars_ago=5)
    made.publish("XRP/USDT", window(14) - 1_000)
    yield made
    made.close()


@pytest.fixture(scope="session")
def server(filled: Workshop) -> Iterator[ServerProcess]:
    """One server process over `filled`."""
    with running(filled.home, max_body_bytes="100000") as started:
        yield started
