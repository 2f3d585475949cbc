"""The registry's database, named by its URL."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ratchet.data.postgres import PostgresDatabase
from ratchet.data.sqlite import SqliteDatabase
from ratchet.errors import ConfigurationError, RegistryConflictError
from ratchet.registry.tables import SCHEMA_VERSION, create_schema
from ratchet.registry.upgrade import upgrade_schema

_TITLE = "the registry"
_EXPECTED = "sqlite:///path/to/registry.sqlite or postgresql://user@host/database"


class RegistryDatabase:
    """Transactions on the registry's tables; each method does what the engine's method of that name does.

    Args:
        url: `sqlite:///path` or `postgresql://user:password@host:port/database`.
        read_only: open without creating or changing anything.

    Raises:
        ConfigurationError: the URL names another engine or no file, or psycopg is not installed.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._engine = _open(url, read_only=read_only)

    def __str__(self) -> str:
        return str(self._engine)

    def create(self) -> None:
        """Make the tables, or bring older ones up to date."""
        self._engine.create()

    def is_empty(self) -> bool:
        """Tell whether a writer has yet to make the tables."""
        return self._engine.is_empty()

    def is_current(self) -> bool:
        """Tell whether the tables are there and of this release."""
        return self._engine.is_current()

    def refuse_if_read_only(self) -> None:
        """Raise ConfigurationError unless the database was opened for writing."""
        self._engine.refuse_if_read_only()

    def read(self) -> AbstractContextManager[Connection]:
        """Open a transaction that sees one state of the database."""
        return self._engine.read()

    def write(self) -> AbstractContextManager[Connection]:
        """Open a transaction that holds the write lock; leaving it commits, an exception rolls back."""
        return self._engine.write()

    def translated(self, where: str | None = None) -> AbstractContextManager[None]:
        """Turn errors of the database and of the file system into the library's."""
        return self._engine.translated(where)

    def close(self) -> None:
        """Close all connections."""
        self._engine.close()


def _open(url: str, *, read_only: bool) -> SqliteDatabase | PostgresDatabase:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError(f"registry_url: expected {_EXPECTED}") from error
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return PostgresDatabase(
            parsed,
            title=_TITLE,
            schema_version=SCHEMA_VERSION,
            create_schema=create_schema,
            conflict=RegistryConflictError,
            read_only=read_only,
        )
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigurationError(f"registry_url: {shown} is not supported; expected {_EXPECTED}")
    return SqliteDatabase(
        Path(str(parsed.database)).absolute(),
        title=_TITLE,
        schema_version=SCHEMA_VERSION,
        create_schema=create_schema,
        upgrade=upgrade_schema,
        conflict=RegistryConflictError,
        read_only=read_only,
    )
