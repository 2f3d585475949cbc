"""The spool before MLflow's own SQLite store: crashes of the training process, full disks, refusals, the reaper."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ratchet.clock import NS_PER_S, FixedClock, SystemClock
from ratchet.errors import InputError, NotFoundError, UnavailableError
from ratchet.tracking import MlflowTracker, SpooledTracker
from ratchet.tracking.mlflow_delivery import MlflowDelivery
from ratchet.tracking.owner import Owner, is_alive, is_token_alive, owner_of, this_process
from ratchet.tracking.spool import Spool, SpooledRun, Statement, run_mapped
from tests.unit.tracking_server import Stored, migrate

ROOT = Path(__file__).resolve().parents[2]
START_NS = 1_700_000_000 * NS_PER_S


@pytest.fixture(scope="module")
def migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    database = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    migrate(database)
    return database


@pytest.fixture
def home(migrated_store: Path, tmp_path: Path) -> Path:
    shutil.copy(migrated_store, tmp_path / "mlflow.db")
    return tmp_path


@pytest.fixture
def inner(home: Path) -> MlflowTracker:
    return MlflowTracker(f"sqlite:///{home / 'mlflow.db'}", home / "artifacts", FixedClock(START_NS))


@pytest.fixture
def tracker(home: Path, inner: MlflowTracker) -> Iterator[SpooledTracker]:
    tracker = SpooledTracker(inner, home / "spool", FixedClock(START_NS))
    yield tracker
    tracker.close(0)


def stored(home: Path) -> Stored:
    return Stored.read(home / "mlflow.db")


def client_of(inner: MlflowTracker) -> Any:
    with inner.connected() as client:
        return client


def test_a_killed_training_is_closed_and_what_it_logged_is_delivered(home: Path) -> None:
    """SIGKILL at some moment: parent and child end as KILLED, and every step up to the last one written is there."""
    command = [sys.executable, str(ROOT / "tests" / "unit" / "tracking_child.py"), str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        said = [process.stdout.readline().split() for _ in range(5)]
        time.sleep(0.037)
        process.send_signal(signal.SIGKILL)
        said += [line.split() for line in process.stdout.read().splitlines()]
    parent, child, n_sure = said[-1]
    clock = SystemClock()
    after = SpooledTracker(MlflowTracker(f"sqlite:///{home / 'mlflow.db'}", home, clock), home / "spool", clock)
    assert sorted(after.reap()) == sorted([parent, child])
    assert after.reap() == []
    assert after.flush(60) == 0
    found = stored(home)
    assert found.statuses == {parent: "KILLED", child: "KILLED"}
    steps = sorted(step for _, step, _ in found.metrics[child])
    assert steps == list(range(len(steps)))
    assert len(steps) >= int(n_sure)
    assert found.metrics[child] == Counter([("loss", step, 1 / (1 + step)) for step in steps])
    assert set(found.params[child]) >= {f"p{step}" for step in range(99, int(n_sure), 100)}
    assert found.tags[child]["mlflow.parentRunId"] == found.run_ids[parent]


def test_a_new_run_closes_what_a_dead_process_of_this_host_left(tracker: SpooledTracker, home: Path) -> None:
    """The living process's own open run stays open."""
    mine = tracker.start_run("btc", "mine")
    dead = tracker.start_run("btc", "dead")
    rebooted = tracker.start_run("btc", "rebooted")
    with subprocess.Popen(["true"]) as process:
        process.wait()
    tracker.spool.apply([("UPDATE runs SET pid = ? WHERE run_id = ?", (process.pid, dead))])
    tracker.spool.apply([("UPDATE runs SET boot_id = 'before' WHERE run_id = ?", (rebooted,))])
    tracker.start_run("btc", "next")
    assert tracker.flush(60) == 0
    assert stored(home).statuses[dead] == stored(home).statuses[rebooted] == "KILLED"
    assert stored(home).statuses[mine] == "RUNNING"


