"""The registry's tables; the database itself refuses two production versions and any edit of the history."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Connection,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

metadata = MetaData()

versions = Table(
    "versions",
    metadata,
    Column("name", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("major", Integer, nullable=False),
    Column("minor", Integer, nullable=False),
    Column("patch", Integer, nullable=False),
    Column("stage", Text, nullable=False),
    Column("is_retired", Boolean, nullable=False),
    Column("digest", Text, nullable=False),
    Column("created_ns", BigInteger, nullable=False),
    Column("metadata", Text, nullable=False),
    Column("metrics", Text, nullable=False),
    UniqueConstraint("name", "major", "minor", "patch"),
    CheckConstraint("stage IN ('none', 'staging', 'production', 'archived')"),
    CheckConstraint("is_retired = 0 OR stage = 'archived'"),
)
Index(
    "one_production_per_name",
    versions.c.name,
    unique=True,
    sqlite_where=versions.c.stage == "production",
)
Index(
    "one_staging_per_name",
    versions.c.name,
    unique=True,
    sqlite_where=versions.c.stage == "staging",
)

events = Table(
    "events",
    metadata,
    Column("epoch", Integer, primary_key=True, autoincrement=False),
    Column("ts_ns", BigInteger, nullable=False),
    Column("name", Text, nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("previous", Text),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["versions.name", "versions.version"]),
    CheckConstraint("kind IN ('register', 'stage', 'promote', 'rollback', 'withdraw', 'retire')"),
)

_APPEND_ONLY = (
    "CREATE TRIGGER events_keep_{verb} BEFORE {verb} ON events "
    "BEGIN SELECT RAISE(ABORT, 'the history of the registry is append-only'); END"
)


def create_schema(connection: Connection) -> None:
    """Create all tables in the transaction that is open; its commit makes them exist."""
    metadata.create_all(connection, checkfirst=False)
    for verb in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(_APPEND_ONLY.format(verb=verb))
