"""Tables of an earlier release, brought up to date: what was live stays live, what cannot be proven is not claimed."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, insert, text

from ratchet.errors import ConfigurationError
from ratchet.registry.base import RegistryEvent
from ratchet.registry.chain import FIRST_HASH, event_hash
from ratchet.registry.tables import create_schema, events, succession
from ratchet.registry.timeline import Succession

_REPLACED = (
    "DROP TRIGGER events_keep_UPDATE",
    "DROP TRIGGER events_keep_DELETE",
    "DROP INDEX one_production_per_name",
    "DROP INDEX one_staging_per_name",
    "DROP INDEX ix_events_name",
    "ALTER TABLE events RENAME TO events_1",
    "ALTER TABLE versions RENAME TO versions_1",
)
_COLUMNS = "name, version, major, minor, patch, stage, is_retired, digest, created_ns, metadata, metrics"


def upgrade_schema(connection: Connection, found: int) -> None:
    """Turn the SQLite tables of schema 1 into those of schema 2, in the transaction that is open.

    Every version keeps its stage and every event its number; the chain of hashes is computed over them. The old
    verdicts stood in metadata that nobody had sealed, so no version has one now: what is live stays live and can be
    rolled back to, anything else needs the gate's report before it moves.

    Raises:
        ConfigurationError: the tables are of another schema.
    """
    if found != 1:
        raise ConfigurationError(f"the registry's tables are of schema {found}, which this release does not know")
    for statement in _REPLACED:
        connection.exec_driver_sql(statement)
    create_schema(connection)
    connection.exec_driver_sql(f"INSERT INTO versions ({_COLUMNS}) SELECT {_COLUMNS} FROM versions_1")  # noqa: S608
    chained = list(_chained(connection))
    if chained:
        connection.execute(insert(events), [event.model_dump() for event in chained])
    rows = _succession_rows(chained)
    if rows:
        connection.execute(insert(succession), rows)
    for table in ("events_1", "versions_1"):
        connection.exec_driver_sql(f"DROP TABLE {table}")


def _chained(connection: Connection) -> Iterable[RegistryEvent]:
    previous_hash = FIRST_HASH
    for row in connection.execute(text("SELECT * FROM events_1 ORDER BY epoch")):
        fields = {**row._mapping, "pointer": None, "evidence": None, "previous_hash": previous_hash}
        previous_hash = event_hash(fields)
        yield RegistryEvent(**fields, hash=previous_hash)


def _succession_rows(chained: list[RegistryEvent]) -> list[dict[str, object]]:
    states: dict[str, Succession] = {}
    for event in chained:
        states[event.name] = states.get(event.name, Succession()).after(event)
    return [
        {"name": name, "position": position, "version": version}
        for name, state in states.items()
        for position, version in enumerate(state.earlier, start=1)
    ]