def test_a_run_of_another_host_is_closed_when_it_is_silent(tracker: SpooledTracker, inner: MlflowTracker) -> None:
    """An hour without a heartbeat by default; a run whose heart beats and one that has no owner stay."""
    delivery, now_ns = MlflowDelivery(inner), START_NS
    run = SpooledRun("a" * 32, "btc", "far", None, now_ns - 4_000 * NS_PER_S, "RUNNING", _far(), None, False)
    silent = delivery.start(run, {}, None)
    beating = delivery.start(replace(run, run_id="b" * 32), {}, None)
    delivery.beat(beating, now_ns - 10 * NS_PER_S)
    foreign = inner.start_run("btc", "by hand")
    here_dead = delivery.start(replace(run, run_id="c" * 32, owner=replace(this_process(), birth="0")), {}, None)
    here = delivery.start(replace(run, run_id="d" * 32, owner=this_process()), {}, None)
    assert tracker.reap(max_silence_s=5_000) == ["c" * 32]
    assert tracker.reap() == ["a" * 32]
    statuses = {name: inner.get_run(name).status for name in (silent, beating, foreign, here_dead, here)}
    assert statuses == {
        silent: "KILLED", beating: "RUNNING", foreign: "RUNNING", here_dead: "KILLED", here: "RUNNING"
    }  # fmt: skip


def _far() -> Owner:
    return Owner("elsewhere", "boot", os.getpid(), "1")


def test_a_process_is_itself_only() -> None:
    """A pid that another process has now, a zombie and another boot are not alive."""
    me = this_process()
    assert is_alive(me)
    assert is_token_alive(me.token)
    for other in (replace(me, birth="1"), replace(me, boot_id="other"), replace(me, pid=2**22 + 1)):
        assert not is_alive(other)
        assert not is_token_alive(other.token)
    with subprocess.Popen(["sleep", "30"]) as process:
        token = owner_of(process.pid).token
        assert is_token_alive(token)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # dead, and not yet waited for
        assert not is_token_alive(token)


def test_an_open_run_beats(home: Path, inner: MlflowTracker) -> None:
    """The heartbeat moves on while the process has nothing to log, and stops with the run."""
    tracker = SpooledTracker(inner, home / "spool", SystemClock(), heartbeat_s=0.1)
    run_id = tracker.start_run("btc", "run")
    assert tracker.flush(60) == 0
    seen: set[int] = set()
    deadline_s = time.monotonic() + 30
    while len(seen) < 3:
        assert time.monotonic() < deadline_s
        seen.add(int(stored(home).tags[run_id]["ratchet.heartbeat_ns"]))
        time.sleep(0.05)
    assert time.time_ns() - max(seen) < 30 * NS_PER_S
    tracker.end_run(run_id)
    assert tracker.flush(60) == 0


def test_what_mlflow_refuses_is_set_aside_and_holds_nothing_up(
    tracker: SpooledTracker, inner: MlflowTracker, home: Path
) -> None:
    """Of a batch only the one refused parameter stays behind, with the reason; it can be tried again."""
    run_id, other = tracker.start_run("btc", "run"), tracker.start_run("btc", "other")
    assert tracker.flush(60) == 0
    mlflow_run_id = str(tracker.spool.run(run_id).mlflow_run_id)
    inner.log_params(mlflow_run_id, {"p3": "somebody else's"})
    client_of(inner).delete_run(str(tracker.spool.run(other).mlflow_run_id))
    tracker.log_params(run_id, {f"p{index}": index for index in range(8)})
    tracker.log_params(other, {"late": 1})
    tracker.log_metrics(run_id, {"loss": 0.5})
    tracker.end_run(run_id)
    assert tracker.flush(60) == 0
    aside = {(record.run_id, str(record.body)) for record in tracker.spool.set_aside()}
    assert aside == {(run_id, "['p3', '3']"), (other, "['late', '1']")}
    assert all("MLflow" in str(record.reason) for record in tracker.spool.set_aside())
    assert stored(home).statuses[run_id] == "FINISHED"
    assert stored(home).params[run_id] == {f"p{index}": str(index) for index in range(8)} | {"p3": "somebody else's"}
    client_of(inner).restore_run(str(tracker.spool.run(other).mlflow_run_id))
    tracker.spool.retry_set_aside()
    assert tracker.flush(60) == 0
    assert [record.body for record in tracker.spool.set_aside()] == [["p3", "3"]]
    assert stored(home).params[other] == {"late": "1"}


def test_a_run_that_cannot_be_started_is_set_aside_whole(tracker: SpooledTracker, inner: MlflowTracker) -> None:
    """The runs of a deleted experiment stay behind, a child of them is started without its parent."""
    client = client_of(inner)
    client.delete_experiment(client.create_experiment("gone"))
    run_id = tracker.start_run("gone", "run")
    tracker.log_metrics(run_id, {"loss": 0.5})
    child = tracker.start_run("btc", "child", parent_run_id=run_id)
    assert tracker.flush(60) == 0
    assert [(record.run_id, record.kind) for record in tracker.spool.set_aside()] == [
        (run_id, "start"),
        (run_id, "metric"),
    ]
    assert tracker.get_run(child).parent_run_id == run_id


