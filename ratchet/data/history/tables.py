"""Tables of the history's database: which series there are, which files hold them, and which bars are missing."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Connection, ForeignKey, Index, Integer, MetaData, Table, Text

SCHEMA_VERSION = 1

metadata = MetaData()

series = Table(
    "series",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("venue", Text, nullable=False),
    Column("symbol", Text, nullable=False),
    Column("timeframe", Text, nullable=False),
    Column("wanted_from_ns", BigInteger, nullable=False),
    Column("wanted_to_ns", BigInteger, nullable=False),
)
Index("one_series", series.c.venue, series.c.symbol, series.c.timeframe, unique=True)

segments = Table(
    "segments",
    metadata,
    Column("path", Text, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False, index=True),
    Column("sequence", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("n_rows", Integer, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
)

gaps = Table(
    "gaps",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("series_id", ForeignKey("series.id"), nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("evidence", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("was_answered", Boolean, nullable=False),
    Column("found_ns", BigInteger, nullable=False),
    Column("tried_ns", BigInteger, nullable=False),
    Column("closed_ns", BigInteger),
)
Index(
    "one_open_gap",
    gaps.c.series_id,
    gaps.c.start_ns,
    gaps.c.end_ns,
    unique=True,
    sqlite_where=gaps.c.closed_ns.is_(None),
)

collections = Table(
    "collections",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("ended_ns", BigInteger, nullable=False),
    Column("venue", Text, nullable=False),
    Column("report", Text, nullable=False),
)


def create_schema(connection: Connection) -> None:
    """Create all tables in the transaction that is open; its commit makes them exist."""
    metadata.create_all(connection, checkfirst=False)
