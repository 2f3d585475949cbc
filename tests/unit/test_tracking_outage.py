"""A real MLflow server that is killed, hangs or is frozen while a run is logged: nothing missing, nothing twice.

`RATCHET_TRACKING_METRICS` (default 2000) sets how many metrics each run logs.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from ratchet.clock import SystemClock
from ratchet.errors import UnavailableError
from ratchet.tracking import MlflowTracker, SpooledTracker, Tracker
from tests.unit.tracking_server import MlflowServer

pytestmark = [pytest.mark.engine, pytest.mark.slow]

N_METRICS = int(os.environ.get("RATCHET_TRACKING_METRICS", "2000"))
N_FOLDS = 3
HTTP_TIMEOUT_S = 2
BUSY_S = 10.0
"""What logging may take on a busy machine; a tracker that waits for a dead server takes minutes."""


@dataclass
class Expected:
    """What the store must hold in the end."""

    metrics: dict[str, Counter[tuple[str, int, float]]] = field(default_factory=dict)
    params: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    took_s: float = 0.0


def train(tracker: Tracker, folder: Path, in_the_middle: Callable[[], None]) -> Expected:
    """Log a walk-forward: a parent, three folds, metrics one by one, files that change afterwards."""
    expected = Expected()
    parent = tracker.start_run("btc", "walk-forward", {"preset": "small"})
    runs = [parent, *(tracker.start_run("btc", f"fold {k}", parent_run_id=parent) for k in range(N_FOLDS))]
    for place, run_id in enumerate(runs):
        expected.metrics[run_id], expected.files[run_id] = Counter(), {}
        expected.params[run_id] = {f"p{key}": str(key * place) for key in range(120)}
        expected.parents[run_id] = None if place == 0 else parent
        tracker.log_params(run_id, dict(expected.params[run_id]))
    started_s, paused_s = time.monotonic(), 0.0
    for step in range(N_METRICS):
        if step == N_METRICS // 3:
            pause_s = time.monotonic()
            in_the_middle()
            paused_s = time.monotonic() - pause_s
        run_id, value = runs[step % len(runs)], 1 / (1 + step)
        tracker.log_metrics(run_id, {"loss": value}, step=step)
        expected.metrics[run_id]["loss", step, value] += 1
    late = tracker.start_run("btc", "started in the outage", parent_run_id=parent)
    expected.metrics[late], expected.params[late], expected.files[late] = Counter(), {}, {}
    expected.parents[late] = parent
    runs.append(late)
    for run_id in runs:
        log_files(tracker, run_id, folder, expected)
        status = "FAILED" if run_id == runs[1] else "FINISHED"
        tracker.end_run(run_id, "FAILED" if run_id == runs[1] else "FINISHED")
        expected.statuses[run_id] = status
    expected.took_s = time.monotonic() - started_s - paused_s
    return expected


def log_files(tracker: Tracker, run_id: str, folder: Path, expected: Expected) -> None:
    """Log a file and a folder, then change the one and remove the other."""
    report = folder / "report"
    (report / "fold").mkdir(parents=True)
    (report / "fold" / "curve.csv").write_text(run_id)
    card = folder / "card.md"
    card.write_text(f"# {run_id}")
    tracker.log_artifacts(run_id, report)
    tracker.log_artifacts(run_id, card)
    expected.files[run_id] = {"fold/curve.csv": run_id.encode(), "card.md": f"# {run_id}".encode()}
    (report / "fold" / "curve.csv").unlink()
    (report / "fold").rmdir()
    report.rmdir()
    card.write_text("changed")


def assert_stored(server: MlflowServer, expected: Expected) -> None:
    """Everything is there, exactly once."""
    stored = server.stored()
    wanted = set(expected.metrics)
    assert wanted <= set(stored.run_ids)
    for run_id in wanted:
        assert stored.metrics[run_id] == expected.metrics[run_id]
        assert stored.params[run_id] == expected.params[run_id]
        assert stored.statuses[run_id] == expected.statuses[run_id]
        assert server.files(stored.run_ids[run_id]) == expected.files[run_id]
        tags, parent = stored.tags[run_id], expected.parents[run_id]
        assert tags["lineage"] == "yes"
        assert tags.get("mlflow.parentRunId") == (None if parent is None else stored.run_ids[parent])
        assert tags.get("ratchet.parent_run_key") == parent


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(only_server: MlflowServer) -> MlflowServer:
    only_server.start()
    return only_server


@pytest.fixture
def tracker(server: MlflowServer, tmp_path: Path) -> Iterator[SpooledTracker]:
    tracker = spooled(server, tmp_path)
    yield tracker
    tracker.close(0)


def spooled(server: MlflowServer, folder: Path) -> SpooledTracker:
    inner = MlflowTracker(server.url, folder / "unused", SystemClock(), http_timeout_s=HTTP_TIMEOUT_S)
    return SpooledTracker(inner, folder / "spool", SystemClock(), default_tags={"lineage": "yes"}, read_timeout_s=1)


def wait_for_deliveries(server: MlflowServer) -> None:
    """Wait until the server has got some metrics of the newest runs, not all."""
    before = sum(counter.total() for counter in server.stored().metrics.values())
    deadline_s = time.monotonic() + 60
    while sum(counter.total() for counter in server.stored().metrics.values()) == before:
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_server_killed_in_mid_run_costs_nothing(
    server: MlflowServer, tracker: SpooledTracker, tmp_path: Path
) -> None:
    """The loop ends in time without an exception; after a restart the spool is delivered, each thing once."""

    def kill() -> None:
        wait_for_deliveries(server)
        server.kill()

    expected = train(tracker, tmp_path, kill)
    assert expected.took_s < BUSY_S
    started_s = time.monotonic()
    n_waiting = tracker.flush(1)
    assert time.monotonic() - started_s < 4
    assert n_waiting > N_METRICS // 2
    server.start()
    other = spooled(server, tmp_path)
    assert other.flush(90) == 0
    assert other.spool.set_aside() == []
    assert_stored(server, expected)
    assert other.spool.copies() == []
    other.close()


def test_a_tracker_without_a_spool_does_not_survive_it(server: MlflowServer, tmp_path: Path) -> None:
    """The mutant: the plain tracker fails the same loop."""
    plain = MlflowTracker(server.url, tmp_path / "unused", SystemClock(), http_timeout_s=HTTP_TIMEOUT_S)
    with pytest.raises(UnavailableError):
        train(plain, tmp_path, server.kill)


def taken(port: int) -> socket.socket:
    """Listen on the port of a server that was just killed; its workers may hold it for a moment longer."""
    deadline_s = time.monotonic() + 20
    while True:
        try:
            return socket.create_server(("127.0.0.1", port), backlog=64)
        except OSError:
            assert time.monotonic() < deadline_s, f"port {port} stays taken"
            time.sleep(0.1)


def test_a_server_that_accepts_and_never_answers_stalls_nobody(
    server: MlflowServer, tracker: SpooledTracker, tmp_path: Path
) -> None:
    """Logging, flushing and reading end in time; when the real server is back, everything arrives."""
    server.kill()
    with taken(server.port):
        expected = train(tracker, tmp_path, lambda: None)
        assert expected.took_s < BUSY_S
        started_s = time.monotonic()
        assert tracker.flush(1) > N_METRICS
        with pytest.raises(UnavailableError):
            tracker.get_run(next(iter(expected.metrics)))
        with pytest.raises(UnavailableError):
            tracker.get_best_run("btc", "loss")
        assert time.monotonic() - started_s < 8
    server.start()
    assert tracker.flush(90) == 0
    assert_stored(server, expected)


def test_requests_that_a_frozen_server_answers_late_start_nothing_twice(
    server: MlflowServer, tracker: SpooledTracker, tmp_path: Path
) -> None:
    """A frozen server takes requests into its queue, and works them off after the client has sent them again."""
    server.signal(signal.SIGSTOP)
    expected = train(tracker, tmp_path, lambda: time.sleep(3 * HTTP_TIMEOUT_S))
    server.signal(signal.SIGCONT)
    assert tracker.flush(90) == 0
    assert_stored(server, expected)
    assert any(run.is_uncertain for run in tracker.spool.runs())


class LateProxy(ThreadingHTTPServer):
    """Passes requests on to a server; the first that starts a run arrives there after the client has sent it again."""

    def __init__(self, url: str) -> None:
        super().__init__(("127.0.0.1", 0), _Forward)
        self.target, self.url = url, f"http://127.0.0.1:{self.server_port}"
        self.n_starts, self.counting = 0, threading.Lock()
        self.was_sent_again, self.has_arrived = threading.Event(), threading.Event()


class _Forward(BaseHTTPRequestHandler):
    server: LateProxy

    def do_GET(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        is_start, place = self.path.endswith("/runs/create"), 0
        if is_start:
            with self.server.counting:
                self.server.n_starts += 1
                place = self.server.n_starts
        if place == 1:
            assert self.server.was_sent_again.wait(60)
        self._forward()
        if is_start:
            (self.server.has_arrived if place == 1 else self.server.was_sent_again).set()

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
        answer = httpx.request(
            self.command, self.server.target + self.path, content=body, headers=headers, timeout=60, trust_env=False
        )
        with suppress(OSError):  # the client has hung up
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_a_run_that_was_started_twice_is_one_in_the_end(server: MlflowServer, tmp_path: Path) -> None:
    """A start that was given up arrives after its repetition; the run without an owner is deleted."""
    with LateProxy(server.url) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        inner = MlflowTracker(proxy.url, tmp_path, SystemClock(), http_timeout_s=HTTP_TIMEOUT_S)
        tracker = SpooledTracker(inner, tmp_path / "spool", SystemClock())
        run_id = tracker.start_run("late", "run")
        tracker.log_metrics(run_id, {"loss": 0.5})
        assert tracker.flush(60) == 0
        assert proxy.has_arrived.wait(60)
        with pytest.raises(AssertionError, match="started twice"):
            server.stored()
        tracker.end_run(run_id)
        assert tracker.flush(60) == 0
        proxy.shutdown()
    assert server.stored().metrics[run_id] == Counter({("loss", 0, 0.5): 1})
    assert server.stored().statuses[run_id] == "FINISHED"


def test_what_is_read_is_what_was_logged(
    server: MlflowServer, tracker: SpooledTracker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Over HTTP a run is found by the spool's id and by MLflow's, NaN and infinity included; nothing is printed."""
    run_id = tracker.start_run("http", "run", {"näme": "wért"})
    tracker.log_metrics(run_id, {"nan": float("nan"), "inf": float("-inf"), "accuracy": 0.5})
    tracker.end_run(run_id)
    assert tracker.flush(60) == 0
    found = tracker.get_run(run_id)
    mlflow_run_id = tracker.spool.run(run_id).mlflow_run_id
    assert mlflow_run_id is not None
    for reader in (tracker, spooled(server, tmp_path / "elsewhere")):
        # NaN equals nothing, its text does.
        assert repr(reader.get_run(mlflow_run_id)) == repr(found)
    assert (found.run_id, found.tags, set(found.metrics)) == (
        run_id,
        {"näme": "wért", "lineage": "yes"},
        {"nan", "inf", "accuracy"},
    )
    assert repr(tracker.get_best_run("http", "accuracy")) == repr(found)
    assert capsys.readouterr().out == ""
    assert tracker.get_best_run("http", "nan") is None
    assert tracker.get_best_run("http", "inf") is None
