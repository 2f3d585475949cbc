"""Comparing registered versions: scored again on kept bars that neither has seen, or refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from typer.testing import CliRunner

from ratchet.cli.main import app
from ratchet.clock import FixedClock
from ratchet.errors import CandidateRejectedError, InputError, LeakageError
from ratchet.evaluation.policy import GatePolicy
from ratchet.features.panel import Panel, save_panel
from ratchet.registry import FileRegistry, ModelVersion
from ratchet.rollout.comparison import compare_models
from ratchet.settings import Settings
from tests.panels import HOUR_NS, START_NS, signal_panel

WHO: Any = {"actor": "test", "reason": "to compare"}
QUICK = GatePolicy(n_resamples=200)
TRAINED_NS = START_NS + 300 * HOUR_NS


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def registry(settings: Settings) -> Iterator[FileRegistry]:
    folder, url = settings.root / "registry", settings.registry_database_url
    with FileRegistry(folder, url, FixedClock(START_NS)) as registry:
        yield registry


def linear_model(weight: float) -> bytes:
    """p_up = sigmoid(weight * feature 0 of the last bar): a large weight follows the planted signal."""
    helper = onnx.helper
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["windows", "start", "end", "axes"], ["first"]),
            helper.make_node("Mul", ["first", "weight"], ["scaled"]),
            helper.make_node("Sigmoid", ["scaled"], ["column"]),
            helper.make_node("Reshape", ["column", "flat"], ["p_up"]),
        ],
        "linear",
        [helper.make_tensor_value_info("windows", onnx.TensorProto.FLOAT, ["batch", 1, 4])],
        [helper.make_tensor_value_info("p_up", onnx.TensorProto.FLOAT, ["batch"])],
        [
            onnx.numpy_helper.from_array(np.array([weight], dtype=np.float32), "weight"),
            *(
                onnx.numpy_helper.from_array(np.array([value], dtype=np.int64), name)
                for name, value in (("start", 0), ("end", 1), ("axes", 2), ("flat", -1))
            ),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(model.SerializeToString())


def register(
    registry: FileRegistry, settings: Settings, weight: float, panel: Panel, *, train_end_ns: int = TRAINED_NS
) -> ModelVersion:
    metadata = {
        "schema_hash": panel.schema_hash,
        "feature_names": list(panel.feature_names),
        "window": panel.window,
        "timeframe": panel.timeframe,
        "horizon": panel.horizon,
        "market": "simulated, seed 7, signal 1",
        "symbols": list(panel.symbols),
        "train_end_ns": train_end_ns,
        "panel_digest": save_panel(settings.root / "panels", panel).digest,
    }
    return registry.register_model("btc", {"model.onnx": linear_model(weight)}, metadata, {}, **WHO)


def test_the_better_model_is_found_on_bars_that_neither_has_seen(registry: FileRegistry, settings: Settings) -> None:
    """A model that follows the planted signal against one that does the opposite: approve, and reject the other way."""
    panel = signal_panel(n_bars=900)
    good, bad = register(registry, settings, 5.0, panel), register(registry, settings, -5.0, panel)
    report = compare_models(registry, settings, good, bad, policy=QUICK)
    assert report.verdict == "approve"
    assert report.accuracy > 0.6
    assert report.champion_accuracy < 0.4
    assert report.window.start_ns >= TRAINED_NS + HOUR_NS
    assert (report.challenger, report.champion) == ("btc v1.0.0", "btc v1.1.0")
    assert compare_models(registry, settings, bad, good, policy=QUICK).verdict == "reject"


def test_the_window_begins_after_the_later_training(registry: FileRegistry, settings: Settings) -> None:
    """A champion that was trained longer shortens the window; one that saw everything leaves none."""
    panel = signal_panel(n_bars=900)
    good = register(registry, settings, 5.0, panel)
    later = register(registry, settings, -5.0, panel, train_end_ns=TRAINED_NS + 200 * HOUR_NS)
    report = compare_models(registry, settings, good, later, policy=QUICK)
    assert report.window.start_ns == TRAINED_NS + 201 * HOUR_NS
    everything = register(registry, settings, -5.0, panel, train_end_ns=START_NS + 900 * HOUR_NS)
    with pytest.raises(LeakageError, match=r"btc v1\.2\.0 was trained on every bar that was kept"):
        compare_models(registry, settings, good, everything, policy=QUICK)


def test_the_newest_kept_bars_are_used(registry: FileRegistry, settings: Settings) -> None:
    """Two versions of different weeks meet on the bars of the later one."""
    old = register(registry, settings, -5.0, signal_panel(n_bars=500))
    new = register(registry, settings, 5.0, signal_panel(n_bars=900))
    report = compare_models(registry, settings, new, old, policy=QUICK)
    assert report.window.end_ns > START_NS + 890 * HOUR_NS


def test_models_that_answer_different_questions_are_not_compared(registry: FileRegistry, settings: Settings) -> None:
    """Other symbols or features make another question."""
    one = register(registry, settings, 5.0, signal_panel(n_symbols=3))
    other = register(registry, settings, 5.0, signal_panel(n_symbols=2))
    with pytest.raises(CandidateRejectedError, match="would be left without a model"):
        compare_models(registry, settings, other, one, policy=QUICK)


def test_the_command_compares_what_it_is_given(
    registry: FileRegistry, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`ratchet compare MODEL@VERSION MODEL@VERSION` prints the verdict with its reasons, or the record as JSON."""
    panel = signal_panel(n_bars=900)
    for weight in (5.0, -5.0):
        register(registry, settings, weight, panel)
    monkeypatch.setenv("RATCHET_HOME", str(settings.root))
    answer = CliRunner().invoke(app, ["compare", "btc@v1.0.0", "btc@latest"])
    assert answer.exit_code == 0, answer.output
    assert "btc v1.0.0 against btc v1.1.0" in answer.output
    assert "approve" in answer.output
    record = json.loads(CliRunner().invoke(app, ["compare", "btc@v1.0.0", "btc@v1.1.0", "--json"]).output)
    assert record["verdict"] == "approve"
    assert {item["name"] for item in record["criteria"]} == {"accuracy_gain", "net_sharpe", "slices"}
    wrong = CliRunner().invoke(app, ["compare", "btc", "btc@v1.1.0"])
    assert isinstance(wrong.exception, InputError)
