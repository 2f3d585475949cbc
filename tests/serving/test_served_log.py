"""What the server leaves of its answers for the skew audit."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ratchet.clock import FixedClock
from ratchet.errors import ArtifactError, NotFoundError
from ratchet.features.audit.served_log import ServedLog, ServedVector
from serving import served as served_module
from serving.engine import PredictionEngine
from serving.loader import LoadedModel, load_model
from serving.schemas import PredictRequest
from serving.served import MAX_WAITING, ServedSampler
from serving.table import ModelTable
from tests.serving.workshop import HOUR_NS, N_TIME, SCHEMA_HASH, Workshop, running, tiny_onnx, window

_OPEN_NS = 1_704_067_200_000_000_000
_NOW_NS = _OPEN_NS + HOUR_NS


def _always() -> float:
    return 0.0


def _read(path: Path) -> list[ServedVector]:
    log = ServedLog(path, read_only=True)
    try:
        return log.read()
    finally:
        log.close()


def _n_lost(path: Path) -> int:
    log = ServedLog(path, read_only=True)
    try:
        return log.n_lost()
    finally:
        log.close()


@pytest.fixture
def live(workshop: Workshop) -> Workshop:
    """One model in production; the stored window is longer than the model needs."""
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    workshop.store.write_windows("demo", SCHEMA_HASH, {"BTC/USDT": (_OPEN_NS, window(5, n_time=9))}, HOUR_NS)
    return workshop


def _engine(workshop: Workshop, sampler: ServedSampler) -> PredictionEngine:
    table = ModelTable(workshop.registry)
    table.refresh()
    return PredictionEngine(table, workshop.store, FixedClock(_NOW_NS), lambda: 0, sampler)


def _ask(engine: PredictionEngine, **question: object) -> float:
    request = PredictRequest.model_validate({"symbol": "BTC/USDT"} | question)
    return engine.predict([request], received_ns=0, started_ns=0)[0].p_up


def _model(workshop: Workshop) -> LoadedModel:
    return load_model(workshop.registry, workshop.registry.get_model("alpha"))


def test_a_prediction_by_symbol_leaves_what_it_rested_on(live: Workshop, tmp_path: Path) -> None:
    """View, schema, bar, time, model, the last row to the bit, and the hash of the window that the model saw."""
    path = tmp_path / "served.sqlite"
    with ServedSampler(path, share=1.0, kept=10, draw=_always) as sampler:
        _ask(_engine(live, sampler))
    (vector,) = _read(path)
    used = window(5, n_time=9)[-N_TIME:]
    assert (vector.view, vector.schema_hash, vector.symbol) == ("demo", SCHEMA_HASH, "BTC/USDT")
    assert (vector.ts_event_ns, vector.served_ns) == (_OPEN_NS, _NOW_NS)
    assert (vector.model, vector.version) == ("alpha", "v1.0.0")
    assert vector.values.dtype == np.float32
    np.testing.assert_array_equal(vector.values, used[-1])
    assert vector.window_sha256 == hashlib.sha256(used.tobytes()).hexdigest()
    assert _n_lost(path) == 0


def test_a_callers_own_window_leaves_nothing(live: Workshop, tmp_path: Path) -> None:
    """What a caller brings cannot be recomputed from history, so it is not logged, nor is a file made for it."""
    path = tmp_path / "served.sqlite"
    with ServedSampler(path, share=1.0, kept=10, draw=_always) as sampler:
        _ask(_engine(live, sampler), window=window(1).tolist())
    assert not path.exists()
    with pytest.raises(NotFoundError, match="nothing was served yet"):
        ServedLog(path, read_only=True)


def test_a_share_of_the_predictions_is_noted(live: Workshop, tmp_path: Path) -> None:
    """With a share of 0.3, draws below 0.3 are noted and the others are not."""
    path, draws = tmp_path / "served.sqlite", iter(np.arange(100) / 100)
    with ServedSampler(path, share=0.3, kept=1_000, draw=lambda: float(next(draws))) as sampler:
        engine = _engine(live, sampler)
        for _ in range(100):
            _ask(engine)
    assert len(_read(path)) == 30


def test_the_newest_are_kept(live: Workshop, tmp_path: Path) -> None:
    """The log holds as many as it may, across restarts, and they are the last ones."""
    path, model = tmp_path / "served.sqlite", _model(live)
    for begin in (0, 300):
        with ServedSampler(path, share=1.0, kept=250, draw=_always) as sampler:
            for number in range(begin, begin + 300):
                sampler.note(model, "BTC/USDT", number, number, window(1))
    assert [vector.ts_event_ns for vector in _read(path)] == list(range(350, 600))


def test_a_full_queue_drops_and_counts(live: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the disk hangs, predictions are answered at once; what does not fit is counted, in the file as well."""
    path, engine_started, disk_back = tmp_path / "served.sqlite", threading.Event(), threading.Event()
    monkeypatch.setattr(served_module, "ServedLog", _hanging(engine_started, disk_back))
    with ServedSampler(path, share=1.0, kept=10_000, draw=_always) as sampler:
        engine = _engine(live, sampler)
        first = _ask(engine)
        assert engine_started.wait(10)
        answers = [_ask(engine) for _ in range(MAX_WAITING + 100)]
        assert answers == [first] * len(answers)
        assert sampler.n_dropped == 100
        disk_back.set()
    assert len(_read(path)) == 1 + MAX_WAITING
    assert _n_lost(path) == 100


