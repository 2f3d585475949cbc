"""The registry's database: one SQLite file, transactions that cannot deadlock, errors in the library's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError
from sqlalchemy.pool import QueuePool

from ratchet.data.atomic import fsync_folder
from ratchet.errors import (
    ArtifactError,
    BusyError,
    ConfigurationError,
    RatchetError,
    RegistryConflictError,
    UnavailableError,
)
from ratchet.registry.tables import SCHEMA_VERSION, create_schema, schema_version

BUSY_TIMEOUT_S = 5.0
_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"


class RegistryDatabase:
    """Transactions on the registry's SQLite file.

    Writers take the write lock when they begin (`BEGIN IMMEDIATE`) and wait for it; a transaction never finds out
    at its end that it lost. WAL lets readers go on meanwhile, `synchronous=FULL` makes a commit survive a power cut.
    Threads may share one object; a forked process makes its own.

    Args:
        url: `sqlite:///path`.
        read_only: open without creating or changing anything; a file that is not there yet reads as empty.

    Raises:
        ConfigurationError: the URL names another engine or no file.
    """

    def __init__(self, url: str, *, read_only: bool) -> None:
        self.path = _sqlite_path(url)
        self.read_only = read_only
        self._has_schema = False
        self._engine = create_engine("sqlite+pysqlite://", creator=self._connect, poolclass=QueuePool)
        event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(ratchet_begin=_WRITE)

    def create(self) -> None:
        """Make the file and its tables; the caller keeps other processes from doing it at the same time."""
        with translated(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _switch_to_wal(self._connect())
        with self.write() as connection:
            if schema_version(connection) == 0:
                create_schema(connection)
        with translated(self.path):
            fsync_folder(self.path.parent)

    def is_empty(self) -> bool:
        """Tell whether a writer has yet to make the tables.

        Raises:
            ConfigurationError: a newer release made the file.
        """
        if not self._has_schema and self.path.exists():
            with self.read() as connection:
                found = schema_version(connection)
            if found > SCHEMA_VERSION:
                raise ConfigurationError(f"{self.path} was made by a newer release (schema {found}); upgrade Ratchet")
            self._has_schema = found > 0
        return not self._has_schema

    def refuse_if_read_only(self) -> None:
        """Raise unless the database was opened for writing.

        Raises:
            ConfigurationError: it was opened read-only.
        """
        if self.read_only:
            raise ConfigurationError(f"the registry {self.path} was opened read-only")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database."""
        with translated(self.path), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock; leaving it commits, an exception rolls back.

        Raises:
            ConfigurationError: the registry was opened read-only.
            BusyError: another process held the lock for longer than five seconds.
        """
        self.refuse_if_read_only()
        with translated(self.path), self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def _connect(self) -> sqlite3.Connection:
        mode = "rw" if self.read_only else "rwc"
        connection = sqlite3.connect(
            f"file:{quote(os.fspath(self.path))}?mode={mode}",
            uri=True,
            timeout=BUSY_TIMEOUT_S,
            isolation_level=None,
            check_same_thread=False,
        )
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")
        if self.read_only:
            connection.execute("PRAGMA query_only = ON")
        return connection


@contextmanager
def translated(where: Path) -> Iterator[None]:
    """Turn errors of SQLite and of the file system into the library's.

    Raises:
        BusyError: the database is locked.
        RegistryConflictError: a constraint of the database refuses.
        ArtifactError: the file is damaged or no database.
        UnavailableError: the disk is full, gone or not writable.
    """
    try:
        yield
    except RatchetError:
        raise
    except IntegrityError as error:
        raise RegistryConflictError(f"{where}: the registry refuses this change: {error.orig}") from error
    except (DatabaseError, sqlite3.DatabaseError) as error:
        raise _translate(where, error) from error
    except OSError as error:
        raise UnavailableError(f"{where}: {error.strerror or error}: {error.filename or 'no file named'}") from error


def _translate(where: Path, error: Exception) -> RatchetError:
    original = error.orig if isinstance(error, DatabaseError) else error
    if "locked" in str(original) or "busy" in str(original):
        return BusyError(f"{where}: another process holds the registry; try again ({original})")
    if isinstance(error, OperationalError | sqlite3.OperationalError):
        return UnavailableError(f"{where}: {original}; check the disk and the rights of the folder")
    return ArtifactError(f"{where}: {original}; restore the file from a backup")


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # A property of the file, so once is enough.
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("ratchet_begin", _READ))


def _sqlite_path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("registry_url: expected sqlite:///path/to/registry.sqlite") from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        raise ConfigurationError(
            f"registry_url: {parsed.render_as_string(hide_password=True)} is not supported; "
            "expected sqlite:///path/to/registry.sqlite"
        )
    return Path(str(parsed.database)).absolute()