@contextmanager
def full_disk(limit: int) -> Iterator[None]:
    """Let no file of this process grow over a limit, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_does_not_stop_training(home: Path, inner: MlflowTracker, caplog: pytest.LogCaptureFixture) -> None:
    """It is warned of once; what fits into memory is written when there is room again, a lost file is counted."""
    tracker = SpooledTracker(inner, home / "spool", FixedClock(START_NS))
    run_id = tracker.start_run("btc", "before")
    tracker.flush(60)
    report = home / "report.bin"
    report.write_bytes(bytes(100_000))
    with full_disk(1_000):
        for step in range(500):
            tracker.log_metrics(run_id, {"loss": 0.5}, step=step)
        tracker.log_artifacts(run_id, report)
        during = tracker.start_run("btc", "during", parent_run_id=run_id)
        tracker.log_params(during, {"a": 1})
        tracker.end_run(during)
        assert tracker.flush(0.2) > 500
    assert [record.levelno for record in caplog.records if "spool cannot be used" in record.message] == [
        logging.WARNING
    ]
    assert tracker.flush(60) == 0
    tracker.close()
    assert "lost 1 records" in caplog.text
    assert stored(home).metrics[run_id].total() == 500
    assert (stored(home).params[during], stored(home).statuses[during]) == ({"a": "1"}, "FINISHED")


def test_a_spool_that_cannot_be_made_costs_the_records_only(
    tmp_path: Path, inner: MlflowTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """A file is in the folder's way: training goes on, and at the end it is said what was lost."""
    (tmp_path / "file").write_bytes(b"")
    tracker = SpooledTracker(inner, tmp_path / "file" / "spool", FixedClock(START_NS))
    run_id = tracker.start_run("btc", "run")
    tracker.log_params(run_id, {"a": 1})
    tracker.log_metrics(run_id, {"loss": 0.5, "accuracy": 0.5})
    tracker.log_artifacts(run_id, tmp_path / "file")
    tracker.end_run(run_id)
    tracker.close(0.1)
    assert "lost 6 records" in caplog.text


def test_the_caller_is_told_of_his_own_mistakes_at_once(tracker: SpooledTracker, home: Path) -> None:
    """Keys, texts and steps that no store takes, a changed parameter and an unknown run never reach the spool."""
    run_id = tracker.start_run("btc", "run")
    tracker.log_params(run_id, {"epochs": 3})
    mistakes: list[Callable[[], object]] = [
        lambda: tracker.log_metrics(run_id, {"a\nb": 1.0}),
        lambda: tracker.log_metrics(run_id, {"a/../b": 1.0}),
        lambda: tracker.log_metrics(run_id, {"a": "many"}),  # type: ignore[dict-item]
        lambda: tracker.log_metrics(run_id, {"a": 1.0}, step=2**63),
        lambda: tracker.log_params(run_id, {"epochs": 4}),
        lambda: tracker.log_params(run_id, {"": 4}),
        lambda: tracker.log_params(run_id, {"a": "\ud800"}),
        lambda: tracker.log_artifacts(run_id, home / "absent"),
        lambda: tracker.start_run("", "run"),
        lambda: tracker.start_run("btc", "r" * 251),
        lambda: tracker.start_run("btc", "run", {"tag?": "1"}),
    ]
    for mistake in mistakes:
        with pytest.raises(InputError):
            mistake()
    with pytest.raises(NotFoundError):
        tracker.log_metrics("f" * 32, {"a": 1.0})
    assert tracker.flush(60) == 0
    assert tracker.spool.set_aside() == []
    assert tracker.get_run(run_id).metrics == {}


def test_a_changed_parameter_is_refused_in_another_process_too(
    tracker: SpooledTracker, home: Path, inner: MlflowTracker
) -> None:
    """The spool knows the parameters, not the object; MLflow's id means the same run."""
    run_id = tracker.start_run("btc", "run")
    tracker.log_params(run_id, {"epochs": 3})
    assert tracker.flush(60) == 0
    other = SpooledTracker(inner, home / "spool", FixedClock(START_NS))
    with pytest.raises(InputError, match="epochs"):
        other.log_params(str(other.spool.run(run_id).mlflow_run_id), {"epochs": 4})
    other.log_params(run_id, {"epochs": 3})
    assert other.pending() == 0


