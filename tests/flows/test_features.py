"""The features flow on a real Prefect server: windows of live models become current, and skew raises the alarm."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness

from flows.features import features
from ratchet.clock import SystemClock
from ratchet.evaluation.turn import RetrainRequest
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig
from ratchet.features.audit.served_log import ServedLog, ServedVector
from ratchet.features.panel import latest_windows
from ratchet.features.sets import FeatureSet
from ratchet.features.store import SqliteOnlineStore
from ratchet.market import Timeframe
from ratchet.registry import FileRegistry
from ratchet.registry.base import ModelVersion
from ratchet.settings import Settings
from ratchet.testing.gate import gate_report

SOURCE = "simulated://?bars=620&symbols=2"
WINDOW = 16
BASE = FeatureSet.base()
HOUR = Timeframe.parse("1h")


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    with prefect_test_harness(server_startup_timeout=120):
        yield Settings(home=tmp_path)


def _in_production(settings: Settings, **changes: object) -> ModelVersion:
    """Register a version that says what windows it reads, and put it into production."""
    request = RetrainRequest.create(source=SOURCE, symbols=None, timeframe="1h", model=None)
    metadata = {
        "request": request.model_dump(mode="json"),
        "feature_view": "demo",
        "schema_hash": BASE.schema_hash,
        "feature_names": list(BASE.names),
        "window": WINDOW,
        "symbols": ["BTC/USDT", "ETH/USDT"],
        **changes,
    }
    files: dict[str, Path | bytes] = {"model.onnx": b"onnx", "gate.json": gate_report(b"onnx")}
    with FileRegistry(settings.root / "registry", settings.registry_database_url, SystemClock()) as registry:
        version = registry.register_model(request.model_name, files, metadata, {}, actor="test", reason="test")
        return registry.set_production_model(version.name, version.version, actor="test", reason="test")


def _served(version: ModelVersion, symbol: str, ts_ns: int, window: np.ndarray) -> ServedVector:
    return ServedVector(
        view="demo",
        schema_hash=BASE.schema_hash,
        symbol=symbol,
        ts_event_ns=ts_ns,
        served_ns=ts_ns + HOUR.ns,
        model=version.name,
        version=version.version,
        values=window[-1],
        window_sha256=hashlib.sha256(window.tobytes()).hexdigest(),
    )


@pytest.mark.engine
@pytest.mark.slow
def test_live_windows_become_current_and_a_planted_skew_raises_the_alarm(settings: Settings) -> None:
    version = _in_production(settings)
    states = features()
    assert [state.is_completed() for state in states] == [True, True, True]
    candles = SimulatedMarket(SimulatedMarketConfig.from_url(SOURCE)).candles()
    expected = latest_windows(candles, BASE, timeframe=HOUR, window=WINDOW)
    with closing(SqliteOnlineStore(settings.online_store_database_url)) as store:
        for symbol, (ts_ns, values) in expected.items():
            stored = store.read_window("demo", symbol)
            assert stored is not None
            assert (stored.ts_event_ns, stored.values.tobytes()) == (ts_ns, values.tobytes())

    (symbol, (ts_ns, window)), *_ = expected.items()
    with closing(ServedLog(settings.served_log_path)) as log:
        log.append([_served(version, symbol, ts_ns, window)], kept=100)
    assert features()[-1].result() is True
    skewed = window.copy()
    skewed[-1, BASE.names.index("rsi_14")] += 0.01
    with closing(ServedLog(settings.served_log_path)) as log:
        log.append([_served(version, symbol, ts_ns, skewed)], kept=100)
    assert features()[-1].result() is False
    rate = (settings.root / "run" / f"skew-{version.name}.prom").read_text()
    assert rate.startswith(f'ratchet_feature_skew_rate{{model="{version.name}"}} 0.5')
    with get_client(sync_client=True) as client:
        reports = [str(item.data) for item in client.read_artifacts() if str(item.key).startswith("skew-")]
    assert sum("rsi_14" in report for report in reports) == 1


@pytest.mark.engine
@pytest.mark.slow
def test_a_model_of_other_features_fails_the_run_by_name(settings: Settings) -> None:
    _in_production(settings, schema_hash="0" * 64)
    states = features(return_state=True)
    assert states.is_failed()
    assert "another version of the feature set 'base'" in str(states.message) + str(
        states.result(raise_on_failure=False)
    )
