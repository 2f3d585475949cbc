"""Postgres as a commit point: writers one after the other, errors in the library's words."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ratchet.errors import ArtifactError, BusyError, ConfigurationError, RatchetError, UnavailableError

PATIENCE_S = 5.0
_SCHEMA_VERSIONS = "CREATE TABLE IF NOT EXISTS schema_versions (title text PRIMARY KEY, version int NOT NULL)"
_DRIVER = "postgresql+psycopg"
_FROZEN_AFTER_S = 60
# https://www.postgresql.org/docs/current/errcodes-appendix.html
_BUSY = ("40001", "40P01", "55P03", "57014")
_AWAY = ("08", "25", "28", "3D", "42501", "53", "57P", "58")


class PostgresDatabase:
    """Transactions on one Postgres database.

    Writers queue for one advisory lock and each sees what the one before committed, so numbers that they give out
    have no gaps; readers never wait. A commit is on the server's disk before it returns. A writer that dies loses the
    lock with its connection, one that is frozen loses it after a minute. Threads may share one object; a forked
    process makes its own.

    Args:
        url: `postgresql://user:password@host:port/database`; the driver is psycopg 3.
        title: what messages call the database, for example `the registry`; also names the lock.
        schema_version: kept in the table `schema_versions`; one from a newer release is refused.
        create_schema: makes the tables in the transaction that it is given.
        conflict: the error for a change that a constraint refuses.
        read_only: open without creating or changing anything; a database without the tables reads as empty.

    Raises:
        ConfigurationError: psycopg is not installed.
    """

    def __init__(
        self,
        url: URL,
        *,
        title: str,
        schema_version: int,
        create_schema: Callable[[Connection], None],
        conflict: type[RatchetError] = ArtifactError,
        read_only: bool = False,
    ) -> None:
        self.read_only = read_only
        self._where = url.render_as_string(hide_password=True)
        self._title = title
        self._schema_version = schema_version
        self._create_schema = create_schema
        self._conflict = conflict
        self._found = 0
        self._writing = _engine(url)
        self._reading = self._writing.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._lock = int.from_bytes(hashlib.sha256(title.encode()).digest()[:8], signed=True)

    def __str__(self) -> str:
        return self._where

    def create(self) -> None:
        """Make the tables, unless another process just did."""
        with self.write() as connection:
            if self._version_in(connection) == 0:
                connection.exec_driver_sql(_SCHEMA_VERSIONS)
                connection.execute(
                    text("INSERT INTO schema_versions VALUES (:title, :version)"),
                    {"title": self._title, "version": self._schema_version},
                )
                self._create_schema(connection)

    def is_empty(self) -> bool:
        """Tell whether a writer has yet to make the tables.

        Raises:
            ConfigurationError: another release made them.
            UnavailableError: the server cannot be reached.
        """
        return not self.is_current()

    def is_current(self) -> bool:
        """Tell whether the tables are there; if not, `create` makes them.

        Raises:
            ConfigurationError: another release made them.
            UnavailableError: the server cannot be reached.
        """
        if self._found == 0:
            with self.read() as connection:
                found = self._version_in(connection)
            if found not in {0, self._schema_version}:
                raise ConfigurationError(f"{self._where} was made by another release (schema {found}); upgrade Ratchet")
            self._found = found
        return self._found != 0

    def refuse_if_read_only(self) -> None:
        """Raise unless the database was opened for writing.

        Raises:
            ConfigurationError: it was opened read-only.
        """
        if self.read_only:
            raise ConfigurationError(f"{self._title} {self._where} was opened read-only")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a transaction that sees one state of the database."""
        with self.translated(), self._reading.begin() as connection:
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
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": self._lock})
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._writing.dispose()

    @contextmanager
    def translated(self, where: str | None = None) -> Iterator[None]:
        """Turn errors of Postgres and of the file system into the library's; `where` is named, by default the URL.

        Raises:
            BusyError: the database is locked or did not answer in time.
            RatchetError: a constraint refuses; of the type given as `conflict`.
            ArtifactError: the tables are not what they should be.
            UnavailableError: the server or the disk is gone, full or refuses the role.
        """
        where = where or self._where
        try:
            yield
        except RatchetError:
            raise
        except IntegrityError as error:
            raise self._conflict(f"{where}: {self._title} refuses this change: {_said(error)}") from error
        except PoolTimeoutError as error:
            raise BusyError(f"{where}: too many threads use {self._title}; try again") from error
        except DBAPIError as error:
            raise self._translate(where, error) from error
        except OSError as error:
            raise UnavailableError(
                f"{where}: {error.strerror or error}: {error.filename or 'no file named'}"
            ) from error

    def _version_in(self, connection: Connection) -> int:
        if connection.scalar(text("SELECT to_regclass('schema_versions')")) is None:
            return 0
        query = text("SELECT version FROM schema_versions WHERE title = :title")
        return connection.scalar(query, {"title": self._title}) or 0

    def _translate(self, where: str, error: DBAPIError) -> RatchetError:
        # An error without a code did not come from the server: there is no connection.
        code: str | None = getattr(error.orig, "sqlstate", None)
        if code in _BUSY:
            return BusyError(f"{where}: another process holds {self._title}; try again ({_said(error)})")
        if code is None or error.connection_invalidated or code.startswith(_AWAY):
            return UnavailableError(f"{where}: {_said(error)}; check the server and the rights of the role")
        return ArtifactError(f"{where}: {_said(error)}; restore the database from a backup")


def _engine(url: URL) -> Engine:
    options: dict[str, Any] = {
        "connect_timeout": max(2, int(PATIENCE_S)),
        "tcp_user_timeout": int(PATIENCE_S * 1_000),
    }
    try:
        engine = create_engine(
            url.set(drivername=_DRIVER), connect_args=options, pool_pre_ping=True, pool_timeout=PATIENCE_S
        )
    except ImportError as error:
        raise ConfigurationError('Postgres needs psycopg; install it: pip install "ratchet[postgres]"') from error
    event.listen(engine, "connect", _configure)
    return engine


def _configure(connection: Any, _: object) -> None:
    for setting, value in (
        ("lock_timeout", f"{PATIENCE_S * 1_000:.0f}ms"),
        ("statement_timeout", f"{PATIENCE_S * 1_000:.0f}ms"),
        ("idle_in_transaction_session_timeout", f"{_FROZEN_AFTER_S}s"),
        ("synchronous_commit", "on"),
    ):
        connection.execute(f"SET {setting} = '{value}'")
    connection.commit()


def _said(error: DBAPIError) -> str:
    return " ".join(str(error.orig).split())
