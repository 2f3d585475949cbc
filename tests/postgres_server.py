"""A real Postgres server in a temporary folder, for tests."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

_SUPERUSER = "ratchet"


class PostgresServer:
    """`postgres` on a socket of its own, with no port open; stopped by `stop`, killed by `kill`.

    It leaves fsync to the kernel, which survives whatever happens to the server here.
    """

    def __init__(self, folder: Path) -> None:
        self._data = folder / "data"
        self._socket = folder / "socket"
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket.mkdir()
        # The server refuses to run as root.
        self._as_user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"] if os.getuid() == 0 else []
        if self._as_user:
            for path in (folder, self._socket):
                shutil.chown(path, "nobody", "nogroup")
        self._run("initdb", "-D", str(self._data), "-U", _SUPERUSER, "-A", "trust", "--no-sync", "-E", "UTF8")

    def start(self) -> None:
        """Start and wait until connections are taken."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_user, "postgres", "-D", str(self._data), "-k", str(self._socket), "-h", "", "-F"],
                stdout=log,
                stderr=log,
                cwd="/",
            )
        deadline = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"postgres did not start: {self._log.read_text()}")
            time.sleep(0.05)

    def kill(self) -> None:
        """End all its processes at once, as a power cut does to what they hold in memory."""
        self._run("pg_ctl", "-D", str(self._data), "stop", "-m", "immediate", "-W")
        self._wait()

    def stop(self) -> None:
        """Stop it; does nothing where it does not run."""
        if self._process is not None and self._process.poll() is None:
            self._run("pg_ctl", "-D", str(self._data), "stop", "-m", "fast", "-W")
            self._wait()

    def fresh_url(self) -> str:
        """Make an empty schema and return a URL whose tables are made in it."""
        schema = f"test_{secrets.token_hex(6)}"
        self.execute(f"CREATE SCHEMA {schema}")
        return f"postgresql://{_SUPERUSER}@/postgres?host={self._socket}&options=-csearch_path%3D{schema}"

    def execute(self, *statements: str, url: str | None = None) -> int:
        """Run statements as superuser, in the schema of `url` if given; return how many rows the last one changed."""
        import psycopg  # noqa: PLC0415 - only where Postgres is tested

        target = url or f"postgresql://{_SUPERUSER}@/postgres?host={self._socket}"
        with closing(psycopg.connect(target, autocommit=True)) as connection:
            return [connection.execute(statement.encode()).rowcount for statement in statements][-1]

    def _answers(self) -> bool:
        import psycopg  # noqa: PLC0415

        try:
            self.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _run(self, *command: str) -> None:
        done = subprocess.run([*self._as_user, *command], capture_output=True, text=True, check=False, cwd="/")
        assert done.returncode == 0, done.stderr

    def _wait(self) -> None:
        assert self._process is not None
        self._process.wait(30)


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a server for the block; the test is skipped where Postgres is not installed."""
    for program in ("initdb", "postgres", "pg_ctl"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not on the PATH; install Postgres to run this test")
    if os.environ.get("RATCHET_REQUIRE_SERVICES") != "1":
        pytest.importorskip("psycopg", reason="psycopg is not installed")
    with TemporaryDirectory(prefix="ratchet-postgres-") as folder:
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder))
        try:
            server.start()
            yield server
        finally:
            server.stop()
