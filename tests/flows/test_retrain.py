"""The retrain flow and the glue of its tasks."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from flows.collect import collect
from flows.features import features
from flows.retrain import retrain
from ratchet.errors import BusyError
from ratchet.evaluation.predictions import concatenate, predictions_of
from ratchet.evaluation.turn import RetrainRequest
from tasks.evaluate import last_fold, sample_positions
from tasks.features import too_short
from tasks.lease import retraining_lease
from tests.panels import signal_panel

ROOT = Path(__file__).resolve().parents[2]


def test_deployments_pass_parameters_that_the_flow_has() -> None:
    """Every schedule and trigger of prefect.yaml names parameters of the flow it starts."""
    flows: dict[str, Any] = {
        "flows.retrain.retrain": retrain,
        "flows.collect.collect": collect,
        "flows.features.features": features,
    }
    for deployment in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]:
        known = set(inspect.signature(flows[deployment["entrypoint"]].fn).parameters)
        for start in [*deployment.get("schedules", []), *deployment.get("triggers", []), deployment]:
            assert set(start.get("parameters", {})) <= known


def test_the_flow_takes_what_a_request_holds() -> None:
    """The flow's parameters and their defaults are those of a RetrainRequest."""
    parameters = inspect.signature(retrain.fn).parameters
    assert {name: parameter.default for name, parameter in parameters.items()} == {
        name: field.default for name, field in RetrainRequest.model_fields.items()
    }


def test_predictions_find_their_samples_again() -> None:
    """The rows of the last fold lead back to the very samples of the panel that they were made for."""
    panel = signal_panel()
    index = np.arange(0, len(panel), 3, dtype=np.int64)
    halves = np.array_split(index, 2)
    rng = np.random.default_rng(1)
    parts = [predictions_of(panel, half, rng.uniform(size=len(half)), fold=fold) for fold, half in enumerate(halves)]
    rows = last_fold(concatenate(parts))
    assert set(sample_positions(panel, rows).tolist()) == set(halves[1].tolist())
    assert np.array_equal(panel.ts_ns[sample_positions(panel, rows)], rows.ts_ns)


def test_only_one_retraining_runs_in_a_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second retraining is refused while the first holds the lease, and may run after it."""
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path))
    with retraining_lease(), pytest.raises(BusyError, match="another retraining"), retraining_lease():
        raise AssertionError("two retrainings at once")
    with retraining_lease():
        assert (tmp_path / "run" / "retrain.lock").exists()


def test_a_young_listing_is_left_out_unless_it_was_asked_for() -> None:
    """One symbol without enough history does not stop the others; nothing is hidden where nothing would be left."""
    candles = pd.DataFrame({"symbol": ["OLD/USDT"] * 600 + ["NEW/USDT"] * 100})
    assert too_short(candles, 533, RetrainRequest()) == ["NEW/USDT"]
    assert too_short(candles, 533, RetrainRequest(symbols=("OLD/USDT", "NEW/USDT"))) == []
    assert too_short(candles, 1_000, RetrainRequest()) == []
