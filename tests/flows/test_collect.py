"""The collect flow on a real Prefect server: twice the same dataset, and artifacts that a person can look at."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import Artifact
from prefect.testing.utilities import prefect_test_harness

from flows.collect import collect
from ratchet.clock import FixedClock
from ratchet.data.history import CandleHistory
from ratchet.data.snapshots import load_candles, load_manifest
from ratchet.exchanges import SimulatedMarket, SimulatedMarketConfig

SOURCE = "simulated://?bars=120&symbols=2"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "home"))
    with prefect_test_harness(server_startup_timeout=120):
        yield tmp_path / "home"


def artifacts() -> dict[str, Artifact]:
    with get_client(sync_client=True) as client:
        return {artifact.key or "": artifact for artifact in client.read_artifacts()}


@pytest.mark.engine
@pytest.mark.slow
def test_the_flow_collects_judges_and_shows(home: Path) -> None:
    """What the market has is in a validated dataset; a second run names the same one; the gaps are to be seen."""
    first = collect(source=SOURCE)
    assert collect(source=SOURCE) == first
    expected = SimulatedMarket(SimulatedMarketConfig.from_url(SOURCE)).candles()
    assert load_candles(first).equals(expected.sort_values(["symbol", "ts_event_ns"], ignore_index=True))
    with_reports = CandleHistory(home / "market" / "candles", FixedClock(0), read_only=True)
    assert len(with_reports.catalog.list_collections(limit=10)) == 2
    found = artifacts()
    (ledger,) = (artifact for key, artifact in found.items() if key.startswith("gaps-simulated"))
    picture = str(ledger.data).partition("data:image/png;base64,")[2].partition(")")[0]
    assert base64.b64decode(picture).startswith(b"\x89PNG")
    assert load_manifest(first).digest in str(ledger.data)
    (table,) = (artifact for key, artifact in found.items() if key.startswith("coverage-simulated"))
    assert "100.000%" in str(table.data)
    assert load_manifest(first).digest in str(found["data-quality"].data)
