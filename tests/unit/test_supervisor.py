"""The supervisor, with real processes: it restarts what crashes, stops what it started, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ratchet.cli import daemon
from ratchet.cli.plan import Plan, ProcessRecord, ProcessSpec, SupervisorRecord, log_path, read_state, state_path
from ratchet.cli.processes import ProcessIdentity, find_marked, identify, is_alive
from ratchet.data.atomic import write_json

_SLEEPER = "import time; time.sleep(600)"
_WAIT_S = 30.0


def _await(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _WAIT_S
    while not condition():
        assert time.monotonic() < deadline, f"waited {_WAIT_S:.0f} s for {what}"
        time.sleep(0.05)


def _spec(
    name: str, code: str, folder: Path, health_url: str | None = None, after: tuple[str, ...] = ()
) -> ProcessSpec:
    command = (sys.executable, "-S", "-E", "-u", "-c", textwrap.dedent(code))
    return ProcessSpec(name=name, command=command, folder=folder, health_url=health_url, after=after)


def _plan(home: Path, *specs: ProcessSpec, grace_s: float = 5.0, backoff_s: float = 0.1) -> Plan:
    return Plan(home=home, fingerprint="test", processes=specs, grace_s=grace_s, backoff_s=backoff_s)


def _record(home: Path, name: str) -> ProcessRecord:
    return next(entry for entry in daemon.await_record(home).processes if entry.name == name)


def _await_running(home: Path, *names: str, restarts: int = 0) -> list[int]:
    """Wait until the processes run after that many restarts, and return their pids."""

    def is_up(name: str) -> bool:
        entry = _record(home, name)
        return entry.status == "running" and entry.restarts == restarts

    _await(lambda: all(is_up(name) for name in names), f"{names} to run")
    return [pid for name in names if (pid := _record(home, name).pid) is not None]


def _identity(pid: int) -> ProcessIdentity:
    identity = identify(pid)
    assert identity is not None
    return identity


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    daemon.shut_down(tmp_path)
    assert find_marked(tmp_path) == []


def test_a_killed_child_is_restarted_and_the_restart_is_recorded(home: Path) -> None:
    """After SIGKILL of a child a new one runs; the state and the child's own log tell what happened."""
    daemon.launch(_plan(home, _spec("a", f"print('hello'); {_SLEEPER}", home)))
    (first,) = _await_running(home, "a")
    os.kill(first, signal.SIGKILL)
    (second,) = _await_running(home, "a", restarts=1)
    entry = _record(home, "a")
    assert second != first
    assert entry.exit_code == -signal.SIGKILL
    assert entry.birth is not None
    assert is_alive(ProcessIdentity(second, entry.birth))
    _await(lambda: log_path(home, "a").read_text().count("hello") == 2, "the output of both")
    assert "ended with exit code -9" in log_path(home, "a").read_text()


def test_stopping_goes_in_reverse_order_and_removes_the_state(home: Path) -> None:
    """SIGTERM to the supervisor stops the last process first, and lets each one finish before the next."""
    code = f"""
        import pathlib, signal, sys, time
        def leave(*_):
            time.sleep(0.2)
            with pathlib.Path({str(home / "order")!r}).open("a") as file:
                file.write(NAME)
            sys.exit(0)
        signal.signal(signal.SIGTERM, leave)
        pathlib.Path({str(home)!r}, "ready-" + NAME).touch()
        while True:
            time.sleep(0.05)
    """
    daemon.launch(_plan(home, *(_spec(name, f"NAME = {name!r}\n" + textwrap.dedent(code), home) for name in "abc")))
    pids = _await_running(home, "a", "b", "c")
    _await(lambda: len(list(home.glob("ready-*"))) == 3, "the signal handlers")
    identities = [_identity(pid) for pid in pids]
    assert daemon.shut_down(home)
    assert (home / "order").read_text() == "cba"
    assert not state_path(home).exists()
    assert not any(is_alive(identity) for identity in identities)
    assert not daemon.is_running(home)
    assert not daemon.shut_down(home)


