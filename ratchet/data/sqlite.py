"""SQLite as a commit point: transactions that cannot deadlock, errors in the library's words."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine, event, text
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlalchemy.pool import QueuePool

from ratchet.data.atomic import fsync_folder
from ratchet.errors import ArtifactError, BusyError, ConfigurationError, RatchetError, UnavailableError

BUSY_TIMEOUT_S = 5.0
_READ = "BEGIN"
_WRITE = "BEGIN IMMEDIATE"


class SqliteDatabase:
    """Transactions on one SQLite file.

    Writers take the write lock when they begin (`BEGIN IMMEDIATE`) and wait for it; a transaction never finds out
    at its end that it lost. WAL lets readers go on meanwhile, `synchronous=FULL` makes a commit survive a power cut.
    Threads may share one object; a forked process makes its own.

    Args:
        path: the file.
        title: what messages call the database, for example `the registry`.
        schema_version: kept in the file; one from a newer release is refused.
        create_schema: makes the tables in the transaction that it is given.
        upgrade: brings tables of the older schema that it is given up to date, in the transaction that it is given.
        conflict: the error for a change that a constraint refuses.
        read_only: open without creating or changing anything; a file that is not there yet reads as empty.
    """

    def __init__(
        self,
        path: Path,
        *,
        title: str,
        schema_version: int,
        create_schema: Callable[[Connection], None],
        upgrade: Callable[[Connection, int], None] | None = None,
        conflict: type[RatchetError] = ArtifactError,
        read_only: bool = False,
    ) -> None:
        self.path = path
        self.read_only = read_only
        self._title = title
        self._schema_version = schema_version
        self._create_schema = create_schema
        self._upgrade = upgrade
        self._conflict = conflict
        self._found = 0
        self._engine = create_engine("sqlite+pysqlite://", creator=self._connect, poolclass=QueuePool)
        event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(ratchet_begin=_WRITE)

    def __str__(self) -> str:
        return str(self.path)

    def create(self) -> None:
        """Make the file and its tables, or bring older ones up to date; the caller keeps other processes from it.

        Raises:
            ConfigurationError: the tables are of an older release that cannot be upgraded.
        """
        with self.translated():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _switch_to_wal(self._connect())
        with self.write() as connection:
            found = _version_of(connection)
            if found < self._schema_version:
                self._make_current(found, connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {self._schema_version}")
        with self.translated():
            fsync_folder(self.path.parent)

    def is_empty(self) -> bool:
        """Tell whether a writer has yet to make the tables.

        Raises:
            ConfigurationError: a newer release made the file, or an older one and it was opened read-only.
        """
        return self._version() == 0

    def is_current(self) -> bool:
        """Tell whether the tables are there and of this release; if not, `create` makes it so.

        Raises:
            ConfigurationError: as for `is_empty`.
        """
        return self._version() == self._schema_version

    def refuse_if_read_only(self) -> None:
        """Raise unless the database was opened for writing.

        Raises:
            ConfigurationError: it was opened read-only.
        """
        if self.read_only:
            raise ConfigurationError(f"{self._title} {self.path} was opened read-only")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database."""
        with self.translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Open a transaction that holds the write lock; leaving it commits, an exception rolls back.

        Raises:
            ConfigurationError: the database was opened read-only.
            BusyError: another process held the lock for longer than five seconds.
        """
        self.refuse_if_read_only()
        with self.translated(), self._writing.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def translated(self, where: Path | str | None = None) -> Iterator[None]:
        """Turn errors of SQLite and of the file system into the library's; `where` is named, by default the file.

        Raises:
            BusyError: the database is locked.
            RatchetError: a constraint refuses; of the type given as `conflict`.
            ArtifactError: the file is damaged or no database.
            UnavailableError: the disk is full, gone or not writable.
        """
        where = where or self.path
        try:
            yield
        except RatchetError:
            raise
        except IntegrityError as error:
            raise self._conflict(f"{where}: {self._title} refuses this change: {error.orig}") from error
        except (DatabaseError, sqlite3.DatabaseError) as error:
            raise self._translate(where, error) from error
        except OSError as error:
            raise UnavailableError(
                f"{where}: {error.strerror or error}: {error.filename or 'no file named'}"
            ) from error

    def _version(self) -> int:
        if self._found < self._schema_version and self.path.exists():
            with self.read() as connection:
                found = _version_of(connection)
            if found > self._schema_version:
                raise ConfigurationError(f"{self.path} was made by a newer release (schema {found}); upgrade Ratchet")
            if self.read_only and 0 < found < self._schema_version:
                raise ConfigurationError(
                    f"{self.path} was made by an older release (schema {found}); open {self._title} for writing once"
                )
            self._found = found
        return self._found

    def _make_current(self, found: int, connection: Connection) -> None:
        if found == 0:
            self._create_schema(connection)
            return
        if self._upgrade is None:
            raise ConfigurationError(f"{self.path} was made by an older release (schema {found}); move it away")
        self._upgrade(connection, found)

    def _translate(self, where: Path | str, error: Exception) -> RatchetError:
        original = error.orig if isinstance(error, DatabaseError) else error
        if "locked" in str(original) or "busy" in str(original):
            return BusyError(f"{where}: another process holds {self._title}; try again ({original})")
        if isinstance(error, OperationalError | sqlite3.OperationalError):
            return UnavailableError(f"{where}: {original}; check the disk and the rights of the folder")
        return ArtifactError(f"{where}: {original}; restore the file from a backup")

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


def _switch_to_wal(connection: sqlite3.Connection) -> None:
    # A property of the file, so once is enough.
    try:
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("ratchet_begin", _READ))


def _version_of(connection: Connection) -> int:
    """Return the version of the schema in the file, 0 if it has none."""
    return int(connection.execute(text("PRAGMA user_version")).scalar_one())
