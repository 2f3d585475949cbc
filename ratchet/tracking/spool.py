"""The spool: what was logged and has not reached the store yet, in one SQLite file and a folder of copied files."""

from __future__ import annotations

import fcntl
import json
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from ratchet.data.atomic import fsync_folder
from ratchet.data.sqlite import SqliteDatabase
from ratchet.errors import NotFoundError
from ratchet.tracking.base import EndStatus, RunStatus
from ratchet.tracking.owner import Owner

Kind = Literal["start", "metric", "param", "artifacts", "end"]
Statement = tuple[str, tuple[Any, ...]]
"""One change of the spool: SQL and its values. Of statements in a row that are equal, the values go in at once."""

_VERSION = 1
_SCHEMA = (
    """
    CREATE TABLE runs (
        number INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL UNIQUE,
        experiment TEXT NOT NULL,
        run_name TEXT NOT NULL,
        parent_run_id TEXT REFERENCES runs (run_id),
        start_ns INTEGER NOT NULL,
        status TEXT NOT NULL DEFAULT 'RUNNING',
        host TEXT NOT NULL,
        boot_id TEXT NOT NULL,
        pid INTEGER NOT NULL,
        birth TEXT NOT NULL,
        mlflow_run_id TEXT UNIQUE,
        is_uncertain INTEGER NOT NULL DEFAULT 0
    )
    """,
    "CREATE INDEX running ON runs (number) WHERE status = 'RUNNING'",
    "CREATE TABLE params (run_id TEXT, key TEXT, value TEXT NOT NULL, PRIMARY KEY (run_id, key)) WITHOUT ROWID",
    """
    CREATE TABLE records (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL REFERENCES runs (run_id),
        kind TEXT NOT NULL,
        body TEXT NOT NULL,
        reason TEXT
    )
    """,
    "CREATE INDEX waiting ON records (run_id, id) WHERE reason IS NULL",
    "CREATE INDEX set_aside ON records (id) WHERE reason IS NOT NULL",
)
_RUN = (
    "SELECT run_id, experiment, run_name, parent_run_id, start_ns, status, host, boot_id, pid, birth, mlflow_run_id,"
    " is_uncertain FROM runs"
)
_RECORD = "SELECT id, run_id, kind, body, reason FROM records"
_COUNTS = """
SELECT runs.run_id, n
FROM runs JOIN (SELECT run_id, COUNT(*) AS n FROM records WHERE reason IS NULL GROUP BY run_id) USING (run_id)
ORDER BY number
"""
_RUNS_WAITING = """
SELECT run_id FROM runs
WHERE EXISTS (SELECT 1 FROM records WHERE records.run_id = runs.run_id AND reason IS NULL)
ORDER BY number
"""
_ADD_RUN = """
INSERT INTO runs (run_id, experiment, run_name, parent_run_id, start_ns, host, boot_id, pid, birth)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
ADD_RECORD = "INSERT INTO records (run_id, kind, body) VALUES (?, ?, ?)"
_ADD_PARAM = "INSERT OR IGNORE INTO params VALUES (?, ?, ?)"


@dataclass(frozen=True, slots=True)
class SpooledRun:
    """A run as the spool knows it."""

    run_id: str
    experiment: str
    run_name: str
    parent_run_id: str | None
    start_ns: int
    status: RunStatus
    owner: Owner
    mlflow_run_id: str | None
    is_uncertain: bool
    """A request to start it was not answered, so that it may have been started twice."""


@dataclass(frozen=True, slots=True)
class Record:
    """One thing logged; `body` is JSON whose shape depends on the kind."""

    id: int
    run_id: str
    kind: Kind
    body: Any
    reason: str | None = None


class Spool:
    """The spool of one home, which several processes and threads may use at the same time.

    Args:
        folder: of `spool.sqlite` and of the copied files; made by the first who writes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files = folder / "files"
        self._database = SqliteDatabase(
            folder / "spool.sqlite", title="the tracking spool", schema_version=_VERSION, create_schema=_create
        )
        self._is_made = False

    def apply(self, statements: Sequence[Statement]) -> None:
        """Make changes in one transaction that survives a power cut.

        Raises:
            UnavailableError: the disk is full or not writable.
            BusyError: another process holds the spool.
        """
        self._make()
        with self._database.write() as connection:
            for statement, group in groupby(statements, key=itemgetter(0)):
                connection.exec_driver_sql(statement, [values for _, values in group])

    def run(self, run_id: str) -> SpooledRun:
        """Return a run by the spool's id or by MLflow's.

        Raises:
            NotFoundError: this spool knows no such run.
        """
        rows = self._read(f"{_RUN} WHERE run_id = ? OR mlflow_run_id = ?", (run_id, run_id))
        if not rows:
            raise NotFoundError(f"no run {run_id} in the tracking spool {self.folder}")
        return _run(*rows[0])

    def runs(self, experiment: str | None = None) -> list[SpooledRun]:
        """Return all runs ever started here, in that order."""
        where, values = ("", ()) if experiment is None else (" WHERE experiment = ?", (experiment,))
        return [_run(*row) for row in self._read(f"{_RUN}{where} ORDER BY number", values)]

    def running(self) -> list[SpooledRun]:
        """Return the runs that have not ended."""
        return [_run(*row) for row in self._read(f"{_RUN} WHERE status = 'RUNNING' ORDER BY number")]

    def params(self, run_id: str) -> dict[str, str]:
        """Return a run's parameters."""
        rows = self._read("SELECT key, value FROM params WHERE run_id = ?", (run_id,))
        return {str(key): str(value) for key, value in rows}

    def waiting(self) -> dict[str, int]:
        """Return how many records of which run wait to be delivered, runs in the order of their start."""
        return {str(run_id): int(n) for run_id, n in self._read(_COUNTS)}

    def runs_waiting(self) -> list[str]:
        """Return the runs with records that wait, in the order of their start."""
        return [str(run_id) for (run_id,) in self._read(_RUNS_WAITING)]

    def n_waiting(self) -> int:
        """Return how many records wait to be delivered."""
        rows = self._read("SELECT COUNT(*) FROM records WHERE reason IS NULL")
        return int(rows[0][0]) if rows else 0

    def next_records(self, run_id: str, limit: int) -> list[Record]:
        """Return the oldest records of a run that wait."""
        rows = self._read(f"{_RECORD} WHERE run_id = ? AND reason IS NULL ORDER BY id LIMIT ?", (run_id, limit))
        return [_record(*row) for row in rows]

    def set_aside(self) -> list[Record]:
        """Return the records that the store refused for good, with its reasons."""
        rows = self._read(f"{_RECORD} WHERE reason IS NOT NULL ORDER BY id")
        return [_record(*row) for row in rows]

    def delivered(self, records: Sequence[Record]) -> None:
        """Forget records that have reached the store."""
        self.apply([("DELETE FROM records WHERE id = ?", (record.id,)) for record in records])
        for record in records:
            if record.kind == "artifacts":
                shutil.rmtree(self.files_of(record), ignore_errors=True)

    def refuse(self, records: Sequence[Record], reason: str) -> None:
        """Set records aside: nobody tries them again until somebody asks for it."""
        self.apply([("UPDATE records SET reason = ? WHERE id = ?", (reason, record.id)) for record in records])

    def retry_set_aside(self) -> None:
        """Put the records that were set aside back into the queue."""
        if self.set_aside():
            self.apply([("UPDATE records SET reason = NULL WHERE reason IS NOT NULL", ())])

    def keep_files(self, path: Path, owner: Owner) -> str:
        """Copy a file, or all files below a folder, and return the name of the copy.

        Raises:
            UnavailableError: the disk is full, or a file cannot be read.
        """
        name = f"{owner.token}-{secrets.token_hex(8)}"
        target = self._files / name
        with self._database.translated(target):
            try:
                if path.is_dir():
                    shutil.copytree(path, target)
                else:
                    target.mkdir(parents=True)
                    shutil.copy(path, target)
                _sync(target)
            except OSError:
                shutil.rmtree(target, ignore_errors=True)
                raise
        return name

    def files_of(self, record: Record) -> Path:
        """Return the folder of the copied files of an `artifacts` record."""
        return self._files / str(record.body)

    def sweep(self, is_dead: Iterable[str]) -> None:
        """Remove copies that no record names and whose process, given by its token, is gone."""
        kept = {json.loads(body) for (body,) in self._read("SELECT body FROM records WHERE kind = 'artifacts'")}
        dead = set(is_dead)
        for folder in self.copies():
            if folder.name not in kept and folder.name.rpartition("-")[0] in dead:
                shutil.rmtree(folder, ignore_errors=True)

    def copies(self) -> list[Path]:
        """Return the folders of copied files, whether a record names them or not."""
        return sorted(self._files.iterdir()) if self._files.exists() else []

    @contextmanager
    def delivering(self) -> Iterator[bool]:
        """Tell whether the caller alone may deliver now; several at a time would start runs twice."""
        self._make()
        with self._database.translated(), (self.folder / "delivery.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            yield True

    def close(self) -> None:
        """Release the file."""
        self._database.close()

    def _make(self) -> None:
        if self._is_made:
            return
        with self._database.translated():
            self.folder.mkdir(parents=True, exist_ok=True)
            with (self.folder / "spool.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._database.create()
        self._is_made = True

    def _read(self, statement: str, values: tuple[Any, ...] = ()) -> Sequence[Any]:
        if not self._is_made and not self._database.path.exists():
            return []
        self._make()
        with self._database.read() as connection:
            return connection.exec_driver_sql(statement, values).all()


def run_added(run: SpooledRun, tags: Mapping[str, str]) -> list[Statement]:
    """Return the changes that add a run and its start."""
    owner = (run.owner.host, run.owner.boot_id, run.owner.pid, run.owner.birth)
    names = (run.run_id, run.experiment, run.run_name, run.parent_run_id, run.start_ns)
    return [(_ADD_RUN, (*names, *owner)), record_added(run.run_id, "start", dict(tags))]


def param_added(run_id: str, key: str, value: str) -> list[Statement]:
    """Return the changes that add a parameter."""
    return [(_ADD_PARAM, (run_id, key, value)), record_added(run_id, "param", [key, value])]


def record_added(run_id: str, kind: Kind, body: Any) -> Statement:
    """Return the change that adds a record; NaN and infinity are kept as Python's JSON writes them."""
    return ADD_RECORD, (run_id, kind, json.dumps(body))


def run_ended(run_id: str, status: EndStatus, end_ms: int) -> list[Statement]:
    """Return the changes that end a run."""
    ended = ("UPDATE runs SET status = ? WHERE run_id = ?", (status, run_id))
    return [ended, record_added(run_id, "end", [status, end_ms])]


def run_mapped(run_id: str, mlflow_run_id: str) -> Statement:
    """Return the change that notes the id that MLflow gave a run."""
    return "UPDATE runs SET mlflow_run_id = ? WHERE run_id = ?", (mlflow_run_id, run_id)


def run_doubted(run_id: str) -> Statement:
    """Return the change that notes that a run may have been started twice."""
    return "UPDATE runs SET is_uncertain = 1 WHERE run_id = ?", (run_id,)


def _create(connection: Connection) -> None:
    for statement in _SCHEMA:
        connection.exec_driver_sql(statement)


def _run(
    run_id: str,
    experiment: str,
    run_name: str,
    parent_run_id: str | None,
    start_ns: int,
    status: RunStatus,
    host: str,
    boot_id: str,
    pid: int,
    birth: str,
    mlflow_run_id: str | None,
    is_uncertain: int,
) -> SpooledRun:
    owner = Owner(host, boot_id, pid, birth)
    doubt = bool(is_uncertain)
    return SpooledRun(run_id, experiment, run_name, parent_run_id, start_ns, status, owner, mlflow_run_id, doubt)


def _record(number: int, run_id: str, kind: Kind, body: str, reason: str | None) -> Record:
    return Record(number, run_id, kind, json.loads(body), reason)


def _sync(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder, folder.parent]:
        fsync_folder(path)
