"""Answers in one process, at times that the test sets."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from ratchet.clock import FixedClock
from ratchet.errors import ArtifactError, CandidateRejectedError, InputError, NotFoundError, UnavailableError
from serving.engine import PredictionEngine
from serving.loader import load_model
from serving.schemas import Prediction, PredictRequest
from serving.table import ModelTable
from tests.serving.workshop import (
    HOUR_NS,
    N_FEATURE,
    N_TIME,
    SCHEMA_HASH,
    Workshop,
    golden,
    metadata,
    run_onnx,
    tiny_onnx,
    window,
)

_OPEN_NS = 1_704_067_200_000_000_000


@dataclass
class Ticks:
    """A timer that advances by one millisecond with each look."""

    now_ns: int = 0

    def __call__(self) -> int:
        self.now_ns += 1_000_000
        return self.now_ns


def _ask(workshop: Workshop, now_ns: int, symbol: str = "BTC/USDT") -> Prediction:
    table = ModelTable(workshop.registry)
    table.refresh()
    engine = PredictionEngine(table, workshop.store, FixedClock(now_ns), Ticks())
    return engine.predict([PredictRequest(symbol=symbol)], received_ns=0, started_ns=500_000)[0]


def _publish(workshop: Workshop, values: NDArray[np.float32], schema_hash: str = SCHEMA_HASH) -> None:
    workshop.store.write_windows("demo", schema_hash, {"BTC/USDT": (_OPEN_NS, values)}, HOUR_NS)


@pytest.fixture
def live(workshop: Workshop) -> Workshop:
    """One model in production and one window, whose last bar opened at `_OPEN_NS`."""
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    _publish(workshop, window(1))
    return workshop


@pytest.mark.parametrize(("bars_after_close", "is_stale"), [(0, False), (1, False), (2, False), (3, True)])
def test_an_answer_goes_stale_two_bars_after_its_last_close(
    live: Workshop, bars_after_close: int, is_stale: bool
) -> None:
    """The bar that opened at 00:00 is known at 01:00; until 03:00 its answer may be acted on."""
    answer = _ask(live, _OPEN_NS + (1 + bars_after_close) * HOUR_NS)
    assert (answer.as_of, answer.valid_until) == ("2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z")
    assert (answer.is_stale, answer.advice) == (is_stale, "abstain" if is_stale else "act")
    assert _ask(live, _OPEN_NS + 3 * HOUR_NS + 1).is_stale


def test_a_bar_that_has_not_closed_yet_is_not_acted_on(live: Workshop) -> None:
    """A window from the future is a wrong clock or an unfinished bar; either way the advice is to abstain."""
    answer = _ask(live, _OPEN_NS + HOUR_NS - 1)
    assert (answer.advice, answer.is_stale) == ("abstain", False)
    assert "not closed yet" in answer.reason


def test_the_latency_split_adds_up(live: Workshop) -> None:
    """Queue, features and inference are the marks between receipt and answer, in milliseconds."""
    latency = _ask(live, _OPEN_NS + HOUR_NS).latency_ms
    assert (latency.queue, latency.features, latency.inference, latency.total) == (0.5, 0.5, 1.0, 3.0)


def test_windows_of_another_schema_or_shape_are_not_answered(live: Workshop) -> None:
    """Features that the model was not trained on never reach it."""
    for values, schema_hash, says in (
        (window(1), "00" * 32, "have schema 000000000000, alpha v1.0.0 needs 5c5c5c5c5c5c"),
        (window(1)[1:], SCHEMA_HASH, r"have shape \(3, 3\), alpha v1.0.0 needs \(4, 3\)"),
        (window(1)[:, 1:], SCHEMA_HASH, r"have shape \(4, 2\)"),
    ):
        _publish(live, values, schema_hash)
        with pytest.raises(UnavailableError, match=says):
            _ask(live, _OPEN_NS + HOUR_NS)


def test_the_last_promotion_decides_between_models_even_after_a_rollback(workshop: Workshop) -> None:
    """ "Most recently promoted" follows the registry's history, not the names or numbers."""
    _publish(workshop, window(1))
    first = workshop.promote(workshop.register("alpha", tiny_onnx(0.1), ["BTC/USDT"]))
    workshop.promote(workshop.register("beta", tiny_onnx(0.2), ["BTC/USDT"]))
    assert _ask(workshop, _OPEN_NS).model == "beta"
    workshop.promote(workshop.register("alpha", tiny_onnx(0.3), ["BTC/USDT"]))
    assert _ask(workshop, _OPEN_NS).version == "v1.1.0"
    workshop.promote(workshop.register("beta", tiny_onnx(0.4), ["BTC/USDT"]))
    workshop.registry.rollback_to_previous("alpha", actor="test", reason="test")
    answer = _ask(workshop, _OPEN_NS)
    assert (answer.model, answer.version, answer.digest) == ("alpha", "v1.0.0", first.digest)