def test_metrics_are_committed_in_groups_and_keep_their_time(
    home: Path, inner: MlflowTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1,000 metrics logged one by one are few transactions, and MLflow has the time of each call."""
    clock = FixedClock(START_NS)
    tracker = SpooledTracker(inner, home / "spool", clock)
    run_id = tracker.start_run("btc", "run")
    commits: list[int] = []

    def counted(statements: Sequence[Statement]) -> None:
        commits.append(len(statements))
        Spool.apply(tracker.spool, statements)

    monkeypatch.setattr(tracker.spool, "apply", counted)
    for step in range(1_000):
        clock.advance(NS_PER_S)
        tracker.log_metrics(run_id, {"loss": 0.5}, step=step)
    assert tracker.flush(60) == 0
    logged = [size for size in commits if size > 1]
    assert len(logged) < 40
    history = client_of(inner).get_metric_history(str(tracker.spool.run(run_id).mlflow_run_id), "loss")
    times_ms = sorted(metric.timestamp for metric in history)
    assert times_ms[0] == START_NS // 1_000_000 + 1_000
    assert {later - earlier for earlier, later in pairwise(times_ms)} == {1_000}


def test_trackers_of_one_home_deliver_together(home: Path, inner: MlflowTracker) -> None:
    """Four trackers on one spool, logging at the same time: each run is started once and has its own metrics."""
    n_runs, n_steps = 5, 40

    def log(name: int) -> dict[str, int]:
        tracker = SpooledTracker(inner, home / "spool", FixedClock(START_NS))
        started = {}
        for index in range(n_runs):
            run_id = tracker.start_run("btc", f"{name}-{index}")
            for step in range(n_steps):
                tracker.log_metrics(run_id, {"loss": float(name)}, step=step)
            tracker.end_run(run_id)
            started[run_id] = name
        assert tracker.flush(60) == 0
        return started

    with ThreadPoolExecutor(4) as pool:
        started = {run_id: name for runs in pool.map(log, range(4)) for run_id, name in runs.items()}
    found = stored(home)
    assert found.n_active_runs == 4 * n_runs
    for run_id, name in started.items():
        assert found.metrics[run_id] == Counter([("loss", step, float(name)) for step in range(n_steps)])


def test_a_tracker_that_nobody_keeps_still_delivers(home: Path) -> None:
    """A process that forgets its tracker and ends has committed everything, and delivered it in the seconds it has."""
    code = (
        "import sys; from pathlib import Path; from ratchet.clock import SystemClock\n"
        "from ratchet.tracking import MlflowTracker, SpooledTracker\n"
        "home = Path(sys.argv[1])\n"
        "def log():\n"
        "    inner = MlflowTracker(f'sqlite:///{home}/mlflow.db', home, SystemClock())\n"
        "    tracker = SpooledTracker(inner, home / 'spool', SystemClock())\n"
        "    run = tracker.start_run('btc', 'run'); tracker.log_metrics(run, {'loss': 0.5}); print(run)\n"
        "log()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, cwd=ROOT, check=True, timeout=60
    )
    clock = SystemClock()
    after = SpooledTracker(MlflowTracker(f"sqlite:///{home / 'mlflow.db'}", home, clock), home / "spool", clock)
    assert after.spool.run(done.stdout.strip()).status == "RUNNING"
    assert after.flush(60) == 0
    assert stored(home).metrics[done.stdout.strip()] == Counter({("loss", 0, 0.5): 1})


def test_a_run_whose_id_was_not_noted_is_found_again(
    tracker: SpooledTracker, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow started the run, and its id was lost before it was written down, as by a crash: there is still one."""
    lost: list[Statement] = []

    def forgetful(statements: Sequence[Statement]) -> None:
        if not lost and statements[0][0] == run_mapped("", "")[0]:
            lost.extend(statements)
            raise UnavailableError("the disk is full")
        Spool.apply(tracker.spool, statements)

    monkeypatch.setattr(tracker.spool, "apply", forgetful)
    run_id = tracker.start_run("btc", "run")
    assert tracker.flush(60) == 0
    assert len(lost) == 1
    assert stored(home).n_active_runs == 1
    assert stored(home).run_ids[run_id] == lost[0][1][0]


def test_copies_that_a_crash_left_are_swept(tracker: SpooledTracker, home: Path) -> None:
    """A copy that no record names goes when its process is gone, and stays while it lives."""
    run_id = tracker.start_run("btc", "run")
    assert tracker.flush(60) == 0
    (home / "file").write_bytes(b"1")
    crashed = tracker.spool.keep_files(home / "file", replace(this_process(), birth="1"))
    living = tracker.spool.keep_files(home / "file", this_process())
    tracker.log_params(run_id, {"a": 1})
    assert tracker.flush(60) == 0
    names = [folder.name for folder in tracker.spool.copies()]
    assert names == [living] != [crashed]
