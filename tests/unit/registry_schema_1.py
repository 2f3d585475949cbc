"""The registry's tables as the first release made them, with the content of a registry of today."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_SCHEMA = """
CREATE TABLE versions (
	name TEXT NOT NULL, version TEXT NOT NULL,
	major INTEGER NOT NULL, minor INTEGER NOT NULL, patch INTEGER NOT NULL,
	stage TEXT NOT NULL, is_retired BOOLEAN NOT NULL, digest TEXT NOT NULL, created_ns BIGINT NOT NULL,
	metadata TEXT NOT NULL, metrics TEXT NOT NULL,
	PRIMARY KEY (name, version), UNIQUE (name, major, minor, patch),
	CHECK (stage IN ('none', 'staging', 'production', 'archived')),
	CHECK (is_retired = 0 OR stage = 'archived')
);
CREATE UNIQUE INDEX one_production_per_name ON versions (name) WHERE stage = 'production';
CREATE UNIQUE INDEX one_staging_per_name ON versions (name) WHERE stage = 'staging';
CREATE TABLE events (
	epoch INTEGER NOT NULL, ts_ns BIGINT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, version TEXT NOT NULL,
	previous TEXT, actor TEXT NOT NULL, reason TEXT NOT NULL,
	PRIMARY KEY (epoch), FOREIGN KEY(name, version) REFERENCES versions (name, version),
	CHECK (kind IN ('register', 'stage', 'promote', 'rollback', 'withdraw', 'retire'))
);
CREATE INDEX ix_events_name ON events (name);
CREATE TRIGGER events_keep_UPDATE BEFORE UPDATE ON events
BEGIN SELECT RAISE(ABORT, 'the history of the registry is append-only'); END;
CREATE TRIGGER events_keep_DELETE BEFORE DELETE ON events
BEGIN SELECT RAISE(ABORT, 'the history of the registry is append-only'); END;
PRAGMA user_version = 1;
"""
_VERSION_COLUMNS = "name, version, major, minor, patch, stage, is_retired, digest, created_ns, metadata, metrics"
_EVENT_COLUMNS = "epoch, ts_ns, name, kind, version, previous, actor, reason"


def downgrade(root: Path) -> None:
    """Replace the database of a closed registry by one of schema 1; what schema 1 cannot hold is lost."""
    path, kept = root / "registry.sqlite", root / "registry.kept"
    path.rename(kept)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(_SCHEMA)
        connection.execute("ATTACH ? AS kept", (str(kept),))
        for table, columns in (("versions", _VERSION_COLUMNS), ("events", _EVENT_COLUMNS)):
            connection.execute(f"INSERT INTO {table} SELECT {columns} FROM kept.{table}")  # noqa: S608
        connection.commit()
    kept.unlink()