def _hanging(started: threading.Event, back: threading.Event) -> Callable[[Path], ServedLog]:
    def open_log(path: Path) -> ServedLog:
        started.set()
        assert back.wait(30)
        return ServedLog(path)

    return open_log


def test_a_file_that_cannot_be_written_fails_no_prediction(
    live: Workshop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A damaged file, or a folder that is none, is said once in the log and counted; answers go on."""
    damaged = tmp_path / "damaged" / "served.sqlite"
    damaged.parent.mkdir()
    damaged.write_bytes(b"not a database" * 1_000)
    (tmp_path / "file").write_text("")
    for path in (damaged, tmp_path / "file" / "served.sqlite"):
        caplog.clear()
        with ServedSampler(path, share=1.0, kept=10, draw=_always) as sampler:
            engine = _engine(live, sampler)
            assert all(0 < _ask(engine) < 1 for _ in range(300))
        assert sampler.n_dropped == 300
        assert sum("predictions go on" in record.message for record in caplog.records) == 1
    with pytest.raises(ArtifactError, match=r"served\.sqlite"):
        ServedLog(damaged, read_only=True)


def test_two_servers_write_one_log(live: Workshop, tmp_path: Path) -> None:
    """While a server is replaced, both write; nothing is lost."""
    path, model = tmp_path / "served.sqlite", _model(live)
    with (
        ServedSampler(path, share=1.0, kept=10_000, draw=_always) as old,
        ServedSampler(path, share=1.0, kept=10_000, draw=_always) as new,
    ):
        for number in range(400):
            old.note(model, "BTC/USDT", number, number, window(1))
            new.note(model, "BTC/USDT", number + 1_000, number, window(1))
    assert sorted(vector.ts_event_ns for vector in _read(path)) == [*range(400), *range(1_000, 1_400)]
    assert _n_lost(path) == 0


def test_a_damaged_row_is_refused(live: Workshop, tmp_path: Path) -> None:
    """Bytes that do not fit their number of features never become a vector."""
    path, model = tmp_path / "served.sqlite", _model(live)
    with ServedSampler(path, share=1.0, kept=10, draw=_always) as sampler:
        sampler.note(model, "BTC/USDT", 1, 1, window(1))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("UPDATE served SET n_feature = 7")
    connection.close()
    with pytest.raises(ArtifactError, match="12 bytes for 7 float32"):
        _read(path)


@pytest.mark.engine
def test_a_running_server_logs_unless_it_is_told_not_to(workshop: Workshop) -> None:
    """The settings reach the server: everything by default, nothing with a share of 0."""
    workshop.promote(workshop.register("alpha", tiny_onnx(), ["BTC/USDT"]))
    opened_ns = workshop.publish("BTC/USDT", window(11))
    path = workshop.home / "online" / "served.sqlite"
    with running(workshop.home, audit_share="0") as server:
        assert server.predict(symbol="BTC/USDT").status_code == 200
    assert not path.exists()
    with running(workshop.home) as server:
        for _ in range(3):
            assert server.predict(symbol="btc/usdt").status_code == 200
    found = _read(path)
    assert [(vector.symbol, vector.ts_event_ns) for vector in found] == [("BTC/USDT", opened_ns)] * 3
    np.testing.assert_array_equal(found[0].values, window(11)[-1])
