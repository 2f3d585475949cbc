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
    false,
)

SCHEMA_VERSION = 2
MOVES = ("stage", "promote", "rollback", "withdraw", "retire")
"""Kinds of events that change a stage."""

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
    Column("gate_digest", Text),
    Column("gate_verdict", Text),
    Column("is_pruned", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("name", "major", "minor", "patch"),
    CheckConstraint("stage IN ('none', 'staging', 'production', 'archived')"),
    CheckConstraint("NOT is_retired OR stage = 'archived'"),
    CheckConstraint("NOT is_pruned OR stage IN ('none', 'archived')"),
    CheckConstraint("gate_verdict IN ('approve', 'reject', 'inconclusive')"),
    CheckConstraint("(gate_verdict IS NULL) = (gate_digest IS NULL)"),
)
for _stage in ("production", "staging"):
    _holds = versions.c.stage == _stage
    Index(f"one_{_stage}_per_name", versions.c.name, unique=True, sqlite_where=_holds, postgresql_where=_holds)

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
    Column("pointer", Text),
    Column("evidence", Text),
    Column("previous_hash", Text, nullable=False),
    Column("hash", Text, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["versions.name", "versions.version"]),
    CheckConstraint(
        "kind IN ('register', 'stage', 'promote', 'rollback', 'withdraw', 'retire', 'point', 'release', 'prune')"
    ),
    CheckConstraint("(pointer IS NOT NULL) = (kind IN ('point', 'release'))"),
)
Index("events_by_kind", events.c.name, events.c.kind, events.c.epoch)

pointers = Table(
    "pointers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("pointer", Text, primary_key=True),
    Column("version", Text, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["versions.name", "versions.version"]),
)

succession = Table(
    "succession",
    metadata,
    Column("name", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
    ForeignKeyConstraint(["name", "version"], ["versions.name", "versions.version"]),
)
"""The versions that were in production before the present one, oldest first: what `timeline.succession` derives from
the events, kept so that a rollback need not read them all."""
Index("succession_by_version", succession.c.name, succession.c.version, succession.c.position)

_APPEND_ONLY = "the history of the registry is append-only"
_SQLITE_TRIGGER = (
    "CREATE TRIGGER events_keep_{verb} BEFORE {verb} ON events BEGIN SELECT RAISE(ABORT, '" + _APPEND_ONLY + "'); END"
)
_POSTGRES_FUNCTION = (
    "CREATE FUNCTION events_keep() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "RAISE EXCEPTION '" + _APPEND_ONLY + "' USING ERRCODE = 'integrity_constraint_violation'; END $$"
)
_POSTGRES_TRIGGER = (
    "CREATE TRIGGER events_keep_{verb} BEFORE {verb} ON events FOR EACH STATEMENT EXECUTE FUNCTION events_keep()"
)


def create_schema(connection: Connection) -> None:
    """Create all tables in the transaction that is open; its commit makes them exist."""
    metadata.create_all(connection, checkfirst=False)
    if connection.dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            connection.exec_driver_sql(_SQLITE_TRIGGER.format(verb=verb))
        return
    connection.exec_driver_sql(_POSTGRES_FUNCTION)
    for verb in ("UPDATE", "DELETE", "TRUNCATE"):
        connection.exec_driver_sql(_POSTGRES_TRIGGER.format(verb=verb))
