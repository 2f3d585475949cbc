"""Tiny real models, a registry with them, and a real server process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ratchet.clock import SystemClock
from ratchet.features.store import SqliteOnlineStore
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.testing.gate import gate_report

N_TIME = 4
N_FEATURE = 3
SCHEMA_HASH = "5c" * 32
HOUR_NS = 3_600 * 1_000_000_000
REPOSITORY = Path(__file__).resolve().parents[2]
START_WITHIN_S = 60.0


def tiny_onnx(bias: float = 0.0, *, op: str = "Identity", input_name: str = "windows") -> bytes:
    """p_up = sigmoid(op(sum(windows * weights) + bias)); the weights tell every cell apart."""
    weights = np.linspace(-0.4, 0.6, N_TIME * N_FEATURE, dtype=np.float32).reshape(N_TIME, N_FEATURE)
    nodes = [
        helper.make_node("Mul", [input_name, "weights"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "bias"], ["score"]),
        helper.make_node(op, ["score"], ["shaped"]),
        helper.make_node("Sigmoid", ["shaped"], ["p_up"]),
    ]
    initializers = [
        numpy_helper.from_array(weights, "weights"),
        numpy_helper.from_array(np.array([1, 2], dtype=np.int64), "axes"),
        numpy_helper.from_array(np.array([bias], dtype=np.float32), "bias"),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(input_name, TensorProto.FLOAT, ["batch", N_TIME, N_FEATURE])],
        [helper.make_tensor_value_info("p_up", TensorProto.FLOAT, ["batch"])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def run_onnx(onnx_bytes: bytes, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    """What onnxruntime itself answers, (batch,)."""
    session = ort.InferenceSession(onnx_bytes, providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: windows})[0]
    return answer


def window(seed: int, n_time: int = N_TIME) -> NDArray[np.float32]:
    """A random window (time, feature)."""
    return np.random.default_rng(seed).normal(size=(n_time, N_FEATURE)).astype(np.float32)


def golden(onnx_bytes: bytes, windows: NDArray[np.float32] | None = None) -> bytes:
    """Two windows and the model's own answers to them, as the retrain flow registers them."""
    used = np.stack([window(1), window(2)]) if windows is None else windows
    return json.dumps({"windows": used.tolist(), "p_up": run_onnx(onnx_bytes, used).tolist()}).encode()


def metadata(symbols: Sequence[str], view: str = "demo") -> dict[str, Any]:
    """What serving needs to know of a version."""
    return {
        "feature_view": view,
        "schema_hash": SCHEMA_HASH,
        "feature_names": [f"f{i}" for i in range(N_FEATURE)],
        "window": N_TIME,
        "timeframe": "1h",
        "horizon": 1,
        "symbols": list(symbols),
    }


class Workshop:
    """A home folder with a registry and an online store that a test fills."""

    def __init__(self, home: Path) -> None:
        self.home = home
        registry = home / "registry"
        self.registry = FileRegistry(registry, f"sqlite:///{registry / 'registry.sqlite'}", SystemClock())
        self.store = SqliteOnlineStore(f"sqlite:///{home / 'online' / 'online.sqlite'}")

    def register(self, name: str, onnx_bytes: bytes, symbols: Sequence[str], **more: Any) -> ModelVersion:
        """Register a version that the gate approved; `view` and `golden_bytes` may be given."""
        files: dict[str, Path | bytes] = {"model.onnx": onnx_bytes, "gate.json": gate_report(onnx_bytes)}
        files["golden.json"] = more.get("golden_bytes") or golden(onnx_bytes)
        described = metadata(symbols, more.get("view", "demo"))
        return self.registry.register_model(name, files, described, {}, actor="test", reason="test")

    def promote(self, version: ModelVersion) -> ModelVersion:
        """Put a version into production."""
        return self.registry.set_production_model(version.name, version.version, actor="test", reason="test")

    def stage(self, version: ModelVersion) -> ModelVersion:
        """Put a version into staging."""
        return self.registry.set_staging_model(version.name, version.version, actor="test", reason="test")

    def publish(self, symbol: str, values: NDArray[np.float32], *, bars_ago: int = 0, view: str = "demo") -> int:
        """Store a window whose last bar closed `bars_ago` whole hours before the newest one; return its open time."""
        opened_ns = (time.time_ns() // HOUR_NS - 1 - bars_ago) * HOUR_NS
        self.store.write_windows(view, SCHEMA_HASH, {symbol: (opened_ns, values)}, HOUR_NS, replace=True)
        return opened_ns

    def close(self) -> None:
        """Release the files."""
        self.registry.close()
        self.store.close()


def corrupt(version: ModelVersion) -> None:
    """Flip one byte in the middle of the version's model file."""
    path = Path(version.folder) / "model.onnx"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def free_port() -> int:
    """A loopback port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """`python -m serving.launcher` on a free port."""

    def __init__(self, home: Path, **settings: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = home / "server.log"
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RATCHET_")}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "serving.launcher", "--port", str(self.port), "--home", str(home)],
                cwd=REPOSITORY,
                env=kept | {f"RATCHET_SERVING__{key.upper()}": value for key, value in settings.items()},
                stdout=log,
                stderr=log,
            )
        self.http = httpx.Client(base_url=f"{self.url}/api/ml", timeout=30, trust_env=False)

    def wait_until_up(self) -> None:
        """Return once the server answers; fail with its log where it died."""
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                self.http.get("/health")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"the server did not start: {self.log.read_text()}")

    def predict(self, **question: object) -> httpx.Response:
        """POST one question."""
        return self.http.post("/predict", json=question)

    def stop(self) -> int:
        """Send SIGTERM and return the exit status."""
        self.http.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def running(home: Path, **settings: str) -> Iterator[ServerProcess]:
    """A server process for the block."""
    server = ServerProcess(home, **settings)
    try:
        server.wait_until_up()
        yield server
    finally:
        server.stop()
