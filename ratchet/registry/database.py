"""The registry's database: one SQLite file, named by its URL."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ratchet.data.sqlite import SqliteDatabase
from ratchet.errors import ConfigurationError, RegistryConflictError
from ratchet.registry.tables import SCHEMA_VERSION, create_schema


class RegistryDatabase(SqliteDatabase):
    """Transactions on the registry's SQLite file.

    Args:
        url: `sqlite:///path`.
        read_only: open without creating or changing anything.

    Raises:
        ConfigurationError: the URL names another engine or no file.
    """

    def __init__(self, url: str, *, read_only: bool) -> None:
        super().__init__(
            _sqlite_path(url),
            title="the registry",
            schema_version=SCHEMA_VERSION,
            create_schema=create_schema,
            conflict=RegistryConflictError,
            read_only=read_only,
        )


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