def test_a_request_without_symbol_needs_a_window() -> None:
    """The schema refuses a question about nothing."""
    with pytest.raises(ValueError, match="give a symbol, a window, or both"):
        PredictRequest()


def test_the_table_keeps_a_loaded_version_that_moves_from_staging_to_production(workshop: Workshop) -> None:
    """Promotion swaps a pointer; the session that passed its checks in staging is the one that goes live."""
    table = ModelTable(workshop.registry)
    staged = workshop.stage(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    before = table.refresh().choose("staging", "alpha", None)
    workshop.promote(staged)
    after = table.refresh()
    assert after.choose("production", "alpha", None) is before
    with pytest.raises(UnavailableError, match="alpha has no staging version"):
        after.choose("staging", "alpha", None)


def test_nothing_is_read_again_while_the_registry_stands_still(workshop: Workshop) -> None:
    """Between two changes every look returns the same table."""
    table = ModelTable(workshop.registry)
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    assert table.refresh() is table.refresh()


def test_a_registry_that_cannot_be_read_leaves_the_models_serving(live: Workshop) -> None:
    """A damaged database is a problem to report, not a reason to stop answering."""
    table = ModelTable(live.registry)
    table.refresh()
    live.registry.close()
    for path in (live.home / "registry").glob("registry.sqlite*"):
        path.write_bytes(b"not a database" * 1_000)
    assert table.refresh().choose("production", "alpha", "BTC/USDT").version == "v1.0.0"
    assert table.registry_problem is not None


def test_golden_answers_decide_whether_a_version_is_served(workshop: Workshop) -> None:
    """A version whose model differs from what was registered with it, or has nothing to compare, is refused."""
    model = tiny_onnx()
    short = json.dumps({"windows": [window(1).tolist(), window(2).tolist()], "p_up": [0.5]}).encode()
    narrow = json.dumps({"windows": [window(1)[:, 1:].tolist()], "p_up": [0.5]}).encode()
    ragged = json.dumps({"windows": [[[1.0], [1.0, 2.0]]], "p_up": [0.5]}).encode()
    nan = golden(model).replace(b'"p_up": [', b'"p_up": [NaN, ')
    for content, kind, says in (
        (golden(tiny_onnx(0.01)), CandidateRejectedError, "differs from its golden answers by"),
        (short, ArtifactError, "are needed"),
        (narrow, ArtifactError, "does not fit the model"),
        (ragged, ArtifactError, "is malformed"),
        (nan, ArtifactError, "finite"),
        (b"[]", ArtifactError, "is malformed"),
    ):
        version = workshop.register("alpha", model, ["BTC/USDT"], golden_bytes=content)
        with pytest.raises(kind, match=says):
            load_model(workshop.registry, version)


def test_a_version_that_is_not_what_serving_needs_is_refused(workshop: Workshop) -> None:
    """No golden file, no usable graph, another input, missing metadata: each is named."""
    model = tiny_onnx()
    other, root = tiny_onnx(input_name="x"), tiny_onnx(-50, op="Sqrt")
    described = metadata(["BTC/USDT"])
    cases: list[tuple[dict[str, bytes], dict[str, object], type[Exception], str]] = [
        ({"model.onnx": model}, described, NotFoundError, "golden.json"),
        ({"model.onnx": b"not onnx", "golden.json": golden(model)}, described, ArtifactError, "cannot load model.onnx"),
        ({"model.onnx": other, "golden.json": golden(other)}, described, ArtifactError, r"takes \['x'\]"),
        ({"model.onnx": model, "golden.json": golden(model)}, described | {"window": 0}, ArtifactError, "window"),
        ({"model.onnx": model, "golden.json": golden(model)}, {"window": 4}, ArtifactError, "metadata feature_view"),
        (
            {"model.onnx": root, "golden.json": golden(model)},
            described,
            CandidateRejectedError,
            "one",
        ),
    ]
    for files, given, kind, says in cases:
        version = workshop.registry.register_model("beta", dict(files), dict(given), {}, actor="test", reason="test")
        with pytest.raises(kind, match=says):
            load_model(workshop.registry, version)


def test_a_loaded_model_answers_any_batch_and_refuses_other_shapes(workshop: Workshop) -> None:
    """One probability per window, equal to onnxruntime's, for 1, 2, 7 and 64 windows."""
    content = tiny_onnx(0.2)
    model = load_model(workshop.registry, workshop.register("alpha", content, ["BTC/USDT"]))
    for n_windows in (1, 2, 7, 64):
        windows = np.stack([window(seed) for seed in range(n_windows)])
        np.testing.assert_allclose(model.predict(windows), run_onnx(content, windows), atol=1e-6)
    with pytest.raises(InputError, match=r"needs windows of shape \(4, 3\)"):
        model.predict(np.zeros((1, N_TIME, N_FEATURE + 1), dtype=np.float32))