def test_a_second_start_finds_the_first(home: Path) -> None:
    """While a supervisor lives, launching another one changes nothing."""
    plan = _plan(home, _spec("a", _SLEEPER, home))
    assert daemon.launch(plan)
    pids = _await_running(home, "a")
    first = daemon.await_record(home)
    assert daemon.is_running(home)
    assert not daemon.launch(plan)
    assert daemon.await_record(home) == first
    assert _await_running(home, "a") == pids


def test_many_simultaneous_starts_leave_one_supervisor(home: Path) -> None:
    """Of six concurrent launches exactly one wins, and each process runs once."""
    text = _plan(home, _spec("a", _SLEEPER, home)).model_dump_json()
    launches = [
        subprocess.Popen([sys.executable, "-m", "ratchet.cli.supervisor"], stdin=subprocess.PIPE, text=True)
        for _ in range(6)
    ]
    for launch in launches:
        assert launch.stdin is not None
        launch.stdin.write(text)
        launch.stdin.close()
    codes = sorted(launch.wait(_WAIT_S) for launch in launches)
    assert codes == [0] + [daemon.ALREADY_RUNNING] * 5
    assert [process.pid for process in find_marked(home, "a")] == _await_running(home, "a")


def test_after_sigkill_of_the_supervisor_a_new_start_leaves_no_orphans(home: Path) -> None:
    """A killed supervisor's processes, and one that hides in a session of its own, are stopped by the next start."""
    hidden = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-S", "-c", {_SLEEPER!r}], start_new_session=True)
        time.sleep(600)
    """
    plan = _plan(home, _spec("a", _SLEEPER, home), _spec("b", hidden, home))
    daemon.launch(plan)
    _await_running(home, "a", "b")
    _await(lambda: len(find_marked(home)) == 3, "the grandchild")
    orphans = [_identity(process.pid) for process in find_marked(home)]
    os.kill(daemon.await_record(home).pid, signal.SIGKILL)
    _await(lambda: not daemon.is_running(home), "the supervisor to be gone")
    assert all(is_alive(orphan) for orphan in orphans)

    assert daemon.launch(plan)
    _await_running(home, "a", "b")
    assert not any(is_alive(orphan) for orphan in orphans)
    _await(lambda: len(find_marked(home)) == 3, "the new processes, once each")


def test_shut_down_also_stops_what_a_killed_supervisor_left(home: Path) -> None:
    """Without a supervisor, `shut_down` finds the orphans by itself."""
    daemon.launch(_plan(home, _spec("a", _SLEEPER, home)))
    (pid,) = _await_running(home, "a")
    orphan = _identity(pid)
    os.kill(daemon.await_record(home).pid, signal.SIGKILL)
    _await(lambda: not daemon.is_running(home), "the supervisor to be gone")
    assert daemon.shut_down(home)
    assert not is_alive(orphan)
    assert not state_path(home).exists()


def test_what_a_crashed_process_left_behind_is_stopped_before_its_restart(home: Path) -> None:
    """A grandchild that outlives its killed parent cannot hold the port of the restarted one."""
    parent = f"""
        import subprocess, sys, time
        subprocess.Popen([sys.executable, "-S", "-c", {_SLEEPER!r}], start_new_session=True)
        time.sleep(600)
    """
    daemon.launch(_plan(home, _spec("a", parent, home)))
    (pid,) = _await_running(home, "a")
    _await(lambda: len(find_marked(home)) == 2, "the grandchild")
    (grandchild,) = (_identity(process.pid) for process in find_marked(home) if process.pid != pid)
    os.kill(pid, signal.SIGKILL)
    _await_running(home, "a", restarts=1)
    assert not is_alive(grandchild)


def test_a_stale_state_never_kills_a_stranger(home: Path) -> None:
    """A recorded pid that now belongs to another process (a reboot reuses pids) is left alone."""
    stranger = subprocess.Popen([sys.executable, "-S", "-c", _SLEEPER])
    try:
        entry = ProcessRecord(
            name="a", status="running", pid=stranger.pid, birth="old", started_ns=1, restarts=0, exit_code=None, log=""
        )
        stale = SupervisorRecord(pid=stranger.pid, birth="old", started_ns=1, fingerprint="old", processes=(entry,))
        write_json(state_path(home), stale.model_dump(mode="json"))
        assert not daemon.is_running(home)
        assert daemon.launch(_plan(home, _spec("a", _SLEEPER, home)))
        _await_running(home, "a")
        assert daemon.shut_down(home)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_an_unreadable_state_is_as_good_as_none(home: Path) -> None:
    """Half a state file does not keep the services from starting."""
    state_path(home).parent.mkdir(parents=True)
    state_path(home).write_text('{"pid": 12')
    assert read_state(home) is None
    assert daemon.launch(_plan(home, _spec("a", _SLEEPER, home)))
    _await_running(home, "a")


def test_a_process_that_keeps_crashing_is_restarted_ever_more_slowly(home: Path) -> None:
    """With a first delay of 0.2 s there are few restarts in two seconds, and the other process is not disturbed."""
    plan = _plan(home, _spec("bad", "raise SystemExit(3)", home), _spec("good", _SLEEPER, home), backoff_s=0.2)
    daemon.launch(plan)
    (good,) = _await_running(home, "good")
    _await(lambda: _record(home, "bad").restarts >= 2, "two restarts")
    time.sleep(1.5)
    entry = _record(home, "bad")
    assert entry.exit_code == 3
    assert 2 <= entry.restarts <= 6
    assert _await_running(home, "good") == [good]


def test_a_command_that_does_not_exist_is_reported_not_fatal(home: Path) -> None:
    """A wrong command shows as exit code 127 and in its log, while the others run."""
    wrong = ProcessSpec(name="wrong", command=("/nowhere/to/be/found",), folder=home)
    daemon.launch(_plan(home, wrong, _spec("good", _SLEEPER, home)))
    _await_running(home, "good")
    assert _record(home, "wrong").exit_code == 127
    assert "could not be started" in log_path(home, "wrong").read_text()


def test_a_process_waits_until_the_one_before_it_answers(home: Path) -> None:
    """The dependent process is started only after the health URL of the first one has answered."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = f"""
        import http.server, pathlib, time
        time.sleep(1)
        class Ok(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                pathlib.Path({str(home / "answered")!r}).touch()
                self.send_response(200)
                self.end_headers()
        http.server.HTTPServer(("127.0.0.1", {port}), Ok).serve_forever()
    """
    dependent = f"""
        import pathlib, time
        pathlib.Path({str(home / "seen")!r}).write_text(str(pathlib.Path({str(home / "answered")!r}).exists()))
        time.sleep(600)
    """
    first = _spec("server", server, home, health_url=f"http://127.0.0.1:{port}/health")
    daemon.launch(_plan(home, first, _spec("client", dependent, home, after=("server",))))
    _await_running(home, "server")
    assert _record(home, "client").status == "waiting"
    _await_running(home, "client")
    _await(lambda: (home / "seen").exists() and bool((home / "seen").read_text()), "the client's note")
    assert (home / "seen").read_text() == "True"


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(home: Path) -> None:
    """A stubborn process delays the stop by the grace period and no more."""
    stubborn = f"""
        import pathlib, signal, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        pathlib.Path({str(home / "deaf")!r}).touch()
        time.sleep(600)
    """
    daemon.launch(_plan(home, _spec("a", stubborn, home), grace_s=0.5))
    (pid,) = _await_running(home, "a")
    _await((home / "deaf").exists, "the handler")
    identity = _identity(pid)
    assert daemon.shut_down(home)
    assert not is_alive(identity)
    assert "killed after the grace period" in log_path(home, "a").read_text()


def test_a_child_gets_the_environment_of_its_plan(home: Path) -> None:
    """Variables are added and removed as the plan says."""
    code = f"""
        import os, pathlib, time
        pathlib.Path({str(home / "env.tmp")!r}).write_text(os.environ.get("ADDED", "-") + os.environ.get("HOME", "-"))
        pathlib.Path({str(home / "env.tmp")!r}).rename({str(home / "env")!r})
        time.sleep(600)
    """
    spec = _spec("a", code, home).model_copy(update={"environment": {"ADDED": "yes", "HOME": None}})
    daemon.launch(_plan(home, spec))
    _await((home / "env").exists, "the child's note")
    assert (home / "env").read_text() == "yes-"
